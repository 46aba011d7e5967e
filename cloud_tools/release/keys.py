"""The signing keys: ed25519 as PEM files in directories, or keys that never leave a token.

``<role>-<n>.pem`` is a private key, ``<role>-<n>.pub.json`` its public part, ``<role>-<n>.token.json``
names a key in a token. The keys of a demo lie unencrypted; all others are encrypted with a
passphrase (PKCS#8). ``root.json`` in the first directory is the root that publishers and devices pin.
Not done here: deciding who signs what.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer

from cloud_tools.errors import CloudError
from cloud_tools.release import tokens
from edge_agent.errors import Code

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
ROOT_KEYS: Final = 3
ROOT_THRESHOLD: Final = 2
MIN_PASSPHRASE: Final = 8
PINNED_ROOT: Final = "root.json"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_NAME = re.compile(r"(?P<role>.+)-(?P<number>[1-9][0-9]*)\.(?:pem|token\.json)")


class KeyFile(NamedTuple):
    """A private key, or the name of one in a token.

    Attributes:
        role: whom it was made for.
        number: its place among those.
        path: where it lies.
    """

    role: str
    number: int
    path: Path


class KeyDirectory:
    """The keys that are at hand.

    Args:
        directory: holds the pinned root, and keys.
        passphrase: asked for once for each directory, when an encrypted key is written or read.
        others: further directories of keys, as sticks that lie in different safes.
        pin: asked for once, when a key in a token signs.
    """

    def __init__(
        self,
        directory: Path,
        passphrase: Callable[[], str],
        others: Sequence[Path] = (),
        pin: Callable[[], str] | None = None,
    ) -> None:
        """Only remember where and how."""
        self.directory = directory
        self.directories = (directory, *others)
        self._ask = passphrase
        self._pin = pin or passphrase
        self._answers: dict[Path, bytes] = {}
        self._opened: dict[Path, Signer] = {}

    @property
    def pinned_root(self) -> Path:
        """Return the file that publishers and devices pin."""
        return self.directory / PINNED_ROOT

    def files(self, role: str) -> list[KeyFile]:
        """Return the keys that were made for ``role``, directory after directory, the oldest first."""
        return [file for directory in self.directories for file in sorted(_files(directory)) if file.role == role]

    def check_empty(self) -> None:
        """Refuse to make a repository's keys where there are some.

        Raises:
            CloudError: ALREADY_EXISTS, a key is never replaced.
        """
        for directory in self.directories:
            there = sorted(path.name for path in directory.glob("*.pem"))
            if there:
                raise CloudError(Code.ALREADY_EXISTS, f"{directory}: expected no keys, {', '.join(there)} are there")

    def add(self, role: str, *, demo: bool, directory: Path | None = None) -> Signer:
        """Make one more key of ``role`` in ``directory`` (the first) and return its signer; older ones stay.

        Raises:
            CloudError: ALREADY_EXISTS, STORAGE_FAILED, INVALID_ARGUMENT (the passphrase is too short).
        """
        place = directory or self.directory
        key = Ed25519PrivateKey.generate()
        protection: KeySerializationEncryption = NoEncryption()
        if not demo:
            protection = BestAvailableEncryption(self._new_phrase(place))
        signer = CryptoSigner(key)
        path = self._next(place, role)
        _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
        _write(path.with_suffix(".pub.json"), _public_json(signer.public_key))
        return signer

    def add_token(self, role: str, *, label: str | None, keyid: int) -> Key:
        """Remember the key ``keyid`` of the token ``label`` as one of ``role``; return its public part.

        Raises:
            CloudError: CONFIG_INVALID, RUNTIME_MISSING, STORAGE_FAILED.
        """
        uri, public = tokens.find(label, keyid, self._pin)
        path = self._next(self.directory, role)
        document = {"uri": uri, "keyid": public.keyid, **public.to_dict()}
        _write(path.with_suffix(".token.json"), json.dumps(document, indent=1).encode())
        return public

    def signers(self, role: str, keyids: Collection[str] | None = None) -> list[Signer]:
        """Return the signers of ``role``, the oldest key first; with ``keyids`` only these are opened.

        Raises:
            CloudError: CONFIG_INVALID (none there, or not a key), PERMISSION_DENIED (wrong passphrase).
        """
        files = self.files(role)
        if not files:
            places = ", ".join(str(directory) for directory in self.directories)
            raise CloudError(Code.CONFIG_INVALID, f"{places}: expected {role}-*.pem, there is none")
        named = [file for file in files if keyids is None or (keyid_of(file.path) or "") in {"", *keyids}]
        opened = [self._open(file.path) for file in named]
        return [signer for signer in opened if keyids is None or signer.public_key.keyid in keyids]

    def _open(self, path: Path) -> Signer:
        if path not in self._opened:
            self._opened[path] = self._token(path) if path.suffix == ".json" else self._load(path)
        return self._opened[path]

    def _token(self, path: Path) -> Signer:
        document = _read_json(path)
        return tokens.TokenSigner(str(document.pop("uri", "")), _public(document, path), self._pin)

    def _load(self, path: Path) -> Signer:
        try:
            pem = path.read_bytes()
        except OSError as exc:
            raise CloudError(Code.CONFIG_INVALID, f"{path}: {exc.strerror}") from exc
        phrase = self._phrase(path.parent) if pem.startswith(_ENCRYPTED) else None
        try:
            key = load_pem_private_key(pem, phrase)
        except (ValueError, TypeError) as exc:
            if phrase is not None:
                raise CloudError(Code.PERMISSION_DENIED, f"{path}: the passphrase does not open this key") from exc
            raise CloudError(Code.CONFIG_INVALID, f"{path}: expected a private key in PEM") from exc
        if not isinstance(key, Ed25519PrivateKey):
            raise CloudError(Code.CONFIG_INVALID, f"{path}: expected an ed25519 key, came {type(key).__name__}")
        return CryptoSigner(key)

    def _phrase(self, directory: Path) -> bytes:
        if directory not in self._answers:
            self._answers[directory] = self._ask().encode()
        return self._answers[directory]

    def _new_phrase(self, directory: Path) -> bytes:
        phrase = self._phrase(directory)
        if len(phrase) < MIN_PASSPHRASE:
            self._answers.clear()
            raise CloudError(Code.INVALID_ARGUMENT, f"expected a passphrase of at least {MIN_PASSPHRASE} characters")
        return phrase

    def _next(self, directory: Path, role: str) -> Path:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{directory}: {exc.strerror}") from exc
        # Unique over all directories: a key keeps its name when sticks are put together.
        number = 1 + max((file.number for file in self.files(role)), default=0)
        return directory / f"{role}-{number}.pem"


def keyid_of(path: Path) -> str | None:
    """Return the key id of a key's file without opening it, None when its public part does not lie beside it."""
    public = path if path.suffix == ".json" else path.with_suffix(".pub.json")
    return str(_read_json(public).get("keyid")) if public.is_file() else None


