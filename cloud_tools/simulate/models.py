"""What a simulated device says it runs: the words of its reports, and its device shadow. Pure.

As much and in the same form as an agent says, so that counted bytes are those of real messages.
"""

import json

from edge_agent import __version__
from edge_agent.formats import JobDocument


class Models:
    """Versions by model, each with the one before it."""

    def __init__(self) -> None:
        self._versions: dict[str, tuple[str | None, str | None]] = {}
        self._generation = 0
        self._gone: set[str] = set()

    def commit(self, document: JobDocument) -> None:
        """Take over what a job asked for."""
        self._generation += 1
        for model in document.models:
            current, previous = self._versions.get(model.name, (None, None))
            self._gone.discard(model.name)
            match document.operation:
                case "install" if model.version != current:
                    self._versions[model.name] = (model.version, current)
                case "rollback":
                    self._versions[model.name] = (previous, current)
                case "remove":
                    self._versions.pop(model.name, None)
                    self._gone.add(model.name)
                case _:
                    pass

    def details(self, document: JobDocument | None, job_id: str, state: str) -> dict[str, str]:
        """Return the details of a report, as edge_agent.deployment.record forms them."""
        models = document.models if document else ()
        words = [f"{m.name} {self._current(m.name) or 'none'} -> {m.version or 'previous'}" for m in models]
        # An agent's deployments have an id of their own, of so many characters.
        return {"deployment": job_id[:26], "step": state, "models": ", ".join(words) or "none", "bytes": "0/0"}

    def shadow(self, job_id: str, code: str) -> bytes:
        """Return an update of the device shadow as an agent forms it, without what it tells of its machine."""
        # A null takes out what stood there.
        models: dict[str, object] = dict.fromkeys(self._gone)
        models |= {
            name: {"version": current, "previous": previous, "release_seq": self._generation, "threshold": None}
            for name, (current, previous) in self._versions.items()
        }
        last = {"id": job_id[:26], "job_id": job_id, "state": "FAILED" if code else "COMMITTED", "code": code or None}
        reported = {
            "agent": {"version": __version__},
            "generation": self._generation,
            "models": models,
            "deployment": last if job_id else None,
        }
        return json.dumps({"state": {"reported": reported}}, separators=(",", ":")).encode()

    def _current(self, name: str) -> str | None:
        return self._versions.get(name, (None, None))[0]
