"""A private key that lies in a PKCS#11 token, as one setting names it (RFC 7512), and the PIN that opens the token.

The PIN itself never stands in the settings: a file of mode 0600 holds it, or a credential that systemd hands over.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from edge_agent.errors import Code, ConfigError, TokenError

SCHEME: Final = "pkcs11:"
_FORM: Final = "pkcs11:token=LABEL;object=LABEL?module-path=LIBRARY.so&pin-source=file:PATH (or credential:NAME)"
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
_FILE, _CREDENTIAL = "file", "credential"
_PIN_BYTES: Final = 256
_OTHERS: Final = 0o077


class TokenFault(str, Enum):
    """What can be wrong with a token, in words that name what was expected."""

    LIBRARY = "expected a PKCS#11 library at {library}"
    TOKEN = "expected one token labelled {token!r}, there is none or there are several"  # noqa: S105 - no password
    KEY = "expected one key labelled {object!r} in the token {token!r}, there is none or there are several"
    PIN = "expected the PIN of the token {token!r} in {pin}, the token refused that one; it locks itself after a few"
    LOCKED = "expected the token {token!r} to take its PIN, it locked that; its security officer sets another"
    REFUSED = "expected the token {token!r} to open, it refused: {word}"


# The standard's names of what a library answers, without their CKR_.
_ANSWERS: Final = {
    "PIN_INCORRECT": TokenFault.PIN,
    "PIN_INVALID": TokenFault.PIN,
    "PIN_LEN_RANGE": TokenFault.PIN,
    "PIN_LOCKED": TokenFault.LOCKED,
    "TOKEN_NOT_PRESENT": TokenFault.TOKEN,
    "DEVICE_REMOVED": TokenFault.TOKEN,
}
# Not the settings': a token that is plugged in later, or is unlocked, is as they say.
_PASSING: Final = (TokenFault.TOKEN, TokenFault.LOCKED, TokenFault.REFUSED)


def token_fault(answer: str) -> TokenFault:
    """Return what a library's answer means, by the standard's name of it without its CKR_."""
    return _ANSWERS.get(answer, TokenFault.REFUSED)


@dataclass(frozen=True)
class TokenKey:
    """One key.

    Attributes:
        uri: as the settings write it.
        library: what opens its token (.so).
        token: the token's label.
        object: the key's label.
        pin: where the PIN lies: ``file:PATH`` or ``credential:NAME``.
    """

    uri: str
    library: Path
    token: str
    object: str
    pin: str

    def __str__(self) -> str:
        return self.uri

    def fault(self, what: TokenFault, word: str = "") -> ConfigError:
        """Return the error that says what was expected; a ``TokenError`` where the settings may be right.

        Args:
            what: which fault.
            word: the token's own, for ``REFUSED``.
        """
        named = {"library": self.library, "token": self.token, "object": self.object, "pin": self.pin, "word": word}
        kind = TokenError if what in _PASSING else ConfigError
        return kind(Code.CONFIG_INVALID, f"mqtt.private_key: {what.value.format(**named)}")

    @property
    def pin_file(self) -> Path | None:
        """Return the file of the PIN; None where systemd hands it over."""
        kind, _, name = self.pin.partition(":")
        return Path(name) if kind == _FILE else None


KeyPlace = Path | TokenKey
"""Where a private key lies: in a PEM file or in a token."""


def key_place(value: object) -> object:
    """Return what a setting names: a key in a token where it says so, else the same.

    Raises:
        ConfigError: as ``token_key``.
    """
    text = str(value)
    return token_key(text) if isinstance(value, str | Path) and text.startswith(SCHEME) else value


def token_key(uri: str) -> TokenKey:
    """Return the key that a URI names.

    Raises:
        ConfigError: it names none, or holds the PIN itself; values are not shown, as a PIN may be among them.
    """
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    named, more = _pairs(path, ";"), _pairs(query, "&")
    kind, colon, place = more.get("pin-source", "").partition(":")
    # A private key is all that can be meant.
    known = {"token", "object", "module-path", "pin-source"} >= {*named, *more} - {"type"}
    is_absolute = kind == _FILE and place.startswith("/")
    is_name = kind == _CREDENTIAL and place not in {"", ".", ".."} and "/" not in place
    words = [named.get("token", ""), named.get("object", ""), more.get("module-path", "")]
    # A name alone is looked for where the system's libraries are; a relative path, wherever one happens to be.
    is_module = words[2].startswith("/") or "/" not in words[2]
    if not (uri.startswith(SCHEME) and known and all(words) and is_module and (is_absolute or is_name)):
        came = ", ".join([*named, *more]) or "nothing"
        remark = "; a PIN has no place in settings" if "pin-value" in {*named, *more} else ""
        raise ConfigError(Code.CONFIG_INVALID, f"a key in a token: expected {_FORM}, came {came[:200]}{remark}")
    place = str(Path(place)) if is_absolute else place
    return TokenKey(uri, Path(words[2]), words[0], words[1], f"{kind}{colon}{place}")


def read_pin(key: TokenKey, environment: Mapping[str, str] = os.environ) -> str:
    """Return the PIN of a key's token: the first line of its file.

    Raises:
        ConfigError: there is none, or others may read it.
    """
    path = key.pin_file
    fenced = path is None
    if path is None:
        directory = environment.get(_CREDENTIALS)
        if not directory:
            message = f"mqtt.private_key: expected {key.pin} from systemd (LoadCredential=), {_CREDENTIALS} is not set"
            raise ConfigError(Code.CONFIG_INVALID, message)
        path = Path(directory) / key.pin.partition(":")[2]
    pin = _first_line(path, fenced=fenced)
    if not pin:
        raise ConfigError(Code.CONFIG_INVALID, f"mqtt.private_key: expected a PIN in {path}, it is empty")
    return pin


def _first_line(path: Path, *, fenced: bool) -> str:
    try:
        with path.open("rb") as reader:
            mode = stat.S_IMODE(os.fstat(reader.fileno()).st_mode)
            # systemd lets one user read its credentials by an access list, which shows as the group's bit.
            if mode & _OTHERS and not fenced:
                message = f"mqtt.private_key: expected the PIN's file {path} with mode 0600, came {mode:04o}"
                raise ConfigError(Code.CONFIG_INVALID, message)
            return reader.read(_PIN_BYTES).decode(errors="replace").partition("\n")[0].strip()
    except OSError as exc:
        message = f"mqtt.private_key: expected the token's PIN in {path}, {exc.strerror}"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc


def _pairs(text: str, sign: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in text.split(sign) if word)
    return {name: unquote(value) for name, _, value in pairs}
