"""How the verbs name a repository and its keys, and where secrets come from: never from the command line."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

if TYPE_CHECKING:
    from cloud_tools.release.keys import KeyDirectory
    from cloud_tools.release.repository import Repository

Keys = Annotated[
    list[Path],
    typer.Option(
        "--keys",
        envvar="EDGE_CLOUD_KEYS",
        help="Directory of the signing keys and of the pinned root.json; further ones hold further keys.",
    ),
]
RepoUrl = Annotated[
    str, typer.Option("--repo", envvar="EDGE_CLOUD_REPO", help="Directory, file:// or s3://bucket/prefix.")
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", envvar="EDGE_CLOUD_PASSPHRASE_FILE", help="Its first line is the keys' passphrase."
    ),
]


def open_repository(url: str, keys: Sequence[Path], passphrase_file: Path | None, *, new: bool = False) -> "Repository":
    """Return a repository opened for signing; nothing is asked for yet.

    Args:
        url: where it lies.
        keys: directories; the first holds the pinned root.
        passphrase_file: holds the passphrase; None: environment or prompt.
        new: the passphrase is for new keys, and asked for twice.

    Raises:
        CloudError: INVALID_ARGUMENT, another kind of URL.
    """
    from cloud_tools.release.repository import Repository
    from cloud_tools.storage import open_storage

    return Repository(open_storage(url), open_keys(keys, passphrase_file, new=new), time.time())


def open_keys(keys: Sequence[Path], passphrase_file: Path | None, *, new: bool = False) -> "KeyDirectory":
    """Return the keys of these directories; nothing is asked for yet."""
    from cloud_tools.release.keys import KeyDirectory

    prompt = "New passphrase" if new else "Passphrase of the keys"
    phrase = _secret("EDGE_CLOUD_PASSPHRASE", passphrase_file, prompt, twice=new)
    pin = _secret("EDGE_CLOUD_PIN", None, "PIN of the token", twice=False)
    return KeyDirectory(keys[0], phrase, keys[1:], pin)


def _secret(variable: str, file: Path | None, prompt: str, *, twice: bool) -> Callable[[], str]:
    def ask() -> str:
        given = _first_line(file) if file else os.environ.get(variable)
        return given or str(typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))

    return ask


def _first_line(path: Path) -> str:
    try:
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0]
    except (OSError, UnicodeDecodeError) as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected a passphrase, {exc}") from exc
