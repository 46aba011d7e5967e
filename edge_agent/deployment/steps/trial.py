"""A candidate before anyone asks it anything: BUILDING, TRIED."""

from edge_agent.deployment.contents import Contents
from edge_agent.deployment.record import Deployment, note
from edge_agent.deployment.serving import Serving
from edge_agent.deployment.watching import guards
from edge_agent.deployment.work import Work
from edge_agent.errors import Code


class Trial:
    """The steps between the store and live requests.

    Args:
        contents: what the targets are on disk.
        serving: builds, loads and asks.
    """

    def __init__(self, contents: Contents, serving: Serving) -> None:
        self._contents = contents
        self._serving = serving

    def build(self, record: Deployment, work: Work) -> Deployment:
        """Build the engines in a niced process, or find them in the cache.

        Raises:
            ActivationError: BUILD_FAILED.
            StorageError: the disk takes no engine; a rollback goes on without.
        """
        versions, needed = map(self._contents.installed, record.targets), record.operation == "install"
        reports = [self._serving.build(version, work.cancelled, needs_engine=needed) for version in versions]
        return note(
            record,
            {
                "build_seconds": sum(report.seconds for report in reports),
                "cached": float(all(report.cached for report in reports)),
            },
        )

    def try_golden(self, record: Deployment, _work: Work) -> Deployment:
        """Let the candidates answer their golden samples; latency and memory are noted.

        Raises:
            ActivationError: GOLDEN_MISMATCH; LOAD_FAILED, also where it takes far more memory than it says.
        """
        for target in record.targets:
            version = self._contents.installed(target)
            report = self._serving.try_golden(version)
            guards.check_memory(version.manifest, report.memory_bytes, Code.LOAD_FAILED)
            figures = {
                f"{target.name}_max_difference": report.max_difference,
                f"{target.name}_p50_ms": report.p50_ms,
                f"{target.name}_memory_bytes": float(report.memory_bytes),
                f"{target.name}_samples": float(report.samples),
            }
            record = note(record, figures)
        return record
