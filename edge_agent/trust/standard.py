"""A TUF client as the specification tells it: the same verification and durability, no rule of ours.

It exists so that others can judge the trust room: the TUF project's conformance suite
drives it through ``scripts/tuf-client``. Unlike the agent it

- keeps every role as soon as it is verified, though a later one fails (TUF 1.0 §5.3.8,
  §5.4.5, §5.5.7, §5.6.6), where the agent keeps all or nothing;
- has no floors beside the metadata: after the snapshot's keys were rotated, targets may
  count anew (§5.3.11), which the agent's floors allow only with new targets keys;
- knows nothing of demo roots, issued clocks or releases.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from edge_agent.errors import Code, RefusedError, TrustError
from edge_agent.storage import durable
from edge_agent.trust.working_copy import Readable, WorkingCopy, check_root, keep

_SCRATCH = ".refreshing"


class StandardClient:
    """One directory of trusted metadata, its file names without versions.

    Args:
        directory: holds ``root.json`` after ``initialise``, the other roles after ``refresh``.
        objects: the repository.
        now: the clock, epoch seconds; read once for each call.
    """

    def __init__(self, directory: Path, objects: Readable, *, now: Callable[[], float]) -> None:
        self._directory = directory
        self._objects = objects
        self._now = now

    def initialise(self, root: bytes) -> None:
        """Trust ``root``; nothing is fetched.

        Raises:
            TrustError: SIGNATURE_INVALID, it is no root.json or not signed by its own keys.
            StorageError: it could not be kept.
        """
        check_root(root)
        durable.make_directory(self._directory)
        durable.write(self._directory / "root.json", root)

    def refresh(self) -> None:
        """Fetch and verify the four top roles; each that passes is kept.

        Raises:
            TrustError: SIGNATURE_INVALID, METADATA_EXPIRED or METADATA_ROLLBACK.
            TransferError: as ``objects`` says.
            StorageError: what was verified could not be kept.
        """
        with self._refreshed():
            pass

    def download(self, paths: Sequence[str], into: Path) -> list[Path]:
        """Refresh, then fetch and verify the targets in this order; what is already there stays.

        Args:
            paths: names of targets.
            into: a directory; a file in it is named as its target, percent-encoded.

        Raises:
            RefusedError: RELEASE_UNKNOWN, nobody whom the metadata trusts signed a target of this name.
            BundleError: DIGEST_MISMATCH.
            TrustError, TransferError, StorageError: as ``refresh``.
        """
        with self._refreshed() as copy:
            return [_download(copy, path, into) for path in paths]

    @contextmanager
    def _refreshed(self) -> Iterator[WorkingCopy]:
        scratch = self._directory / _SCRATCH
        copy = WorkingCopy(self._directory, scratch, self._root(), self._objects, self._now())
        try:
            copy.refresh()
            yield copy
        finally:
            root = copy.root()
            keep(self._directory, scratch)
            if root != self._root():
                durable.write(self._directory / "root.json", root)

    def _root(self) -> bytes:
        try:
            return (self._directory / "root.json").read_bytes()
        except OSError as exc:
            raise TrustError(
                Code.SIGNATURE_INVALID, f"{self._directory}: expected root.json of init, {exc.strerror}"
            ) from exc


def _download(copy: WorkingCopy, path: str, into: Path) -> Path:
    signed = copy.find(path)
    if signed is None:
        raise RefusedError(Code.RELEASE_UNKNOWN, f"expected a signed target {path}, there is none")
    file = into / _file_name(path)
    if not copy.holds(file, signed):
        copy.download(signed, file)
    return file


def _file_name(path: str) -> str:
    name = quote(path, safe="")
    # Dots need no encoding in a URL; as a file's name two of them would be the directory above.
    return name if name.strip(".") else name.replace(".", "%2E")
