"""What the page of many devices shows, typed as it stands, with a fleet of three at a local AWS."""

import csv
import json
import re
import sys
import time
from pathlib import Path

import pytest

from cloud_tools import cli
from cloud_tools.aws import Aws
from cloud_tools.fleet.log_reading import GROUP
from edge_agent.formats import LogNews
from tests.e2e.shell import ROOT, blocks, run_blocks

TIMEOUT_S = 400
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)
BUNDLES = [str(ROOT / "samples" / "bundles" / "unet" / version) for version in ("1", "2")]
BEFORE = """
edge-cloud local up --dir cloud >/dev/null && eval "$(edge-cloud local env --dir cloud)"
export EDGE_CLOUD_KEYS=keys EDGE_CLOUD_REPO=s3://line/releases
"""


def main() -> None:
    """Publish two versions; make three devices, of which one runs the older; one of them tells a line of its log."""
    for words in (
        ("bucket", "create", "line"),
        ("repo", "init", "s3://line/releases", "--demo"),
        ("publish", *BUNDLES),
    ):
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(words)
    aws = Aws()
    for thing, version in (("press-4", 2), ("press-5", 2), ("press-6", 1)):
        aws.call("iot", "create_thing", thingName=thing, attributePayload={"attributes": {"fleet": "east"}})
        models = {"unet": {"version": str(version), "release_seq": version}}
        reported = {"models": models, "agent": {"version": "1.0", "state": "READY"}, "at": time.time()}
        payload = json.dumps({"state": {"reported": reported}})
        aws.call("iot-data", "update_thing_shadow", thingName=thing, payload=payload)
    aws.call("logs", "create_log_group", logGroupName=GROUP)
    aws.call("logs", "create_log_stream", logGroupName=GROUP, logStreamName="rule")
    news = LogNews(thing="press-4", at=time.time(), level="WARNING", logger="x", message="the left camera is away")
    event = {"timestamp": int(time.time() * 1000), "message": news.to_json().decode()}
    aws.call("logs", "put_log_events", logGroupName=GROUP, logStreamName="rule", logEvents=[event])


def test_a_cloud_operator_follows_the_page(tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="the extra train is not installed")
    made = f'PYTHONPATH="$REPO" {sys.executable} -m tests.e2e.test_fleet_page'
    said = run_blocks([BEFORE, made, *blocks(ROOT / "docs" / "fleet.md")], tmp_path, timeout_s=TIMEOUT_S)
    assert "things, shadows and connections are indexed" in said
    assert re.search(r"press-6 +unet +1 +2 ", said), said
    assert "the left camera is away" in said
    assert "no answer of a fleet index" not in said
    rows = {row["thing"]: row["models"] for row in csv.DictReader((tmp_path / "fleet.csv").read_text().splitlines())}
    assert rows == {"press-4": "unet 2", "press-5": "unet 2", "press-6": "unet 1"}
    assert "press-6" in (tmp_path / "fleet.html").read_text()


if __name__ == "__main__":
    main()
