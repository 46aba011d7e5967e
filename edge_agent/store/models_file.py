"""``models_config.json`` on disk: mappings in, committed models out."""

import json
from pathlib import Path

from edge_agent.formats import ModelsConfig, parse
from edge_agent.storage import durable


def read_models_config(path: Path) -> ModelsConfig:
    """Return the file's content; an empty one when there is no file.

    Raises:
        DocumentError: it is not JSON or a field is bad.
        StorageError: STORAGE_FAILED.
    """
    with durable.translated(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return ModelsConfig()
    return parse(ModelsConfig, content, what=str(path))


def write_models_config(path: Path, config: ModelsConfig) -> None:
    """Replace the file in one durable step; keys that are not ours are written as they came.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED; the file is as it was.
    """
    content = json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False)
    durable.write(path, content.encode() + b"\n")
