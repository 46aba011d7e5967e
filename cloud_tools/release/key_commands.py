"""``edge-cloud repo keys …``, ``repo delegate``, ``repo undelegate`` and ``repo sign``: who may sign what."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cloud_tools.errors import CloudError
from cloud_tools.output import JsonFlag, emit, table
from cloud_tools.release.opening import Keys, PassphraseFile, RepoUrl, open_keys, open_repository
from edge_agent.errors import Code

Family = Annotated[str, typer.Argument(metavar="FAMILY", help="The family's name, as press or wheels.")]
Role = Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, snapshot, timestamp or models-FAMILY.")]
Public = Annotated[
    list[Path] | None,
    typer.Option("--public", help="Public part (.pub.json, .token.json) of a new key that was made elsewhere."),
]
OptionalUrl = Annotated[str | None, typer.Option("--repo", envvar="EDGE_CLOUD_REPO", help="The repository.")]

keys = typer.Typer(help="Who may sign what; without a verb: all roles.", invoke_without_command=True)


def register(repo: typer.Typer) -> None:
    """Add the verbs to ``repo``."""
    repo.add_typer(keys, name="keys")
    repo.command()(delegate)
    repo.command()(undelegate)
    repo.command()(sign)


def told(lacking: Sequence[str], done: str) -> str:
    """Return what a person reads of a change that may wait for signatures."""
    return f"signed as far as the keys at hand go; it waits for {'; '.join(lacking)}: repo sign" if lacking else done


@keys.callback()
def show(context: typer.Context, url: OptionalUrl = None, directories: Keys = [], as_json: JsonFlag = False) -> None:  # noqa: B006 - typer reads it, nobody changes it
    """Show each role, what it may sign, its threshold, its keys and which of them are here."""
    if context.invoked_subcommand is not None:
        return
    if not url or not directories:
        raise typer.BadParameter("expected --repo and --keys")
    from cloud_tools.release.authority import signatories

    rows = [
        {**row._asdict(), "models": list(row.models), "expires": row.expires and row.expires.isoformat()}
        for row in signatories(open_repository(url, directories, None))
    ]
    if not as_json:
        for row in rows:
            for column in ("keyids", "at_hand"):
                row[column] = " ".join(keyid[:8] for keyid in row[column])
            row["models"] = " ".join(row["models"])
    table(rows, ("role", "models", "threshold", "keyids", "at_hand", "expires"), as_json=as_json)


@keys.command()
def rotate(
    role: Role,
    url: RepoUrl,
    directories: Keys,
    public: Public = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Give a role new keys; the old ones are trusted no more. Again: finish what was cut off."""
    from cloud_tools.release.authority import rotate as rotate_role

    lacking = rotate_role(open_repository(url, directories, passphrase_file), role, public=public or ())
    text = told(lacking, f"{role}: new keys sign, the old ones are trusted no more")
    emit({"role": role, "done": not lacking, "lacking": lacking}, as_json=as_json, text=text)


@keys.command(name="revoke")
def revoke_key(
    keyid: Annotated[str, typer.Argument(help="The key's id, or its beginning.")],
    url: RepoUrl,
    directories: Keys,
    public: Public = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Trust a stolen or lost key no more; a new one takes its place. Again: finish what was cut off."""
    from cloud_tools.release.authority import revoke_key as revoke

    lacking = revoke(open_repository(url, directories, passphrase_file), keyid, public=public or ())
    text = told(lacking, f"{keyid} is trusted no more")
    emit({"keyid": keyid, "done": not lacking, "lacking": lacking}, as_json=as_json, text=text)


@keys.command()
def make(
    role: Role,
    directories: Keys,
    token: Annotated[str | None, typer.Option(help="Label of a PKCS#11 token that holds the key.")] = None,
    token_key: Annotated[int | None, typer.Option(min=0, help="The key's id in the token.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key in the first directory, or take one that a token holds; nothing trusts it yet.

    Its public part (.pub.json, .token.json) is for --public and --root-public.
    """
    opened = open_keys(directories, passphrase_file, new=token_key is None)
    if token_key is None:
        keyid = opened.add(role, demo=False).public_key.keyid
    else:
        keyid = opened.add_token(role, label=token, keyid=token_key).keyid
    suffix = ".pub.json" if token_key is None else ".token.json"
    path = str(opened.files(role)[-1].path.with_suffix("")).removesuffix(".token") + suffix
    emit({"role": role, "keyid": keyid, "public": path}, as_json=as_json, text=f"{keyid}: {path}")


@keys.command()
def cancel(directories: Keys, as_json: JsonFlag = False) -> None:
    """Give up a root that waits for signatures; what devices trust has not changed."""
    from cloud_tools.release.pending import PendingRoot

    pending = PendingRoot(directories[0])
    what = pending.what
    pending.discard()
    emit({"cancelled": what or None}, as_json=as_json, text=f"given up: {what}" if what else "nothing waited")


def delegate(
    family: Family,
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="What it signs, and nobody else.")],
    url: RepoUrl,
    directories: Keys,
    threshold: Annotated[int, typer.Option(min=1, help="How many of its keys must sign.")] = 1,
    key_directory: Annotated[
        Path | None, typer.Option("--key", help="Where a new family's keys are made: its team's directory.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Let models be signed by keys of their own, and only by those from now on."""
    from cloud_tools.release.authority import delegate as delegate_models
    from cloud_tools.release.authority import models_of

    places = [*directories, *([key_directory] if key_directory else [])]
    repository = open_repository(url, places, passphrase_file)
    role = delegate_models(repository, family, models, threshold=threshold, directory=key_directory)
    answer = {"role": role.name, "models": list(models_of(role)), "threshold": role.threshold, "keyids": role.keyids}
    emit(answer, as_json=as_json, text=f"{role.name} signs {', '.join(models_of(role))}")


def undelegate(
    family: Family, url: RepoUrl, directories: Keys, passphrase_file: PassphraseFile = None, as_json: JsonFlag = False
) -> None:
    """Let targets sign a family's models again."""
    from cloud_tools.release.authority import undelegate as take_back

    models = take_back(open_repository(url, directories, passphrase_file), family)
    emit({"models": list(models)}, as_json=as_json, text=f"targets signs {', '.join(models)}")


def sign(
    directories: Keys,
    url: OptionalUrl = None,
    pending: Annotated[
        Path | None, typer.Option(help="A waiting root on a machine without the repository; its directory comes first.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Add the signatures of the root keys at hand to a waiting root; with enough of them publish it."""
    from cloud_tools.release.pending import PendingRoot

    if pending is not None:
        lacking = PendingRoot(pending.parent).sign(open_keys(directories, passphrase_file), None)
    elif url:
        lacking = open_repository(url, directories, passphrase_file).advance()
    else:
        raise CloudError(Code.INVALID_ARGUMENT, "expected --repo, or --pending where there is no repository")
    done = not lacking and pending is None
    text = told(lacking, "published" if done else "signed; repo sign --repo publishes it")
    emit({"done": done, "lacking": lacking}, as_json=as_json, text=text)
