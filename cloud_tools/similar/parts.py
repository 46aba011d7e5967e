"""From bundles and captures to parts, each where its model finds it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_tools.captures.pulled import LISTED
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.device import DeviceModel
from cloud_tools.release.publish import Bundle, read_bundle
from cloud_tools.similar.table import KnownModel, Part
from edge_agent import vision
from edge_agent.errors import AgentError, Code
from edge_agent.formats.bank import EMBEDDING, Bank, read_bank

GOOD_SHARE = 0.99


class Embedder:
    """A bundle that tells where a picture lies among others.

    Args:
        directory: of the bundle.

    Raises:
        CloudError: it is no bundle, or its graph does not tell.
    """

    def __init__(self, directory: Path) -> None:
        self._bundle: Bundle = read_bundle(directory)
        manifest = self._bundle.manifest
        told = next((spec for spec in manifest.outputs if spec.name == EMBEDDING), None)
        if told is None:
            expected = f"expected a model with an output {EMBEDDING}, as patchcore's"
            raise CloudError(Code.FAILED_PRECONDITION, f"{directory}: {expected}, came {manifest.kind.value}")
        self.directory = directory.resolve()
        graph, precision = directory / manifest.model_artefact.path, manifest.runtime.precision
        self._device = DeviceModel(graph, precision=precision)
        self._rule = manifest.preprocess

    @property
    def bank(self) -> Bank | None:
        """Return what the model remembers of the parts that it learnt from; None where its release carries nothing.

        Raises:
            BundleError: MANIFEST_INVALID: the file is none.
        """
        artefact = self._bundle.manifest.bank
        if artefact is None:
            return None
        return read_bank((self.directory / artefact.path).read_bytes(), str(self.directory / artefact.path))

    def known(self) -> KnownModel:
        """Return the model version as a database is told of it; its id there is not known yet."""
        manifest, bank = self._bundle.manifest, self.bank
        width = self.place(np.zeros((self._rule.height, self._rule.width, 3), np.uint8)).shape[0]
        usual = None if bank is None else 1 - bank.limit(GOOD_SHARE)
        digest = manifest.model_artefact.sha256
        return KnownModel(0, manifest.model, manifest.version, digest, width, usual, str(self.directory))

    def place(self, picture: vision.RGB) -> NDArray[np.float32]:
        """Return where the model finds a picture [h, w, 3]: [width], of length 1."""
        image, _ = vision.prepare(picture, self._rule)
        return np.asarray(self._device.run(image[np.newaxis])[EMBEDDING][0], np.float32)

    def learnt(self, product: str) -> list[Part]:
        """Return the parts of the model's own memory."""
        bank = self.bank
        if bank is None:
            return []
        return [
            Part("training", part.file, product, part.label, "", None, row)
            for part, row in zip(bank.parts, bank.embeddings, strict=True)
        ]

    def captured(self, folder: Path, product: str) -> tuple[list[Part], list[str]]:
        """Return the parts of a folder that ``captures pull`` made, and what could not be read and why.

        Raises:
            CloudError: NOT_FOUND: no pull made it.
        """
        found, left_out = [], []
        for row in pulled_rows(folder):
            file = str(row["file"])
            try:
                place = self.place(read_picture(folder / file))
            except AgentError as exc:
                left_out.append(f"{file}: {exc.message}")
                continue
            label = str(row.get("label", "") or "")
            part = f"{row.get('thing', '')}/{row.get('id', file)}"
            found.append(Part("capture", part, product, label, str(row.get("verdict", "")), _moment(row), place))
        return found, left_out


def read_picture(path: Path) -> vision.RGB:
    """Return a picture file decoded.

    Raises:
        CloudError: NOT_FOUND: it cannot be read.
        InferenceError: it is no picture.
    """
    try:
        return vision.decode(path.read_bytes())
    except OSError as exc:
        raise CloudError(Code.NOT_FOUND, f"expected a picture at {path}, {exc.strerror}") from exc


def pulled_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what a pull wrote down of each picture.

    Raises:
        CloudError: NOT_FOUND: no pull made the folder; INVALID_ARGUMENT: its list is damaged.
    """
    path = folder / LISTED
    if not path.is_file():
        expected = f"expected a folder that edge-cloud captures pull made, with {LISTED}"
        raise CloudError(Code.NOT_FOUND, f"{folder}: {expected}, there is none")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as exc:
            raise CloudError(Code.INVALID_ARGUMENT, f"{path}:{number}: expected JSON, {exc}") from exc
        if not isinstance(row, dict) or not isinstance(row.get("file"), str):
            raise CloudError(Code.INVALID_ARGUMENT, f"{path}:{number}: expected an object with a file")
        if Path(row["file"]).is_absolute() or ".." in Path(row["file"]).parts:
            raise CloudError(Code.INVALID_ARGUMENT, f"{path}:{number}: expected a file inside the folder")
        yield row


def _moment(row: dict[str, Any]) -> float | None:
    at = row.get("at")
    return float(at) if isinstance(at, int | float) else None


def shares(parts: Sequence[Part], size: int) -> Iterator[Sequence[Part]]:
    """Yield parts in shares of at most ``size``."""
    for start in range(0, len(parts), size):
        yield parts[start : start + size]
