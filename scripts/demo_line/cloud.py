"""The cloud's side: a local AWS, a thing with its certificate, a signed repository, jobs."""

import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from cloud_tools.aws import Aws
from cloud_tools.local import Endpoints, LocalCloud, aws_environment
from cloud_tools.provision.bucket import create_bucket
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt, Wishes
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import blob_key, publish, read_bundle
from cloud_tools.release.repository import Repository
from cloud_tools.rollout.jobs import ENDED, Execution, create_job, form_document, read_status
from cloud_tools.storage import BucketStorage
from scripts.demo_line.trouble import DemoError
from scripts.demo_line.world import World, bundles

_POLL_S = 0.1


class Cloud:
    """The local AWS of one world, running.

    Args:
        world: whose.
        endpoints: where it answers.
    """

    def __init__(self, world: World, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.aws = Aws(aws_environment(endpoints))
        self._world = world
        storage = BucketStorage(world.bucket, "releases", self.aws)
        self._repository = Repository(storage, KeyDirectory(world.keys, _no_passphrase), time.time())

    def set_up(self) -> None:
        """Make bucket, repository and thing, and write the device's identity and configuration."""
        world, endpoints = self._world, self.endpoints
        create_bucket(self.aws, world.bucket)
        self._repository.create(demo=True)
        mqtt = Mqtt(endpoints.mqtt_host, endpoints.mqtt_port, endpoints.ca_pem.read_text(encoding="utf-8"))
        root = (world.keys / "root.json").read_text(encoding="utf-8")
        wishes = Wishes(mqtt, world.releases, world.captures, root, allow_demo_root=True)
        provision_device(self.aws, world.thing, world.device, fleet=world.fleet, wishes=wishes)

    def refresh(self) -> None:
        """Renew what expires in the repository, as a timer does elsewhere."""
        self._repository.refresh()

    def publish(self, directories: Sequence[Path]) -> None:
        """Upload bundles and sign them."""
        publish(self._repository, [read_bundle(directory) for directory in directories])

    def ask(self, *models: tuple[str, str]) -> str:
        """Create the job that asks the thing for these versions; return its id."""
        document = form_document("install", [{"name": name, "version": version} for name, version in models])
        return create_job(self.aws, document, [f"thing/{self._world.thing}"]).job_id

    def execution(self, job_id: str) -> Execution | None:
        """Return what the thing made of a job so far."""
        executions = read_status(self.aws, job_id).executions
        return executions[0] if executions else None

    def wait_for(self, job_id: str, timeout_s: float) -> Execution:
        """Return the execution when it has ended.

        Raises:
            DemoError: it has not in time.
        """
        limit = time.monotonic() + timeout_s
        execution: Execution | None = None
        while time.monotonic() < limit:
            execution = self.execution(job_id)
            if execution is not None and execution.status in ENDED:
                return execution
            time.sleep(_POLL_S)
        raise DemoError(f"job {job_id}: expected an end within {timeout_s:.0f} s, it is {execution}")

    def deploy(self, *models: tuple[str, str], timeout_s: float = 90.0) -> Execution:
        """Ask for these versions and wait for the end.

        Raises:
            DemoError: there was none in time.
        """
        return self.wait_for(self.ask(*models), timeout_s)

    def flip_byte(self, digest: str) -> None:
        """Change one byte in the middle of a blob in the bucket, behind the repository's back."""
        key = f"releases/{blob_key(digest)}"
        content = bytearray().join(self.aws.stream_object(self._world.bucket, key))
        content[len(content) // 2] ^= 1
        self.aws.call("s3", "put_object", Bucket=self._world.bucket, Key=key, Body=bytes(content))

    def count_captures(self) -> int:
        """Return how many records of captures lie in the bucket."""
        found = self.aws.pages(
            "s3", "list_objects_v2", "Contents", Bucket=self._world.bucket, Prefix=f"captures/{self._world.fleet}/"
        )
        return sum(1 for entry in found if str(entry["Key"]).endswith(".jsonl"))


def made_from(world: World, endpoints: Endpoints) -> dict[str, object]:
    """Return what a set-up depends on: with anything else it is made anew."""
    manifests = b"".join((path / "manifest.json").read_bytes() for version in "12" for path in bundles(version))
    return {
        "layout": 1,
        "directory": str(world.directory),
        "bundles": sha256(manifests).hexdigest(),
        "gateway": endpoints.gateway_url,
        "mqtt": endpoints.mqtt_port,
        "authority": sha256(endpoints.ca_pem.read_bytes()).hexdigest(),
    }


def start(world: World, local: LocalCloud) -> tuple[Cloud, bool]:
    """Start the local AWS; return it, and whether it holds what an earlier run has set up.

    An AWS that was killed has lost its state: then everything of the earlier run is deleted.
    """
    if local.status().killed:
        world.forget()
    endpoints = local.start()
    if world.is_set_up(made_from(world, endpoints)):
        return Cloud(world, endpoints), True
    if endpoints.fresh:
        world.forget_device()
    else:
        local.stop()
        world.forget()
        endpoints = local.start()
    return Cloud(world, endpoints), False


def _no_passphrase() -> str:
    raise DemoError("the demo's keys are not encrypted, yet a passphrase was asked for; delete .demo and start again")
