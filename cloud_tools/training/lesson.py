"""What a method is given to learn from."""

from collections.abc import Iterator
from typing import NamedTuple

from cloud_tools.training.batches import Loaded
from cloud_tools.training.checkpoint import Checkpoint, Part
from cloud_tools.training.progress import Progress, stepped


class Lesson(NamedTuple):
    """Pictures and options; every method's module has ``train(lesson)``, which returns a network."""

    train: Loaded
    """What is learnt from."""
    validation: Loaded
    """What stops the training and sets thresholds; never learnt from."""
    classes: tuple[str, ...]
    normal_classes: tuple[str, ...]
    depth: int
    """The last block of the trunk that is kept."""
    epochs: int
    """At most; a method without epochs does not look at it."""
    seed: int
    progress: Progress
    pretrained: bool = True
    """False: the control with random weights, which proves what the data set is worth."""
    device: str = "cpu"
    """Where the methods with ``on_gpu`` learn, in torch's words; networks come back to the CPU."""
    width: float = 1.0
    """EfficientAD: of its networks, as a share of the paper's."""
    scope: str = "both"
    """DFM: what is scored."""
    tune: str = "none"
    """DFM: how the trunk learns the product first."""
    checkpoint: Checkpoint = Checkpoint()

    def steps(self, stage: str, total: int, **parts: Part) -> Iterator[int]:
        """Yield the epochs of a stage that are still to be learnt, and keep the state after each.

        Whatever changes from epoch to epoch is a part: an interrupted training that is resumed
        gets the parts back as they were, with torch's chance, and goes on with the epoch after.

        Args:
            stage: its name, the same in each run; also the title of its bar.
            total: epochs of the stage.
            parts: networks, optimisers, schedules, numpy generators.
        """
        done = self.checkpoint.restore(stage, parts)
        for epoch in stepped(self.progress, stage, done, total):
            yield epoch
            self.checkpoint.keep(stage, epoch + 1, parts)
