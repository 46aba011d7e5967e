"""A certificate for a server on loopback, and the throw-away authority that signed it."""

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud_tools.provision import identity

_DAYS: Final = 30


class Server(NamedTuple):
    """PEM files: what the server shows, its key, and what its clients trust."""

    certificate: Path
    private_key: Path
    ca: Path


def issue_server(directory: Path) -> Server:
    """Write a new authority's certificate, a server's that it signed for 127.0.0.1, and the server's key.

    Raises:
        CloudError: a file cannot be written.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name("simulated fleet's authority")
    authority = _builder(issuer, issuer, authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _builder(_name("simulated fleet's broker"), issuer, key).add_extension(host, critical=False)
    files = Server(directory / "server.pem", directory / "server.key", directory / "server-ca.pem")
    for builder, path in ((authority, files.ca), (server, files.certificate)):
        signed = builder.sign(authority_key, hashes.SHA256())
        identity.write(path, signed.public_bytes(serialization.Encoding.PEM).decode(), identity.PUBLIC)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    identity.write(files.private_key, private.decode(), identity.PRIVATE)
    return files


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
    )