def read_public(path: Path) -> Key:
    """Return the public key of a ``.pub.json`` or ``.token.json`` file.

    Raises:
        CloudError: CONFIG_INVALID.
    """
    return _public(_read_json(path), path)


def read_root(path: Path) -> bytes:
    """Return the pinned root.json.

    Raises:
        CloudError: CONFIG_INVALID (there is none).
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected the pinned root.json, {exc.strerror}") from exc


def _files(directory: Path) -> Iterator[KeyFile]:
    for path in directory.glob("*"):
        match = _NAME.fullmatch(path.name)
        if match:
            yield KeyFile(match["role"], int(match["number"]), path)


def _public_json(key: Key) -> bytes:
    return json.dumps({"keyid": key.keyid, **key.to_dict()}, indent=1).encode()


def _public(document: dict[str, object], path: Path) -> Key:
    try:
        return Key.from_dict(str(document.pop("keyid")), {k: v for k, v in document.items() if k != "uri"})
    except (KeyError, TypeError, ValueError) as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected a public key, {exc}") from exc


def _read_json(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected a public key, {exc.strerror}") from exc
    except ValueError as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected JSON, {exc}") from exc
    if not isinstance(document, dict):
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected a JSON object, came {type(document).__name__}")
    return document


def _write(path: Path, content: bytes) -> None:
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
    except FileExistsError as exc:
        raise CloudError(Code.ALREADY_EXISTS, f"{path}: expected no key of this name") from exc
    except OSError as exc:
        raise CloudError(Code.STORAGE_FAILED, f"{path}: {exc.strerror}") from exc
