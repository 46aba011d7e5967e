"""How a device comes by its identity: by claim, or by a request that an operator signs. The key stays here."""

import getpass
import os
import pwd
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.context import places
from edge_agent.cli.output import AsJson, note, show_json, show_lines
from edge_agent.config import DEFAULT_FILE, token_key
from edge_agent.config.fields import THING_PATTERN
from edge_agent.config.fragment import AUTHORITY, CERTIFICATE, CONFIG, ROOT
from edge_agent.errors import Code, IdentityError

if TYPE_CHECKING:
    from edge_agent.identity import Folder

_USER = "edge-agent"
_MQTT_PORT = 8883

Thing = Annotated[str, typer.Argument(help="The thing's name.")]
Directory = Annotated[
    Path | None, typer.Option("--dir", help="Gets key, certificate and root of trust.  [default: beside the settings]")
]
Owner = Annotated[
    str | None, typer.Option(help=f"Who gets the files.  [default: root gives them to {_USER}, where there is one]")
]
Key = Annotated[
    str,
    typer.Option(
        "--key",
        help="The key in a PKCS#11 token or TPM: pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY.so"
        "&pin-source=file:PATH; made there where the token has none. Empty: in a file.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="Make this device one of a fleet.", no_args_is_help=True, rich_markup_mode=None)
    for verb, function in (("claim", claim), ("request", request), ("install", install), ("forget", forget)):
        group.command(verb)(function)
    app.add_typer(group, name="enroll")


def claim(  # noqa: PLR0917 - typer takes its options so
    context: typer.Context,
    thing: Thing,
    endpoint: Annotated[str, typer.Option(help="AWS IoT's data endpoint, HOST or HOST:PORT.")],
    claim_certificate: Annotated[Path, typer.Option(help="The claim's certificate, PEM; deleted afterwards.")],
    claim_key: Annotated[Path, typer.Option(help="The claim's key, PEM; deleted afterwards.")],
    root: Annotated[Path, typer.Option(help="The repository's first root.json, which is pinned.")],
    ca: Annotated[Path | None, typer.Option(help="Authority of the endpoint, PEM; none: the system's.")] = None,
    template: Annotated[str, typer.Option(help="The provisioning template's name.")] = "edge-agent",
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the template, beside ThingName; may come again.")
    ] = None,
    fleet: Annotated[str, typer.Option(help="The fleet; empty: as the template says.")] = "",
    repository: Annotated[str, typer.Option(help="URL of the releases; empty: as the template says.")] = "",
    captures: Annotated[str, typer.Option(help="URL for captures; empty: as the template says.")] = "",
    credentials_endpoint: Annotated[str, typer.Option(help="Host of the credentials provider, for buckets.")] = "",
    role_alias: Annotated[str, typer.Option(help="The role alias; empty: as the template says.")] = "",
    allow_demo_root: Annotated[bool, typer.Option("--allow-demo-root", help="Trust a demo's root.")] = False,
    keep_claim: Annotated[bool, typer.Option("--keep-claim", help="Leave the claim: it lies on a stick.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for each connection and answer.")] = 60.0,
    key: Key = "",
    directory: Directory = None,
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Enrol with a claim certificate (AWS IoT fleet provisioning); again, after it was cut off, it goes on."""
    from edge_agent.agent.enrolling import Claim, enroll_by_claim  # noqa: PLC0415 - only this verb pays for it
    from edge_agent.identity import Wanted  # noqa: PLC0415

    host, port = _address(endpoint)
    wanted = Wanted(
        _named(thing),
        host,
        port,
        fleet,
        repository,
        captures,
        credentials_endpoint,
        role_alias,
        _text("--root", root),
        _text("--ca", ca) if ca else "",
        allow_demo_root=allow_demo_root,
        private_key=key,
    )
    shown = Claim(claim_certificate, claim_key, ca, template, _parameters(parameter or []), keep_claim)
    done = enroll_by_claim(_folder(context, directory, owner, key), wanted, shown, timeout_s=timeout, now=time.time)
    word = "was enrolled already" if done.was_enrolled else "is enrolled"
    show_json(_plain(done._asdict())) if as_json else show_lines([f"{done.thing} {word}: {done.config}"])


def request(
    context: typer.Context,
    thing: Thing,
    csr: Annotated[Path, typer.Option(help="Gets the request, for edge-cloud device provision --csr.")],
    key: Key = "",
    directory: Directory = None,
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Make the key, and write a signing request for an operator."""
    from edge_agent.storage import durable  # noqa: PLC0415 - only these verbs pay for it

    _named(thing)
    folder = _folder(context, directory, owner, key)
    durable.write(csr, folder.request(thing).encode())
    found = {"thing": thing, "csr": str(csr), "private_key": str(folder.private_key)}
    show_json(found) if as_json else show_lines([f"{csr}: sign it with edge-cloud device provision {thing} --csr"])


def install(
    context: typer.Context,
    pack: Annotated[Path, typer.Argument(help="What edge-cloud device provision --csr wrote.")],
    key: Key = "",
    directory: Directory = None,
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Install the certificate that an operator had made for this device's request, and what came with it."""
    from edge_agent.agent.enrolling import install_pack  # noqa: PLC0415 - only this verb pays for it

    texts = {name: _text("PACK", pack / name) for name in (CERTIFICATE, CONFIG)}
    texts |= {name: _text("PACK", pack / name) for name in (AUTHORITY, ROOT) if (pack / name).exists()}
    done = install_pack(_folder(context, directory, owner, key), texts, str(pack / CONFIG))
    show_json(_plain(done._asdict())) if as_json else show_lines([f"{done.thing} is enrolled: {done.config}"])


def forget(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Delete this device's keys and certificates; settings, root of trust and models stay."""
    folder = _folder(context, directory, None)
    doomed = folder.forget()
    if doomed and not dry_run:
        if not yes and not typer.confirm(
            f"Delete {', '.join(map(str, doomed))}? The device leaves its fleet.", err=True
        ):
            raise typer.Exit(1)
        doomed = folder.wipe()
    if folder.key_elsewhere:
        note(f"the key stays in its token: {folder.key_elsewhere}")
    found = {
        "deleted": [] if dry_run else list(map(str, doomed)),
        "would_delete": list(map(str, doomed)) if dry_run else [],
    }
    if as_json:
        show_json(found)
    elif not doomed:
        note("nothing to forget")
    else:
        show_lines([f"{'would delete' if dry_run else 'deleted'} {path}" for path in doomed])


def _folder(context: typer.Context, directory: Path | None, owner: str | None, key: str = "") -> "Folder":
    from edge_agent.identity import Folder  # noqa: PLC0415 - only these verbs pay for it
    from edge_agent.identity.lineage import RENEWED  # noqa: PLC0415

    found = places(context)
    where = directory or (found.config.parent if found.config else DEFAULT_FILE.parent)
    renewed = found.state_dir / RENEWED
    whose = _default_owner() if owner is None else _known(owner)
    return Folder(where, whose, found.config, renewed, token_key(key) if key else None)


def _default_owner() -> str:
    if os.geteuid() != 0:
        return ""
    try:
        return pwd.getpwnam(_USER).pw_name
    except KeyError:
        return ""


def _known(owner: str) -> str:
    try:
        pwd.getpwnam(owner)
    except KeyError as exc:
        raise IdentityError(Code.NOT_FOUND, f"--owner: expected a user of this machine, came {owner!r}") from exc
    if os.geteuid() != 0 and owner != getpass.getuser():
        raise IdentityError(Code.PERMISSION_DENIED, f"--owner: only root gives files to {owner}")
    return owner


def _named(thing: str) -> str:
    """Return a thing's name; before any key is made for what cannot be one."""
    if not re.fullmatch(THING_PATTERN, thing):
        raise IdentityError(
            Code.INVALID_ARGUMENT,
            f"THING: expected 1 to 128 of a-z A-Z 0-9 : _ -, as AWS IoT names things, came {thing!r}",
        )
    return thing


def _address(endpoint: str) -> tuple[str, int]:
    host, colon, port = endpoint.rpartition(":")
    if not colon:
        return endpoint, _MQTT_PORT
    if not host or not port.isdecimal():
        raise IdentityError(Code.INVALID_ARGUMENT, f"--endpoint: expected HOST or HOST:PORT, came {endpoint!r}")
    return host, int(port)


def _parameters(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    odd = next((word for word, (name, sign, _) in zip(words, pairs, strict=True) if not name or not sign), None)
    if odd is not None:
        raise IdentityError(Code.INVALID_ARGUMENT, f"--parameter: expected NAME=VALUE, came {odd!r}")
    return {name: value for name, _, value in pairs}


def _text(option: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise IdentityError(Code.NOT_FOUND, f"{option}: expected a file of text, {exc}") from exc


def _plain(found: dict[str, object]) -> dict[str, object]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in found.items()}
