"""``edge-cloud package``: of a run or a graph, and ``package import`` of the old systems' packages."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cloud_tools import output
from cloud_tools.export.told import Channels
from cloud_tools.output import JsonFlag
from cloud_tools.packaging import options
from cloud_tools.packaging.options import Resize

_OF = "of"
Out = Annotated[Path, typer.Option("-o", "--out", help="folder of the bundle; new or empty")]
Golden = Annotated[
    Path | None, typer.Option(help="of a graph: folder of pictures that golden samples are chosen from; else noise")
]


class _OfOrAnother(TyperGroup):
    """``package RUN`` is ``package of RUN``: the word may be left out."""

    default_verb = _OF

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put it there where no other verb stands."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [self.default_verb, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    room = typer.Typer(cls=_OfOrAnother, no_args_is_help=True, help="Write a bundle that can be published.")
    room.command(_OF)(package)
    room.command("import")(import_package)
    app.add_typer(room, name="package")


def package(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|FILE", help="a training's run, or a graph: .onnx, TorchScript, Keras, .tflite"),
    ],
    *,
    name: options.Name,
    version: options.Version,
    out: Out,
    label: options.Labels = None,
    normal_label: options.NormalLabels = None,
    threshold: options.Threshold = None,
    golden: Golden = None,
    range_: options.RangeFlag = None,
    mean: options.Mean = "0",
    std: options.Std = "1",
    layout: options.LayoutFlag = None,
    channels: options.ChannelsFlag = Channels.RGB,
    size: options.Size = "",
    resize: options.ResizeFlag = Resize.LETTERBOX,
    output_kind: options.Outputs = None,
    normal_channel: options.NormalChannels = None,
    scale: options.Scale = 1.0,
    offset: options.Offset = 0.0,
    bank: Annotated[
        bool, typer.Option("--bank/--no-bank", help="of a run: carry what it remembers of the parts it learnt from")
    ] = True,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="of a run: with small pictures of those parts")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Write a bundle of a run or a graph; the word "of" may be left out.

    A graph of floats is wrapped: what it wants of its pictures (--range, --mean, --std) is told, and what its
    outputs say is recognised or told. The manifest's release_seq is 1 until publish gives the real one.
    """
    from cloud_tools.packaging import bundle, foreign

    if source.is_dir() or not source.suffix:
        packaged = bundle.package_run(source, name, version, out, bank=bank, thumbnails=thumbnails)
        stopped = bundle.shortfall(source)
        if stopped:
            output.note(f"{source}: its training was stopped, and this bundle is of that model: {stopped}")
        _answer(packaged, "", as_json=as_json)
        return
    told = options.told_of(
        labels=label, normal_labels=normal_label, pixel_range=range_, mean=mean, std=std, layout=layout,
        channels=channels, size=size, outputs=output_kind, normal_channels=normal_channel, scale=scale, offset=offset,
    )  # fmt: skip
    rule = foreign.Rule(threshold=0.5 if threshold is None else threshold, letterbox=resize is Resize.LETTERBOX)
    with tempfile.TemporaryDirectory() as work:
        packaged, said = foreign.package_graph(source, told, rule, golden, name, version, out, Path(work))
    _answer(packaged, said, as_json=as_json)


def _answer(packaged: Any, recognised: str, *, as_json: bool, **more: Any) -> None:
    manifest = packaged.manifest
    verdicts = [sample.verdict for sample in manifest.golden.samples]
    answer = {
        "ok": True,
        "directory": str(packaged.directory),
        "model": manifest.model,
        "version": manifest.version,
        "size_bytes": manifest.size_bytes,
        "manifest_sha256": packaged.sha256,
        "kind": manifest.kind.value,
        "runtime": manifest.runtime.name,
        "precision": manifest.runtime.precision,
        "golden": {verdict: verdicts.count(verdict) for verdict in ("OK", "NG")},
        **({"recognised": recognised} if recognised else {}),
        **more,
    }
    if len(set(verdicts)) == 1:
        output.note(
            f"all golden samples are {verdicts[0]}: give --golden pictures of both kinds, so that they prove more"
        )
    output.emit(answer, as_json=as_json)


def import_package(
    source: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="a tar, tar.gz, zip or folder")],
    *,
    name: options.Name,
    version: options.Version,
    out: Out,
    label: options.Labels = None,
    normal_label: options.NormalLabels = None,
    threshold: options.Threshold = None,
    golden: Golden = None,
    range_: options.RangeFlag = None,
    mean: options.Mean = "0",
    std: options.Std = "1",
    layout: options.LayoutFlag = None,
    channels: options.ChannelsFlag = Channels.RGB,
    size: options.Size = "",
    resize: options.ResizeFlag = Resize.STRETCH,
    output_kind: options.Outputs = None,
    normal_channel: options.NormalChannels = None,
    scale: options.Scale = 1.0,
    offset: options.Offset = 0.0,
    allow_native_code: Annotated[
        bool, typer.Option("--allow-native-code", help="take what Neo compiled, and execute it here for golden samples")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a bundle of a package of SageMaker Edge, Neo or Lookout for Vision; publish signs it.

    Lookout's manifest tells everything; of the others the options tell what the package does not.
    """
    from cloud_tools.packaging import imported

    told = options.told_of(
        labels=label, normal_labels=normal_label, pixel_range=range_, mean=mean, std=std, layout=layout,
        channels=channels, size=size, outputs=output_kind, normal_channels=normal_channel, scale=scale, offset=offset,
    )  # fmt: skip
    order = imported.Order(
        told=told,
        threshold=threshold,
        letterbox=resize is Resize.LETTERBOX,
        golden=golden,
        allow_native_code=allow_native_code,
        name=name,
        version=version,
    )
    brought = imported.import_package(source, order, out)
    _answer(brought.packaged, brought.recognised, as_json=as_json, source_sha256=brought.sha256, package=brought.form)
