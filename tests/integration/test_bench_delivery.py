"""What ``bench delivery`` is made of: its fields, its file server, its large graph."""

import hashlib
import time
from pathlib import Path

import pytest

from edge_agent.transfer import Downloader, TokenBucket, open_objects
from scripts.benchlib import ota
from scripts.benchlib.delivery import FIELDS
from scripts.benchlib.files import served
from tests.fakes.tiny_models import write_version


def test_the_fields_are_those_that_others_hold_on_to() -> None:
    assert FIELDS == (
        "ota_seconds_100mb",
        "get_hash_seconds_100mb",
        "failed_requests",
        "swap_p99_ratio",
        "reconnect_peak_share",
        "memory_growth",
    )


def test_the_file_server_gives_ranges_to_the_byte(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "object").write_bytes(content)
    with served(tmp_path / "files") as url:
        downloader = Downloader(open_objects(url), bandwidth=TokenBucket(0, clock=time.monotonic))
        downloader.fetch(
            "object", tmp_path / "partial", len(content), deadline=time.monotonic() + 60, cancelled=lambda: False,
            progress=lambda _: None,
        )  # fmt: skip
    assert (tmp_path / "partial").read_bytes() == content


def test_the_large_graph_is_as_large_as_asked_and_its_digest_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ota, "_WIDE", 512)
    monkeypatch.setattr(ota, "SIZE_BYTES", 4_000_000)
    write_version(tmp_path, name=ota.MODEL, version="1")
    digest = ota.enlarge(tmp_path, 1)
    content = (tmp_path / "model.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert abs(len(content) - 4_000_000) < 100_000
    assert digest in (tmp_path / "manifest.json").read_text()
