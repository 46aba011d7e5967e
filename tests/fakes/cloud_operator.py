"""The cloud operator at the command line: every act is an ``edge-cloud`` process against the local AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cloud_tools.local import Endpoints, aws_environment

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180


class CloudOperator:
    """One signed repository in one bucket, and the devices that trust it.

    Args:
        endpoints: of the local AWS.
        directory: for keys.
        bucket: a name of its own, as the local AWS is shared by all tests.
    """

    def __init__(self, endpoints: Endpoints, directory: Path, bucket: str) -> None:
        self.bucket = bucket
        self.directory = directory
        self._environment = {
            **os.environ,
            **aws_environment(endpoints),
            "EDGE_CLOUD_MQTT": f"{endpoints.mqtt_host}:{endpoints.mqtt_port}",
            "EDGE_CLOUD_MQTT_CA": str(endpoints.ca_pem),
            "EDGE_CLOUD_REPO": f"s3://{bucket}/releases",
            "EDGE_CLOUD_KEYS": str(directory / "keys"),
        }
        self.run("bucket", "create", bucket)
        self.run("repo", "init", f"s3://{bucket}/releases", "--demo")

    def run(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run a verb with ``--json`` and return its lines; its exit code must be ``code``."""
        done = subprocess.run(
            [sys.executable, "-m", "cloud_tools.cli", *words, "--json"],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def provision(self, thing: str, directory: Path) -> Path:
        """Make a device and return its config.toml."""
        self.run(
            *("device", "provision", thing, "--dir", str(directory)),
            *("--repository", f"s3://{self.bucket}/releases", "--captures", f"s3://{self.bucket}/captures"),
            *("--root", str(self.directory / "keys" / "root.json"), "--allow-demo-root"),
        )
        return directory / "config.toml"

    def publish(self, *bundles: Path) -> None:
        """Sign and publish bundles."""
        self.run("publish", *map(str, bundles))

    def deploy(self, thing: str, *models: tuple[str, str], code: int = 0) -> dict[str, Any]:
        """Deploy and watch to the end; return the thing's execution."""
        names = [word for model in models for word in model]
        lines = self.run("deploy", *names, "--to", f"thing/{thing}", "--watch", "--timeout", "150", code=code)
        return next(execution for execution in lines[-1]["executions"] if execution["thing"] == thing)
