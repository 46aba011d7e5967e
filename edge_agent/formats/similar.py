"""Parts that look alike, and how far what a model sees lies from what it learnt."""

from pydantic import Field

from edge_agent.formats.document import Document


class BankStatus(Document):
    """How live parts lie to the memory bank of a model version."""

    state: str = Field(description="WAITING (for parts), STEADY, DRIFTED, or BROKEN (message tells; the model answers)")
    message: str = ""
    parts: int = Field(0, description="in the bank")
    seen: int = Field(0, description="live parts that the figures are of, the newest ones")
    needed: int = Field(0, description="live parts before a state is told")
    distance: float = Field(0.0, description="median of the live parts: 1 - cosine to the nearest part of the bank")
    limit: float = Field(0.0, description="what 99 % of good parts held out of training kept within")
    far_share: float = Field(0.0, description="of the live parts, 0..1: those beyond the limit")
    drift: float = Field(0.0, description="0..1: how much farther than good parts they lie (Kolmogorov-Smirnov)")


class SimilarPart(Document):
    """A part that looks like another."""

    similarity: float = Field(description="cosine, -1..1")
    captured: bool = Field(description="by this device; else the model learnt from it")
    id: str = Field(description="the capture's id, or the file's name in the data set")
    label: str = Field("", description="what a person said, or the class that was learnt; empty: nobody did")
    verdict: str = Field("", description="of a captured part")
    at: float = 0.0
    thumbnail: bytes = Field(b"", exclude=True, description="a small JPEG; empty: there is none")


class SimilarParts(Document):
    """What looks most like a part, the most alike first."""

    model: str = Field("", description="whose memory was asked; empty: none has one")
    version: str = ""
    distance: float = Field(0.0, description="1 - cosine to the nearest part of the bank")
    limit: float = Field(0.0, description="of good parts; 0: there is no bank")
    far: bool = False
    message: str = Field("", description="why there is nothing, or not all")
    parts: tuple[SimilarPart, ...] = ()
