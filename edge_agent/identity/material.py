"""Keys, requests and certificates: the device's door to cryptography."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from edge_agent.errors import Code, IdentityError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Request = x509.CertificateSigningRequest


class Certificate(NamedTuple):
    """What a certificate says."""

    name: str
    """Its common name; AWS IoT's own certificates bear none of the thing."""
    id: str
    """AWS IoT's id of it: the SHA-256 of its DER form."""
    starts: float
    ends: float
    """Epoch seconds."""
    public_key: bytes
    """DER, as ``public_part`` returns it."""


def new_key() -> bytes:
    """Return a new P-256 key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_key(pem: bytes, what: str) -> PrivateKey:
    """Return a key.

    Raises:
        IdentityError: it is no unencrypted PEM key of a kind that AWS IoT takes.
    """
    with _expected(f"{what}: expected an unencrypted PEM key"):
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise TypeError("it is neither EC nor RSA")
        return key


def signing_request(key: PrivateKey, thing: str) -> str:
    """Return a PEM request for a certificate whose common name is the thing's."""
    # X.509 allows 64 characters in a common name, AWS IoT 128 in a thing's name.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def read_request(pem: str, what: str) -> Request:
    """Return a signing request, which bears the public part of the key that signed it.

    Raises:
        IdentityError: there is none, or it was signed by another key.
    """
    with _expected(f"{what}: expected a signing request, PEM"):
        request = x509.load_pem_x509_csr(pem.encode())
        if not request.is_signature_valid:
            raise ValueError("its signature is not of its key")
        return request


def public_part(key: PrivateKey | Request) -> bytes:
    """Return the public key, DER."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_certificate(pem: bytes | str, what: str) -> Certificate:
    """Return what the first certificate in ``pem`` says.

    Raises:
        IdentityError: there is none.
    """
    with _expected(f"{what}: expected a PEM certificate"):
        found = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        public = found.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Certificate(
            str(names[0].value) if names else "",
            found.fingerprint(hashes.SHA256()).hex(),
            found.not_valid_before_utc.timestamp(),
            found.not_valid_after_utc.timestamp(),
            public,
        )


def check_fit(certificate: Certificate, key: PrivateKey | Request, what: str) -> None:
    """Check that a certificate is this key's.

    Raises:
        IdentityError: FAILED_PRECONDITION, it is another's.
    """
    if certificate.public_key != public_part(key):
        raise IdentityError(
            Code.FAILED_PRECONDITION, f"{what}: expected a certificate of this device's key, came another"
        )


@contextmanager
def _expected(message: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType) as exc:
        told = next(iter(str(exc).splitlines()), type(exc).__name__)[:200]
        raise IdentityError(Code.FAILED_PRECONDITION, f"{message}, {told}") from exc
