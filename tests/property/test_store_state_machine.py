"""Whatever is done to the store and wherever it is cut off: what is committed is whole."""

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_agent.errors import BundleError, Code, StorageError
from edge_agent.formats import ModelVersion
from edge_agent.store import Generation, Store
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.releases import MODEL_FILE, Release, download, install, make_release

# Two models, three versions each; version 3 of both is made of the very same bytes.
RELEASES = [
    make_release(model, version, files={MODEL_FILE: b"shared graph"} if version == "3" else None)
    for model in ("unet", "anomaly")
    for version in ("1", "2", "3")
]
releases = st.sampled_from(RELEASES)
# The call that fails; 0: none, and often so, or little would ever be committed.
kills = st.one_of(st.just(0), st.integers(1, 40))
errors = st.sampled_from([None, errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])


class StoreUnderFaults(RuleBasedStateMachine):
    """Each rule does one thing, perhaps with a fault in its middle; a kill is followed by a restart."""

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name) / "state"
        self.acceptable: list[Generation] = [Generation(number=0)]
        self._do(lambda: None)
        self.restart()

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def restart(self) -> None:
        with faults():
            self.store = Store(self.root)
            self.store.recover()

    def _do(self, work: Callable[[], object], at: int = 0, error: int | None = None, *, lasting: bool = False) -> bool:
        """Do the work with a fault in it; tell whether it was done to its end."""
        try:
            with faults(at=at, error=error, lasting=lasting):
                work()
        except Killed:
            self.restart()
            return False
        except StorageError:
            return False
        return True

    @rule(release=releases, at=kills, error=errors, lasting=st.booleans())
    def bring(self, release: Release, at: int, error: int | None, lasting: bool) -> None:
        self._do(lambda: download(self.store, release), at, error, lasting=lasting)

    @rule(release=releases)
    def deploy(self, release: Release) -> None:
        """All goes well."""
        before = self.store.generations.current()
        old = before.models.get(release.manifest.model)
        models = {**before.models, release.manifest.model: release.committed(old.version if old else None)}
        with faults():
            install(self.store, release)
            self.acceptable = [self.store.commit(models)]
        assert self.acceptable[0].number > before.number

    @rule(release=releases)
    def bring_wrong_bytes(self, release: Release) -> None:
        digest = release.manifest.model_artefact.sha256
        had = not any(artefact.sha256 == digest for artefact in self.store.missing(release.manifest))
        partial = self.store.partial_path(digest)
        partial.write_bytes(release.blobs[digest][:-1] + b"?")
        with faults(), pytest.raises(BundleError) as refused:
            self.store.admit(digest, partial)
        assert refused.value.code is Code.DIGEST_MISMATCH
        assert not partial.exists()
        assert had is not any(artefact.sha256 == digest for artefact in self.store.missing(release.manifest))

    @rule(release=releases, at=kills, error=errors, lasting=st.booleans())
    def install(self, release: Release, at: int, error: int | None, lasting: bool) -> None:
        whole = not self.store.missing(release.manifest)
        done = self._do(lambda: self.store.install(release.content), at, error, lasting=lasting)
        assert whole or not done, "a version without its bytes was installed"
        if release.model_version in self.store.installed():
            assert self.store.verify(release.model_version) == release.manifest

    @rule(chosen=st.lists(releases, min_size=1, max_size=2), at=kills, error=errors, lasting=st.booleans())
    def commit(self, chosen: list[Release], at: int, error: int | None, lasting: bool) -> None:
        before = self.store.generations.current()
        wanted = {**before.models}
        for release in chosen:
            old = before.models.get(release.manifest.model)
            wanted[release.manifest.model] = release.committed(old.version if old else None)
        self.acceptable.append(Generation(number=before.number + 1, models=wanted))
        done = self._do(lambda: self.store.commit(wanted), at, error, lasting=lasting)
        now = self.store.generations.current()
        assert now.models in ([wanted] if done else [before.models, wanted]), "neither the old nor the new"
        self.acceptable = [now]

    @rule(release=releases, at=kills, error=errors)
    def discard(self, release: Release, at: int, error: int | None) -> None:
        self._do(lambda: self.store.discard(release.manifest), at, error)

    @rule(release=releases, at=kills, error=errors)
    def prune(self, release: Release, at: int, error: int | None) -> None:
        keep = {release.model_version}
        was_there = release.model_version in self.store.installed()
        self._do(lambda: self.store.prune(keep, partial_age_s=0.0, now=4e9), at, error)
        assert was_there is (release.model_version in self.store.installed()), "what was to be kept went"

    @rule(release=releases)
    def rot_and_mend(self, release: Release) -> None:
        """A block goes bad under a version, and the start-up check has it fetched again."""
        if release.model_version not in self.store.installed():
            return
        self._flip(self.store.directory(release.model_version) / MODEL_FILE)
        with faults(), pytest.raises(StorageError) as noticed:
            self.store.verify(release.model_version)
        assert noticed.value.code is Code.CONTENT_MISSING
        # Versions that share the bytes share the rot.
        with faults():
            download(self.store, release)
            for other in RELEASES:
                if other.model_version in self.store.installed():
                    self.store.install(other.content)

    def _flip(self, path: Path) -> None:
        path.chmod(0o644)
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        path.chmod(0o444)

    @invariant()
    def current_is_whole_and_verified(self) -> None:
        if not hasattr(self, "store"):
            return
        # As another process would find it now, without any clearing up.
        found = Store(self.root)
        current = found.generations.current()
        assert current in self.acceptable
        for name, committed in current.models.items():
            found.verify(ModelVersion(name, committed.version), manifest_sha256=committed.manifest_sha256)
            if committed.previous is not None:
                found.verify(ModelVersion(name, committed.previous))


TestStoreUnderFaults = StoreUnderFaults.TestCase
TestStoreUnderFaults.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
