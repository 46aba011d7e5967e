"""``normal/ anomalous/``, or named classes beside a normal one: also what a pull of captures makes."""

from pathlib import Path

from cloud_tools.datasets.dataset import Sample, Split
from cloud_tools.datasets.layouts.files import folders_in, is_normal, pictures_in
from cloud_tools.datasets.layouts.layout import Found, Layout
from edge_agent.formats import Kind


def _lies_in(root: Path) -> bool:
    return any(is_normal(folder.name) and pictures_in(folder) for folder in folders_in(root))


def _read(root: Path, _kind: Kind, only: str) -> Found:
    found = [
        Sample(f"{folder.name}/{path.name}", path, folder.name, not is_normal(folder.name), "", Split.TRAIN)
        for folder in folders_in(root)
        for path in pictures_in(folder, only)
    ]
    return Found([(sample, None) for sample in found])


CLASSES = Layout("classes", Kind.CLASSIFICATION, "normal/ and anomalous/ (or named classes)", _lies_in, _read)
