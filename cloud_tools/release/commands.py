"""``edge-cloud repo …`` and ``edge-cloud publish``."""

import time
from pathlib import Path
from typing import Annotated

import typer

from cloud_tools.output import JsonFlag, emit, progress
from cloud_tools.release import key_commands
from cloud_tools.release.opening import Keys, PassphraseFile, RepoUrl, open_repository

OptionalKeys = Annotated[Path | None, typer.Option("--keys", help="Directory of the pinned root.json.")]
Url = Annotated[str, typer.Argument(metavar="DIR_OR_URL", help="Directory, file:// or s3://bucket/prefix.")]

repo = typer.Typer(help="The signed repository that devices trust.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to ``app``."""
    key_commands.register(repo)
    app.add_typer(repo, name="repo")
    app.command()(publish)


@repo.command()
def init(
    url: Url,
    keys: Keys,
    root_keys: Annotated[
        list[Path] | None,
        typer.Option("--root-keys", help="Where one root key is made; give three, as sticks for three safes."),
    ] = None,
    root_public: Annotated[
        list[Path] | None,
        typer.Option("--root-public", help="Public part of a root key that was made elsewhere; give three."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="One root key, nothing encrypted; the root says so.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Make keys, a root and an empty repository.

    Without --demo the keys are encrypted: the passphrase comes from EDGE_CLOUD_PASSPHRASE, --passphrase-file or
    is asked for. With --root-public the root waits for signatures: repo sign.
    """
    repository = open_repository(url, [*keys, *(root_keys or [])], passphrase_file, new=True)
    lacking = repository.create(demo=demo, sticks=root_keys or (), public=root_public or ())
    root = str((keys[0] / "root.json").absolute())
    answer = {"url": repository.storage.url, "root": root, "demo": demo, **({"lacking": lacking} if lacking else {})}
    ready = f"{answer['url']} is ready; devices pin {answer['root']}"
    emit(answer, as_json=as_json, text=key_commands.told(lacking, ready))


@repo.command()
def verify(
    url: Url,
    keys: OptionalKeys = None,
    root: Annotated[Path | None, typer.Option("--root", help="The pinned root.json, where there are no keys.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check the whole chain and every blob's digest, as a fresh device would."""
    from cloud_tools.release.keys import read_root
    from cloud_tools.release.verify import verify as verify_all
    from cloud_tools.storage import open_storage

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
def refresh(url: Url, keys: Keys, passphrase_file: PassphraseFile = None, as_json: JsonFlag = False) -> None:
    """Renew snapshot and timestamp, so that devices keep accepting the repository."""
    from cloud_tools.release.repository import VALIDITY_DAYS

    repository = open_repository(url, keys, passphrase_file)
    repository.refresh()
    answer = {"url": repository.storage.url, "valid_days": VALIDITY_DAYS["timestamp"]}
    emit(answer, as_json=as_json, text=f"fresh for {answer['valid_days']} days")


@repo.command()
def revoke(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    below: Annotated[int, typer.Option(min=0, help="Lowest release sequence that devices may still run.")],
    url: RepoUrl,
    keys: Keys,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Refuse all releases of a model under a sequence, for good."""
    from cloud_tools.release.publish import revoke as raise_floor

    floor = raise_floor(open_repository(url, keys, passphrase_file), model, below)
    text = f"{model}: releases below {floor} are revoked"
    emit({"model": model, "min_release_seq": floor}, as_json=as_json, text=text)


def publish(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE_DIR...", help="Directories with a manifest.json.")],
    url: RepoUrl,
    keys: Keys,
    above: Annotated[
        int, typer.Option(min=0, help="Release with a sequence above this too: after a thief raised floors on devices.")
    ] = 0,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload bundles and sign them: all under one signature, or none."""
    from cloud_tools.release.publish import publish as publish_all
    from cloud_tools.release.publish import read_bundle

    read = [read_bundle(directory) for directory in bundles]
    repository = open_repository(url, keys, passphrase_file)
    with progress("publishing", sum(bundle.manifest.size_bytes for bundle in read)) as done:
        results = publish_all(repository, read, above=above, progress=done)
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
