"""``python -m tests.fakes.small_fleet FLEET BUNDLE… -- THING…``: a bucket, a signed repository and devices, at once.

What `edge-cloud bucket`, `repo`, `publish` and `device provision` do one after the other, by one process, where a page
begins with devices that there are. The local AWS is found by the environment; keys lie in ``keys``, devices in
folders of their names.
"""

import os
import sys
import time
from pathlib import Path

from cloud_tools.aws import Aws
from cloud_tools.provision.bucket import create_bucket
from cloud_tools.provision.device import provision_device
from cloud_tools.provision.fragment import Mqtt, Wishes
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import publish, read_bundle
from cloud_tools.release.repository import Repository
from cloud_tools.storage import BucketStorage

BUNDLES = Path(__file__).resolve().parents[2] / "samples" / "bundles"


def main(fleet: str, bundles: list[str], things: list[str]) -> None:
    """Make them.

    Args:
        fleet: the thing group.
        bundles: of the samples, as ``unet/1``.
        things: names.
    """
    aws, keys = Aws(), Path("keys")
    create_bucket(aws, "line")
    repository = Repository(BucketStorage("line", "releases", aws), KeyDirectory(keys, lambda: ""), time.time())
    repository.create(demo=True)
    publish(repository, [read_bundle(BUNDLES / bundle) for bundle in bundles])
    host, port = os.environ["EDGE_CLOUD_MQTT"].split(":")
    mqtt = Mqtt(host, int(port), Path(os.environ["EDGE_CLOUD_MQTT_CA"]).read_text())
    root = (keys / "root.json").read_text()
    wishes = Wishes(mqtt, "s3://line/releases", "s3://line/captures", root, allow_demo_root=True)
    for thing in things:
        provision_device(aws, thing, Path(thing), fleet=fleet, wishes=wishes)


if __name__ == "__main__":
    divider = sys.argv.index("--")
    main(sys.argv[1], sys.argv[2:divider], sys.argv[divider + 1 :])
