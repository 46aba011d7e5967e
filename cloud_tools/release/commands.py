"""``edge-cloud repo …`` and ``edge-cloud publish``."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools.output import JsonFlag, emit, progress

if TYPE_CHECKING:
    from cloud_tools.release.repository import Repository

Keys = Annotated[
    Path,
    typer.Option("--keys", envvar="EDGE_CLOUD_KEYS", help="Directory of the signing keys and of the pinned root.json."),
]
OptionalKeys = Annotated[Path | None, typer.Option("--keys", help="Directory of the pinned root.json.")]
Url = Annotated[str, typer.Argument(metavar="DIR_OR_URL", help="Directory, file:// or s3://bucket/prefix.")]
RepoUrl = Annotated[
    str, typer.Option("--repo", envvar="EDGE_CLOUD_REPO", help="Directory, file:// or s3://bucket/prefix.")
]

repo = typer.Typer(help="The signed repository that devices trust.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    app.add_typer(repo, name="repo")
    app.command()(publish)


@repo.command()
def init(
    url: Url,
    keys: Keys,
    demo: Annotated[bool, typer.Option("--demo", help="One root key, nothing encrypted; the root says so.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make keys, a root and an empty repository.

    Without --demo the keys are encrypted: the passphrase comes from EDGE_CLOUD_PASSPHRASE or is asked for.
    """
    repository = _open(url, keys, _asked_twice)
    repository.create(demo=demo)
    answer = {"url": repository.storage.url, "root": str((keys / "root.json").absolute()), "demo": demo}
    emit(answer, as_json=as_json, text=f"{answer['url']} is ready; devices pin {answer['root']}")


@repo.command()
def verify(
    url: Url,
    keys: OptionalKeys = None,
    root: Annotated[Path | None, typer.Option("--root", help="The pinned root.json, where there are no keys.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check the whole chain and every blob's digest, as a fresh device would."""
    from cloud_tools.release.keys import read_root
    from cloud_tools.release.storage import open_storage
    from cloud_tools.release.verify import verify as verify_all

    pinned = root if keys is None else keys / "root.json"
    if pinned is None or (root and keys):
        raise typer.BadParameter("expected either --keys or --root")
    found = verify_all(open_storage(url), read_root(pinned), time.time())
    answer = {
        "ok": True,
        "releases": [{"model": release.name, "version": release.version} for release in found.releases],
        "blobs": found.blobs,
        "blob_bytes": found.blob_bytes,
        "expires": found.expires,
        "demo": found.demo,
    }
    days = (found.expires - time.time()) / 86400
    text = f"all good: {len(found.releases)} releases, {found.blobs} blobs, fresh for {days:.1f} days"
    emit(answer, as_json=as_json, text=text)


@repo.command()
def refresh(url: Url, keys: Keys, as_json: JsonFlag = False) -> None:
    """Renew snapshot and timestamp, so that devices keep accepting the repository."""
    from cloud_tools.release.repository import VALIDITY_DAYS

    repository = _open(url, keys, _asked)
    repository.refresh()
    answer = {"url": repository.storage.url, "valid_days": VALIDITY_DAYS["timestamp"]}
    emit(answer, as_json=as_json, text=f"fresh for {answer['valid_days']} days")


@repo.command()
def revoke(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    below: Annotated[int, typer.Option(min=0, help="Lowest release sequence that devices may still run.")],
    url: RepoUrl,
    keys: Keys,
    as_json: JsonFlag = False,
) -> None:
    """Refuse all releases of a model under a sequence, for good."""
    from cloud_tools.release.publish import revoke as raise_floor

    floor = raise_floor(_open(url, keys, _asked), model, below)
    text = f"{model}: releases below {floor} are revoked"
    emit({"model": model, "min_release_seq": floor}, as_json=as_json, text=text)


@repo.command(name="keys")
def rotate(
    role: Annotated[str, typer.Argument(help="targets, snapshot or timestamp.")],
    url: RepoUrl,
    keys: Keys,
    as_json: JsonFlag = False,
) -> None:
    """Give a role a new key in a new root; the old one is trusted no more."""
    _open(url, keys, _asked).rotate(role)
    emit({"role": role}, as_json=as_json, text=f"{role} has a new key")


def publish(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE_DIR...", help="Directories with a manifest.json.")],
    url: RepoUrl,
    keys: Keys,
    as_json: JsonFlag = False,
) -> None:
    """Upload bundles and sign them: all under one signature, or none."""
    from cloud_tools.release.publish import publish as publish_all
    from cloud_tools.release.publish import read_bundle

    read = [read_bundle(directory) for directory in bundles]
    repository = _open(url, keys, _asked)
    with progress("publishing", sum(bundle.manifest.size_bytes for bundle in read)) as done:
        results = publish_all(repository, read, progress=done)
    answer = [
        {
            "model": result.model_version.name,
            "version": result.model_version.version,
            "release_seq": result.release_seq,
            "sha256": result.sha256,
            "uploaded_bytes": result.uploaded_bytes,
            "new": result.new,
        }
        for result in results
    ]
    lines = [
        f"{result.model_version}: release {result.release_seq}" + ("" if result.new else ", was there")
        for result in results
    ]
    emit({"releases": answer}, as_json=as_json, text="\n".join(lines))


def _open(url: str, keys: Path, passphrase: Callable[[], str]) -> "Repository":
    from cloud_tools.release.keys import KeyDirectory
    from cloud_tools.release.repository import Repository
    from cloud_tools.release.storage import open_storage

    return Repository(open_storage(url), KeyDirectory(keys, passphrase), time.time())


def _asked() -> str:
    return os.environ.get("EDGE_CLOUD_PASSPHRASE") or str(
        typer.prompt("Passphrase of the keys", hide_input=True, err=True)
    )


def _asked_twice() -> str:
    given = os.environ.get("EDGE_CLOUD_PASSPHRASE")
    return given or str(typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True))
