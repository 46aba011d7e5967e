"""The one door to MLflow: runs with their figures and files, models with their versions."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# MLflow tells its makers what it is used for; nobody here asked for that.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow  # noqa: F401 - its client needs the package's own start
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from cloud_tools.errors import CloudError
from cloud_tools.registry.record import RunRecord
from cloud_tools.registry.version import Step, Version
from edge_agent.errors import Code

# Which tables it makes is not for whoever registers a model. Set afterwards: its start sets a level of its own.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

EXPERIMENT = "edge-agent"
_PREFIX = "edge_agent."
_FIELDS = ("release", "sha256", "shortfall", "by", "reason", "draft", "manifest_sha256", "job_id")
_SQLITE = "sqlite:///"
_CODES = {
    "RESOURCE_DOES_NOT_EXIST": Code.NOT_FOUND,
    "RESOURCE_ALREADY_EXISTS": Code.ALREADY_EXISTS,
    "INVALID_PARAMETER_VALUE": Code.INVALID_ARGUMENT,
    "PERMISSION_DENIED": Code.PERMISSION_DENIED,
}


class MlflowStore:
    """Runs and versions under one URI.

    Args:
        uri: ``sqlite:///FILE`` or a tracking server's ``http(s)://…``.

    Raises:
        CloudError: it cannot be opened.
    """

    def __init__(self, uri: str) -> None:
        self._files = _artifacts_beside(uri)
        with _translated(uri):
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._client.search_experiments(max_results=1)
        self._uri = uri

    def add(self, record: RunRecord, model: str, release: str = "") -> Version:
        """Keep a run and make it the model's next version; a graph that is there already is that version.

        Args:
            record: the run.
            model: its name.
            release: the version under which it will be released; empty: the registry's number.
        """
        with _translated(self._uri):
            known = next((v for v in self.versions(model) if v.sha256 == record.sha256), None)
            if known is not None:
                return known
            self._ensure_model(model)
            run = self._client.create_run(self._experiment(), tags={**record.tags, "mlflow.runName": model})
            run_id = run.info.run_id
            self._describe(run_id, record)
            made = self._client.create_model_version(model, run.info.artifact_uri or "", run_id)
            self._client.set_terminated(run_id)
        fields = {"sha256": record.sha256, "shortfall": record.shortfall, "release": release or str(made.version)}
        return self.mark(self._read(made), Step.REGISTERED, **fields)

    def versions(self, model: str = "") -> list[Version]:
        """Return all versions, or those of one model, by name and number."""
        chosen = f"name = '{_quoted(model)}'" if model else ""
        with _translated(self._uri):
            pages = self._pages(chosen)
            return sorted((self._read(found) for found in pages), key=lambda v: (v.model, v.number))

    def version(self, model: str, number: int) -> Version:
        """Return one.

        Raises:
            CloudError: NOT_FOUND.
        """
        with _translated(self._uri):
            return self._read(self._client.get_model_version(model, str(number)))

    def mark(self, version: Version, step: Step, **fields: str) -> Version:
        """Note how far a version has come, and return it; the step last, so that it vouches for the fields."""
        unknown = set(fields) - set(_FIELDS)
        if unknown:
            raise ValueError(f"expected {_FIELDS}, came {unknown}")
        with _translated(self._uri):
            for name, value in [*fields.items(), ("step", step.value)]:
                self._client.set_model_version_tag(version.model, str(version.number), _PREFIX + name, value)
        known: dict[str, Any] = dict(fields)
        return version._replace(step=step, **known)

    def fetch(self, version: Version, directory: Path) -> Path:
        """Put the version's run under ``directory`` and return where it lies."""
        with _translated(self._uri):
            return Path(self._client.download_artifacts(version.run_id, "", str(directory)))

    def _describe(self, run_id: str, record: RunRecord) -> None:
        for name, value in record.params.items():
            self._client.log_param(run_id, name, value)
        for name, figure in record.metrics.items():
            self._client.log_metric(run_id, name, figure)
        self._client.log_artifacts(run_id, str(record.directory))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        return found.experiment_id if found else self._client.create_experiment(EXPERIMENT, self._files)

    def _ensure_model(self, model: str) -> None:
        try:
            self._client.create_registered_model(model)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _pages(self, chosen: str) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = self._client.search_model_versions(chosen, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _read(self, found: Any) -> Version:
        tags = {name.removeprefix(_PREFIX): value for name, value in found.tags.items() if name.startswith(_PREFIX)}
        fields = {name: tags.get(name, "") for name in _FIELDS}
        # One that another program registered has no step yet, and no digest by which it would be known.
        step = Step(tags["step"]) if tags.get("step") in set(Step) else Step.REGISTERED
        metrics = self._client.get_run(found.run_id).data.metrics if found.run_id else {}
        return Version(
            found.name,
            int(found.version),
            step,
            metrics=tuple(sorted(metrics.items())),
            run_id=found.run_id or "",
            **(fields | {"release": fields["release"] or str(found.version)}),
        )


def _artifacts_beside(uri: str) -> str | None:
    """Return where files lie that a database on this machine does not hold itself; None: the server says."""
    if not uri.startswith(_SQLITE):
        return None
    file = Path(uri.removeprefix(_SQLITE)).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    return (file.parent / "artifacts").as_uri()


def _quoted(name: str) -> str:
    if "'" in name:
        raise CloudError(Code.INVALID_ARGUMENT, f"expected a model's name without quotes, came {name!r}")
    return name


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as exc:
        raise CloudError(_CODES.get(exc.error_code, Code.INTERNAL), f"registry {uri}: {exc.message}") from exc
