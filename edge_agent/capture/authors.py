"""What the cloud is told of who gave a label. Pure.

On the device a label has its author in full, for the audit log. The cloud needs to know whose
word counts and, where that is wanted, which labels are one person's; it needs no names and no addresses.
"""

import hmac
from typing import Literal

from edge_agent.capture.labels import Label

LabelledBy = Literal["role", "pseudonym", "name"]
# A label of an earlier agent, or of a client that does not tell.
UNKNOWN = "person"


def author(label: Label, how: LabelledBy, key: bytes) -> str:
    """Return who a label is from, as the cloud is told.

    Args:
        label: with its role and user, where they are known.
        how: role: no more than that; pseudonym: also a word that is always the same for one user of this
            device and from which nobody without ``key`` finds the name; name: the user's own.
        key: this device's secret.
    """
    role = label.role or UNKNOWN
    if how == "role" or not label.user:
        return role
    if how == "name":
        return label.user
    return f"{role}-{hmac.new(key, label.user.encode(), 'sha256').hexdigest()[:8]}"
