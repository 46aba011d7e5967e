"""The old workshop's job: it names a package that nobody signed."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edge_agent.formats.document import Document
from edge_agent.formats.job_document import SCHEMA, JobDocument, JobModel
from edge_agent.formats.model_version import ModelName, Version

LIMIT_KEY = 1024


Bucket = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]


def _key(value: str) -> str:
    if not value.isprintable() or "\\" in value or any(part in ("", ".", "..") for part in value.split("/")):
        raise ValueError("expected a key of plain names with / between")
    return value


Key = Annotated[str, Field(min_length=1, max_length=LIMIT_KEY), AfterValidator(_key)]


class Package(Document):
    """Where a package lies."""

    bucket: Bucket
    key: Key

    def __str__(self) -> str:
        """Return it as a person writes it."""
        return f"{self.bucket}/{self.key}"


class PackageJob(Document):
    """Install one model out of a package."""

    type: Literal["new_model"]
    model_name: ModelName
    model_version: Version
    model_package_bucket: Bucket
    model_package_key: Key

    @property
    def package(self) -> Package:
        """Return where the package lies."""
        return Package(bucket=self.model_package_bucket, key=self.model_package_key)

    @property
    def install(self) -> JobDocument:
        """Return what is to be installed."""
        model = JobModel(name=self.model_name, version=self.model_version)
        return JobDocument(schema_=SCHEMA, operation="install", models=(model,))
