"""A repository in a bucket: published through boto3's ordinary configuration, read back as devices do."""

from pathlib import Path

import pytest

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import publish, read_bundle
from cloud_tools.release.repository import Repository
from cloud_tools.release.verify import verify
from cloud_tools.storage import open_storage, read
from edge_agent.errors import Code
from edge_agent.formats import ModelVersion
from edge_agent.transfer import open_objects
from edge_agent.trust import TrustClient
from tests.fakes.credentials_file import write_credentials
from tests.fakes.repository import NOW, PASSPHRASE, write_bundle

pytestmark = pytest.mark.usefixtures("aws_settings")


@pytest.fixture
def repository(aws: Aws, tmp_path: Path) -> Repository:
    aws.call("s3", "create_bucket", Bucket="release-tests")
    url = f"s3://release-tests/{tmp_path.name}"
    made = Repository(open_storage(url), KeyDirectory(tmp_path / "keys", lambda: PASSPHRASE), NOW)
    made.create(demo=True)
    return made


def test_a_release_in_a_bucket_reaches_a_device(
    repository: Repository, aws_settings: dict[str, str], tmp_path: Path
) -> None:
    bundle = read_bundle(write_bundle(tmp_path / "bundle", "unet", "1", bytes(9 << 20)))
    (published,) = publish(repository, [bundle])
    assert publish(repository, [bundle])[0].uploaded_bytes == 0
    assert (
        verify(repository.storage, repository.keys.pinned_root.read_bytes(), NOW).blob_bytes == published.uploaded_bytes
    )
    credentials = write_credentials(aws_settings, tmp_path / "credentials.json")
    objects = open_objects(repository.storage.url, credentials)
    root = repository.keys.pinned_root
    client = TrustClient(tmp_path / "trust", root, objects, allow_demo_root=True, now=lambda: NOW)
    client.refresh()
    assert client.release(ModelVersion("unet", "1")).sha256 == published.sha256


def test_a_bucket_that_is_not_there_is_named() -> None:
    with pytest.raises(CloudError, match="no-such-bucket-here") as caught:
        read(open_storage("s3://no-such-bucket-here/x"), "timestamp.json", limit_bytes=10)
    assert caught.value.code is Code.NOT_FOUND
