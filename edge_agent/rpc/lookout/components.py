"""What Lookout's clients call a model component, and how it fares in their eyes.

A component is an application of the mappings, a model, or an identifier ``name-version``, in
this order. What a client stops is the component of that name for the callers of this protocol:
no version leaves memory, and every other name and protocol goes on.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from edge_agent.errors import Code, InferenceError
from edge_agent.formats import ModelVersion
from edge_agent.rpc.ports import Loaded, ModelCatalog

# As the service's own ARNs look; nobody at AWS gave it, and its partition says so.
_ARN = "arn:edge-agent:lookoutvision:local:000000000000:model/{}/{}"
_STOPPED_LIMIT = 256
_SHOWN = 80


class Component(NamedTuple):
    """A model under the name that a client uses.

    Attributes:
        name: as the client says it.
        model: the model that it stands for.
        application: under which its answers are told and counted.
        version: the one that answers; None: no version is loaded.
    """

    name: str
    model: str
    application: str
    version: ModelVersion | None

    @property
    def arn(self) -> str:
        """Return a name of model and version in the form that clients know."""
        return _ARN.format(*self.version) if self.version else ""


class Components:
    """Names and their states.

    Args:
        catalog: which models answer.
        applications: returns applications and their models, those only that are on this device.
    """

    def __init__(self, catalog: ModelCatalog, applications: Callable[[], Mapping[str, str]]) -> None:
        self._catalog = catalog
        self._applications = applications
        self._changed = threading.Condition()
        self._stopped: set[str] = set()
        self._asked: Counter[str] = Counter()

    def names(self) -> list[str]:
        """Return applications and models; identifiers are understood, and not listed."""
        return sorted({*self._applications(), *self._catalog.active()})

    def find(self, name: str) -> Component | None:
        """Return what a name stands for; None: nothing of it is on this device."""
        applications = self._applications()
        model = applications.get(name) or self._catalog.resolve(name)
        if model is None and name in applications.values():
            model = name
        if model is None:
            return None
        asking = name if name in applications else next((a for a, m in applications.items() if m == model), model)
        loaded = self._catalog.active().get(model)
        return Component(name, model, asking, loaded.manifest.model_version if loaded else None)

    def named(self, name: str) -> Component:
        """Return what a name stands for.

        Raises:
            InferenceError: NOT_FOUND.
        """
        found = self.find(name)
        if found is None:
            known = ", ".join(self.names()) or "none"
            message = f"model_component: expected one of {known}, came {name[:_SHOWN]!r}"
            raise InferenceError(Code.NOT_FOUND, message)
        return found

    def status(self, component: Component) -> tuple[pb.ModelStatus, str]:
        """Return how a component fares, and a sentence about it where that is not RUNNING."""
        with self._changed:
            return self._status(component)

    def start(self, component: Component) -> None:
        """Let a stopped component answer again.

        Raises:
            InferenceError: FAILED_PRECONDITION: it is neither STOPPED nor FAILED.
        """
        with self._changed:
            self._expect(component, pb.STOPPED, pb.FAILED)
            self._stopped.discard(component.name)

    def stop(self, component: Component, timeout_s: float) -> None:
        """Let a component answer no more under its name; return when its last request has ended.

        Raises:
            InferenceError: FAILED_PRECONDITION: it is not RUNNING. RESOURCE_EXHAUSTED: so many are stopped
                already. DEADLINE_EXCEEDED: a request lasts; the component stops when that ends.
        """
        with self._changed:
            self._expect(component, pb.RUNNING)
            if len(self._stopped) >= _STOPPED_LIMIT:
                raise InferenceError(Code.RESOURCE_EXHAUSTED, f"expected at most {_STOPPED_LIMIT} stopped components")
            self._stopped.add(component.name)
            if not self._changed.wait_for(lambda: not self._asked[component.name], timeout_s):
                raise InferenceError(Code.DEADLINE_EXCEEDED, f"{component.name} stops when its last request has ended")

    @contextmanager
    def asked(self, component: Component) -> Iterator[None]:
        """Hold the component RUNNING for one request.

        Raises:
            InferenceError: FAILED_PRECONDITION: it was stopped, or no version of it is loaded.
        """
        with self._changed:
            # One that is starting may be back within the caller's time.
            self._expect(component, pb.RUNNING, pb.STARTING)
            self._asked[component.name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._asked[component.name] -= 1
                if not self._asked[component.name]:
                    del self._asked[component.name]
                    self._changed.notify_all()

    def _expect(self, component: Component, *wanted: pb.ModelStatus) -> None:
        status, why = self._status(component)
        if status not in wanted:
            expected = " or ".join(pb.ModelStatus.Name(each) for each in wanted)
            message = f"{component.name}: expected it {expected}, it is {pb.ModelStatus.Name(status)}"
            raise InferenceError(Code.FAILED_PRECONDITION, f"{message}: {why}" if why else message)

    def _status(self, component: Component) -> tuple[pb.ModelStatus, str]:
        if component.name in self._stopped:
            ending = self._asked.get(component.name, 0)
            if ending:
                return pb.STOPPING, f"{ending} request(s) are still answered"
            return pb.STOPPED, "a client stopped it under this name; other names and protocols are answered"
        loaded = self._catalog.active().get(component.model)
        if loaded is None and self._catalog.resolve(component.model) is None:
            return pb.FAILED, f"no version of {component.model} is loaded; the agent's status tells why"
        return _state(component.model, loaded)


def _state(model: str, loaded: Loaded | None) -> tuple[pb.ModelStatus, str]:
    if loaded is None:
        return pb.STARTING, f"{model} is being replaced"
    if loaded.state == "READY":
        return pb.RUNNING, ""
    return pb.STARTING, f"{loaded.manifest.model_version} is being loaded"
