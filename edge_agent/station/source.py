"""A camera's source as it is written, and as a person may read it. Pure."""

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

# Whatever a person typed there, also spaces and a slash too few.
_CREDENTIALS = re.compile(r"^([^:/]*:/{0,2}|//).*@", re.DOTALL)
_QUERY = re.compile(r"\?.*$", re.DOTALL)
_LOCAL = ("directory", "file", "v4l2", "genicam")


class Login(NamedTuple):
    """Who asks a camera."""

    user: str
    password: str


def shown(source: str) -> str:
    """Return a source without what only its owner may know: credentials, and the query, which may hold some."""
    if source.partition(":")[0] in _LOCAL and "//" not in source:
        return source
    return _QUERY.sub("?…", _CREDENTIALS.sub(r"\1…@", source, count=1))


def without_login(url: str) -> tuple[str, Login | None]:
    """Return a URL without its credentials, and these.

    Raises:
        ValueError: it is no URL of a host.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("expected a host")
    host = parts.netloc.rpartition("@")[2]
    # Asked for its value, a port that is none raises.
    _ = parts.port
    login = Login(unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return urlunsplit(parts._replace(netloc=host)), login
