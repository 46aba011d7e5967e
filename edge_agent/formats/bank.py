"""The memory bank of a model version: where the parts that it learnt from lie, and what they look like.

An artefact of the release (role ``bank``) in the format of safetensors, which executes nothing
and is no archive. The door to that library.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from edge_agent.errors import BundleError, Code, DocumentError, InferenceError
from edge_agent.formats.document import Document, parse
from edge_agent.formats.manifest import LIMIT_BANK_BYTES

EMBEDDING: Final = "embedding"
"""The output of a graph that a bank belongs to: float32 [N, D], each row of length 1."""
LIMIT_PARTS: Final = 20_000
LIMIT_WIDTH: Final = 4096
ROWS_AND_COLUMNS: Final = 2
_LIMIT_HELD: Final = 100_000
_LENGTH_TOLERANCE: Final = 1e-2
_JPEG: Final = b"\xff\xd8\xff"
_TYPES: Final[Mapping[str, str]] = {
    "embeddings": "float32",
    "distances": "float32",
    "parts": "uint8",
    "thumbnails": "uint8",
    "ends": "int64",
}


class BankPart(Document):
    """One part that was learnt from."""

    file: str = Field(max_length=1000, description="relative to the data set's root")
    label: str = Field("", max_length=200, description="its class")


class _Parts(Document):
    parts: tuple[BankPart, ...] = Field(min_length=1, max_length=LIMIT_PARTS)


class Bank(NamedTuple):
    """What a model version remembers of the parts that it learnt from."""

    embeddings: NDArray[np.float32]
    """[N, D], each row of length 1."""
    parts: tuple[BankPart, ...]
    """N, in the order of the rows."""
    thumbnails: tuple[bytes, ...]
    """N small JPEGs; empty where there is none."""
    distances: NDArray[np.float32]
    """[V], rising: of good parts that were not learnt from, 1 - cosine to the nearest part of the bank."""

    def limit(self, share: float) -> float:
        """Return the distance that this share of good parts does not exceed; the largest of all where there are few.

        Args:
            share: 0..1.
        """
        return float(np.quantile(self.distances, share, method="higher"))

    def without_thumbnails(self) -> "Bank":
        """Return the same without pictures."""
        return self._replace(thumbnails=(b"",) * len(self.parts))


def write_bank(bank: Bank) -> bytes:
    """Return a bank as a file's content."""
    told = _Parts(parts=bank.parts).model_dump(mode="json")
    ends = np.cumsum([len(small) for small in bank.thumbnails], dtype=np.int64)
    return save(
        {
            "embeddings": np.ascontiguousarray(bank.embeddings, np.float32),
            "distances": np.sort(np.asarray(bank.distances, np.float32)),
            "parts": np.frombuffer(json.dumps(told, separators=(",", ":")).encode(), np.uint8),
            "thumbnails": np.frombuffer(b"".join(bank.thumbnails), np.uint8),
            "ends": ends,
        }
    )


def read_bank(content: bytes, what: str) -> Bank:
    """Return the bank that a file holds.

    Args:
        content: at most ``LIMIT_BANK_BYTES``.
        what: what a person calls the file.

    Raises:
        BundleError: MANIFEST_INVALID: it is none, or its pieces do not fit each other; the message names what.
    """
    pieces = _pieces(content, what)
    embeddings, distances = pieces["embeddings"], pieces["distances"]
    rows, width = embeddings.shape if embeddings.ndim == ROWS_AND_COLUMNS else (0, 0)
    if not 1 <= rows <= LIMIT_PARTS or not 1 <= width <= LIMIT_WIDTH:
        expected = f"embeddings [1..{LIMIT_PARTS}, 1..{LIMIT_WIDTH}]"
        raise _broken(what, expected, str(list(embeddings.shape)))
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        lengths = np.linalg.norm(embeddings, axis=1)
    if not np.isfinite(lengths).all() or np.abs(lengths - 1).max() > _LENGTH_TOLERANCE:
        raise _broken(what, "embeddings of length 1", f"lengths {lengths.min():g}..{lengths.max():g}")
    if distances.ndim != 1 or not 1 <= len(distances) <= _LIMIT_HELD or not np.isfinite(distances).all():
        raise _broken(what, f"1..{_LIMIT_HELD} finite distances", str(list(distances.shape)))
    parts = _parts(pieces["parts"], what)
    thumbnails = _thumbnails(pieces["thumbnails"], pieces["ends"], what)
    if not len(parts) == len(thumbnails) == len(embeddings):
        came = f"{len(parts)} names and {len(thumbnails)} pictures"
        raise _broken(what, f"a name and a picture for each of {len(embeddings)} embeddings", came)
    return Bank(embeddings, parts, thumbnails, np.sort(distances))


