"""The door to psycopg: parts and where models find them, in PostgreSQL with pgvector.

One row of ``edge_models`` for each model version, told by its graph's digest too; its parts have
their own partial HNSW index, which needs a fixed number of dimensions. Values are always
parameters; what PostgreSQL takes no parameters for (dimensions, an index's predicate) is a
number that this module read from the database or checked itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector
from psycopg import sql

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

# pgvector: "up to 2,000 dimensions" for an index on vector; more are compared one by one.
LIMIT_INDEXED = 2000
_CONNECT_S = 15

_SCHEMA = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS edge_models (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    version text NOT NULL,
    graph_sha256 text NOT NULL,
    width integer NOT NULL CHECK (width > 0),
    usual_similarity double precision,
    bundle text NOT NULL,
    ingested timestamptz NOT NULL DEFAULT now(),
    UNIQUE (model, version)
);
CREATE TABLE IF NOT EXISTS edge_parts (
    model_id integer NOT NULL REFERENCES edge_models (id) ON DELETE CASCADE,
    source text NOT NULL CHECK (source IN ('training', 'capture')),
    part text NOT NULL,
    product text NOT NULL,
    label text NOT NULL,
    verdict text NOT NULL,
    at timestamptz,
    embedding vector NOT NULL,
    PRIMARY KEY (model_id, source, part)
);
"""

# pgvector 0.8: a scan of the index ends after 40 candidates (hnsw.ef_search), before those of other products
# are left out. It has to go on until as many as were asked for are found, the most alike first.
_SCAN = """
SET hnsw.iterative_scan = 'strict_order';
SET hnsw.max_scan_tuples = 2147483647;
"""


class KnownModel(NamedTuple):
    """One model version, as the database has it."""

    id: int
    model: str
    version: str
    graph_sha256: str
    width: int
    usual_similarity: float | None
    """What 99 % of good parts reach to the nearest part that was learnt from; None: its bundle has no bank."""
    bundle: str
    """Where it lay when it was ingested."""


class Part(NamedTuple):
    """One part, and where the model finds it."""

    source: str
    """training or capture."""
    part: str
    """The file in the data set, or thing and id of the capture."""
    product: str
    label: str
    verdict: str
    at: float | None
    """Epoch seconds, of a capture."""
    embedding: NDArray[np.float32]


class Alike(NamedTuple):
    """A part that looks like another."""

    similarity: float
    source: str
    part: str
    product: str
    label: str
    verdict: str
    at: float | None


