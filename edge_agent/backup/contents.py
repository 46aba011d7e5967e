"""What belongs into a backup, and its first file, which lists the others."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from edge_agent.formats import Document
from edge_agent.formats.manifest import Sha256

HEADER: Final = "backup.json"
CONFIG: Final = "config.toml"
FLOORS: Final = "floors.json"
STATE: Final = "state/"
"""Before the paths of the state directory."""
BLOBS: Final = "blobs/"
MANIFESTS: Final = "manifests/"

DATABASES: Final = ("journal.db", "inspections.db", "places.db", "captures/labels.db")
"""Of the state directory; copied as one moment saw them."""
FILES: Final = (
    "layout_version",
    "models_config.json",
    "models_config.good.json",
    "generations/*.json",
    "quarantine/*",
    "audit.log",
    "audit.*.log",
    "captures/pauses.json",
    "captures/pseudonyms.key",
)
"""Of the state directory, as patterns."""
LIMIT_HEADER_BYTES: Final = 4 << 20
LIMIT_FILES: Final = 10_000
"""Each picture of a golden sample is one."""


_BESIDE_STATE: Final = (CONFIG, FLOORS, BLOBS + "*", MANIFESTS + "*/*.json")


def _belongs(path: str) -> str:
    """Refuse what no backup of ours holds: nothing else is ever written into a state directory."""
    known = (*_BESIDE_STATE, *(STATE + name for name in (*DATABASES, *FILES)))
    parts = PurePosixPath(path).parts
    fits = any(PurePosixPath(path).match(name) and len(parts) == name.count("/") + 1 for name in known)
    if not fits or ".." in parts or "/".join(parts) != path:
        raise ValueError(f"expected what belongs into a backup, came {path!r}")
    return path


class Entry(Document):
    """One file of a backup."""

    path: Annotated[str, AfterValidator(_belongs)]
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class Contents(Document):
    """What a backup holds; its first file."""

    schema_: Literal["edge-agent/backup/1"] = Field(alias="schema")
    created: float = Field(ge=0, description="epoch seconds")
    agent: str = Field(description="version of the agent that made it")
    thing: str = Field(description="whose state it is")
    layout: int = Field(ge=1, description="of the state directory")
    files: tuple[Entry, ...] = Field(max_length=LIMIT_FILES, description="in their order")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        lacking = {FLOORS, STATE + "layout_version"} - {entry.path for entry in self.files}
        if lacking:
            raise ValueError(f"files: expected {min(lacking)} among them")
        return self


def state_files(state_dir: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a state directory that belong into a backup, databases apart, with their names in it."""
    for pattern in FILES:
        for path in sorted(state_dir.glob(pattern)):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                yield STATE + path.relative_to(state_dir).as_posix(), path
