"""The trust room's one object: refresh, release, floor, clock."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import BundleError, Code, RefusedError, TransferError, TrustError
from edge_agent.formats import ClockStatus, Manifest, ModelVersion
from edge_agent.formats.manifest import LIMIT_BYTES
from edge_agent.trust import metadata, rules
from edge_agent.trust.floors import FloorFiles, Floors
from edge_agent.trust.working_copy import Check, Readable, Watched


class Release(NamedTuple):
    """A verified manifest.

    Attributes:
        manifest: what is released.
        content: the signed bytes.
        sha256: their digest.
    """

    manifest: Manifest
    content: bytes
    sha256: str


class TrustClient:
    """Believes what the pinned root vouches for and what is not older than what was seen.

    Args:
        directory: its own, in the state directory.
        root: the first root.json, pinned at provisioning; None: nothing can be installed.
        objects: the repository.
        allow_demo_root: accept a root whose keys lie open.
        now: the clock, epoch seconds; read once for each refresh.
        built: when this agent was built: the clock cannot truly lie before.
    """

    def __init__(
        self,
        directory: Path,
        root: Path | None,
        objects: Readable,
        *,
        allow_demo_root: bool,
        now: Callable[[], float],
        built: float = rules.BUILT,
    ) -> None:
        self._directory = directory
        self._root = root
        self._objects = objects
        self._allow_demo_root = allow_demo_root
        self._now = now
        self._built = built
        self._files = FloorFiles(directory)
        self._floors = self._files.load()
        if self._floors.serial == 0:
            self._floors = Floors(models=metadata.remembered(directory))
        self._chain: metadata.Chain | None = None
        self._lock = threading.Lock()

    def refresh(self, check: Check | None = None) -> None:
        """Fetch and verify the metadata, raise the floors; what fails leaves no trace.

        Args:
            check: asked often while something is read; what it raises ends the refresh.

        Raises:
            TrustError: SIGNATURE_INVALID, METADATA_EXPIRED, METADATA_ROLLBACK, CLOCK_UNTRUSTED, DEMO_ROOT.
            TransferError: the repository could not be read.
            StorageError: what was verified could not be kept.
        """
        with self._lock:
            self._chain = None
            now = self._now()
            chain = self._verified(now, self._reading(check))
            chain = self._accept(chain)
            rules.check_clock(self._judged(now))
            self._chain = chain

    def release(self, version: ModelVersion, check: Check | None = None) -> Release:
        """Return the verified manifest of a release, from what the last refresh brought.

        Args:
            version: which.
            check: as at ``refresh``.

        Raises:
            RefusedError: RELEASE_UNKNOWN, nobody signed a release of this name and version.
            BundleError: MANIFEST_INVALID or DIGEST_MISMATCH.
            TrustError, TransferError, StorageError: as ``refresh``, which is done first when there was none;
                TrustError also where the role that signs this model alone is not believed.
        """
        file = self._current(check).find(f"{version.name}/{version.version}/manifest.json")
        if file is None:
            raise RefusedError(Code.RELEASE_UNKNOWN, f"expected a signed release of {version}, there is none")
        self._check_fresh(file.expires)
        facts = rules.read_facts(file.custom, version)
        if file.size_bytes > LIMIT_BYTES:
            raise BundleError(
                Code.MANIFEST_INVALID,
                f"{version}: expected a manifest of at most {LIMIT_BYTES} bytes, signed are {file.size_bytes}",
            )
        content = self._reading(check).read(file.key, limit_bytes=file.size_bytes)
        rules.check_digest(content, file.sha256, f"manifest of {version}")
        return Release(rules.read_manifest(content, facts), content, file.sha256)

    def floor(self, model: str) -> int:
        """Return the lowest release_seq of ``model`` that may run; 0 when none was signed."""
        return self._floors.models.get(model, 0)

    def clock(self) -> ClockStatus:
        """Return the clock against what was signed and when this agent was built."""
        return self._judged(self._now())

    def _reading(self, check: Check | None) -> Readable:
        return self._objects if check is None else Watched(self._objects, check)

    def _verified(self, now: float, objects: Readable) -> metadata.Chain:
        root = self._pinned()
        rules.check_demo(metadata.root_fields(root), allowed=self._allow_demo_root)
        try:
            chain = metadata.refresh(self._directory, root, objects, now)
        except TransferError:
            # With a clock that is years behind no TLS certificate is valid: the clock is what to mend.
            rules.check_clock(self._judged(now))
            raise
        # A root may have become a demo's by rotation.
        rules.check_demo(chain.root.unrecognized_fields, allowed=self._allow_demo_root)
        return chain

    def _accept(self, chain: metadata.Chain) -> metadata.Chain:
        sunk = self._floors.sunk(chain.observed())
        delegated = {role.name for role, _ in chain.delegated}
        for role, refusal in sunk.items():
            if role not in delegated:
                raise refusal
            metadata.drop(self._directory, role)
        chain = chain.refusing(sunk)
        raised = self._floors.raised(chain.observed())
        if raised != self._floors or not self._files.complete(raised):
            self._files.save(raised)
        self._floors = raised
        metadata.keep(self._directory)
        return chain

    def _current(self, check: Check | None) -> metadata.Chain:
        chain = self._chain
        if chain is None:
            self.refresh(check)
            chain = self._chain
        assert chain is not None
        self._check_fresh(chain.expires)
        return chain

    def _check_fresh(self, expires: float) -> None:
        if self._now() >= expires:
            raise TrustError(Code.METADATA_EXPIRED, "the metadata expired after it was fetched")

    def _pinned(self) -> bytes:
        if self._root is None:
            raise TrustError(Code.SIGNATURE_INVALID, "expected trust.root, the root.json of provisioning; none is set")
        try:
            return self._root.read_bytes()
        except OSError as exc:
            raise TrustError(Code.SIGNATURE_INVALID, f"trust.root: {self._root}: {exc.strerror}") from exc

    def _judged(self, now: float) -> ClockStatus:
        return rules.judge_clock(now, max(self._built, self._floors.issued))
