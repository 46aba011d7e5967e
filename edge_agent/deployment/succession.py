"""What is committed once an operation is done, and whether it is so already. Pure."""

from collections.abc import Callable, Mapping, Sequence

from edge_agent.deployment.record import Target
from edge_agent.formats import Operation
from edge_agent.store import Committed


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
        unsigned=True if target.unsigned else None,
        previous=previous,
        threshold=threshold,
        previous_threshold=previous_threshold,
    )
