"""A repository behind two URLs, read over plain HTTP: bounded in length and in time.

Not the agent's own reader (``transfer``), which speaks to object stores: those name an
object by its key, and cannot ask for a delegated role whose name holds a slash.
"""

import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from edge_agent.errors import Code, ConfigError, TransferError

SILENCE_S = 30.0
DEADLINE_S = 300.0
_PIECE_BYTES = 1 << 16
# RFC 3986, pchar: what may stand in a path as it is.
_IN_PATH = "/:@!$&'()*+,;=~"
_CODES = {404: Code.OBJECT_MISSING, 403: Code.ACCESS_DENIED}


def _nothing() -> None:
    """Check nothing."""


class Urls:
    """What ``trust.Readable`` asks for.

    Args:
        metadata: stands for the keys under ``metadata/``.
        targets: stands for the keys under ``targets/``.

    Raises:
        ConfigError: CONFIG_INVALID, one of them is not http:// or https://.
    """

    def __init__(self, metadata: str, targets: str) -> None:
        self._bases = {"metadata": metadata, "targets": targets}
        for url in filter(None, self._bases.values()):
            if urlsplit(url).scheme not in {"http", "https"}:
                raise ConfigError(Code.CONFIG_INVALID, f"expected a URL of http:// or https://, came {url}")
        # A proxy of the environment would be asked for 127.0.0.1 too.
        self._opener: OpenerDirector = build_opener(ProxyHandler({}))

    def read(self, key: str, *, limit_bytes: int, check: Callable[[], None] = _nothing) -> bytes:
        """Return an object of at most ``limit_bytes``; ``check`` is asked before it.

        Raises:
            TransferError: OBJECT_MISSING, ACCESS_DENIED or TRANSFER_FAILED.
        """
        check()
        url = self._url(key)
        try:
            with self._opener.open(Request(url), timeout=SILENCE_S) as answer:  # noqa: S310 - http only, see above
                return _read(answer, url, limit_bytes)
        except HTTPError as exc:
            with exc:
                raise TransferError(_CODES.get(exc.code, Code.TRANSFER_FAILED), f"{url}: {exc}") from exc
        except (OSError, HTTPException) as exc:
            raise TransferError(Code.TRANSFER_FAILED, f"{url}: {exc}") from exc

    def _url(self, key: str) -> str:
        room, _, name = key.partition("/")
        # Role names come encoded, since they are one segment; targets are paths and come as signed.
        path = name if room == "metadata" else quote(name, safe=_IN_PATH)
        return f"{self._bases[room].rstrip('/')}/{path}"


def _read(answer: HTTPResponse, url: str, limit_bytes: int) -> bytes:
    deadline = time.monotonic() + DEADLINE_S
    content = bytearray()
    while piece := answer.read1(_PIECE_BYTES):
        content += piece
        if len(content) > limit_bytes:
            raise TransferError(Code.TRANSFER_FAILED, f"{url}: expected at most {limit_bytes} bytes, came more")
        if time.monotonic() > deadline:
            raise TransferError(Code.TRANSFER_FAILED, f"{url}: expected an end within {DEADLINE_S:.0f} s")
    return bytes(content)
