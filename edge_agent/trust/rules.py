"""Decisions about what was verified, without I/O: facts beside a target, the demo flag, the clock."""

import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.errors import BundleError, Code, DocumentError, TrustError
from edge_agent.formats import ClockStatus, Manifest, ModelName, ModelVersion, Version, parse

# 2026-01-01: no device with this agent can truly live before. Raised with every release; a test compares the changelog.
BUILT: Final = 1_767_225_600.0
# The publisher's clock and the device's may differ; against a validity of days this is nothing.
MAX_SKEW_S: Final = 3600.0


# A floor never sinks, and a thief could raise it: above the highest there is room for new releases.
MAX_FLOOR: Final = 2**31 - 1
# What every reader of JSON can tell exactly.
MAX_RELEASE_SEQ: Final = 2**53 - 1


class Facts(BaseModel):
    """What is signed beside a manifest; newer publishers may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: ModelName
    version: Version
    release_seq: int = Field(ge=1, le=MAX_RELEASE_SEQ)
    min_release_seq: int = Field(0, ge=0, le=MAX_FLOOR)


def read_facts(custom: Any, version: ModelVersion) -> Facts:
    """Return the facts beside the manifest of ``version``.

    Raises:
        BundleError: MANIFEST_INVALID, they are malformed or those of another release.
    """
    try:
        facts = parse(Facts, custom if isinstance(custom, dict) else {}, what=f"{version}: custom")
    except DocumentError as exc:
        raise BundleError(Code.MANIFEST_INVALID, exc.message) from exc
    if (facts.model, facts.version) != version:
        raise BundleError(
            Code.MANIFEST_INVALID, f"expected the release of {version}, signed is {facts.model} {facts.version}"
        )
    return facts


def read_manifest(content: bytes, facts: Facts) -> Manifest:
    """Return the manifest, which must be the release that ``facts`` tell of.

    Raises:
        BundleError: MANIFEST_INVALID.
    """
    try:
        manifest = parse(Manifest, content, what=f"manifest of {facts.model} {facts.version}")
    except DocumentError as exc:
        raise BundleError(Code.MANIFEST_INVALID, exc.message) from exc
    expected = (facts.model, facts.version, facts.release_seq)
    came = (manifest.model, manifest.version, manifest.release_seq)
    if came != expected:
        raise BundleError(Code.MANIFEST_INVALID, f"manifest: expected {expected} as signed beside it, came {came}")
    return manifest


def check_digest(content: bytes, digest: str, what: str) -> None:
    """Compare content with a signed SHA-256.

    Raises:
        BundleError: DIGEST_MISMATCH.
    """
    came = sha256(content).hexdigest()
    if came != digest:
        raise BundleError(Code.DIGEST_MISMATCH, f"{what}: expected SHA-256 {digest}, came {came}")


def release_floors(signers: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return each model's signed floor: the highest that any of its releases carries.

    Args:
        signers: for each role what it signed beside the targets that it may sign, by path. A malformed
            one says nothing of its model; whoever asks for that very release is told so. One that
            speaks of another model than its path names says nothing of either: the path is what a
            delegation allows.
    """
    floors: dict[str, int] = {}
    for path, custom in (entry for customs in signers for entry in customs.items()):
        try:
            facts = parse(Facts, custom if isinstance(custom, dict) else {}, what="custom")
        except DocumentError:
            continue
        if path == f"{facts.model}/{facts.version}/manifest.json":
            floors[facts.model] = max(floors.get(facts.model, 0), facts.min_release_seq)
    return floors


def check_demo(fields: Mapping[str, Any], *, allowed: bool) -> None:
    """Refuse a root whose keys lie open.

    Raises:
        TrustError: DEMO_ROOT.
    """
    # Anything but a plain false counts: a flag that is misspelt must not open the door.
    if fields.get("demo", False) is not False and not allowed:
        raise TrustError(
            Code.DEMO_ROOT, "root.json is a demo's, whose keys are public; trust.allow_demo_root would accept it"
        )


def issued(fields: Mapping[str, Any]) -> float:
    """Return when the timestamp was signed, epoch seconds; 0 when it does not say."""
    value = fields.get("issued", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return max(0.0, float(value))


def judge_clock(now: float, floor: float) -> ClockStatus:
    """Return the clock's reading against the lowest time that it can truly be."""
    return ClockStatus(trusted=now >= floor - MAX_SKEW_S, now=now, floor=floor)


def check_clock(status: ClockStatus) -> None:
    """Refuse a clock that lies before what was signed.

    Raises:
        TrustError: CLOCK_UNTRUSTED.
    """
    if not status.trusted:
        raise TrustError(
            Code.CLOCK_UNTRUSTED,
            f"expected a clock at or after {status.floor:.0f} (epoch seconds) as signed, came {status.now:.0f}",
        )
