"""A training's run in another form: int8, or OpenVINO's IR; accepted by its figures on validation, or not at all.

The form is calibrated on pictures of the training; validation decides; test pictures, where there are some, are
told in the report and decide nothing.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud_tools.datasets import Dataset, Split, read
from cloud_tools.errors import CloudError
from cloud_tools.evaluation.comparison import Comparison, changed_verdicts, largest_drop, latencies_in_turns
from cloud_tools.evaluation.device import DeviceModel, largest_difference
from cloud_tools.packaging import golden
from cloud_tools.packaging.parts import BANK, FILE, GOLDEN, IR, MODEL, ManifestParts, read_parts
from cloud_tools.training.report import PREDICTIONS, REPORT, predictions_of, write_predictions, write_report
from edge_agent.errors import Code
from edge_agent.formats import RuntimeNeed

if TYPE_CHECKING:
    from cloud_tools.training.batches import Loaded
    from cloud_tools.training.judge import Answers

PARITY = 1e-4
"""An IR in fp32 may differ from the graph by this much, as the graph from the training."""
_MOST_CALIBRATION = 128


class Form(str, Enum):
    """What a run's graph can become."""

    ONNX_INT8 = "onnxruntime"
    """QuantizeLinear and DequantizeLinear in an ONNX file."""
    OPENVINO_INT8 = "nncf"
    """OpenVINO's IR, quantised by NNCF."""
    OPENVINO = "openvino"
    """OpenVINO's IR in fp32."""

    @property
    def runtime(self) -> RuntimeNeed:
        """Return what the manifest says of it."""
        precision: Literal["fp32", "int8"] = "fp32" if self is Form.OPENVINO else "int8"
        return RuntimeNeed(name="onnxruntime" if self is Form.ONNX_INT8 else "openvino", precision=precision)

    @property
    def file(self) -> str:
        """Return what its graph is called in a run."""
        return MODEL if self is Form.ONNX_INT8 else IR


class Reformed(NamedTuple):
    """What came of it."""

    ok: bool
    message: str
    """Why it was refused."""
    figures: dict[str, Any]


