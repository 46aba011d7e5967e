"""Real little models, signed and published."""

from cloud_tools.release.publish import Published, publish, read_bundle
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import write_version


def publish_versions(repository: SignedRepository, *versions: tuple[str, str]) -> list[Published]:
    """Publish classifiers whose scores differ by version."""
    bundles = []
    for name, version in versions:
        directory = repository.home / "bundles" / f"{name}-{version}"
        write_version(directory, name=name, version=version, bias=(int(version.split(".")[0]) - 1) * 0.25)
        bundles.append(read_bundle(directory))
    return publish(repository.open(), bundles)
