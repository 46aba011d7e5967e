"""Keys that never leave a token: PKCS#11, through securesystemslib. The extra ``hsm`` brings what it needs.

The token's library is named by ``PYKCS11LIB``, as securesystemslib wants it. A PIN comes
from whoever asks for it; here it is held for one run and never shown.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, Key, Signature, Signer

from cloud_tools.errors import CloudError
from edge_agent.errors import Code


class TokenSigner(Signer):
    """Signs with a key in a token; the PIN is asked for at the first signature.

    Args:
        uri: which key, as securesystemslib writes it: ``hsm:KEYID?label=TOKEN``.
        public: its public part.
        pin: asked for once.
    """

    def __init__(self, uri: str, public: Key, pin: Callable[[], str]) -> None:
        self._uri = uri
        self._public = public
        self._pin = pin
        self._answer: str | None = None

    @property
    def public_key(self) -> Key:
        """Return the public part."""
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: object = None) -> "TokenSigner":
        """Not used: these signers are made where the PIN is at hand."""
        raise NotImplementedError(priv_key_uri, public_key, secrets_handler)

    def sign(self, payload: bytes) -> Signature:
        """Return the token's signature.

        Raises:
            CloudError: CONFIG_INVALID, RUNTIME_MISSING, PERMISSION_DENIED.
        """
        with _translated(self._uri):
            return HSMSigner.from_priv_key_uri(self._uri, self._public, self._asked).sign(payload)

    def _asked(self, _secret: str) -> str:
        if self._answer is None:
            self._answer = self._pin()
        return self._answer


def find(label: str | None, keyid: int, pin: Callable[[], str]) -> tuple[str, Key]:
    """Return the URI and the public part of the key ``keyid`` in the token ``label``.

    Raises:
        CloudError: CONFIG_INVALID (no such token or key), RUNTIME_MISSING, PERMISSION_DENIED (wrong PIN).
    """
    with _translated(f"token {label or '(the only one)'}, key {keyid}"):
        return HSMSigner.import_(keyid, label, lambda _secret: pin())


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except UnsupportedLibraryError as exc:
        raise CloudError(
            Code.RUNTIME_MISSING, f"{what}: {exc}; it comes with the extra hsm: pip install 'edge-agent[hsm]'"
        ) from exc
    except (ValueError, AssertionError) as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{what}: {exc}") from exc
    except _pkcs11_error() as exc:
        raise CloudError(Code.PERMISSION_DENIED, f"{what}: the token refused: {type(exc).__name__} {exc}") from exc


def _pkcs11_error() -> type[Exception]:
    try:
        from pkcs11.exceptions import PKCS11Error
    except ImportError:
        return UnsupportedLibraryError
    return PKCS11Error
