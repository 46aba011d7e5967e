"""Parts that look alike in a real PostgreSQL with pgvector, asked for by the commands."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud_tools.cli import build_app
from cloud_tools.errors import CloudError
from edge_agent.errors import AgentError, Code
from edge_agent.vision import encode_png
from tests.fakes.telling_model import BLUES, coloured, where, write_telling, write_telling_anew
from tests.fakes.tiny_models import write_version

psycopg = pytest.importorskip("psycopg", reason="the extra pg is not installed")

from cloud_tools.similar.server import address_of  # noqa: E402 - they need it
from cloud_tools.similar.table import KnownModel, Part, PartTable, open_table  # noqa: E402


@pytest.fixture(scope="module")
def server(open_folder: Path) -> Iterator[str]:
    with address_of(f"local:{open_folder / 'data'}") as address:
        yield address


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """The address of an empty database."""
    name = f"test_{os.urandom(4).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def table(database: str) -> Iterator[PartTable]:
    with open_table(database) as opened:
        yield opened


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_telling(tmp_path / "bundle")
    return tmp_path / "bundle"


def captures(folder: Path, *blues: int) -> Path:
    """A folder as ``captures pull`` makes it."""
    (folder / "normal").mkdir(parents=True)
    lines = []
    for number, blue in enumerate(blues):
        file = f"normal/press-{number}.png"
        (folder / file).write_bytes(coloured(blue))
        told = {"file": file, "thing": "press", "id": f"c{number}", "label": "scratch", "verdict": "NG", "at": 1000.5}
        lines.append(json.dumps(told))
    (folder / "captures.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(*words: object, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(build_app(), ["similar", *map(str, words), "--json"])
    assert result.exit_code == code, (result.output, result.exception)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def refused(*words: object) -> AgentError:
    result = CliRunner().invoke(build_app(), ["similar", *map(str, words), "--json"])
    assert isinstance(result.exception, AgentError), result.output
    return result.exception


def a_model(version: str = "1", width: int = 3, digest: str = "a" * 64) -> KnownModel:
    return KnownModel(0, "brick", version, digest, width, None, "/nowhere")


def a_part(name: str, *place: float, label: str = "good", product: str = "brick") -> Part:
    row = np.array(place, np.float32)
    return Part("training", name, product, label, "", None, row / np.linalg.norm(row))


def test_a_bundles_memory_and_captures_are_ingested_and_asked_for(bundle: Path, database: str, tmp_path: Path) -> None:
    folder = captures(tmp_path / "pulled", 200, 250)
    told = run("ingest", "--bundle", bundle, "--captures", folder, "--database", database)
    assert {name: told[name] for name in ("model", "version", "product", "learnt", "captured", "parts")} == {
        "model": "colour", "version": "1", "product": "colour", "learnt": len(BLUES), "captured": 2,
        "parts": len(BLUES) + 2,
    }  # fmt: skip
    # Doing it again changes nothing.
    assert run("ingest", "--bundle", bundle, "--captures", folder, "--database", database)["parts"] == told["parts"]
    (tmp_path / "asked.png").write_bytes(coloured(248))
    answer = run("query", tmp_path / "asked.png", "--database", database, "--top", 3)
    assert (answer["verdict"], answer["message"]) == ("known", "parts like it were seen")
    assert len(answer["parts"]) == 3
    first = answer["parts"][0]
    assert (first["source"], first["part"], first["label"], first["verdict"]) == (
        "capture",
        "press/c1",
        "scratch",
        "NG",
    )
    assert first["at"] == "1970-01-01T00:16:40+00:00"
    assert first["similarity"] == pytest.approx(float(where(248) @ where(250)), abs=1e-4)
    assert 0.9 < answer["usual_similarity"] <= 1


def test_a_part_like_none_that_was_seen_is_an_anomaly(bundle: Path, database: str, tmp_path: Path) -> None:
    run("ingest", "--bundle", bundle, "--database", database)
    (tmp_path / "strange.png").write_bytes(coloured(255, green=10))
    answer = run("query", tmp_path / "strange.png", "--database", database)
    assert (answer["verdict"], answer["message"]) == ("anomaly", "nothing like it seen: anomaly")
    assert answer["similarity"] < answer["threshold"] == 0.9
    known = run("query", tmp_path / "strange.png", "--database", database, "--threshold", 0.5)
    assert known["verdict"] == "known"
    assert known["similarity"] == answer["similarity"]


def test_a_capture_is_asked_for_by_its_name_and_does_not_find_itself(
    bundle: Path, database: str, tmp_path: Path
) -> None:
    folder = captures(tmp_path / "pulled", 200, 202)
    run("ingest", "--bundle", bundle, "--captures", folder, "--database", database)
    answer = run("query", "press/c0", "--database", database, "--top", 1)
    assert [part["part"] for part in answer["parts"]] == ["press/c1"]
    told = CliRunner().invoke(build_app(), ["similar", "query", "press/c0", "--database", database])
    assert "parts like it were seen" in told.stdout
    assert "scratch" in told.stdout


def test_captures_alone_are_placed_by_the_model_that_was_ingested_last(
    bundle: Path, database: str, tmp_path: Path
) -> None:
    folder = captures(tmp_path / "pulled", 200)
    error = refused("ingest", "--captures", folder, "--database", database)
    assert (error.code, "ingest first" in error.message) == (Code.NOT_FOUND, True)
    run("ingest", "--bundle", bundle, "--database", database)
    told = run("ingest", "--captures", folder, "--database", database, "--product", "plate")
    assert (told["learnt"], told["captured"], told["product"]) == (0, 1, "plate")
    only = run("query", "press/c0", "--database", database, "--product", "plate")
    assert only["parts"] == []
    assert only["verdict"] == "anomaly"


def test_another_graph_of_the_same_name_is_refused_and_nothing_changes(
    bundle: Path, database: str, tmp_path: Path
) -> None:
    run("ingest", "--bundle", bundle, "--database", database)
    other = write_telling(tmp_path / "other")

    write_telling_anew(tmp_path / "other", other)
    error = refused("ingest", "--bundle", tmp_path / "other", "--database", database)
    assert error.code is Code.ALREADY_EXISTS
    assert "colour 1 is there with another graph" in error.message
    with open_table(database) as opened:
        assert opened.count(opened.find_model()) == len(BLUES)


def test_what_cannot_be_asked_says_why(bundle: Path, database: str, tmp_path: Path) -> None:
    run("ingest", "--bundle", bundle, "--database", database)
    missing = refused("query", tmp_path / "nothing.png", "--database", database)
    assert "expected a picture, or a part of colour 1 in the database" in missing.message
    plain = write_version(tmp_path / "plain", name="plain", kind="anomaly")
    assert plain.bank is None
    error = refused("ingest", "--bundle", tmp_path / "plain", "--database", database)
    assert "expected a model with an output embedding" in error.message
    empty = refused("ingest", "--bundle", bundle, "--captures", tmp_path, "--database", database)
    assert "expected a folder that edge-cloud captures pull made" in empty.message
    address = refused("ingest", "--bundle", bundle, "--database", "mysql://root:secret@host/db")
    assert "expected postgresql://…, local or local:DIR" in address.message
    assert "secret@host" not in address.message
    away = refused("ingest", "--bundle", bundle, "--database", "postgresql://127.0.0.1:1/none?connect_timeout=2")
    assert away.code is Code.UNAVAILABLE


def test_a_picture_that_cannot_be_read_is_left_out_and_told(bundle: Path, database: str, tmp_path: Path) -> None:
    folder = captures(tmp_path / "pulled", 200, 210)
    (folder / "normal/press-0.png").write_bytes(b"no picture")
    result = CliRunner().invoke(
        build_app(),
        ["similar", "ingest", "--bundle", str(bundle), "--captures", str(folder), "--database", database, "--json"],
    )
    assert json.loads(result.stdout)["captured"] == 1
    assert json.loads(result.stdout)["left_out"] == 1
    assert "left out: normal/press-0.png" in result.stderr


def test_a_list_that_leads_out_of_its_folder_is_refused(bundle: Path, database: str, tmp_path: Path) -> None:
    folder = captures(tmp_path / "pulled", 200)
    (folder / "captures.jsonl").write_text(json.dumps({"file": "../bundle/OK.png"}) + "\n")
    error = refused("ingest", "--bundle", bundle, "--captures", folder, "--database", database)
    assert "expected a file inside the folder" in error.message


def test_versions_do_not_mix_and_the_index_is_used(table: PartTable) -> None:
    first, second = table.model(a_model("1")), table.model(a_model("2", width=2, digest="b" * 64))
    table.add(first, [a_part(f"{n}.png", 1.0, n / 50, 0.1) for n in range(50)])
    table.add(second, [a_part("0.png", 1.0, 1.0)])
    found = table.alike(first, a_part("", 1.0, 0.3, 0.1).embedding, 3)
    assert [each.part for each in found] == ["15.png", "14.png", "16.png"] or found[0].part == "15.png"
    assert [each.part for each in table.alike(second, a_part("", 1.0, 0.0).embedding, 10)] == ["0.png"]
    with pytest.raises(CloudError, match="expected an embedding of 2 numbers for brick 2, came"):
        table.alike(second, a_part("", 1.0, 0.0, 0.0).embedding, 10)
    with pytest.raises(CloudError, match="expected an embedding of 2 numbers for brick 2"):
        table.add(second, [a_part("ok.png", 1.0, 0.0), a_part("bad.png", 1.0, 0.0, 0.0)])
    assert table.count(second) == 1
    connection = table._connection
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET enable_sort = off")
    plan = connection.execute(
        f"EXPLAIN SELECT part FROM edge_parts WHERE model_id = {first.id}"
        " ORDER BY embedding::vector(3) <=> '[1,0,0]'::vector(3) LIMIT 3"
    ).fetchall()
    assert f"edge_parts_alike_{first.id}" in str(plan)


def test_names_and_labels_are_never_sql(table: PartTable) -> None:
    hostile = "'); DROP TABLE edge_parts; --"
    known = table.model(a_model()._replace(model=hostile))
    table.add(known, [a_part(hostile, 1, 0, 0, label=hostile, product=hostile)])
    (found,) = table.alike(known, a_part("", 1, 0, 0).embedding, 5, product=hostile)
    assert (found.part, found.label, found.product) == (hostile, hostile, hostile)
    assert table.find_model(hostile).model == hostile
    assert table.embedding(known, hostile) is not None
    assert table.embedding(known, "other") is None


def test_a_label_that_was_said_later_is_taken(table: PartTable) -> None:
    known = table.model(a_model())
    table.add(known, [a_part("1.png", 1, 0, 0)])
    table.add(known, [a_part("1.png", 1, 0, 0, label="scratch")])
    assert [each.label for each in table.alike(known, a_part("", 1, 0, 0).embedding, 5)] == ["scratch"]


def test_a_wide_model_is_compared_without_an_index(table: PartTable) -> None:
    known = table.model(a_model(width=2001))
    wide = np.zeros(2001, np.float32)
    wide[0] = 1
    table.add(known, [Part("training", "1.png", "brick", "good", "", None, wide)])
    assert table.alike(known, wide, 5)[0].similarity == pytest.approx(1.0)


def test_a_local_server_keeps_what_was_ingested_and_is_stopped(bundle: Path, open_folder: Path, tmp_path: Path) -> None:
    database = f"local:{open_folder / 'db'}"
    run("ingest", "--bundle", bundle, "--database", database)
    assert not (open_folder / "db/postmaster.pid").exists()
    (tmp_path / "asked.png").write_bytes(encode_png(np.full((16, 24, 3), (0, 80, 78), np.uint8)))
    answer = run("query", tmp_path / "asked.png", "--database", database, "--top", 1)
    assert answer["parts"][0]["part"] == "train/good/<b>78</b>.png"
    assert not (open_folder / "db/postmaster.pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run it as somebody else")
def test_root_is_told_that_a_closed_folder_will_not_do_and_it_stays_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(CloudError, match="expected a folder where the user pgserver may enter"):
        address_of(f"local:{closed / 'db'}").__enter__()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_index_gives_as_many_parts_as_were_asked_for_and_those_of_a_product_that_lies_far(table: PartTable) -> None:
    """An HNSW scan ends after 40 candidates, whatever was asked for and whichever of them are filtered out."""
    known = table.model(a_model())
    angles = np.linspace(0, 1.5, 300)
    parts = [
        a_part(f"p{number}", np.cos(angle), np.sin(angle), 0.1, product="brick" if number < 250 else "plate")
        for number, angle in enumerate(angles)
    ]
    table.add(known, parts)
    table._connection.execute("ANALYZE edge_parts")
    table._connection.execute("SET enable_seqscan = off")
    table._connection.execute("SET enable_bitmapscan = off")
    table._connection.execute("SET enable_sort = off")  # as with so many parts that sorting them all costs more
    found = table.alike(known, parts[0].embedding, 200)
    assert [part.part for part in found] == [f"p{number}" for number in range(200)]
    far = table.alike(known, parts[0].embedding, 10, product="plate")
    assert [part.part for part in far] == [f"p{number}" for number in range(250, 260)]
