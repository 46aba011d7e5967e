"""The signing keys: ed25519, one for each role, as PEM files in one directory.

The keys of a demo lie unencrypted; all others are encrypted with a passphrase
(PKCS#8). ``root.json`` beside them is the root that publishers and devices pin.
Not done here: deciding who signs what.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
ROOT_KEYS: Final = 3
ROOT_THRESHOLD: Final = 2
MIN_PASSPHRASE: Final = 8
PINNED_ROOT: Final = "root.json"
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


class KeyDirectory:
    """The keys of one repository.

    Args:
        directory: where the PEM files lie.
        passphrase: asked for once, when an encrypted key is written or read.
    """

    def __init__(self, directory: Path, passphrase: Callable[[], str]) -> None:
        """Only remember where and how."""
        self.directory = directory
        self._ask = passphrase
        self._answer: bytes | None = None

    @property
    def pinned_root(self) -> Path:
        """Return the file that publishers and devices pin."""
        return self.directory / PINNED_ROOT

    def create(self, *, demo: bool) -> None:
        """Make the keys of all roles: one root key for a demo, else three.

        Raises:
            CloudError: ALREADY_EXISTS (a key is there: it is never replaced), STORAGE_FAILED,
                INVALID_ARGUMENT (the passphrase is too short).
        """
        there = sorted(path.name for path in self.directory.glob("*.pem"))
        if there:
            raise CloudError(Code.ALREADY_EXISTS, f"{self.directory}: expected no keys, {', '.join(there)} are there")
        self._make_directory()
        for role in ("root",) * (0 if demo else ROOT_KEYS - 1) + ROLES:
            self.add(role, demo=demo)

    def add(self, role: str, *, demo: bool) -> CryptoSigner:
        """Make one more key of ``role`` and return its signer; older ones stay.

        Raises:
            CloudError: ALREADY_EXISTS, STORAGE_FAILED, INVALID_ARGUMENT.
        """
        number = 1 + len(list(self.directory.glob(f"{role}-*.pem")))
        key = Ed25519PrivateKey.generate()
        protection: KeySerializationEncryption = NoEncryption() if demo else BestAvailableEncryption(self._new_phrase())
        self._write(
            self.directory / f"{role}-{number}.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
        )
        return CryptoSigner(key)

    def signers(self, role: str) -> list[CryptoSigner]:
        """Return the signers of ``role``, the oldest key first.

        Raises:
            CloudError: CONFIG_INVALID (none there, or not a key), PERMISSION_DENIED (wrong passphrase).
        """
        files = sorted(self.directory.glob(f"{role}-*.pem"), key=lambda path: (len(path.name), path.name))
        if not files:
            raise CloudError(Code.CONFIG_INVALID, f"{self.directory}: expected {role}-*.pem, there is none")
        return [self._load(path) for path in files]

    def _load(self, path: Path) -> CryptoSigner:
        try:
            pem = path.read_bytes()
        except OSError as exc:
            raise CloudError(Code.CONFIG_INVALID, f"{path}: {exc.strerror}") from exc
        phrase = self._phrase() if pem.startswith(_ENCRYPTED) else None
        try:
            key = load_pem_private_key(pem, phrase)
        except (ValueError, TypeError) as exc:
            if phrase is not None:
                raise CloudError(Code.PERMISSION_DENIED, f"{path}: the passphrase does not open this key") from exc
            raise CloudError(Code.CONFIG_INVALID, f"{path}: expected a private key in PEM") from exc
        if not isinstance(key, Ed25519PrivateKey):
            raise CloudError(Code.CONFIG_INVALID, f"{path}: expected an ed25519 key, came {type(key).__name__}")
        return CryptoSigner(key)

    def _phrase(self) -> bytes:
        if self._answer is None:
            self._answer = self._ask().encode()
        return self._answer

    def _new_phrase(self) -> bytes:
        phrase = self._phrase()
        if len(phrase) < MIN_PASSPHRASE:
            self._answer = None
            raise CloudError(Code.INVALID_ARGUMENT, f"expected a passphrase of at least {MIN_PASSPHRASE} characters")
        return phrase

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{self.directory}: {exc.strerror}") from exc

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(content)
        except FileExistsError as exc:
            raise CloudError(Code.ALREADY_EXISTS, f"{path}: expected no key of this name") from exc
        except OSError as exc:
            raise CloudError(Code.STORAGE_FAILED, f"{path}: {exc.strerror}") from exc


def read_root(path: Path) -> bytes:
    """Return the pinned root.json.

    Raises:
        CloudError: CONFIG_INVALID (there is none).
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected the pinned root.json, {exc.strerror}") from exc
