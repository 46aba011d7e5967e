"""Finding the version that a request means; messages as Triton's clients know them."""

from edge_agent.errors import Code, InferenceError
from edge_agent.rpc.oip.ports import Catalog, LoadedVersion
from edge_agent.wire.oip.tensors import shown


class Models:
    """Versions in memory by the names and versions that clients tell; an empty version is the active one."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def find(self, name: str, version: str) -> LoadedVersion | None:
        """Return what a client means; None: another version of it is on its way.

        Raises:
            InferenceError: NOT_FOUND.
        """
        model = self._catalog.resolve(name)
        if model is None:
            raise InferenceError(Code.NOT_FOUND, f"Request for unknown model: {shown(name)} is not found")
        active = self._catalog.active().get(model)
        if not version or (active is not None and active.manifest.version == version):
            return active
        for loaded in self._catalog.loaded():
            if loaded.manifest.model_version == (model, version):
                return loaded
        message = f"Request for unknown model: {shown(name)} version {shown(version)} is not loaded"
        raise InferenceError(Code.NOT_FOUND, message)

    def named(self, name: str, version: str) -> LoadedVersion:
        """Return what a client means.

        Raises:
            InferenceError: NOT_FOUND; UNAVAILABLE: another version of it is on its way.
        """
        found = self.find(name, version)
        if found is None:
            message = f"Request for unknown model: {shown(name)} has no available versions, one is being loaded"
            raise InferenceError(Code.UNAVAILABLE, message)
        return found

    def is_ready(self, name: str, version: str) -> bool:
        """Tell whether a request would be answered now; an unknown model is not ready."""
        try:
            found = self.find(name, version)
        except InferenceError:
            return False
        return found is not None and found.state == "READY"

    def versions(self, model: str) -> list[str]:
        """Return the versions of a model that are in memory, the active one first."""
        active = self._catalog.active().get(model)
        first = [active.manifest.version] if active is not None else []
        loaded = (each.manifest for each in self._catalog.loaded())
        return [*dict.fromkeys([*first, *(each.version for each in loaded if each.model == model)])]

    def all(self) -> list[LoadedVersion]:
        """Return every version in memory once, by name and version; the active one where it is there twice."""
        everything = [*self._catalog.loaded(), *self._catalog.active().values()]
        found = {each.manifest.model_version: each for each in everything}
        return [found[version] for version in sorted(found)]
