"""What every verb gets from the flags before it."""

from pathlib import Path
from typing import NamedTuple

import typer

from edge_agent.config import DEFAULT_FILE, Settings, read_settings


class Places(NamedTuple):
    """Where things are on this machine."""

    config: Path | None
    state_dir: Path
    runtime_dir: Path

    @property
    def config_file(self) -> Path | None:
        """Return the file to read: the one that was asked for, or the usual one where there is one."""
        return self.config or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)

    def settings(self) -> Settings:
        """Return the settings.

        Raises:
            ConfigError: they are wrong.
        """
        return read_settings(self.config_file)


def places(context: typer.Context) -> Places:
    """Return the places that the flags name."""
    found = context.obj
    assert isinstance(found, Places)
    return found
