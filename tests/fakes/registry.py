"""A registry in memory, for whatever needs versions and no tracker; keeps the contract of the real one."""

import shutil
from pathlib import Path

from cloud_tools.errors import CloudError
from cloud_tools.registry.record import RunRecord
from cloud_tools.registry.version import Step, Version
from edge_agent.errors import Code


class MemoryRegistry:
    """Versions by model and number."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], Version] = {}
        self.runs: dict[tuple[str, int], Path] = {}

    def add(self, record: RunRecord, model: str, release: str = "") -> Version:
        known = next((v for v in self.versions(model) if v.sha256 == record.sha256), None)
        if known is not None:
            return known
        number = len(self.versions(model)) + 1
        metrics = tuple(sorted(record.metrics.items()))
        version = Version(
            model, number, Step.REGISTERED, release or str(number), record.sha256, record.shortfall, metrics=metrics
        )
        self.kept[model, number] = version
        self.runs[model, number] = record.directory
        return version

    def versions(self, model: str = "") -> list[Version]:
        return sorted((v for v in self.kept.values() if model in ("", v.model)), key=lambda v: (v.model, v.number))

    def version(self, model: str, number: int) -> Version:
        if (model, number) not in self.kept:
            raise CloudError(Code.NOT_FOUND, f"no {model} {number}")
        return self.kept[model, number]

    def mark(self, version: Version, step: Step, **fields: str) -> Version:
        marked = version._replace(step=step, **fields)
        self.kept[version.model, version.number] = marked
        return marked

    def fetch(self, version: Version, directory: Path) -> Path:
        return Path(shutil.copytree(self.runs[version.model, version.number], directory / "run"))