class PartTable:
    """The tables in one database.

    Args:
        connection: open, in autocommit.
    """

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection

    def model(self, known: KnownModel) -> KnownModel:
        """Return a model version as the database has it, made there where it is new.

        Raises:
            CloudError: ALREADY_EXISTS: another graph, or another width, has its name and version.
        """
        with self._translated(), self._connection.transaction():
            self._connection.execute(
                "INSERT INTO edge_models (model, version, graph_sha256, width, usual_similarity, bundle)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (model, version) DO UPDATE SET ingested = now(),"
                " bundle = excluded.bundle, usual_similarity = excluded.usual_similarity"
                " WHERE edge_models.graph_sha256 = excluded.graph_sha256 AND edge_models.width = excluded.width",
                known[1:],
            )
            found = self._newest(known.model, known.version)
            if found is None or (found.graph_sha256, found.width) != (known.graph_sha256, known.width):
                there = "" if found is None else found.graph_sha256[:12]
                message = f"{known.model} {known.version} is there with another graph: expected {there}"
                raise CloudError(Code.ALREADY_EXISTS, f"{message}, came {known.graph_sha256[:12]}")
            self._index(found)
        return found

    def find_model(self, model: str = "", version: str = "") -> KnownModel:
        """Return a model version, the one that was ingested last of those that fit.

        Raises:
            CloudError: NOT_FOUND.
        """
        with self._translated():
            found = self._newest(model, version)
        if found is None:
            what = f"{model} {version}".strip() or "any model"
            raise CloudError(Code.NOT_FOUND, f"expected parts of {what} in the database, there are none: ingest first")
        return found

    def add(self, model: KnownModel, parts: Sequence[Part]) -> int:
        """Add parts, or say anew what is known of them; return how many. All or none.

        Raises:
            CloudError: INVALID_ARGUMENT: an embedding of another width.
        """
        for part in parts:
            _check_width(model, part.embedding)
        rows = [(model.id, *part[:5], part.at, part.embedding) for part in parts]
        with self._translated(), self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO edge_parts (model_id, source, part, product, label, verdict, at, embedding)"
                " VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s), %s)"
                " ON CONFLICT (model_id, source, part) DO UPDATE SET product = excluded.product,"
                " label = excluded.label, verdict = excluded.verdict, at = excluded.at, embedding = excluded.embedding",
                rows,
            )
        return len(rows)

    def embedding(self, model: KnownModel, part: str) -> NDArray[np.float32] | None:
        """Return where a model finds a part that it knows; None where it does not know it."""
        with self._translated():
            row = self._connection.execute(
                "SELECT embedding FROM edge_parts WHERE model_id = %s AND part = %s ORDER BY source LIMIT 1",
                (model.id, part),
            ).fetchone()
        return None if row is None else np.asarray(row[0].to_numpy(), np.float32)

    def alike(
        self, model: KnownModel, embedding: NDArray[np.float32], limit: int, *, product: str = "", but: str = ""
    ) -> list[Alike]:
        """Return the parts that look most like one, the most alike first.

        Args:
            model: whose parts.
            embedding: [width].
            limit: how many at most.
            product: only of this one; empty: of all.
            but: a part that is not meant.

        Raises:
            CloudError: INVALID_ARGUMENT: an embedding of another width.
        """
        _check_width(model, embedding)
        query = sql.SQL(
            "SELECT 1 - (embedding::vector({width}) <=> %s::vector({width})), source, part, product, label, verdict,"
            " extract(epoch FROM at)::float8 FROM edge_parts"
            " WHERE model_id = {model} AND %s IN ('', product) AND part <> %s"
            " ORDER BY embedding::vector({width}) <=> %s::vector({width}) LIMIT %s"
        ).format(width=sql.Literal(model.width), model=sql.Literal(model.id))
        with self._translated():
            rows = self._connection.execute(query, (embedding, product, but, embedding, limit)).fetchall()
        return [Alike(*row) for row in rows]

    def count(self, model: KnownModel) -> int:
        """Return how many parts of a model are known."""
        with self._translated():
            row = self._connection.execute(
                "SELECT count(*) FROM edge_parts WHERE model_id = %s", (model.id,)
            ).fetchone()
        return int(row[0]) if row else 0

    def _newest(self, model: str, version: str) -> KnownModel | None:
        row = self._connection.execute(
            "SELECT id, model, version, graph_sha256, width, usual_similarity, bundle FROM edge_models"
            " WHERE %s IN ('', model) AND %s IN ('', version) ORDER BY ingested DESC, id DESC LIMIT 1",
            (model, version),
        ).fetchone()
        return None if row is None else KnownModel(*row)

    def _index(self, model: KnownModel) -> None:
        if model.width > LIMIT_INDEXED:
            return
        self._connection.execute(
            sql.SQL(
                "CREATE INDEX IF NOT EXISTS {name} ON edge_parts USING hnsw"
                " ((embedding::vector({width})) vector_cosine_ops) WHERE model_id = {model}"
            ).format(
                name=sql.Identifier(f"edge_parts_alike_{model.id}"),
                width=sql.Literal(model.width),
                model=sql.Literal(model.id),
            )
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated():
            yield


@contextmanager
def open_table(address: str) -> Iterator[PartTable]:
    """Yield the tables of a database, made where they are not there.

    Raises:
        CloudError: UNAVAILABLE, ACCESS_DENIED, or FAILED_PRECONDITION: it has no pgvector.
    """
    with translated():
        connection = psycopg.connect(address, autocommit=True, connect_timeout=_CONNECT_S)
    with connection:
        with translated():
            # It says that what is there is there already.
            connection.execute("SET client_min_messages = warning")
            connection.execute(_SCHEMA)
            connection.execute(_SCAN)
            register_vector(connection)
        yield PartTable(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Give what psycopg raises in the block as an error of ours."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as exc:
        raise CloudError(Code.ACCESS_DENIED, f"the database refused it: {_said(exc)}") from exc
    except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as exc:
        message = f"expected a PostgreSQL with the extension vector (pgvector): {_said(exc)}"
        raise CloudError(Code.FAILED_PRECONDITION, message) from exc
    except psycopg.OperationalError as exc:
        raise CloudError(Code.UNAVAILABLE, f"the database did not answer: {_said(exc)}") from exc
    except psycopg.Error as exc:
        raise CloudError(Code.INTERNAL, f"the database refused it: {_said(exc)}") from exc


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())[:300]


def _check_width(model: KnownModel, embedding: NDArray[np.float32]) -> None:
    if embedding.shape != (model.width,):
        expected = f"expected an embedding of {model.width} numbers for {model.model} {model.version}"
        raise CloudError(Code.INVALID_ARGUMENT, f"{expected}, came {list(embedding.shape)}")
