"""What an answer that is an error means for the next try, read from its text.

obstore has classes for what is missing, denied or changed; everything else is one class and a
text. The texts relied on here are pinned by tests against real servers.
"""

import re

from edge_agent.errors import Code, TransferError

# Another certificate will not come by asking again. (An expired one may be the clock's fault, which mends itself.)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_LASTING_CERTIFICATE_FAULTS = ("UnknownIssuer", "BadSignature", "NotValidForName", "NotValidForNameContext")
# S3 says so with 400 as well as with 403. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_EXPIRED = ("<Code>ExpiredToken</Code>", "<Code>TokenRefreshRequired</Code>", "<Code>RequestExpired</Code>")
_BEYOND_THE_END = ("status code: 416", "StartTooLarge")
_SHOWN = 300


def denied(key: str, exc: Exception) -> TransferError:
    """Return what to raise for a 401 or 403."""
    return _expired(key, exc) or TransferError(Code.ACCESS_DENIED, f"{key}: {told(exc)}", permanent=True)


def failed(key: str, exc: Exception) -> TransferError:
    """Return what to raise for an error without a class of its own."""
    text = str(exc)
    certificate = _CERTIFICATE.search(text)
    if certificate is not None:
        return _untrusted(key, certificate[1])
    beyond = any(word in text for word in _BEYOND_THE_END)
    return _expired(key, exc) or TransferError(Code.TRANSFER_FAILED, f"{key}: {told(exc)}", permanent=beyond)


def told(exc: Exception) -> str:
    """Return the first sentence of an obstore error, without what may be a secret."""
    text = str(exc).split("Debug source")[0].strip().replace("\n", " ")
    return re.sub(r"\?\S*", "?…", text)[:_SHOWN]


def _expired(key: str, exc: Exception) -> TransferError | None:
    """Return an error that passes: whoever made these credentials makes new ones."""
    if any(word in str(exc) for word in _EXPIRED):
        return TransferError(Code.ACCESS_DENIED, f"{key}: the credentials have expired")
    return None


def _untrusted(key: str, why: str) -> TransferError:
    message = (
        f"{key}: expected a certificate of an authority that this machine trusts or that repository.ca names, "
        f"came another ({why})"
    )
    return TransferError(Code.TRANSFER_FAILED, message, permanent=why in _LASTING_CERTIFICATE_FAULTS)
