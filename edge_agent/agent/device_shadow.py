"""The device shadow: what runs here and how it is, for whoever asks the cloud.

A job's end tells how a deployment went; this tells what answers now, also after a job that the
cloud gave up too late. Sent whole whenever it may have changed and on every connection, so a lost one is made up for.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edge_agent import __version__
from edge_agent.deployment.record import Deployment
from edge_agent.errors import AgentError, Code, StorageError
from edge_agent.jobs import JobsClient
from edge_agent.store import Committed, Generation, Generations

_log = logging.getLogger(__name__)

# AWS IoT: a device shadow document has at most 8 KB.
LIMIT_BYTES = 8000
_TEXT = 200


class DeviceShadow:
    """Publishes what is committed.

    Args:
        thing: this device.
        jobs: the connection to publish on, or None where there is no cloud.
        generations: what is committed.
        last: the newest deployment, if there was one.
        facts: how the device is; empty where that is not known yet.
    """

    def __init__(
        self,
        thing: str,
        jobs: Callable[[], JobsClient | None],
        generations: Generations,
        last: Callable[[], Deployment | None],
        facts: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._topic = f"$aws/things/{thing}/shadow/update"
        self._jobs = jobs
        self._generations = generations
        self._last = last
        self._facts = facts

    def publish(self) -> None:
        """Tell it if there is a connection; the next connection tells it in any case."""
        jobs = self._jobs()
        if jobs is None:
            return
        try:
            gone = {name for generation in self._generations.history() for name in generation.models}
            jobs.publish(self._topic, compose(self._generations.current(), gone, self._last(), self._facts()))
        except AgentError as exc:
            level = logging.DEBUG if exc.code is Code.NOT_CONNECTED else logging.WARNING
            _log.log(level, "device shadow not told", extra={"action": "shadow_not_told", "reason": exc.message})


def compose(
    generation: Generation, known: Iterable[str], last: Deployment | None, facts: Mapping[str, Any] | None = None
) -> bytes:
    """Return the update that makes the shadow's reported state tell this; what does not fit is told in fewer words.

    Args:
        generation: what is committed.
        known: names of models that may stand in the shadow from before; null takes them out.
        last: the newest deployment.
        facts: how the device is.

    Raises:
        StorageError: it is larger than a shadow may be, even without its details.
    """
    gone = [name for name in known if name not in generation.models]
    for details, others, former in (
        (True, True, True),
        (False, True, True),
        (False, False, True),
        (False, False, False),
    ):
        # Versions are what people ask for first: everything else gives way to them.
        models: dict[str, Any] = dict.fromkeys(gone if former else ())
        models |= {name: _model(entry, details=details) for name, entry in generation.models.items()}
        reported = {
            "agent": {"version": __version__},
            **(facts if facts and others else {}),
            "generation": generation.number,
            "models": models,
            "deployment": _deployment(last),
        }
        payload = json.dumps({"state": {"reported": reported}}, separators=(",", ":")).encode()
        if len(payload) <= LIMIT_BYTES:
            return payload
    message = f"expected a device shadow of at most {LIMIT_BYTES} bytes, came {len(payload)} for {len(models)} models"
    raise StorageError(Code.STORAGE_FAILED, message)


def _model(entry: Committed, *, details: bool) -> Mapping[str, object]:
    if not details:
        return {"version": entry.version}
    return {
        "version": entry.version,
        "previous": entry.previous,
        "release_seq": entry.release_seq,
        "threshold": entry.threshold,
        "unsigned": entry.unsigned,
    }


def _deployment(last: Deployment | None) -> Mapping[str, object] | None:
    if last is None:
        return None
    told = {"id": last.id, "job_id": last.job_id or None, "operation": last.operation, "state": last.outcome.value}
    return {**told, "code": last.code or None, "message": last.message[:_TEXT] or None, "ended": last.ended}
