"""Certificates for tests: one authority, and what it signs."""

import base64
import datetime as dt
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_P256 = bytes.fromhex("06082a8648ce3d030107")


class Pair(NamedTuple):
    """A certificate and its key, PEM files."""

    certificate: Path
    private_key: Path


class Authority:
    """A throw-away certificate authority for loopback.

    Args:
        directory: where the files go.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test authority")
        builder = _builder(self._name, self._name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, expired: bool = False) -> Pair:
        """Return a certificate for ``name``, good for a server on loopback and for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        certificate = _builder(_name(name), self._name, key, expired=expired).add_extension(names, critical=False)
        pair = Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        signed = certificate.sign(self._key, hashes.SHA256())
        pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        pair.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        pair.private_key.chmod(0o600)
        return pair

    def sign(self, request: str, *, days: float = 2) -> str:
        """Return a certificate, PEM, for a signing request."""
        asked = x509.load_pem_x509_csr(request.encode())
        assert asked.is_signature_valid
        now = dt.datetime.now(dt.timezone.utc)
        signed = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self._name)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=days))
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def self_signed(directory: Path, name: str) -> Pair:
    """Return an RSA certificate that signed itself, as OPC UA's applications have."""
    directory.mkdir()
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    now = dt.datetime.now(dt.timezone.utc)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:{name}"), x509.DNSName("localhost")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(directory / "certificate.pem", directory / "private-key.pem")
    pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pair.private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, expired: bool = False
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=3 if expired else 0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2 if expired else 730))
    )


def of_unknown_curve(pem: str) -> str:
    """Return a certificate or a request whose key is on a curve that nobody knows; what is signed is not judged."""
    first, *body, last = pem.strip().splitlines()
    der = base64.b64decode("".join(body)).replace(_P256, _P256[:-1] + b"\x7f")
    return "\n".join([first, base64.b64encode(der).decode(), last]) + "\n"
