"""Users whose hashes cost nothing to check, for tests that log in often."""

import base64
import hashlib
from pathlib import Path
from typing import Literal

from edge_agent.dashboard.users import User, put_user

PASSWORD = "correct horse battery"
_SALT = b"salt of the tests"


def a_user(
    name: str = "anna", role: Literal["viewer", "operator", "admin"] = "operator", password: str = PASSWORD
) -> User:
    key = hashlib.scrypt(password.encode(), salt=_SALT, n=2, r=1, p=1, dklen=32)
    texts = (base64.b64encode(part).decode() for part in (_SALT, key))
    return User(name=name, role=role, password="scrypt$2$1$1$" + "$".join(texts))


def users_file(path: Path, *users: User) -> Path:
    for user in users or (a_user("vera", "viewer"), a_user("otto", "operator"), a_user("ada", "admin")):
        put_user(path, user)
    return path
