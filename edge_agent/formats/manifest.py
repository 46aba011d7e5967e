"""The manifest: everything a device must know of one signed model version.

A release is this document (the TUF target) and the artefacts it lists, stored by
their SHA-256. Calibration and threshold stand here and not in the graph, so that
they can change without a new graph.
"""

from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from edge_agent.formats.document import Document
from edge_agent.formats.model_version import ModelName, ModelVersion, Version
from edge_agent.formats.policy import Policy
from edge_agent.formats.tensor_spec import TensorSpec

SCHEMA = "edge-agent/manifest/1"
LIMIT_BYTES = 1 << 20
LIMIT_ARTEFACT_BYTES = 8 << 30
LIMIT_BANK_BYTES = 64 << 20
SHA256_PATTERN = r"^[0-9a-f]{64}$"
# Its compiled models are native code, and bring the library that executes them.
_NATIVE_RUNTIME = "dlr"


def _inner_path(value: str) -> str:
    path = PurePosixPath(value)
    plain = value == str(path) and not path.is_absolute()
    if not plain or any(part in ("", ".", "..") for part in path.parts) or not value.isprintable() or "\\" in value:
        raise ValueError("expected a relative path of plain names")
    return value


InnerPath = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_inner_path)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


class Kind(str, Enum):
    """What a model tells of a part."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"
    ANOMALY = "anomaly"


class Role(str, Enum):
    """What an artefact is for."""

    MODEL = "model"
    GOLDEN = "golden"
    EXTRA = "extra"
    LIBRARY = "library"
    """Native code; only with a runtime that takes it from the release, and on devices that allow it."""
    BANK = "bank"
    """The memory bank of the parts that were learnt from; ``formats.bank`` reads it."""


BESIDE_THE_MODEL = (Role.GOLDEN, Role.BANK)
"""What no engine is made of, and no weights may be called."""


class Artefact(Document):
    """One file of the release."""

    path: InnerPath
    role: Role
    size_bytes: int = Field(ge=0, le=LIMIT_ARTEFACT_BYTES)
    sha256: Sha256


class RuntimeNeed(Document):
    """Which library executes the model, and how exactly."""

    name: Literal["onnxruntime", "openvino", "tensorrt", "dlr"]
    precision: Literal["fp32", "fp16", "int8"] = "fp32"


class Requirements(Document):
    """What the device must have; checked before a byte is downloaded."""

    agent: Version = Field("0.1", description="lowest agent version")
    machines: tuple[str, ...] = Field(
        ("x86_64", "aarch64"), min_length=1, description="machine names as uname prints them"
    )
    memory_bytes: int = Field(0, ge=0, description="resident memory of a loaded worker")


class Preprocess(Document):
    """How a frame becomes the model's input; executed by ``edge_agent.vision`` everywhere."""

    width: int = Field(ge=8, le=8192)
    height: int = Field(ge=8, le=8192)
    letterbox: bool = Field(default=True, description="keep the aspect ratio and pad; else stretch")
    fill: int = Field(0, ge=0, le=255, description="grey value of the padding")
    interpolation: Literal["area", "linear"] = "area"


class Calibration(Document):
    """From the graph's raw score to 0..1: ``sigmoid(scale * raw + offset)``."""

    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)


class Decision(Document):
    """From a calibrated score to a verdict: at or above the threshold a part is NG."""

    calibration: Calibration = Calibration()
    threshold: float = Field(ge=0, le=1, allow_inf_nan=False)
    threshold_range: tuple[float, float] = (0.0, 1.0)
    pixel_threshold: float = Field(0.5, ge=0, le=1, allow_inf_nan=False, description="of the map after the sigmoid")

    @model_validator(mode="after")
    def _threshold_in_range(self) -> "Decision":
        low, high = self.threshold_range
        if not 0 <= low <= self.threshold <= high <= 1:
            raise ValueError(f"expected threshold within threshold_range within 0..1, came {self.threshold}")
        return self


class GoldenSample(Document):
    """An image whose answer is known."""

    image: InnerPath
    score: float = Field(ge=0, le=1, allow_inf_nan=False, description="calibrated")
    verdict: Literal["OK", "NG"]


