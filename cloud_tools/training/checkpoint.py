"""What an interrupted training goes on from: the state after each epoch, replaced as a whole.

One file a stage. It is written beside and renamed, so a training that is killed at any
moment leaves the state before or after an epoch, never half of one. Reading runs no code of
the file (``weights_only``).
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import nn

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

_STAGED = ".staged"


class Stateful(Protocol):
    """A network, an optimiser, a schedule: what can tell and take its state."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state that was told before."""


Part = Stateful | np.random.Generator
Steps: TypeAlias = Callable[..., Iterator[int]]
"""``Lesson.steps``, for who learns without a lesson."""


class Best:
    """The best state of a network so far: what a training keeps of all its epochs.

    Args:
        network: whose state it is.
        figures: how good the state is that it has now; compared in their order.
    """

    def __init__(self, network: nn.Module, figures: tuple[float, ...]) -> None:
        self._network = network
        self.figures = figures
        self.kept = copy.deepcopy(network.state_dict())

    def offer(self, figures: tuple[float, ...]) -> None:
        """Keep the network's present state if it is better."""
        if figures > self.figures:
            self.figures = tuple(figures)
            self.kept = copy.deepcopy(self._network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return {"figures": tuple(self.figures), "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was returned before."""
        self.figures, self.kept = state_dict["figures"], state_dict["kept"]


class Checkpoint:
    """The states of one training's stages.

    Args:
        folder: where they lie; None: nothing is kept, and every stage begins at its beginning.
        prefix: of the files' names; stages of two networks of one training do not meet.
    """

    def __init__(self, folder: Path | None = None, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix

    def of(self, prefix: str) -> "Checkpoint":
        """Return the one for another network of the same training."""
        return Checkpoint(self._folder, f"{self._prefix}{prefix}-")

    def restore(self, stage: str, parts: Mapping[str, Part]) -> int:
        """Put the parts, and torch's chance, into the state that was kept; return how many epochs are done.

        Raises:
            CloudError: DOCUMENT_INVALID: the file is not one that ``keep`` wrote for these parts.
        """
        path = self._path(stage)
        if path is None or not path.exists():
            return 0
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in parts.items():
                _put(part, kept["parts"][name])
            _put_chance(kept["chance"])
            return int(kept["epochs"])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError) as exc:
            what = f"expected the state of an interrupted training, came {type(exc).__name__}: {exc}"
            raise CloudError(Code.DOCUMENT_INVALID, f"{path}: {what}") from exc

    def keep(self, stage: str, epochs: int, parts: Mapping[str, Part]) -> None:
        """Replace what is kept of a stage by its state after so many epochs."""
        path = self._path(stage)
        if path is None:
            return
        state = {"epochs": epochs, "parts": {name: _state(part) for name, part in parts.items()}, "chance": _chance()}
        staged = path.with_name(path.name + _STAGED)
        torch.save(state, staged)
        staged.replace(path)

    def _path(self, stage: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{self._prefix}{stage}.pt"


def _state(part: Part) -> dict[str, Any]:
    return dict(part.bit_generator.state) if isinstance(part, np.random.Generator) else part.state_dict()


def _put(part: Part, state: dict[str, Any]) -> None:
    if isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    else:
        part.load_state_dict(state)


def _chance() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _put_chance(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