def reform(run: Path, form: Form, data: Path, out: Path, *, margin: float, progress: Callable[[str], None]) -> Reformed:
    """Write a run whose graph has another form, if its figures allow it.

    Args:
        run: of a training.
        form: what it shall become.
        data: the data set that the run learnt from, as it was then.
        out: new or empty; it is there completely, or not at all.
        margin: by how much a metric on validation may fall, at most, in int8.
        progress: is told each step.

    Raises:
        CloudError: it is no run of ONNX in fp32, the data set is another, ``out`` is not empty, or the library refuses.
    """
    if not 0 < margin < 1:
        raise CloudError(Code.OUT_OF_RANGE, f"expected a margin between 0 and 1, came {margin}")
    parts, report = _read_run(run)
    dataset = _dataset(parts, report, data)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CloudError(Code.ALREADY_EXISTS, f"expected a new or empty folder, came {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    staged.mkdir()
    try:
        figures, message = _work(run, staged, form, dataset, parts, report, margin, progress)
        if not message:
            if out.exists():
                out.rmdir()
            staged.replace(out)
        return Reformed(not message, message, figures)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _read_run(run: Path) -> tuple[ManifestParts, dict[str, Any]]:
    parts = read_parts(run)
    if parts.runtime != RuntimeNeed(name="onnxruntime") or not (run / MODEL).is_file():
        came = f"{parts.runtime.name} in {parts.runtime.precision}"
        raise CloudError(Code.INVALID_ARGUMENT, f"{run}: expected a run with {MODEL} in fp32, came {came}")
    try:
        report: dict[str, Any] = json.loads((run / REPORT).read_bytes())
        report["options"], report["data"]["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise CloudError(Code.NOT_FOUND, f"{run}: expected a run with its {REPORT}, {exc!r}") from exc
    return parts, report


def _dataset(parts: ManifestParts, report: dict[str, Any], data: Path) -> Dataset:
    options = report["options"]
    told = {"seed": options["seed"], "part_regex": options["part_regex"], "only": options["only"]}
    dataset = read(data, parts.kind, **told)
    digest, wanted = dataset.digest(), report["data"]["sha256"]
    if digest != wanted:
        message = (
            f"{data}: expected the pictures and splits of the training ({wanted[:12]}), came others ({digest[:12]})"
        )
        raise CloudError(Code.INVALID_ARGUMENT, message)
    if not dataset.of(Split.VALIDATION):
        raise CloudError(Code.INVALID_ARGUMENT, f"{data}: expected validation pictures to decide by, came none")
    return dataset


def _work(
    run: Path,
    staged: Path,
    form: Form,
    dataset: Dataset,
    parts: ManifestParts,
    report: dict[str, Any],
    margin: float,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], str]:
    """Return the figures and why it is refused; when it is not, the staged folder is a whole run."""
    target = staged / form.file
    progress(f"making {form.file} ({form.value})")
    used = _make(form, run / MODEL, target, dataset, parts)
    before, after = DeviceModel(run / MODEL), DeviceModel(target, precision=form.runtime.precision)
    progress("comparing on validation")
    loaded, made = _judging(dataset, parts)
    if made:
        progress(
            f"validation holds no defect: {made} made ones are compared too, pieces and noise on its good pictures"
        )
    held, reformed = _answers(before, loaded), _answers(after, loaded)
    compared = _compare(held, reformed, before, after, parts)
    figures = {"form": form.value, "margin": margin, "calibration_pictures": used, "made_defects": made}
    figures |= compared.to_json()
    message = _refusal(form, compared, margin)
    if not message:
        answers = _finish(run, staged, form, dataset, parts, report, figures, after)
        _keep_bank(run, staged, after, answers, progress)
    return figures, message


def _make(form: Form, model: Path, target: Path, dataset: Dataset, parts: ManifestParts) -> int:
    """Write the graph in its new form and return how many pictures told its ranges."""
    if form is Form.OPENVINO:
        from cloud_tools.export.ir import convert

        convert(model, target)
        return 0
    from cloud_tools.training.batches import load

    learnt = dataset.of(Split.TRAIN)
    places = np.linspace(0, len(learnt) - 1, min(_MOST_CALIBRATION, len(learnt))).astype(int)
    images = load([learnt[place] for place in places], parts.preprocess).images
    quantiser(form)(model, images, target)
    return len(images)


def quantiser(form: Form) -> Callable[[Path, NDArray[np.uint8], Path], None]:
    """Return what writes a graph in int8; its library is loaded now."""
    if form is Form.ONNX_INT8:
        from cloud_tools.export import qdq

        return qdq.quantise
    from cloud_tools.export import ir

    return ir.quantise


def _judging(dataset: Dataset, parts: ManifestParts) -> tuple["Loaded", int]:
    """Return the validation pictures, and how many defects were made because there is none among them.

    Good pictures alone cannot show that a graph in int8 finds nothing any more: its scores may only have sunk.
    """
    from cloud_tools.export.strained import with_defects
    from cloud_tools.training.batches import load

    loaded = load(dataset.of(Split.VALIDATION), parts.preprocess)
    strained = loaded if loaded.anomalous.any() else with_defects(loaded)
    return strained, len(strained.samples) - len(loaded.samples)


def _answers(device: DeviceModel, loaded: "Loaded") -> "Answers":
    from cloud_tools.training.judge import Answers

    said = [device.run(image[np.newaxis]) for image in loaded.images]
    raw = np.concatenate([one["score"] for one in said])
    maps = np.concatenate([one["map"] for one in said]) if "map" in said[0] else None
    return Answers(loaded, raw, maps)


def _compare(
    held: "Answers", reformed: "Answers", before: DeviceModel, after: DeviceModel, parts: ManifestParts
) -> Comparison:
    from cloud_tools.training.judge import figures

    decision, rule = parts.decision, parts.preprocess
    metrics, changed_metrics = (figures(one, decision, rule) for one in (held, reformed))
    scores, others = held.scores(decision), reformed.scores(decision)
    dropped, drop = largest_drop(metrics, changed_metrics)
    files = [sample.file for sample in held.loaded.samples]
    return Comparison(
        metrics,
        changed_metrics,
        drop,
        dropped,
        largest_difference(scores, others),
        tuple(changed_verdicts(files, scores, others, decision.threshold)),
        len(files),
        (before.size_bytes, after.size_bytes),
        latencies_in_turns(before, after, held.loaded.images),
    )


def _refusal(form: Form, compared: Comparison, margin: float) -> str:
    if form is Form.OPENVINO:
        if compared.max_difference <= PARITY and not compared.changed:
            return ""
        came = f"{compared.max_difference:.2e} and {len(compared.changed)} other verdicts"
        return f"refused: the IR must say what the graph says within {PARITY}, came {came}"
    if compared.largest_drop < margin:
        return ""
    name = compared.dropped
    fell = f"{name} fell from {compared.before[name]:.4f} to {compared.after[name]:.4f} on {compared.pictures} pictures"
    return f"refused: expected every metric on validation to fall by less than {margin:g}, {fell}"


def _finish(
    run: Path,
    staged: Path,
    form: Form,
    dataset: Dataset,
    parts: ManifestParts,
    report: dict[str, Any],
    figures: dict[str, Any],
    device: DeviceModel,
) -> "Answers":
    """Complete the staged run: predictions, golden pictures, parts and report of the new form; return its answers.

    Whether the training was good, its report says as before: a gate that stopped it is not passed by another form.
    """
    from cloud_tools.training.batches import load
    from cloud_tools.training.judge import figures as metrics_of

    answers = _answers(device, load(dataset.samples, parts.preprocess))
    scores = answers.scores(parts.decision)
    threshold = parts.decision.threshold
    predictions = predictions_of(dataset.samples, scores, threshold)
    write_predictions(staged / PREDICTIONS, predictions)
    _write_golden(staged, dataset, [(p.file, p.score) for p in predictions], parts, form)
    judged = answers.of(Split.TEST if dataset.of(Split.TEST) else Split.VALIDATION)
    metrics = metrics_of(judged, parts.decision, parts.preprocess)
    metrics |= {"latency_ms": figures["latency_ms"]["after"], "size_bytes": figures["size_bytes"]["after"]}
    kept = {key: value for key, value in parts.evaluation.items() if key not in ("parity_max_difference", *metrics)}
    counted = {**figures, "changed_verdicts": len(figures["changed_verdicts"])}  # a manifest is no list of files
    changes = {
        "runtime": form.runtime,
        "evaluation": {**kept, **metrics, "form": counted},
        "provenance": {**parts.provenance, "form": form.value, "made_from_sha256": _digest(run / MODEL)},
    }
    (staged / FILE).write_bytes(parts.model_copy(update=changes).to_json())
    write_report(staged, report | {"metrics": metrics, "form": figures})
    return answers


def _keep_bank(
    run: Path, staged: Path, device: DeviceModel, answers: "Answers", progress: Callable[[str], None]
) -> None:
    """Leave the memory bank anew where the run has one: in another form the graph puts parts elsewhere."""
    from cloud_tools.training.bank import leave_bank

    if (run / BANK).is_file():
        leave_bank(staged, device, answers.loaded, progress)


def _write_golden(
    staged: Path, dataset: Dataset, scores: list[tuple[str, float]], parts: ManifestParts, form: Form
) -> None:
    samples = {sample.file: sample for sample in dataset.samples}
    threshold = parts.decision.threshold
    tolerance = golden.INT8_TOLERANCE if form.runtime.precision == "int8" else golden.TOLERANCE
    candidates = [
        golden.Candidate(file, score, samples[file].anomalous == (score >= threshold))
        for file, score in scores
        if samples[file].split is not Split.TRAIN
    ]
    chosen = golden.choose(candidates, threshold, tolerance)
    golden.write(staged / GOLDEN, chosen, lambda file: samples[file].picture())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
