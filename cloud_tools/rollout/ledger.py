"""What is written down of rollouts: one object each, which two operators cannot both change."""

from typing import NamedTuple

from cloud_tools.errors import CloudError
from cloud_tools.rollout.plan import check_name, is_name
from cloud_tools.rollout.state import RolloutState
from cloud_tools.storage import Storage, read
from edge_agent.errors import Code
from edge_agent.formats import parse

# Ten thousand devices with names of 128 characters in stages and waves are 4 MB.
_LIMIT_BYTES = 16 << 20


class Read(NamedTuple):
    """What was written down, and the tag that a swap needs."""

    state: RolloutState
    tag: str


class Ledger:
    """Rollouts under one URL, ``NAME.json`` each.

    Args:
        storage: where they lie.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def names(self) -> list[str]:
        """Return all rollouts' names.

        Raises:
            CloudError: as the storage says.
        """
        try:
            keys = list(self._storage.keys())
        except CloudError as exc:
            if exc.code is Code.NOT_FOUND:
                return []
            raise
        names = (key.removesuffix(".json") for key in keys if key.endswith(".json"))
        return [name for name in names if is_name(name)]

    def read(self, name: str) -> Read:
        """Return a rollout as it is written down.

        Raises:
            CloudError: NOT_FOUND, or as the storage says.
            DocumentError: it was written by something else.
        """
        key = f"{check_name(name)}.json"
        # The tag first: if the object changes in between, the swap that follows fails.
        tag = self._storage.tag(key)
        if tag is None:
            raise CloudError(Code.NOT_FOUND, f"expected a rollout {name}, there is none at {self._storage.url}")
        content = read(self._storage, key, limit_bytes=_LIMIT_BYTES, too_large=Code.DOCUMENT_INVALID)
        return Read(parse(RolloutState, content, what=f"{self._storage.url}/{key}"), tag)

    def create(self, state: RolloutState) -> None:
        """Write down a new rollout.

        Raises:
            CloudError: ALREADY_EXISTS, or as the storage says.
        """
        try:
            self._storage.swap(f"{state.name}.json", state.to_json(), None)
        except CloudError as exc:
            if exc.code is not Code.FAILED_PRECONDITION:
                raise
            raise CloudError(
                Code.ALREADY_EXISTS,
                f"rollout {state.name} is there already: edge-cloud rollout resume {state.name} goes on with it,"
                " another one needs another name",
            ) from exc

    def swap(self, state: RolloutState, tag: str) -> bool:
        """Write it down if nobody else has meanwhile; tell whether that was so.

        Raises:
            CloudError: as the storage says.
        """
        try:
            self._storage.swap(f"{state.name}.json", state.to_json(), tag)
        except CloudError as exc:
            if exc.code is not Code.FAILED_PRECONDITION:
                raise
            return False
        return True
