"""What a device reports of its certificate, in a shadow of its own."""

from typing import Final

from pydantic import Field

from edge_agent.formats.document import Document

CERTIFICATE_SHADOW: Final = "certificate"
# X.509 knows no later end: the last one of the year 9999.
_LAST_SECOND: Final = 253_402_300_799


class CertificateReport(Document):
    """The reported half of that shadow; the desired half says ``renew`` (an id) and ``certificate`` (PEM)."""

    id: str = Field(description="AWS IoT's id of the certificate in use")
    ends: int = Field(ge=0, le=_LAST_SECOND, description="epoch seconds")
    before: str = Field("", description="the id of the certificate that it replaced")
    request: str = Field("", description="signing request, PEM, while a new key waits for its certificate")
    fault: str = Field("", description="why the last certificate that came is not used")
