"""May this order be carried out here, and what exactly does it mean? Pure decisions.

The cloud only asks; what is refused here can never succeed on this device as it stands.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from edge_agent.deployment.record import Target
from edge_agent.errors import Code, RefusedError, StorageError
from edge_agent.formats import JobDocument, Manifest, Package, PackageJob, parse
from edge_agent.formats.job_document import LIMIT_CHARACTERS
from edge_agent.store import Committed


class Offer(NamedTuple):
    """One release that the repository offers, already verified."""

    manifest: Manifest
    manifest_sha256: str


def read_job(document: Mapping[str, Any], *, allow_unsigned_packages: bool = False) -> JobDocument:
    """Return the job document, checked.

    Raises:
        RefusedError: it is not one this agent understands, or names a package that nobody signed.
        DocumentError: a field is unknown, missing or bad.
    """
    if _names_package(document):
        if not allow_unsigned_packages:
            told = f"the job names an unsigned package of the old form ({_named(document)})"
            raise RefusedError(Code.UNSIGNED_PACKAGE, f"{told}, and this device takes signed ones only")
        return parse(PackageJob, dict(document), what="job document").install
    size = len(str(document))
    if size > LIMIT_CHARACTERS * 2:
        raise RefusedError(Code.JOB_INVALID, f"expected a job document of {LIMIT_CHARACTERS} characters, came {size}")
    return parse(JobDocument, dict(document), what="job document")


def package_of(document: Mapping[str, Any]) -> Package | None:
    """Return the package that a job document names, which ``read_job`` took; None: it names signed releases.

    Raises:
        DocumentError: a field is unknown, missing or bad.
    """
    return parse(PackageJob, dict(document), what="job document").package if _names_package(document) else None


def _names_package(document: Mapping[str, Any]) -> bool:
    return document.get("type") == "new_model"


def _named(document: Mapping[str, Any]) -> str:
    words = [str(document.get(key, ""))[:64] for key in ("model_name", "model_version")]
    return " ".join(word for word in words if word.isprintable() and word) or "without a name"


def plan_install(
    targets: Sequence[Target],
    offers: Mapping[str, Offer],
    committed: Mapping[str, Committed],
    floor: Callable[[str], int],
    is_quarantined: Callable[[str], bool],
    *,
    unsigned: bool = False,
) -> tuple[Target, ...]:
    """Return the targets, complete.

    Args:
        targets: what is asked for.
        offers: the releases, by model.
        committed: what is committed now.
        floor: the lowest release_seq that a model may have.
        is_quarantined: tells whether a manifest may not be tried again.
        unsigned: nobody signed what is offered.

    Raises:
        RefusedError: a release is older than the committed one, revoked or quarantined, or unsigned in place of a
            signed one.
    """
    targets = tuple(target.model_copy(update={"unsigned": unsigned}) for target in targets)
    return tuple(
        _install(target, offers[target.name], committed.get(target.name), floor, is_quarantined) for target in targets
    )


def _install(
    target: Target,
    offer: Offer,
    current: Committed | None,
    floor: Callable[[str], int],
    is_quarantined: Callable[[str], bool],
) -> Target:
    release_seq = offer.manifest.release_seq
    what = f"{target.name} {target.to} (release {release_seq})"
    if target.unsigned:
        check_unsigned(target, {} if current is None else {target.name: current})
    # What nobody signed may not keep a signed release out by a number of its own.
    comparable = current is not None and target.unsigned == bool(current.unsigned)
    if current is not None and comparable and release_seq < current.release_seq:
        raise RefusedError(
            Code.DOWNGRADE,
            f"{what} is older than the committed {current.version} (release {current.release_seq})",
        )
    _above_floor(what, release_seq, floor(target.name))
    if is_quarantined(offer.manifest_sha256):
        raise RefusedError(Code.QUARANTINED, f"{what} is quarantined; `edge-agent quarantine clear` allows it again")
    return target.model_copy(
        update={
            "from_": current.version if current else None,
            "manifest_sha256": offer.manifest_sha256,
            "release_seq": release_seq,
        }
    )


def check_unsigned(target: Target, committed: Mapping[str, Committed]) -> None:
    """Check that an unsigned package would not take a signed version's place.

    Raises:
        RefusedError: UNSIGNED_PACKAGE.
    """
    current = committed.get(target.name)
    if current is not None and not current.unsigned:
        what = f"{target.name} {target.to}: the committed {current.version} is signed"
        raise RefusedError(Code.UNSIGNED_PACKAGE, f"{what}, and an unsigned package never takes its place")


def plan_rollback(
    targets: Sequence[Target],
    committed: Mapping[str, Committed],
    stored: Callable[[str, str], Offer],
    floor: Callable[[str], int],
) -> tuple[Target, ...]:
    """Return the targets with the device's own previous versions filled in.

    Args:
        targets: the models to take back.
        committed: what is committed now.
        stored: the store's release of a name and version; StorageError when it is gone.
        floor: the lowest release_seq that a model may have.

    Raises:
        RefusedError: a model has no previous version, or it was revoked.
    """
    return tuple(_take_back(target, committed.get(target.name), stored, floor) for target in targets)


def _take_back(
    target: Target,
    current: Committed | None,
    stored: Callable[[str, str], Offer],
    floor: Callable[[str], int],
) -> Target:
    if current is None or current.previous is None:
        at = f"{target.name} {current.version}" if current else f"{target.name}, which is not installed,"
        raise RefusedError(Code.NO_PREVIOUS, f"{at} has no previous version to go back to")
    if target.to not in (None, current.previous):
        raise RefusedError(
            Code.NO_PREVIOUS, f"{target.name} can go back to {current.previous} only, the job asks for {target.to}"
        )
    try:
        offer = stored(target.name, current.previous)
    except StorageError as exc:
        raise RefusedError(Code.NO_PREVIOUS, f"{target.name} {current.previous} is no longer in the store") from exc
    release_seq = offer.manifest.release_seq
    _above_floor(f"{target.name} {current.previous} (release {release_seq})", release_seq, floor(target.name))
    return target.model_copy(
        update={
            "from_": current.version,
            "to": current.previous,
            "manifest_sha256": offer.manifest_sha256,
            "release_seq": release_seq,
            "unsigned": bool(current.unsigned),
        }
    )


def plan_removal(
    targets: Sequence[Target], committed: Mapping[str, Committed], asked_by: Callable[[str], Collection[str]]
) -> tuple[Target, ...]:
    """Return the targets with what goes.

    Args:
        targets: the models to remove.
        committed: what is committed now.
        asked_by: the applications that are mapped to a model.

    Raises:
        RefusedError: a model is not installed, is another version than the one meant, or is mapped.
    """
    planned = []
    for target in targets:
        current = _current(target, committed)
        applications = sorted(asked_by(target.name))
        if applications:
            message = f"expected a model that nothing is mapped to, {target.name} is asked by {', '.join(applications)}"
            raise RefusedError(Code.MODEL_MAPPED, message)
        planned.append(_concerning(target, current).model_copy(update={"to": None}))
    return tuple(planned)


def plan_configuration(
    targets: Sequence[Target], committed: Mapping[str, Committed], stored: Callable[[str, str], Offer]
) -> tuple[Target, ...]:
    """Return the targets with the versions that the thresholds are for.

    Args:
        targets: models and their thresholds.
        committed: what is committed now.
        stored: the store's release of a name and version.

    Raises:
        RefusedError: a model is not installed or another version than the one meant; OUT_OF_RANGE: the
            threshold lies outside the range that was signed.
        StorageError: CONTENT_MISSING.
    """
    planned = []
    for target in targets:
        current = _current(target, committed)
        low, high = stored(target.name, current.version).manifest.decision.threshold_range
        if target.threshold is not None and not low <= target.threshold <= high:
            message = f"{target.name} {current.version}: expected a threshold in the signed range {low:g} to {high:g}"
            raise RefusedError(Code.OUT_OF_RANGE, f"{message}, came {target.threshold:g}")
        planned.append(_concerning(target, current))
    return tuple(planned)


def _current(target: Target, committed: Mapping[str, Committed]) -> Committed:
    current = committed.get(target.name)
    if current is None:
        raise RefusedError(Code.NOT_FOUND, f"expected an installed model, {target.name} is not installed")
    if target.to not in (None, current.version):
        message = f"the order means {target.name} {target.to}, {current.version} is committed"
        raise RefusedError(Code.WRONG_VERSION, message)
    return current


def _concerning(target: Target, current: Committed) -> Target:
    return target.model_copy(
        update={
            "from_": current.version,
            "to": current.version,
            "manifest_sha256": current.manifest_sha256,
            "release_seq": current.release_seq,
            "unsigned": bool(current.unsigned),
        }
    )


def _above_floor(what: str, release_seq: int, floor: int) -> None:
    if release_seq < floor:
        raise RefusedError(Code.BELOW_FLOOR, f"{what} was revoked: releases below {floor} may not run")
