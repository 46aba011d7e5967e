"""Credentials as a device reads them from a file."""

import json
from collections.abc import Mapping
from pathlib import Path

_FIELDS = {
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}


def write_credentials(environment: Mapping[str, str], path: Path) -> str:
    """Write what an environment says of them to ``path`` (0600), and return the setting that names the file."""
    path.touch(mode=0o600)
    path.write_text(json.dumps({field: environment[name] for field, name in _FIELDS.items() if name in environment}))
    return f"file:{path}"
