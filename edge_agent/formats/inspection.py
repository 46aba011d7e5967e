"""What an inspection tells: verdicts, results of single models, frames."""

from enum import Enum

from pydantic import Field

from edge_agent.formats.document import Document


class Verdict(str, Enum):
    """What the line does with the part; on any doubt NO_RESULT, never OK."""

    OK = "OK"
    NG = "NG"
    NO_RESULT = "NO_RESULT"


class ModelResult(Document):
    """What one model said of one picture."""

    application: str
    model: str
    version: str = ""
    kind: str = ""
    verdict: Verdict
    score: float = 0.0
    threshold: float = 0.0
    label: str = ""
    mask_png: bytes = Field(b"", exclude=True, description="grey PNG of the picture's size, 255 is defective")
    heat_map_png: bytes = Field(b"", exclude=True, description="grey PNG of the picture's size, 0..255 for 0..1")
    area: float = 0.0
    milliseconds: float = 0.0
    message: str = ""
    skipped: bool = Field(default=False, description="not asked, as the application that it waits for did not say NG")


class InspectedFrame(Document):
    """One inspected picture, whoever asked."""

    id: str
    at: float
    source: str = ""
    name: str = ""
    verdict: Verdict
    results: tuple[ModelResult, ...] = ()
    milliseconds: float = 0.0
    message: str = ""
    width: int = 0
    height: int = 0


class Counts(Document):
    """Inspections by verdict."""

    ok: int = 0
    ng: int = 0
    no_result: int = 0
