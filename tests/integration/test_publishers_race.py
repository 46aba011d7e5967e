"""Two publishers at once, real processes against a directory and a bucket: nobody's release is lost."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cloud_tools.aws import Aws
from cloud_tools.errors import Exit
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.repository import Repository
from cloud_tools.release.verify import verify
from cloud_tools.storage import open_storage
from tests.fakes.repository import PASSPHRASE, write_bundle
from tests.fakes.tree import ROOT

PUBLISHERS = ("left", "right")
ROUNDS = 5
PATIENCE_S = 240.0

# Publishes its bundles one after the other, all at the same moment as the other publisher, and again
# while it is told that the other one was first.
PUBLISHER = """
import sys, time
from pathlib import Path
from cloud_tools.errors import CloudError, exit_code
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.release.publish import publish, read_bundle
from cloud_tools.release.repository import Repository
from cloud_tools.storage import open_storage
url, keys, *bundles = sys.argv[1:]
told = 0
for bundle in bundles:
    read = read_bundle(Path(bundle))
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for _ in range(50):
        try:
            publish(Repository(open_storage(url), KeyDirectory(Path(keys), str), time.time()), [read])
            break
        except CloudError as error:
            if exit_code(error) != 4 or "run it again" not in str(error):
                raise
            told += 1
sys.stdout.write(f"{told}\\n")
"""


def race(url: str, home: Path, environment: Mapping[str, str]) -> int:
    """Let two publishers race; return how often one of them was told that the other was first."""
    keys = KeyDirectory(home / "keys", lambda: PASSPHRASE)
    bundles = {
        name: [str(write_bundle(home / name / str(n), name, str(n), f"{name} {n}".encode())) for n in range(ROUNDS)]
        for name in PUBLISHERS
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, url, str(keys.directory), *bundles[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        for name in PUBLISHERS
    ]
    try:
        for _ in range(ROUNDS):
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
        told = [int(process.communicate(timeout=PATIENCE_S)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0]
    return sum(told)


def check(repository: Repository) -> None:
    """Every release of both is there, whole, and its sequences have no hole."""
    found = verify(repository.storage, repository.keys.pinned_root.read_bytes(), None or repository._now)
    assert {(release.name, release.version) for release in found.releases} == {
        (name, str(n)) for name in PUBLISHERS for n in range(ROUNDS)
    }
    for name in PUBLISHERS:
        customs = [t.custom for t in repository.targets().values() if t.custom["model"] == name]
        assert sorted(custom["release_seq"] for custom in customs) == list(range(1, ROUNDS + 1))


def test_two_publishers_at_one_directory_lose_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "repository")
    keys = KeyDirectory(tmp_path / "keys", lambda: PASSPHRASE)
    repository = Repository(open_storage(url), keys, 1.0)
    repository.create(demo=True)
    told = race(url, tmp_path, {})
    assert told > 0, "the publishers never met"
    check(repository)


def test_two_publishers_at_one_bucket_lose_nothing(aws: Aws, aws_settings: dict[str, str], tmp_path: Path) -> None:
    aws.call("s3", "create_bucket", Bucket="publishers-race")
    url = f"s3://publishers-race/{tmp_path.name}"
    keys = KeyDirectory(tmp_path / "keys", lambda: PASSPHRASE)
    repository = Repository(open_storage(url), keys, 1.0)
    repository.create(demo=True)
    told = race(url, tmp_path, aws_settings)
    assert told > 0, "the publishers never met"
    check(repository)


def test_the_loser_is_told_so_in_words_and_by_its_exit_code(tmp_path: Path) -> None:
    url = str(tmp_path / "repository")
    keys = KeyDirectory(tmp_path / "keys", lambda: PASSPHRASE)
    repository = Repository(open_storage(url), keys, 1.0)
    repository.create(demo=True)
    bundle = write_bundle(tmp_path / "bundle", "unet", "1")
    # The other one publishes between this one's reading and writing.
    script = f"""
import cloud_tools.release.repository as repository
real = repository.Repository.commit
def commit(self, chain, roles):
    other = repository.Repository(self.storage, self.keys, 2.0)
    real(other, other.read(), ())
    real(self, chain, roles)
repository.Repository.commit = commit
from cloud_tools.cli import main
main(["publish", {str(bundle)!r}, "--repo", {url!r}, "--keys", {str(keys.directory)!r}, "--json"])
"""
    before = json.loads((tmp_path / "repository/metadata/timestamp.json").read_bytes())["signed"]["version"]
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == Exit.CONFLICT, ended.stderr
    assert "another publisher was first; nothing of this is visible, run it again" in ended.stderr
    assert repository.read().timestamp.version == before + 1
    assert repository.targets() == {}
