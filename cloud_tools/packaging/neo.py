"""What SageMaker Neo compiled: a folder with a ``.meta``, libraries and parameters, told apart by their endings.

It becomes a bundle for the runtime ``dlr`` where its model keeps our contract (uint8 pictures in, "score" out) and
libdlr.so lies with it. Golden samples ask it what it says, which executes its native code: only with leave.
"""

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloud_tools.errors import CloudError
from cloud_tools.packaging.bundle import Packaged, package
from cloud_tools.packaging.foreign import decision_of, golden_pictures
from cloud_tools.packaging.parts import ManifestParts
from edge_agent.errors import ActivationError, Code
from edge_agent.formats import Kind, Preprocess, RuntimeNeed
from edge_agent.formats.contents import check_library, check_model

if TYPE_CHECKING:
    from cloud_tools.packaging.imported import Order

_META: Final = ".meta"
_ELF_MACHINE: Final = slice(18, 20)
# elf.h: e_machine, as uname names them.
_MACHINES: Final = {b"\x3e\x00": "x86_64", b"\xb7\x00": "aarch64"}


def find(folder: Path) -> Path | None:
    """Return the ``.meta`` of a compiled model in this folder or below; None: there is not exactly one."""
    found = sorted(folder.rglob(f"*{_META}")) if folder.is_dir() else []
    return found[0] if len(found) == 1 else None


def package_compiled(meta: Path, order: "Order", provenance: dict[str, Any], out: Path) -> Packaged:
    """Write a compiled model as a bundle for the runtime ``dlr``.

    Args:
        meta: of the artefact; all that lies beside it goes with it.
        order: threshold, labels, golden pictures, and whether native code may be executed here.
        provenance: of the package.
        out: new or empty.

    Raises:
        CloudError: nobody gave leave, it is for another machine, or it does not keep our contract.
        BundleError: FORMAT_FORBIDDEN: a file is not what its ending says.
        ActivationError: its library is missing or refuses the model.
    """
    check_model(meta.read_bytes(), "dlr")
    libraries = sorted(meta.parent.glob("*.so"))
    for library in libraries:
        check_library(library.read_bytes(), library.name)
    machine = _machine(libraries)
    if not order.allow_native_code:
        raise CloudError(Code.PERMISSION_DENIED, _LEAVE)
    if machine != platform.machine():
        message = f"expected what was compiled for {platform.machine()}, came {machine}: import it on such a machine"
        raise CloudError(Code.FAILED_PRECONDITION, message)
    parts = _parts(meta, order, provenance)
    pictures = golden_pictures(order.golden, parts.preprocess)
    return package(meta, parts, pictures, order.name, order.version, out, machines=(machine,))


def _machine(libraries: list[Path]) -> str:
    machines = {_MACHINES.get(library.read_bytes()[_ELF_MACHINE], "another machine") for library in libraries}
    if len(machines) != 1:
        came = ", ".join(sorted(machines)) or "none"
        raise CloudError(Code.INVALID_ARGUMENT, f"expected libraries for one machine beside the .meta, came {came}")
    return machines.pop()


def _parts(meta: Path, order: "Order", provenance: dict[str, Any]) -> ManifestParts:
    from edge_agent.inference.runtimes.dlr import read_meta

    try:
        told = read_meta(meta.read_bytes())
    except ActivationError as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{meta.name}: {exc.message}") from exc
    image = told.inputs[0]
    if len(told.inputs) != 1 or len(image.shape) != 4 or image.dtype.value != "uint8":  # noqa: PLR2004 - N, H, W, C
        raise CloudError(Code.INVALID_ARGUMENT, f"expected a model that was compiled for {_OURS}, came {image}")
    names = {spec.name for spec in told.outputs}
    classes = Kind.CLASSIFICATION if "probabilities" in names else Kind.SEGMENTATION
    return ManifestParts(
        kind=classes if names & {"probabilities", "map"} else Kind.ANOMALY,
        runtime=RuntimeNeed(name="dlr"),
        labels=order.told.labels,
        normal_labels=order.told.normal_labels,
        preprocess=Preprocess(width=image.shape[2], height=image.shape[1], letterbox=order.letterbox),
        decision=decision_of(order.told, 0.5 if order.threshold is None else order.threshold),
        provenance=provenance,
    )


_OURS = "image uint8[1, height, width, 3] and an output score (others serve SageMaker Edge's Predict only)"
_LEAVE = (
    "the package holds what Neo compiled, native code, and golden samples would execute it here: "
    "say --allow-native-code if you trust who made it, or give the graph itself"
)
