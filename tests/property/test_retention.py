"""Whatever is installed, gone back to, loaded or under way when the store is pruned: what is needed stays, whole."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edge_agent.errors import StorageError
from edge_agent.formats import ModelVersion
from edge_agent.store import Generation, Store, retention
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.releases import MODEL_FILE, Release, download, install, make_release

VERSIONS = ("1", "2", "3", "4", "5")
# The last versions of both models are made of the very same bytes.
RELEASES = {
    (model, version): make_release(model, version, files={MODEL_FILE: b"shared graph"} if version == "5" else None)
    for model in ("unet", "anomaly")
    for version in VERSIONS
}
releases = st.sampled_from(list(RELEASES.values()))
models = st.sampled_from(["unet", "anomaly"])
NOW = 4e9


class Retention(RuleBasedStateMachine):
    """A device's life: one deployment at a time may be under way, versions are loaded, and it is pruned at any time."""

    happened: ClassVar[Counter[str]] = Counter()

    @initialize(history=st.lists(releases, min_size=3, max_size=6), release=releases, share=st.integers(0, 2))
    def start(self, history: list[Release], release: Release, share: int) -> None:
        """A device that has lived for a while: a short life says nothing where nothing can be deleted yet."""
        self.directory = tempfile.TemporaryDirectory()
        self.loaded: set[ModelVersion] = set()
        self.flight: Release | None = None
        self.committed: dict[str, list[str]] = {}
        self.restart()
        for earlier in history:
            self.deploy(earlier)
        self.begin(release, share)

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def restart(self) -> None:
        with faults():
            self.store = Store(Path(self.directory.name) / "state")
            self.store.recover()

    def _commit(self, release: Release, previous: str | None) -> None:
        model = release.manifest.model
        before = self.store.generations.current().models
        with faults():
            self.store.commit({**before, model: release.committed(previous)})
        order = self.committed.setdefault(model, [])
        order[:] = [release.manifest.version, *(version for version in order if version != release.manifest.version)]

    @rule(release=releases)
    def deploy(self, release: Release) -> None:
        with faults():
            install(self.store, release)
        current = self.store.generations.current().models.get(release.manifest.model)
        same = current is not None and current.version == release.manifest.version
        self._commit(release, None if current is None else current.previous if same else current.version)

    @rule(model=models)
    def roll_back(self, model: str) -> None:
        current = self.store.generations.current().models.get(model)
        if current is not None and current.previous is not None:
            self.happened["rolled back"] += 1
            self._commit(RELEASES[model, current.previous], None)

    @precondition(lambda self: self.flight is None)
    @rule(release=releases, share=st.integers(0, 2))
    def begin(self, release: Release, share: int) -> None:
        """A deployment is under way: some of its blobs are here, one has come in part."""
        self.flight = release
        missing = self.store.missing(release.manifest)
        for artefact in missing[:share]:
            partial = self.store.partial_path(artefact.sha256)
            partial.write_bytes(release.blobs[artefact.sha256])
            with faults():
                self.store.admit(artefact.sha256, partial)
        for artefact in missing[share:]:
            self.store.partial_path(artefact.sha256).write_bytes(release.blobs[artefact.sha256][:3])
        self.brought = {artefact.sha256 for artefact in release.manifest.artefacts}
        self.brought -= {artefact.sha256 for artefact in self.store.missing(release.manifest)}

    @precondition(lambda self: self.flight is not None)
    @rule(good=st.booleans())
    def end(self, good: bool) -> None:
        assert self.flight is not None
        release, self.flight = self.flight, None
        if good:
            self.deploy(release)

    @rule(release=releases)
    def load(self, release: Release) -> None:
        if release.model_version in self.store.installed():
            self.loaded.add(release.model_version)

    @rule(release=releases)
    def unload(self, release: Release) -> None:
        self.loaded.discard(release.model_version)

    @rule(release=releases)
    def bring_without_committing(self, release: Release) -> None:
        with faults():
            install(self.store, release)

    @rule(count=st.integers(0, 3), at=st.sampled_from([0, 0, *range(1, 9)]))
    def prune(self, count: int, at: int) -> None:
        before = set(self.store.installed())
        keep = set(self.loaded)
        in_flight = set()
        if self.flight is not None:
            keep.add(self.flight.model_version)
            in_flight = {artefact.sha256 for artefact in self.flight.manifest.artefacts}
            self.happened["pruned in flight"] += 1
        try:
            with faults(at=at):
                self.store.prune(keep, partial_age_s=0, now=NOW, in_flight=in_flight, keep_versions=count)
        except Killed:
            self.happened["killed"] += 1
            self.restart()
        after = set(self.store.installed())
        self.happened["deleted"] += len(before - after)
        last = {ModelVersion(model, version) for model, order in self.committed.items() for version in order[:count]}
        wanted = keep | retention.protected(self.store.generations.current()) | last
        assert before & wanted <= after, "what was to stay went"
        if at == 0:
            assert after <= wanted, "what nobody needs stayed"

    @rule(release=releases)
    def discard(self, release: Release) -> None:
        if release.model_version in self.loaded or self.flight is not None:
            return
        needed = release.model_version in retention.protected(self.store.generations.current())
        try:
            with faults():
                self.store.discard(release.manifest)
        except StorageError:
            assert needed
            self.happened["discard refused"] += 1
        else:
            assert not needed

    @invariant()
    def what_is_needed_is_whole(self) -> None:
        if not hasattr(self, "store"):
            return
        current: Generation = self.store.generations.current()
        for version in retention.protected(current) | self.loaded:
            assert self.store.verify(version) == RELEASES[version.name, version.version].manifest
        if self.flight is not None:
            lacks = {artefact.sha256 for artefact in self.store.missing(self.flight.manifest)}
            assert not self.brought & lacks, "bytes of the deployment under way were deleted"
            assert all(self.store.partial_path(digest).exists() for digest in lacks), (
                "what had come in part was deleted"
            )


def test_retention_never_deletes_committed_previous_loaded_or_in_flight_content() -> None:
    Retention.happened.clear()
    run_state_machine_as_test(
        Retention,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
    happened = Retention.happened
    assert min(happened[word] for word in ("deleted", "rolled back", "pruned in flight", "killed")) > 0, happened


def test_as_many_versions_as_is_set_stay_those_that_were_committed_last(tmp_path: Path) -> None:
    with faults():
        store = Store(tmp_path)
        previous = None
        for version in VERSIONS:
            release = RELEASES["unet", version]
            download(store, release)
            store.install(release.content)
            store.commit({"unet": release.committed(previous)})
            previous = version
        for count, left in ((4, 4), (3, 3), (2, 2), (1, 2), (0, 2)):
            store.prune(set(), partial_age_s=0, now=NOW, keep_versions=count)
            assert [entry.version for entry in store.installed()] == list(VERSIONS[-left:])
