"""``models_config.json`` on disk: mappings in, committed models out."""

import json
from pathlib import Path

from edge_agent.errors import DocumentError
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


def read_last_good(path: Path) -> ModelsConfig | None:
    """Return the file as it was when it could last be taken; None when nobody kept that.

    Raises:
        StorageError: STORAGE_FAILED.
    """
    kept = _last_good(path)
    try:
        return read_models_config(kept) if kept.exists() else None
    except DocumentError:
        return None


def keep_last_good(path: Path, config: ModelsConfig) -> None:
    """Keep what was taken, for a start that finds the file torn or edited badly.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED.
    """
    if read_last_good(path) != config:
        write_models_config(_last_good(path), config)


def _last_good(path: Path) -> Path:
    return path.with_name(f"{path.stem}.good{path.suffix}")


def write_models_config(path: Path, config: ModelsConfig) -> None:
    """Replace the file in one durable step; keys that are not ours are written as they came.

    Raises:
        StorageError: NO_SPACE or STORAGE_FAILED; the file is as it was.
    """
    content = json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False)
    durable.write(path, content.encode() + b"\n")
