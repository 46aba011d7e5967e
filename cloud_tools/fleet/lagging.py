"""Who runs an older version than the one wanted, and why. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from cloud_tools.fleet.device import Device, mapping, number, when
from edge_agent.formats import version_key


class Execution(NamedTuple):
    """What became of the newest job of a thing."""

    job_id: str
    status: str
    step: str = ""
    code: str = ""
    message: str = ""


class ModelSpread(NamedTuple):
    """Which versions of a model run where.

    Attributes:
        counts: devices by version, the most common first.
        newest: that runs anywhere.
        published: the newest one that is released; empty: not asked.
    """

    model: str
    counts: dict[str, int]
    newest: str
    published: str = ""

    @property
    def wanted(self) -> str:
        """Return what a device is measured by."""
        return self.published or self.newest

    @property
    def most_common(self) -> str:
        """Return the version that most devices run."""
        return next(iter(self.counts))


class Lag(NamedTuple):
    """A device that is behind with a model."""

    thing: str
    model: str
    version: str
    wanted: str
    why: str


def spreads(devices: Iterable[Device], published: Mapping[str, str]) -> list[ModelSpread]:
    """Return each model that runs anywhere, by name."""
    found: dict[str, Counter[str]] = {}
    order: dict[str, dict[str, tuple[float, tuple[int, ...]]]] = {}
    for device in devices:
        for model, version in device.versions.items():
            found.setdefault(model, Counter())[version] += 1
            order.setdefault(model, {})[version] = _age(device, model, version)
    return [
        ModelSpread(
            model, dict(counts.most_common()), max(counts, key=order[model].__getitem__), published.get(model, "")
        )
        for model, counts in sorted(found.items())
    ]


def behind(devices: Iterable[Device], spread: ModelSpread) -> list[Device]:
    """Return the devices that run the model in another version than the wanted one."""
    return [device for device in devices if device.versions.get(spread.model, spread.wanted) != spread.wanted]


def lags(devices: Sequence[Device], spread: ModelSpread, executions: Mapping[str, Execution]) -> list[Lag]:
    """Return who is behind and why.

    Args:
        devices: as ``behind`` returns them.
        spread: of the model.
        executions: the newest job of a thing, by thing, as far as it was asked for.
    """
    return [
        Lag(
            device.thing,
            spread.model,
            device.versions[spread.model],
            spread.wanted,
            explain(device, executions.get(device.thing)),
        )
        for device in devices
    ]


def explain(device: Device, execution: Execution | None) -> str:
    """Return in words what is known of why a device is behind."""
    reasons = [reason for look in _LOOKS if (reason := look(device, execution))]
    return "; ".join(reasons) or "nothing is known: no job of it, no failure told"


def _offline(device: Device, _execution: Execution | None) -> str:
    if device.connected is not False:
        return ""
    since = f" since {when(device.since)}" if when(device.since) else ", and never seen"
    return f"offline{since}" + (f" ({device.reason})" if device.reason else "")


def _job(device: Device, execution: Execution | None) -> str:
    if execution is None:
        return ""
    if execution.status == "QUEUED":
        return f"job {execution.job_id} waits for it"
    window = device.value("window")
    waits = f", installs start in {window} only" if window and execution.status == "IN_PROGRESS" else ""
    words = ": ".join(filter(None, (execution.code, execution.message)))
    step = execution.step if execution.status == "IN_PROGRESS" else ""
    return f"job {execution.job_id} {' '.join(filter(None, (execution.status, step, words)))}{waits}"


def _told(device: Device, execution: Execution | None) -> str:
    last = device.deployment
    if last["state"] not in ("FAILED", "REFUSED", "CANCELLED") or (execution and execution.job_id == last["job_id"]):
        return ""
    words = ": ".join(filter(None, (last["code"], last["message"])))
    return f"its last deployment {last['state']}{f' {words}' if words else ''}"


def _quarantined(device: Device, _execution: Execution | None) -> str:
    count = int(number(device.reported.get("quarantined")) or 0)
    return f"{count} quarantined release{'s' if count > 1 else ''}" if count else ""


_LOOKS: tuple[Callable[[Device, Execution | None], str], ...] = (_offline, _job, _told, _quarantined)


def _age(device: Device, model: str, version: str) -> tuple[float, tuple[int, ...]]:
    # A release's number says what is newer; a version's name only where nobody counted.
    entry = mapping(mapping(device.reported.get("models")).get(model))
    return number(entry.get("release_seq")) or 0.0, _key(version)


def _key(version: str) -> tuple[int, ...]:
    try:
        return version_key(version)
    except ValueError:
        # No version that anybody could have published.
        return ()
