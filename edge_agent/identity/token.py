"""A key that never leaves its PKCS#11 token signs the device's request: this device's door to PKCS#11.

The extra ``hsm`` brings what it needs. Connections are another matter: there the MQTT library opens the token itself,
and both in one process would end each other's log-in. So a token is opened here before a connection, never beside one,
and is let go completely afterwards.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typing_extensions import Self

from edge_agent.config import TokenFault, TokenKey, read_pin, token_fault
from edge_agent.errors import Code, ConfigError, IdentityError
from edge_agent.identity import material

_CURVE: Final = "secp256r1"
_ID_BYTES: Final = 16
_OWN_FAULTS: Final = {
    # Of this class itself it is only where the library cannot be loaded.
    "PKCS11Error": TokenFault.LIBRARY,
    "NoSuchToken": TokenFault.TOKEN,
    "MultipleTokensReturned": TokenFault.TOKEN,
}


def signing_request(name: TokenKey, thing: str) -> str:
    """Return a PEM request that the token signed; with a new P-256 key where it has none of that label.

    Raises:
        ConfigError: the library, the token, its PIN, or the extra is missing or wrong, or the token refused.
        IdentityError: the key is of another kind.
    """
    with _session(name) as session:
        return material.signing_request(_found(session, name) or _made(session, name), thing)


class _KeyInToken(ec.EllipticCurvePrivateKey):
    """A key that signs inside its token, while its session is open; what would take it out is refused."""

    def __init__(self, public: ec.EllipticCurvePublicKey, private: Any) -> None:
        self._public, self._private = public, private

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return the token's signature of ``data``, DER."""
        from pkcs11 import Mechanism  # noqa: PLC0415 - the extra hsm
        from pkcs11.util.ec import encode_ecdsa_signature  # noqa: PLC0415 - as above

        algorithm = signature_algorithm.algorithm
        assert isinstance(algorithm, hashes.HashAlgorithm)
        digest = hashes.Hash(algorithm)
        digest.update(data)
        # The plain mechanism: TPMs know it, not each one the kind that hashes as well.
        return bytes(encode_ecdsa_signature(self._private.sign(digest.finalize(), mechanism=Mechanism.ECDSA)))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public part."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return the curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Return the curve's size in bits."""
        return self._public.key_size

    def exchange(self, *_: object) -> NoReturn:
        """Not done."""
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        """Not possible: the key stays in its token."""
        raise NotImplementedError

    def private_bytes(self, *_: object) -> NoReturn:
        """Not possible: the key stays in its token."""
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


def _found(session: Any, name: TokenKey) -> _KeyInToken | None:
    from pkcs11 import Attribute, ObjectClass  # noqa: PLC0415 - the extra hsm

    def all_of(kind: ObjectClass, wanted: dict[Attribute, Any]) -> list[Any]:
        return list(session.get_objects({Attribute.CLASS: kind, **wanted}))

    labelled = {Attribute.LABEL: name.object}
    private = all_of(ObjectClass.PRIVATE_KEY, labelled)
    if not private and not all_of(ObjectClass.PUBLIC_KEY, labelled):
        return None
    if len(private) != 1:
        raise name.fault(TokenFault.KEY)
    _check_fenced(private[0], name)
    # Smart cards label the halves of a pair differently; what makes them one is their id.
    number = private[0][Attribute.ID]
    public = all_of(ObjectClass.PUBLIC_KEY, {Attribute.ID: number} if number else labelled)
    if len(public) != 1:
        raise name.fault(TokenFault.KEY)
    return _KeyInToken(_public(public[0]), private[0])


def _check_fenced(private: Any, name: TokenKey) -> None:
    """Refuse a key that somebody may have copied, or may yet: certificates are renewed for it again and again."""
    from pkcs11 import Attribute  # noqa: PLC0415 - the extra hsm

    if private[Attribute.EXTRACTABLE] or not private[Attribute.SENSITIVE]:
        message = f"{name}: expected a key that stays in its token, it can be taken out; name another one, to be made"
        raise IdentityError(Code.FAILED_PRECONDITION, message)


def _made(session: Any, name: TokenKey) -> _KeyInToken:
    from pkcs11 import DEFAULT, Attribute, KeyType, MechanismFlag  # noqa: PLC0415 - the extra hsm
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415 - as above

    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVE)}
    curve = session.create_domain_parameters(KeyType.EC, parameters, local=True)
    # For signing alone. What else it might do is left unsaid: for a TPM to sign and to encrypt is one property, and its
    # library refuses a key of which one is wanted and the other is not.
    unsaid_public = dict.fromkeys((Attribute.ENCRYPT, Attribute.WRAP), DEFAULT)
    unsaid_private = dict.fromkeys((Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE), DEFAULT)
    public, private = curve.generate_keypair(
        id=os.urandom(_ID_BYTES),
        label=name.object,
        store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        public_template=unsaid_public,
        private_template={**unsaid_private, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    return _KeyInToken(_public(public), private)


def _public(handle: Any) -> ec.EllipticCurvePublicKey:
    from pkcs11.util.ec import encode_ec_public_key  # noqa: PLC0415 - the extra hsm

    key = serialization.load_der_public_key(encode_ec_public_key(handle))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("it is of another kind")
    return key


@contextmanager
def _session(name: TokenKey) -> Iterator[Any]:
    try:
        import pkcs11  # noqa: PLC0415 - the extra hsm
    except ImportError as exc:
        message = "a key in a token: expected the extra hsm, it is not installed: pip install 'edge-agent[hsm]'"
        raise ConfigError(Code.CONFIG_INVALID, message) from exc
    pin, library = read_pin(name), str(name.library)
    try:
        with pkcs11.lib(library).get_token(token_label=name.token).open(rw=True, user_pin=pin) as session:
            yield session
    except pkcs11.exceptions.PKCS11Error as exc:
        raise _refused(name, exc) from exc
    except (TypeError, ValueError, KeyError) as exc:
        message = f"{name}: expected an elliptic-curve key (P-256), {exc}"
        raise IdentityError(Code.FAILED_PRECONDITION, message) from exc
    finally:
        pkcs11.unload(library)


def _refused(name: TokenKey, error: Exception) -> ConfigError:
    kind = type(error).__name__
    # The library names its exceptions after the standard: PinIncorrect is CKR_PIN_INCORRECT.
    answer = re.sub("(?<!^)([A-Z])", r"_\1", kind).upper()
    return name.fault(_OWN_FAULTS.get(kind) or token_fault(answer), f"{answer} {error}".strip())
