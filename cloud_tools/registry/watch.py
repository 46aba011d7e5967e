"""Carries versions on: approved ones become drafts, drafts that somebody signed are rolled out.

Each look may be cut off anywhere and be repeated: a draft is there completely or not at all, and
the job's name follows from the version, so that a second one of it cannot be made.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from cloud_tools.errors import CloudError
from cloud_tools.packaging.bundle import package_run
from cloud_tools.packaging.parts import MODEL
from cloud_tools.registry.version import Step, Version
from edge_agent.errors import AgentError, Code
from edge_agent.formats import JobModel, Manifest, ModelVersion, parse


class Registry(Protocol):
    """What is needed of the registry."""

    def versions(self, model: str = "") -> list[Version]:
        """Return all versions."""

    def version(self, model: str, number: int) -> Version:
        """Return one as it is now."""

    def mark(self, version: Version, step: Step, **fields: str) -> Version:
        """Note how far a version has come."""

    def fetch(self, version: Version, directory: Path) -> Path:
        """Put the version's run under a directory."""


class News(NamedTuple):
    """What a look did, or could not do, for one version."""

    version: Version
    trouble: str = ""


class Watch:
    """One registry, one folder of drafts, one repository, one order to deploy.

    Args:
        registry: of the versions.
        drafts: where bundles are put for somebody with the keys.
        signed: returns the signed manifest of a release, None while there is none; raises CloudError.
        deploy: asks the devices, under this job's name; one that exists is no error.
    """

    def __init__(
        self,
        registry: Registry,
        drafts: Path,
        signed: Callable[[ModelVersion], Manifest | None],
        deploy: Callable[[ModelVersion, str], None],
    ) -> None:
        self._registry = registry
        self._drafts = drafts
        self._signed = signed
        self._deploy = deploy

    def look(self, models: Collection[str] = ()) -> Iterator[News]:
        """Carry on what can be, and yield what was done; trouble with one version keeps no other back.

        Args:
            models: only these; none: all.
        """
        steps = {Step.APPROVED: self._draft, Step.DRAFTED: self._roll_out}
        for version in self._registry.versions():
            if version.step not in steps or (models and version.model not in models):
                continue
            try:
                after = steps[version.step](version)
            except AgentError as exc:
                yield News(version, exc.message)
                continue
            if after is not None:
                yield News(after)

    def _stands(self, version: Version) -> bool:
        """Tell whether nobody decided otherwise meanwhile: a look at many versions takes minutes."""
        return self._registry.version(version.model, version.number).step is version.step

    def _draft(self, version: Version) -> Version | None:
        # The names become a path here: what another program registered may be called anything.
        named = parse(JobModel, {"name": version.model, "version": version.release}, what=version.title)
        out = self._drafts / named.name / version.release
        with tempfile.TemporaryDirectory(prefix="edge-cloud-") as scratch:
            run = self._registry.fetch(version, Path(scratch))
            _check_graph(version, run)
            # Left by a look that was cut off after it had written and before it had noted it.
            shutil.rmtree(out, ignore_errors=True)
            packaged = package_run(run, version.model, version.release, out)
        if not self._stands(version):
            shutil.rmtree(out)
            return None
        return self._registry.mark(version, Step.DRAFTED, draft=str(out), manifest_sha256=packaged.sha256)

    def _roll_out(self, version: Version) -> Version | None:
        release = ModelVersion(version.model, version.release)
        signed = self._signed(release)
        if signed is None:
            return None
        drafted = signed.model_copy(update={"release_seq": 1}).to_json()
        if hashlib.sha256(drafted).hexdigest() != version.manifest_sha256:
            message = f"{version.title}: the signed release is not the draft that was approved; nothing is rolled out"
            raise CloudError(Code.DIGEST_MISMATCH, message)
        if not self._stands(version):
            return None
        job_id = job_of(version)
        self._deploy(release, job_id)
        return self._registry.mark(version, Step.DEPLOYED, job_id=job_id)


def _check_graph(version: Version, run: Path) -> None:
    """Check that the graph is the one that was registered: what was approved is what is drafted."""
    came = hashlib.sha256((run / MODEL).read_bytes()).hexdigest()
    if version.sha256 and came != version.sha256:
        message = f"{version.title}: expected the graph that was registered ({version.sha256[:12]}), came {came[:12]}"
        raise CloudError(Code.DIGEST_MISMATCH, message)


def job_of(version: Version) -> str:
    """Return the name of the job that rolls a version out: always the same one for the same graph."""
    what = ModelVersion(version.model, version.release).identifier
    digest = hashlib.sha256(f"{what} {version.number} {version.sha256}".encode()).hexdigest()[:12]
    # AWS IoT Jobs: jobId is [a-zA-Z0-9_-]{1,64}
    readable = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in what)
    return f"approved-{readable[:40]}-{digest}"