def nearest(rows: NDArray[np.float32], embedding: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """Return the rows [N, D] most like an embedding [D], all of length 1: index and cosine, the most alike first."""
    if not len(rows):
        return []
    cosines = rows @ embedding
    few = min(count, len(cosines))
    found = np.argpartition(cosines, len(cosines) - few)[len(cosines) - few :]
    ordered = found[np.argsort(-cosines[found], kind="stable")]
    return [(int(index), float(np.clip(cosines[index], -1, 1))) for index in ordered]


def place_of(output: NDArray[Any]) -> bytes:
    """Return a graph's output [1, D] as float32 [D] of length 1; empty where it tells no place.

    Raises:
        InferenceError: INTERNAL: it is not finite: such a version never answers.
    """
    if output.ndim != ROWS_AND_COLUMNS or output.shape[1] > LIMIT_WIDTH or output.dtype != np.float32:
        return b""
    row = output[0].astype(np.float64)  # whose squares float32 could not hold
    if not np.isfinite(row).all():
        raise InferenceError(Code.INTERNAL, f"expected finite numbers in {EMBEDDING}, came NaN or infinity")
    length = float(np.linalg.norm(row))
    return (row / length).astype(np.float32).tobytes() if length > 0 else b""


def distances_to(rows: NDArray[np.float32], embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [M] of embeddings [M, D]: 1 - cosine to the nearest row [N, D], 0..2."""
    return np.asarray(np.clip(1 - (embeddings @ rows.T).max(1), 0, 2), np.float32)


def _pieces(content: bytes, what: str) -> dict[str, NDArray[Any]]:
    if len(content) > LIMIT_BANK_BYTES:
        raise _broken(what, f"at most {LIMIT_BANK_BYTES} bytes", str(len(content)))
    try:
        found = load(content)
    except (SafetensorError, KeyError) as exc:  # a KeyError: of a type that numpy has no word for
        raise _broken(what, "a memory bank in the format of safetensors", str(exc)) from exc
    came = {name: piece.dtype.name for name, piece in found.items()}
    if came != dict(_TYPES):
        raise _broken(what, f"the pieces {dict(_TYPES)}", str(came)[:200])
    return found


def _parts(content: NDArray[np.uint8], what: str) -> tuple[BankPart, ...]:
    try:
        return parse(_Parts, content.tobytes(), what=what).parts
    except DocumentError as exc:
        raise BundleError(Code.MANIFEST_INVALID, exc.message) from exc


def _thumbnails(content: NDArray[np.uint8], ends: NDArray[np.int64], what: str) -> tuple[bytes, ...]:
    pictures = content.tobytes()
    starts = [0, *ends.reshape(-1).tolist()]
    if any(after < before for before, after in itertools.pairwise(starts)) or starts[-1] != len(pictures):
        raise _broken(what, f"ends that rise to {len(pictures)}", str(starts[-1]))
    found = tuple(pictures[begin:end] for begin, end in itertools.pairwise(starts))
    if any(small and not small.startswith(_JPEG) for small in found):
        raise _broken(what, "thumbnails that are JPEG", "something else")
    return found


def _broken(what: str, expected: str, came: str) -> BundleError:
    return BundleError(Code.MANIFEST_INVALID, f"{what}: expected {expected}, came {came}")


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many of the items, evenly over all of them."""
    if len(items) <= most:
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, most)]
