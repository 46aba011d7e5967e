"""What becomes of versions that a person decided on, look by look."""

from pathlib import Path

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.packaging.bundle import MANIFEST
from cloud_tools.registry.approval import approve, reject
from cloud_tools.registry.record import read_run
from cloud_tools.registry.version import Step, Version
from cloud_tools.registry.watch import Watch, job_of
from edge_agent.errors import Code
from edge_agent.formats import Manifest, ModelVersion, parse
from tests.fakes.registry import MemoryRegistry
from tests.fakes.training_run import write_run

RELEASE = ModelVersion("pads", "1")


class Site:
    """A registry, a folder of drafts, what was signed, and what devices were asked for."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.registry = MemoryRegistry()
        self.drafts = home / "drafts"
        self.signed: dict[ModelVersion, Manifest] = {}
        self.asked: list[tuple[ModelVersion, str]] = []
        self.refusal: CloudError | None = None
        self.watch = Watch(self.registry, self.drafts, self.signed.get, self._deploy)

    def add(self, model: str = "pads", *, bias: float = 0.0, release: str = "") -> Version:
        run = write_run(self.home / f"run-{len(self.registry.kept)}", bias=bias)
        return self.registry.add(read_run(run), model, release)

    def approved(self, model: str = "pads", *, bias: float = 0.0) -> Version:
        return approve(self.registry, self.add(model, bias=bias), by="ann")

    def sign(self, release: ModelVersion = RELEASE, *, seq: int = 7) -> None:
        draft = self.drafts / release.name / release.version / MANIFEST
        drafted = parse(Manifest, draft.read_bytes(), what="draft")
        self.signed[release] = drafted.model_copy(update={"release_seq": seq})

    def look(self, *models: str) -> list[tuple[str, str]]:
        return [(news.version.step.value, news.trouble) for news in self.watch.look(models)]

    def _deploy(self, release: ModelVersion, job_id: str) -> None:
        if self.refusal:
            raise self.refusal
        self.asked.append((release, job_id))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_version_that_nobody_approved_stays_where_it_is(site: Site) -> None:
    site.add()
    rejected = reject(site.registry, site.add(bias=1.0), by="bob", reason="blurred")
    assert (rejected.step, rejected.by, rejected.reason) == (Step.REJECTED, "bob", "blurred")
    assert site.look() == []
    assert not site.drafts.exists()


def test_an_approved_version_is_drafted_then_waits_for_a_signature_then_goes_out_once(site: Site) -> None:
    site.approved()
    assert site.look() == [("drafted", "")]
    assert site.look() == [], "nobody has signed"
    site.sign()
    assert site.look() == [("deployed", "")]
    assert site.look() == []
    version = site.registry.version("pads", 1)
    assert site.asked == [(RELEASE, version.job_id)]


def test_the_sequence_that_publishing_gives_is_no_difference_but_everything_else_is(site: Site) -> None:
    site.approved()
    site.look()
    site.sign()
    site.signed[RELEASE] = site.signed[RELEASE].model_copy(update={"labels": ("other",)})
    ((step, trouble),) = site.look()
    assert step == "drafted"
    assert "the signed release is not the draft that was approved" in trouble
    assert site.asked == []


def test_a_look_that_was_cut_off_after_it_had_asked_asks_for_the_same_job_again(site: Site) -> None:
    drafted = site.approved()
    site.look()
    site.sign()
    before = site.registry.version("pads", 1)
    site.look()
    site.registry.kept["pads", 1] = before
    site.look()
    assert site.asked == [(RELEASE, job_of(drafted))] * 2


def test_a_draft_that_was_cut_off_is_made_anew(site: Site) -> None:
    site.approved()
    half = site.drafts / "pads" / "1"
    half.mkdir(parents=True)
    (half / "model.onnx").write_bytes(b"half")
    assert site.look() == [("drafted", "")]
    assert (half / MANIFEST).is_file()


def test_trouble_with_one_version_keeps_no_other_back(site: Site) -> None:
    first, _ = site.approved("a-broken"), site.approved("b-good", bias=1.0)
    (site.registry.runs["a-broken", first.number] / "model.onnx").write_bytes(b"no graph")
    (broken, trouble), good = site.look()
    assert broken == "approved"
    assert trouble
    assert good == ("drafted", "")


def test_only_the_models_that_are_asked_for_are_carried_on(site: Site) -> None:
    site.approved("pads")
    site.approved("rods", bias=1.0)
    assert site.look("rods") == [("drafted", "")]
    assert site.registry.version("pads", 1).step is Step.APPROVED


def test_devices_that_cannot_be_asked_are_asked_at_the_next_look(site: Site) -> None:
    site.approved()
    site.look()
    site.sign()
    site.refusal = CloudError(Code.NOT_FOUND, "no such group")
    assert site.look() == [("drafted", "no such group")]
    site.refusal = None
    assert site.look() == [("deployed", "")]


@pytest.mark.parametrize("release", ["../../etc", "", "v1", "1/../2"])
def test_a_version_that_cannot_be_a_release_writes_nothing_outside_the_drafts(site: Site, release: str) -> None:
    version = site.approved()
    site.registry.kept["pads", 1] = version._replace(release=release)
    kept = site.home / "kept"
    kept.write_text("x")
    ((step, trouble),) = site.look()
    assert (step, bool(trouble)) == ("approved", True)
    assert sorted(path.name for path in site.home.iterdir()) == ["kept", "run-0"]


def test_a_run_that_a_gate_stopped_needs_a_reason_to_be_approved(site: Site) -> None:
    version = site.add()._replace(shortfall="expected image_auroc of at least 0.8, came 0.5")
    with pytest.raises(CloudError, match=r"came 0\.5; --override REASON"):
        approve(site.registry, version, by="ann")
    assert approve(site.registry, version, by="ann", override="few defects so far").reason == "few defects so far"


def test_what_was_decided_is_not_decided_again(site: Site) -> None:
    approved = site.approved()
    with pytest.raises(CloudError, match="expected one that waits for a decision, it is approved"):
        approve(site.registry, approved, by="bob")
    with pytest.raises(CloudError, match="roll it back instead"):
        reject(site.registry, approved._replace(step=Step.DEPLOYED), by="bob", reason="no")
    rejected = reject(site.registry, approved, by="bob", reason="no")
    assert approve(site.registry, rejected, by="ann").step is Step.APPROVED


def test_a_job_name_is_one_that_aws_takes() -> None:
    version = Version("a" * 60, 3, Step.DRAFTED, "1.2.3", "f" * 64)
    assert len(job_of(version)) <= 64
    assert job_of(version) == job_of(version)
    assert job_of(version) != job_of(version._replace(sha256="0" * 64))


def test_what_is_rejected_while_a_look_is_at_it_becomes_no_draft(site: Site) -> None:
    version, fetch = site.approved(), site.registry.fetch

    def rejected_meanwhile(chosen: Version, directory: Path) -> Path:
        reject(site.registry, version, by="bob", reason="blurred")
        return fetch(chosen, directory)

    site.registry.fetch = rejected_meanwhile  # type: ignore[method-assign]
    assert site.look() == []
    assert site.registry.version("pads", 1).step is Step.REJECTED
    assert not (site.drafts / "pads/1").exists()


def test_what_is_rejected_while_its_signature_is_checked_goes_out_to_nobody(site: Site) -> None:
    site.approved()
    site.look()
    site.sign()

    def signed(release: ModelVersion) -> Manifest | None:
        reject(site.registry, site.registry.version("pads", 1), by="bob", reason="blurred")
        return site.signed[release]

    site.watch = Watch(site.registry, site.drafts, signed, site._deploy)
    assert site.look() == []
    assert site.asked == []
    assert site.registry.version("pads", 1).step is Step.REJECTED


def test_a_graph_that_was_changed_after_it_was_registered_becomes_no_draft(site: Site) -> None:
    version = site.approved()
    other = write_run(site.home / "other", bias=5.0)
    (site.registry.runs["pads", version.number] / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    ((step, trouble),) = site.look()
    assert step == "approved"
    assert "expected the graph that was registered" in trouble
    assert not site.drafts.exists()
