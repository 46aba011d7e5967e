"""May this order be carried out here, and what exactly does it mean? Pure decisions.

The cloud only asks; what is refused here can never succeed on this device as it stands.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import time
from typing import Any, NamedTuple

from edge_agent.deployment.record import Target
from edge_agent.errors import ActivationError, Code, RefusedError, StorageError
from edge_agent.formats import JobDocument, Manifest, Operation, Package, PackageJob, parse, version_key
from edge_agent.formats.job_document import LIMIT_CHARACTERS
from edge_agent.store import Committed

# What packaging takes, too: a worker before it has loaded anything, and what a graph takes as a multiple of its file.
WORKER_BYTES = 120 << 20
PER_GRAPH_BYTE = 6


class Offer(NamedTuple):
    """One release that the repository offers, already verified."""

    manifest: Manifest
    manifest_sha256: str


class Machine(NamedTuple):
    """What this device is."""

    agent_version: str
    architecture: str
    runtimes: frozenset[str]
    memory_bytes: int = 0
    """For all loaded versions together; 0: not known, so nothing is refused for it."""


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


def already_current(targets: Sequence[Target], committed: Mapping[str, Committed]) -> bool:
    """Tell whether everything asked for is what is committed, to the byte."""
    return all(
        (current := committed.get(target.name)) is not None
        and (current.manifest_sha256, bool(current.unsigned)) == (target.manifest_sha256, target.unsigned)
        for target in targets
    )


def is_done(operation: Operation, targets: Sequence[Target], committed: Mapping[str, Committed]) -> bool:
    """Tell whether everything that the operation is to change is already committed so."""
    if operation == "remove":
        return not {target.name for target in targets} & committed.keys()
    same = already_current(targets, committed)
    if operation == "configure":
        return same and all(committed[target.name].threshold == target.threshold for target in targets)
    return same


def after(
    operation: Operation,
    targets: Sequence[Target],
    committed: Mapping[str, Committed],
    former: Callable[[Target], Committed | None],
) -> dict[str, Committed]:
    """Return what is committed once the operation is done.

    Args:
        operation: what is done.
        targets: complete, as planned.
        committed: what is committed now.
        former: how the version that a rollback goes to was committed, when it last was.
    """
    if operation == "remove":
        gone = {target.name for target in targets}
        return {name: entry for name, entry in committed.items() if name not in gone}
    news: dict[str, Committed] = {}
    for target in targets:
        current = committed.get(target.name)
        if operation == "configure" and current is not None:
            news[target.name] = current.model_copy(update={"threshold": target.threshold})
        elif operation == "rollback":
            news[target.name] = _as_before(target, current, former(target))
        else:
            news[target.name] = _as_new(target, current)
    return {**committed, **news}


def _as_before(target: Target, current: Committed | None, former: Committed | None) -> Committed:
    return _entry(
        target,
        previous=former.previous if former else None,
        threshold=current.previous_threshold if current else None,
        previous_threshold=former.previous_threshold if former else None,
    )


def _as_new(target: Target, current: Committed | None) -> Committed:
    if current is None:
        return _entry(target)
    if target.unsigned != bool(current.unsigned):
        # Once a model is signed, no rollback leads back to what nobody signed.
        return _entry(target)
    if current.version == target.to:
        same = current.manifest_sha256 == target.manifest_sha256
        return _entry(
            target,
            previous=current.previous,
            threshold=current.threshold if same else None,
            previous_threshold=current.previous_threshold,
        )
    # A threshold means something to the version that it was set for, and nothing to another.
    return _entry(target, previous=current.version, previous_threshold=current.threshold)


def _entry(
    target: Target,
    *,
    previous: str | None = None,
    threshold: float | None = None,
    previous_threshold: float | None = None,
) -> Committed:
    return Committed(
        version=target.to or "",
        manifest_sha256=target.manifest_sha256,
        release_seq=target.release_seq,
        previous=previous,
        threshold=threshold,
        previous_threshold=previous_threshold,
        unsigned=True if target.unsigned else None,
    )


def check_machine(manifest: Manifest, machine: Machine) -> None:
    """Check what a release needs of the device, before a byte is downloaded.

    Raises:
        RefusedError: the hardware, runtime or agent is not what it needs.
    """
    needs, what = manifest.requires, str(manifest.model_version)
    if version_key(needs.agent) > version_key(machine.agent_version):
        raise RefusedError(Code.AGENT_TOO_OLD, f"{what} needs agent {needs.agent}, this is {machine.agent_version}")
    if machine.architecture not in needs.machines:
        raise RefusedError(
            Code.WRONG_HARDWARE, f"{what} is made for {', '.join(needs.machines)}, this is {machine.architecture}"
        )
    if manifest.runtime.name not in machine.runtimes:
        usable = ", ".join(sorted(machine.runtimes)) or "none"
        raise RefusedError(Code.RUNTIME_MISSING, f"{what} needs the runtime {manifest.runtime.name}, usable: {usable}")


def memory_need(manifest: Manifest) -> int:
    """Return the bytes that a loaded worker of the release will take: as signed, else an estimate from its graph."""
    return manifest.requires.memory_bytes or WORKER_BYTES + PER_GRAPH_BYTE * manifest.model_artefact.size_bytes


class MemoryChoice(NamedTuple):
    """How the versions get into memory."""

    needed_bytes: int
    unload_first: bool
    """The versions that answer must go before the new ones can be loaded."""
    reason: str
    """Of the choice, for people; empty where both fit."""


def choose_memory(
    manifests: Sequence[Manifest], loaded: Mapping[str, int], budget_bytes: int, *, strict: bool
) -> MemoryChoice:
    """Choose whether new and old versions are in memory together.

    Args:
        manifests: what is to be loaded.
        loaded: bytes that the loaded versions take, by model.
        budget_bytes: for all of them; 0: no limit is known.
        strict: refuse what can never fit; else it is at least tried.

    Raises:
        RefusedError: MEMORY_EXCEEDED, even in place of the old versions there is no room.
    """
    needed = sum(map(memory_need, manifests))
    names = {manifest.model for manifest in manifests}
    old = sum(size for name, size in loaded.items() if name in names)
    others = sum(size for name, size in loaded.items() if name not in names)
    if not budget_bytes or others + old + needed <= budget_bytes:
        return MemoryChoice(needed, unload_first=False, reason="")
    what = ", ".join(str(manifest.model_version) for manifest in manifests)
    told = f"{what} needs {needed} bytes of memory, {budget_bytes} are for models, other models take {others}"
    if strict and others + needed > budget_bytes:
        raise RefusedError(Code.MEMORY_EXCEEDED, told)
    if not old:
        return MemoryChoice(needed, unload_first=False, reason="")
    reason = f"unload first: {told}, what answers takes {old}; no shadow, no warm way back, requests wait meanwhile"
    return MemoryChoice(needed, unload_first=True, reason=reason)


def check_memory(taken_bytes: int, budget_bytes: int) -> None:
    """Check what the loaded versions and the tried candidates really take.

    Raises:
        ActivationError: MEMORY_EXCEEDED, the manifest promised less.
    """
    if budget_bytes and taken_bytes > budget_bytes:
        message = (
            f"expected all loaded versions within {budget_bytes} bytes, with the candidate they take {taken_bytes}"
        )
        raise ActivationError(Code.MEMORY_EXCEEDED, message)


def check_space(missing_bytes: int, engine_bytes: int, reserve_bytes: int, free_bytes: int) -> None:
    """Check that the disk holds the missing blobs, the engines and the reserve.

    Raises:
        StorageError: it does not; the message tells each figure.
    """
    needed = missing_bytes + engine_bytes + reserve_bytes
    if needed > free_bytes:
        raise StorageError(
            Code.NO_SPACE,
            f"expected {needed} bytes free ({missing_bytes} to download, {engine_bytes} for engines, "
            f"{reserve_bytes} in reserve), there are {free_bytes}",
        )


def in_window(window: str, now: time) -> bool:
    """Tell whether local time ``now`` lies in ``window`` (``22:00-05:00``; empty: always)."""
    if not window:
        return True
    start, end = (time.fromisoformat(part) for part in window.split("-"))
    if start == end:
        return True  # from one hour to the same again: the whole day
    if start < end:
        return start <= now < end
    return now >= start or now < end
