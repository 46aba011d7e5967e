"""Files that people write: YAML 1.2, of which JSON is a part. The door to ruamel.yaml.

A key that is given twice is refused. Not done here: knowing what the keys mean.
"""

import sys
from io import StringIO
from pathlib import Path
from typing import Any

from cloud_tools.errors import CloudError
from edge_agent.errors import Code


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Return a file's keys and values.

    Args:
        path: the file.
        what: what a person calls it, as ``a run's file``.

    Raises:
        CloudError: NOT_FOUND: there is no such file; DOCUMENT_INVALID: it is not YAML, or no keys and values.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not path.is_file():
        raise CloudError(Code.NOT_FOUND, f"expected {what}, there is none at {path}")
    try:
        said = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise CloudError(Code.DOCUMENT_INVALID, f"{path}: expected YAML, {' '.join(str(exc).split())}") from exc
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise CloudError(Code.DOCUMENT_INVALID, f"{path}: expected keys and values, came {type(said).__name__}")
    return said


def yaml_text(said: dict[str, Any]) -> str:
    """Return keys and values as a person would write them."""
    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = sys.maxsize
    stream = StringIO()
    writer.dump(said, stream)
    return stream.getvalue()
