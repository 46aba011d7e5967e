"""``train/`` and ``test/`` with ``NAME.png`` and ``NAME_GT.png`` as in KolektorSDD2 (Božič et al. 2021)."""

from pathlib import Path

from cloud_tools.datasets.dataset import Split
from cloud_tools.datasets.layouts.files import pictures_in
from cloud_tools.datasets.layouts.layout import Found, Layout
from cloud_tools.datasets.layouts.pairs import judged_by_masks
from edge_agent.formats import Kind

_ENDING = "_GT"
_FOLDERS = {"train": Split.TRAIN, "test": Split.TEST}


def _lies_in(root: Path) -> bool:
    train = root / "train"
    return train.is_dir() and any(path.stem.endswith(_ENDING) for path in pictures_in(train))


def _read(root: Path, _kind: Kind, only: str) -> Found:
    """Return pictures with the folders' split; one is anomalous if its mask is not empty."""
    pictures = []
    for name, split in _FOLDERS.items():
        if not (root / name).is_dir():
            continue
        masks = {path.stem.removesuffix(_ENDING): path for path in pictures_in(root / name) if _is_mask(path)}
        plain = [path for path in pictures_in(root / name, only) if not _is_mask(path)]
        pictures += [(f"{name}/{path.name}", path, masks.get(path.stem), split) for path in plain]
    return Found(judged_by_masks(pictures), names_repeat=True, labels_from_masks=True)


def _is_mask(path: Path) -> bool:
    return path.stem.endswith(_ENDING)


KOLEKTOR = Layout("KolektorSDD2", Kind.SEGMENTATION, "train/ and test/ with NAME.png and NAME_GT.png", _lies_in, _read)
