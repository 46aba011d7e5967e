"""Which golden parts there are, and what their inspection tells."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import Code, StorageError
from edge_agent.formats import GoldenCheck, GoldenPart, InspectedFrame, Verdict

LIMIT_PARTS = 200
LIMIT_PICTURE_BYTES = 64 << 20

_ENDINGS = (".png", ".jpg", ".jpeg")


class KnownPart(NamedTuple):
    """A picture of a part that is known."""

    path: Path
    name: str
    expected: Verdict


def known_parts(directory: Path) -> list[KnownPart]:
    """Return the pictures under ``directory``/OK and ``directory``/NG, in the order of their names.

    Raises:
        StorageError: there is none, there are too many, one is too large, or they cannot be listed.
    """
    found: list[KnownPart] = []
    try:
        for verdict in (Verdict.OK, Verdict.NG):
            folder = directory / verdict.value
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            pictures = [file for file in files if file.suffix.lower() in _ENDINGS and file.is_file()]
            found += [KnownPart(file, f"{verdict.value}/{file.name}", verdict) for file in pictures]
        large = [known.name for known in found if known.path.stat().st_size > LIMIT_PICTURE_BYTES]
    except OSError as exc:
        message = f"expected golden parts in {directory}, {exc.strerror}"
        raise StorageError(Code.STORAGE_FAILED, message) from exc
    if not found or len(found) > LIMIT_PARTS:
        where = f"{directory}/OK and {directory}/NG"
        message = f"expected 1 to {LIMIT_PARTS} pictures (JPEG, PNG) in {where}, came {len(found)}"
        raise StorageError(Code.STORAGE_FAILED, message)
    if large:
        message = f"expected golden parts of at most {LIMIT_PICTURE_BYTES} bytes, {large[0]} is larger"
        raise StorageError(Code.STORAGE_FAILED, message)
    return found


def pictures_digest(known: Sequence[KnownPart]) -> str:
    """Return what differs if a name or a byte of any picture does; one that cannot be read differs from all others."""
    digest = hashlib.sha256()
    for part in known:
        try:
            content = hashlib.sha256(part.path.read_bytes()).hexdigest()
        except OSError as exc:
            content = f"unread: {exc.strerror}"
        digest.update(f"{part.name}\0{content}\n".encode())
    return digest.hexdigest()


def judge(parts: Sequence[GoldenPart], *, at: float, actor: str) -> GoldenCheck:
    """Return what the parts tell: passed only if each is judged as it is known to be."""
    wrong = [part for part in parts if part.verdict is not part.expected]
    if not wrong:
        message = f"{len(parts)} golden parts were judged as they should be"
        return GoldenCheck(state="PASSED", at=at, message=message, parts=tuple(parts), actor=actor)
    first = f"{wrong[0].name} came {wrong[0].verdict.value.replace('_', ' ')}"
    because = f" ({wrong[0].message})" if wrong[0].message else ""
    message = f"{len(wrong)} of {len(parts)} golden parts were misjudged: {first}{because}"
    return GoldenCheck(state="FAILED", at=at, message=message, parts=tuple(parts), actor=actor)


def score_of(frame: InspectedFrame) -> float:
    """Return the score of the model that decided: the highest of those that say what the part came to."""
    deciding = [result.score for result in frame.results if result.verdict is frame.verdict and not result.skipped]
    return max(deciding, default=0.0)
