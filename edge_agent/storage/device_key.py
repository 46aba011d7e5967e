"""A secret of this device: what it made itself, it recognises by it.

Made where it is missing. A key that others may read, or that has another form, is as good
as none: a new one takes its place, and what the old one sealed is not recognised any more.
"""

import secrets
import stat
import threading
from pathlib import Path

from edge_agent.storage import durable

FILE = "device.key"
KEY_BYTES = 32
_PRIVATE = 0o600

_making = threading.Lock()


def device_key(directory: Path) -> bytes:
    """Return the key that lies in ``directory``; 32 bytes.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED, it can be neither read nor made.
    """
    path = directory / FILE
    # Models are loaded side by side at the start, and two keys would each disown what the other sealed.
    with _making:
        key = _read(path)
        if key is None:
            durable.make_directory(directory)
            key = secrets.token_bytes(KEY_BYTES)
            durable.write(path, key, mode=_PRIVATE)
    return key


def _read(path: Path) -> bytes | None:
    with durable.translated(path):
        try:
            with path.open("rb") as file:
                private = stat.S_IMODE(path.lstat().st_mode) == _PRIVATE and not path.is_symlink()
                content = file.read(KEY_BYTES + 1)
        except FileNotFoundError:
            return None
    return content if private and len(content) == KEY_BYTES else None
