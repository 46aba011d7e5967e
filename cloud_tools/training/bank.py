"""The memory bank of a run: what the exported graph says of the parts that were learnt from."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets import Split
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.packaging.parts import BANK
from cloud_tools.training.progress import Progress
from edge_agent import vision
from edge_agent.formats.bank import EMBEDDING, LIMIT_PARTS, Bank, BankPart, distances_to, evenly, write_bank

if TYPE_CHECKING:
    from cloud_tools.training.batches import Loaded

THUMBNAIL_SIDE = 96
_LIMIT_THUMBNAILS_BYTES = 32 << 20


def leave_bank(run: Path, device: DeviceModel, loaded: "Loaded", progress: Progress) -> None:
    """Write the memory bank of a graph that tells where pictures lie; of another one there is none.

    The bank holds the parts that were learnt from; how far good parts lie from them is measured
    on validation pictures, never on those of the test.
    """
    if EMBEDDING not in {spec.name for spec in device.outputs}:
        return
    learnt = evenly([i for i, s in enumerate(loaded.samples) if s.split is Split.TRAIN], LIMIT_PARTS)
    held = [i for i, s in enumerate(loaded.samples) if s.split is Split.VALIDATION and not s.anomalous]
    rows = _embeddings(device, loaded, learnt)
    parts = tuple(BankPart(file=loaded.samples[i].file[-1000:], label=loaded.samples[i].label[:200]) for i in learnt)
    bank = Bank(rows, parts, _thumbnails(loaded, learnt), distances_to(rows, _embeddings(device, loaded, held)))
    (run / BANK).write_bytes(write_bank(bank))
    far = f"good parts lie up to {bank.limit(1.0):.4f} from them"
    progress(f"memory bank: {len(parts)} parts, {rows.shape[1]} numbers each; {far}")


def _embeddings(device: DeviceModel, loaded: "Loaded", chosen: list[int]) -> NDArray[np.float32]:
    rows = [device.run(loaded.images[i][np.newaxis])[EMBEDDING][0] for i in chosen]
    return np.asarray(np.stack(rows), np.float32)


def _thumbnails(loaded: "Loaded", chosen: list[int]) -> tuple[bytes, ...]:
    small = tuple(vision.small_jpeg(loaded.samples[i].picture(), THUMBNAIL_SIDE) for i in chosen)
    if sum(map(len, small)) > _LIMIT_THUMBNAILS_BYTES:
        return (b"",) * len(chosen)
    return small
