"""What a method is given to learn from."""

from typing import NamedTuple

from cloud_tools.training.batches import Loaded
from cloud_tools.training.progress import Progress


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
