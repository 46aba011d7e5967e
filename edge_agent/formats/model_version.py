"""Names and versions of models, and how versions compare."""

import re
from functools import total_ordering
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, StringConstraints

# SageMaker Edge Manager's rule for model names, kept because its clients rely on it.
NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
VERSION_PATTERN = r"^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}$"

_NAME = re.compile(NAME_PATTERN)
_VERSION = re.compile(VERSION_PATTERN)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("expected letters, digits and inner dashes (63 at most)")
    return value


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError("expected one to four numbers with dots between, as 1 or 1.2.3")
    return value


ModelName = Annotated[str, StringConstraints(min_length=1, max_length=63), AfterValidator(_name)]
Version = Annotated[str, StringConstraints(min_length=1, max_length=39), AfterValidator(_version)]


@total_ordering
class ModelVersion(NamedTuple):
    """One version of one model."""

    name: str
    version: str

    @property
    def identifier(self) -> str:
        """Return ``name-version`` with dots as dashes: the alias that old clients use."""
        return f"{self.name}-{self.version.replace('.', '-')}"

    def __str__(self) -> str:
        """Return it as a person writes it."""
        return f"{self.name} {self.version}"

    def __lt__(self, other: object) -> bool:
        """Order by name, then by version as numbers: 1.10 comes after 1.9."""
        if not isinstance(other, ModelVersion):
            return NotImplemented
        return (self.name, version_key(self.version)) < (other.name, version_key(other.version))


def version_key(version: str) -> tuple[int, ...]:
    """Return a key that sorts versions as versions."""
    return tuple(int(part) for part in version.split("."))
