"""Captures in a bucket of the local AWS, as whoever reads the bucket finds them."""

import json
import random
from pathlib import Path

from cloud_tools.aws import Aws
from edge_agent.capture import CaptureSpool, Destination, Uploader
from edge_agent.errors import Code, TransferError
from edge_agent.formats import EncodedPicture
from edge_agent.transfer import open_objects
from tests.fakes.captures import AT, frame, tensors
from tests.fakes.credentials_file import write_credentials

PICTURE = EncodedPicture(b"\xff\xd8" + bytes(100_000))


def test_captures_reach_a_bucket_and_their_references_lead_to_the_picture(
    aws: Aws, aws_settings: dict[str, str], tmp_path: Path
) -> None:
    aws.call("s3", "create_bucket", Bucket="capture-tests")
    url = "s3://capture-tests/captures"
    objects = open_objects(url, write_credentials(aws_settings, tmp_path / "credentials.json"))
    spool = CaptureSpool(tmp_path / "captures", 1 << 24, policy="ng", uploads=True, now=lambda: AT)
    uploader = Uploader(spool, objects, Destination(url, "line-4", "press-4"), rng=random.Random(0))
    spool.start()
    assert spool.offer(frame("f1"), PICTURE)
    spool.capture_tensors(tensors("c1", size=2000))
    assert spool.drain(30)
    assert [uploader.send_next(), uploader.send_next()] == [0.0, 0.0]
    assert (spool.status().uploaded, spool.capture_state("c1")) == (2, "SUCCESS")
    spool.stop()
    found = list(aws.pages("s3", "list_objects_v2", "Contents", Bucket="capture-tests", Prefix="captures/line-4/unet/"))
    assert sorted(item["Key"].removeprefix("captures/line-4/unet/2026/05/31/20/") for item in found) == [
        "c1.jsonl",
        "f1.jsonl",
        "raw-data/c1-1.bin",
        "raw-data/c1-2.bin",
        "raw-data/f1-1.jpg",
    ]
    record = json.loads(objects.read("line-4/unet/2026/05/31/20/f1.jsonl", limit_bytes=10_000))
    reference = record["deviceFleetAuxiliaryInputs"][0]["data-ref"]
    assert objects.read(reference.removeprefix(f"{url}/"), limit_bytes=200_000) == PICTURE.content


def test_a_large_capture_goes_in_parts_and_after_an_outage_only_its_rest_is_sent(
    aws: Aws, aws_settings: dict[str, str], tmp_path: Path
) -> None:
    aws.call("s3", "create_bucket", Bucket="large-capture-tests")
    url = "s3://large-capture-tests/captures"
    objects = open_objects(url, write_credentials(aws_settings, tmp_path / "credentials.json"))
    directory = tmp_path / "captures"
    large = EncodedPicture(b"\xff\xd8" + random.Random(0).randbytes(12 << 20))

    class Connection:
        """The bucket over a connection that goes before the record."""

        def __init__(self) -> None:
            self.sent: list[str] = []
            self.is_gone = True

        def put(self, key: str, content: bytes) -> None:
            if self.is_gone and key.endswith(".jsonl"):
                raise TransferError(Code.TRANSFER_FAILED, f"{key}: the connection is gone")
            objects.put(key, content)
            self.sent.append(key)

    connection = Connection()

    def begun() -> tuple[CaptureSpool, Uploader]:
        spool = CaptureSpool(directory, 1 << 26, policy="ng", uploads=True, now=lambda: AT)
        return spool, Uploader(spool, connection, Destination(url, "line-4", "press-4"), rng=random.Random(0))

    spool, uploader = begun()
    spool.start()
    assert spool.offer(frame("f1"), large)
    assert spool.drain(30)
    uploader.send_next()
    assert spool.status().uploaded == 0
    spool.stop()
    key = "line-4/unet/2026/05/31/20/raw-data/f1-1.jpg"
    stored = aws.call("s3", "head_object", Bucket="large-capture-tests", Key=f"captures/{key}")
    assert "-" in stored["ETag"]  # as S3 marks what came in parts

    connection.is_gone = False
    spool, uploader = begun()
    spool.start()
    assert uploader.send_next() == 0.0
    assert spool.status().uploaded == 1
    spool.stop()
    assert connection.sent == [key, "line-4/unet/2026/05/31/20/f1.jsonl"]
    assert objects.read(key, limit_bytes=1 << 24) == large.content
