"""What a device tells the cloud of its inspections, on ``edge-agent/THING/inspections``."""

from typing import Literal

from pydantic import Field

from edge_agent.formats.document import Document
from edge_agent.formats.inspection import Counts, Verdict


class ResultNews(Document):
    """What one model said."""

    application: str
    model: str
    version: str = ""
    verdict: Verdict
    score: float = 0.0
    threshold: float = 0.0
    label: str = ""
    skipped: bool = Field(default=False, description="not asked, as the application that it waits for did not say NG")


class InspectionNews(Document):
    """One inspection; it may come twice, and is the same if its id is."""

    schema_: Literal["edge-agent/inspection/1"] = Field("edge-agent/inspection/1", alias="schema")
    thing: str
    id: str = Field(description="of the frame; sorts as frames came")
    at: float = Field(description="epoch seconds")
    source: str = ""
    name: str = Field("", description="the picture's, or the part's")
    verdict: Verdict
    message: str = Field("", description="why there is no result")
    milliseconds: float = 0.0
    results: tuple[ResultNews, ...] = ()


class SummaryNews(Document):
    """The shift so far, each minute and when it ended; a later one takes the place of those before."""

    schema_: Literal["edge-agent/inspection-summary/1"] = Field("edge-agent/inspection-summary/1", alias="schema")
    thing: str
    at: float = Field(description="epoch seconds")
    shift: str = Field(description="as configured")
    began: float = Field(description="epoch seconds; of the last reset, if there was one")
    ends: float = Field(description="epoch seconds")
    counts: Counts
    ended: bool = Field(description="the shift is over, and this its last summary")
    dropped: int = Field(0, description="single inspections that were not told, since the agent started")
