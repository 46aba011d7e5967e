"""The file of users: names, roles and scrypt hashes; written by ``edge-agent users``, read by the page.

Its form: ``{"users": [{"name": "anna", "role": "operator", "password": "scrypt$32768$8$3$SALT$HASH"}]}``.
Only its owner may read it, else it is refused.
"""

import base64
import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path
from typing import Literal

from pydantic import Field

from edge_agent.errors import Code, ConfigError, DocumentError, InferenceError
from edge_agent.formats import Document, parse
from edge_agent.storage import durable
from edge_agent.storage.lock import locked

NAME_PATTERN = r"^[a-zA-Z0-9._@-]{1,64}$"
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024
# 32 MiB and a quarter of a second or so, as OWASP advises for scrypt.
_N, _R, _P = 1 << 15, 8, 3
_MAX_MEMORY = 256 << 20
_OTHERS = 0o077
# One at a time: logins must not take the line's memory.
_HASHING = threading.Lock()


class User(Document):
    """One person."""

    name: str = Field(pattern=NAME_PATTERN)
    role: Literal["viewer", "operator", "admin"]
    password: str = Field(pattern=r"^scrypt\$[0-9]+\$[0-9]+\$[0-9]+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+$")


class UserList(Document):
    """The file."""

    users: tuple[User, ...] = ()


class Users:
    """The users as the file has them just now.

    Args:
        path: the file.

    Raises:
        ConfigError: there is none, others may read it, or it is not such a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = (0, 0)
        self._users: dict[str, User] = {}
        self._lock = threading.Lock()
        self._stranger = hash_password(secrets.token_urlsafe(16))
        self._refresh()

    def find(self, name: str) -> User | None:
        """Return a user; a file that was changed is read again, and nobody is known while it is bad."""
        with self._lock:
            try:
                self._refresh()
            except ConfigError:
                self._users, self._stamp = {}, (0, 0)
            return self._users.get(name)

    def verify(self, name: str, password: str) -> User | None:
        """Return the user if this is the password; it takes as long for a name that is unknown."""
        user = self.find(name)
        fits = matches(password[:LONGEST_PASSWORD], user.password if user else self._stranger)
        return user if fits else None

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
        except OSError as exc:
            raise _bad(self._path, "a file of users", str(exc.strerror)) from exc
        if (found.st_mtime_ns, found.st_ino) != self._stamp:
            self._users = {user.name: user for user in read_users(self._path).users}
            self._stamp = (found.st_mtime_ns, found.st_ino)


def read_users(path: Path) -> UserList:
    """Return the file's users.

    Raises:
        ConfigError: there is none, others may read it, or it is not such a file.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as exc:
        raise _bad(path, "a file of users, as edge-agent users add writes it", str(exc.strerror)) from exc
    if mode & _OTHERS:
        raise _bad(path, "a file that only its owner may read (mode 0600)", f"mode {mode & 0o777:04o}")
    try:
        return parse(UserList, content, what=str(path))
    except DocumentError:
        # Its message would show what came, and that may be a hash.
        raise _bad(path, "a file of users, as edge-agent users add writes it", "another one") from None


def make_user(name: str, role: str, password: str) -> User:
    """Return a user with the password's hash.

    Raises:
        InferenceError: INVALID_ARGUMENT: not such a name or role.
    """
    try:
        return User.model_validate({"name": name, "role": role, "password": hash_password(password)})
    except ValueError as exc:
        raise InferenceError(
            Code.INVALID_ARGUMENT,
            f"expected a name of letters, digits and . _ @ -, and a role; came {name!r}, {role!r}",
        ) from exc


def put_user(path: Path, user: User) -> bool:
    """Write a user into the file, in place of one of that name; tell whether there was one.

    Raises:
        ConfigError: the file is there and is not such a file.
        StorageError: it cannot be written.
    """
    return _change(path, user.name, user)


def remove_user(path: Path, name: str) -> None:
    """Take a user out of the file; sessions of that name end at their next request.

    Raises:
        InferenceError: NOT_FOUND: there is none of that name.
    """
    if not _change(path, name, None):
        raise InferenceError(Code.NOT_FOUND, f"{path}: expected a user, there is no {name}")


def _change(path: Path, name: str, user: User | None) -> bool:
    with locked(path.with_name(f".{path.name}.lock")):
        known = read_users(path).users if path.exists() else ()
        kept = tuple(other for other in known if other.name != name)
        if user is not None or len(kept) < len(known):
            changed = UserList(users=(*kept, user) if user else kept)
            _write(path, changed.to_json())
        return len(kept) < len(known)


def _write(path: Path, content: bytes) -> None:
    # In place only when the page may read it: while it may not, it knows nobody and ends every session.
    staged = durable.staging_path(path)
    try:
        durable.write(staged, content, mode=0o600)
        _give_to_owner_of(path.parent, staged)
        durable.publish(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _give_to_owner_of(directory: Path, path: Path) -> None:
    # Written by root, read by the page, which runs as somebody else.
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def hash_password(password: str) -> str:
    """Return a password's salted hash with what it takes to compute it again."""
    salt = os.urandom(16)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(_scrypt(password, salt, _N, _R, _P))}"


def matches(password: str, hashed: str) -> bool:
    """Tell whether a hash is this password's; compared in constant time."""
    _, n, r, p, salt, wanted = hashed.split("$")
    try:
        came = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    except ValueError:
        return False
    return hmac.compare_digest(came, base64.b64decode(wanted))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    with _HASHING:
        return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bad(path: Path, expected: str, came: str) -> ConfigError:
    return ConfigError(Code.CONFIG_INVALID, f"dashboard.users: expected {expected}, came {path}: {came}")
