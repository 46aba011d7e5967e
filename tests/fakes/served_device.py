"""A real agent with one model of each kind, committed and mapped, on further sockets: what old clients meet."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cloud_tools.release.publish import publish, read_bundle
from tests.fakes.device import AgentDevice
from tests.fakes.repository import SignedRepository
from tests.fakes.tiny_models import write_version

# What the models_config.json that every device starts with maps.
MODELS = {"img-classification": "classification", "unet": "segmentation", "anomaly": "anomaly"}


@contextmanager
def served_device(directory: Path, settings: Mapping[str, Mapping[str, object]]) -> Iterator[AgentDevice]:
    """Start it with everything installed; it must end in good order."""
    repository = SignedRepository(directory / "cloud", now=time.time())
    bundles = []
    for name, kind in MODELS.items():
        bundle = repository.home / "bundles" / name
        drawn = {"kind": kind} if kind == "segmentation" else {}
        write_version(bundle, name=name, kind="anomaly" if drawn else kind, changes=drawn)
        bundles.append(read_bundle(bundle))
    publish(repository.open(), bundles)
    trust = {"root": repository.root, "allow_demo_root": True}
    given = {**settings, "trust": {**trust, **settings.get("trust", {})}}
    device = AgentDevice(directory / "device", {"repository": {"url": repository.directory.as_uri()}, **given})
    device.start()
    try:
        report = device.install(*((name, "1") for name in MODELS))
        assert report.state == "COMMITTED", report
        yield device
    finally:
        code = device.stop()
    assert code == 0
