"""A device's key and certificate as files. The key is made here and never leaves, or was made on the device.

The cloud gets a signing request only. Key files have mode 0600 from their first byte.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

PRIVATE = 0o600
PUBLIC = 0o644


class Certificate(NamedTuple):
    """What a certificate file says: whose it is, and AWS IoT's id for it."""

    thing: str
    certificate_id: str


def write(path: Path, content: str, mode: int) -> None:
    """Write ``content`` whole or not at all, never readable by more than ``mode`` says.

    Raises:
        CloudError: the file cannot be written.
    """
    staged = path.with_name(f".{path.name}.new")
    try:
        staged.unlink(missing_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        staged.replace(path)
    except OSError as exc:
        raise CloudError(Code.STORAGE_FAILED, f"{path}: expected to write it, {exc.strerror}") from exc


def read_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key in ``path``; make one (P-256) when there is no file.

    Raises:
        CloudError: the file holds something else, or others may read it.
    """
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        write(path, _pem(key), PRIVATE)
        return key
    if path.stat().st_mode & 0o077:
        raise CloudError(
            Code.PERMISSION_DENIED, f"{path}: expected mode 0600, others may read it; chmod it or make a new identity"
        )
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"{path}: expected an unencrypted PEM key, {exc}") from exc
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise CloudError(Code.FAILED_PRECONDITION, f"{path}: expected an elliptic-curve key, came another kind")
    return found


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def signing_request(key: ec.EllipticCurvePrivateKey, thing: str) -> str:
    """Return a PEM request for a certificate whose common name is the thing's."""
    # X.509 allows 64 characters in a common name, AWS IoT 128 in a thing's name.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def read_request(request: str, thing: str, what: str = "--csr") -> PublicKeyTypes:
    """Return the public key of a device's own signing request.

    Raises:
        CloudError: it is none, its signature is wrong, or another thing's.
    """
    try:
        found = x509.load_pem_x509_csr(request.encode())
        whole, key = found.is_signature_valid, found.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{what}: expected a signing request in PEM, {exc}") from exc
    if not whole:
        raise CloudError(Code.INVALID_ARGUMENT, f"{what}: expected a signing request, its signature is wrong")
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    came = str(names[0].value) if names else ""
    if came != thing[:64]:
        raise CloudError(Code.INVALID_ARGUMENT, f"{what}: expected {thing}'s request, it is {came or 'nobody'}'s")
    return key


def key_of(certificate: str, what: str) -> PublicKeyTypes:
    """Return the public key of a certificate in PEM.

    Raises:
        CloudError: it is none.
    """
    with _read(certificate, what) as found:
        return found.public_key()


def id_of(certificate: str, what: str) -> str:
    """Return AWS IoT's id of a certificate in PEM: the SHA-256 of its DER form.

    Raises:
        CloudError: it is none.
    """
    with _read(certificate, what) as found:
        return found.fingerprint(hashes.SHA256()).hex()


def start_of(certificate: str, what: str) -> float:
    """Return since when a certificate in PEM is valid, epoch seconds.

    Raises:
        CloudError: it is none.
    """
    with _read(certificate, what) as found:
        return found.not_valid_before_utc.timestamp()


@contextmanager
def _read(certificate: str, what: str) -> Iterator[x509.Certificate]:
    try:
        yield x509.load_pem_x509_certificate(certificate.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"{what}: expected a PEM certificate, {exc}") from exc


def read_certificate(path: Path, key: PublicKeyTypes) -> Certificate | None:
    """Return whose certificate lies in ``path``; None when there is none for this key.

    Raises:
        CloudError: the file is not a certificate.
    """
    if not path.exists():
        return None
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as exc:
        raise CloudError(Code.FAILED_PRECONDITION, f"{path}: expected a PEM certificate, {exc}") from exc
    if found.public_key() != key:
        return None
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    # AWS IoT: a certificate's id is the SHA-256 of its DER form.
    return Certificate(str(names[0].value) if names else "", found.fingerprint(hashes.SHA256()).hex())