class Golden(Document):
    """The samples a candidate must answer before it may serve."""

    tolerance: float = Field(1e-3, gt=0, le=0.1, allow_inf_nan=False)
    samples: tuple[GoldenSample, ...] = Field(min_length=1, max_length=64)


class Manifest(Document):
    """One signed model version."""

    schema_: Literal["edge-agent/manifest/1"] = Field(alias="schema")
    model: ModelName
    version: Version
    release_seq: int = Field(ge=1, description="grows with every release of the model")
    kind: Kind
    labels: tuple[str, ...] = Field((), max_length=1000, description="classes, in the graph's order")
    normal_labels: tuple[str, ...] = Field((), description="the classes that mean OK")
    runtime: RuntimeNeed
    requires: Requirements = Requirements()
    inputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=64)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, max_length=64)
    preprocess: Preprocess
    decision: Decision
    golden: Golden
    artefacts: tuple[Artefact, ...] = Field(min_length=1, max_length=256)
    policy: Policy = Policy()
    evaluation: dict[str, Any] = Field(default_factory=dict, description="figures of the training side")
    provenance: dict[str, Any] = Field(default_factory=dict, description="data digest, seed, code version")

    @property
    def model_version(self) -> ModelVersion:
        """Return what is released here."""
        return ModelVersion(self.model, self.version)

    @property
    def model_artefact(self) -> Artefact:
        """Return the one file that the runtime loads."""
        return next(a for a in self.artefacts if a.role is Role.MODEL)

    @property
    def bank(self) -> Artefact | None:
        """Return the memory bank of the parts that were learnt from; None where the release carries none."""
        return next((a for a in self.artefacts if a.role is Role.BANK), None)

    @property
    def libraries(self) -> tuple[Artefact, ...]:
        """Return the native code of the release."""
        return tuple(artefact for artefact in self.artefacts if artefact.role is Role.LIBRARY)

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all artefacts."""
        return sum({a.sha256: a.size_bytes for a in self.artefacts}.values())

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        paths = [artefact.path for artefact in self.artefacts]
        if len(set(paths)) != len(paths) or "manifest.json" in paths:
            raise ValueError("artefacts: each path may stand once, and manifest.json is this document's own")
        sizes: dict[str, int] = {}
        for artefact in self.artefacts:
            if sizes.setdefault(artefact.sha256, artefact.size_bytes) != artefact.size_bytes:
                raise ValueError(f"artefacts: {artefact.path} has the digest of a file of another size")
        models = [artefact for artefact in self.artefacts if artefact.role is Role.MODEL]
        if len(models) != 1:
            raise ValueError(f"artefacts: expected one with role model, came {len(models)}")
        self._check_native(models[0])
        self._check_bank()
        missing = {sample.image for sample in self.golden.samples} - set(paths)
        if missing:
            raise ValueError(f"golden: {min(missing)} is not among the artefacts")
        unknown = set(self.normal_labels) - set(self.labels)
        if unknown:
            raise ValueError(f"normal_labels: {min(unknown)} is not among the labels")
        return self

    def _check_bank(self) -> None:
        banks = [artefact for artefact in self.artefacts if artefact.role is Role.BANK]
        if len(banks) > 1:
            raise ValueError(f"artefacts: expected at most one with role bank, came {len(banks)}")
        if banks and banks[0].size_bytes > LIMIT_BANK_BYTES:
            came = banks[0].size_bytes
            raise ValueError(f"artefacts: expected a bank of at most {LIMIT_BANK_BYTES} bytes, came {came}")

    def _check_native(self, model: Artefact) -> None:
        if self.runtime.name != _NATIVE_RUNTIME:
            if self.libraries:
                message = f"{self.libraries[0].path} is a library, and only {_NATIVE_RUNTIME} takes one"
                raise ValueError(f"artefacts: {message} from a release")
            return
        # The runtime takes every file of the model's directory by its ending: manifest.json must not be in it.
        folder = PurePosixPath(model.path).parent
        if folder == PurePosixPath():
            raise ValueError(
                f"artefacts: {model.path} must lie in a directory of its own, as {_NATIVE_RUNTIME} needs it"
            )
        strange = [artefact.path for artefact in self.libraries if PurePosixPath(artefact.path).parent != folder]
        if strange:
            raise ValueError(f"artefacts: {strange[0]} is a library, and must lie in {folder}")
