"""Keys in several safes, publishers that die, thieves with one key: what happens around a repository."""

from collections.abc import Callable
from pathlib import Path

from tuf.api.metadata import Targets

from cloud_tools.release.chain import Chain
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.repository import Repository
from cloud_tools.storage import DirectoryStorage, Storage
from tests.fakes.repository import PASSPHRASE, SignedRepository


class CutOffError(Exception):
    """The publisher's machine died."""


class DyingStorage(DirectoryStorage):
    """Dies at the n-th write; ``written`` tells what came through."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self.left = writes
        self.written: list[str] = []

    def write(self, key: str, content: bytes | Path) -> None:
        self._live(key)
        super().write(key, content)

    def swap(self, key: str, content: bytes, tag: str | None) -> None:
        self._live(key)
        super().swap(key, content, tag)

    def _live(self, key: str) -> None:
        if self.left == 0:
            raise CutOffError(key)
        self.left -= 1
        self.written.append(key)


def opened(repository: SignedRepository, *directories: Path, storage: Storage | None = None) -> Repository:
    """Return the repository as somebody opens it who holds the keys of ``directories``."""
    first, *others = directories or (repository.keys.directory,)
    keys = KeyDirectory(first, lambda: PASSPHRASE, others)
    return Repository(storage or DirectoryStorage(repository.directory), keys, repository.now)


def forge(repository: SignedRepository, roles: list[str], change: Callable[[Chain], None]) -> None:
    """Let a thief who holds the keys of ``roles`` change what those say, and put it into the repository."""
    thief = repository.open()
    # A thief cares for no version that is taken.
    thief._free = lambda _role, version: version  # type: ignore[method-assign]
    chain = thief.read()
    change(chain)
    for upload in thief._signed(chain, roles):
        upload._replace(anyway=True).do(thief.storage)


def targets_of(chain: Chain, role: str) -> Targets:
    """Return what a targets role of the chain says, to be changed."""
    return chain.signed_by(role)
