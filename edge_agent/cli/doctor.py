"""What ``doctor`` looks at, each check a function that returns what it found."""

import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from edge_agent.cli.context import Places
from edge_agent.client import AgentClient
from edge_agent.config import Inference, Settings, TokenFault, TokenKey, is_loopback
from edge_agent.config.fragment import KEY, REQUEST
from edge_agent.errors import AgentError, Code, ConfigError

if TYPE_CHECKING:
    from edge_agent.inference.runtimes.table import RuntimeInfo

OK: Final = "ok"
WARN: Final = "warning"
BAD: Final = "bad"
# Two packages that install the same files: whichever came last wins, and half of it is the other's.
RIVALS = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("opencv-python", "opencv-python-headless"),
)
_DAY_S = 86_400.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Finding(NamedTuple):
    """What one check found."""

    check: str
    state: Literal["ok", "warning", "bad"]
    message: str
    facts: Mapping[str, object] = MappingProxyType({})
    """The same for programs, where there is more than the message."""


def examine(where: Places) -> list[Finding]:
    """Look at everything; one finding or more of each check."""
    findings = [*_state_directory(where), *_agent(where), *_rivals()]
    try:
        settings = where.settings()
        check_settings(settings)
    except ConfigError as exc:
        return [Finding("configuration", BAD, exc.message), *findings, *_runtimes(Inference())]
    file = str(where.config_file or "no file, defaults")
    found = [
        *_secrets(settings),
        *_token(where, settings),
        *_certificate(where, settings),
        *_space(where, settings),
        *findings,
        *_runtimes(settings.inference),
    ]
    return [Finding("configuration", OK, file), *found]


def check_settings(settings: Settings) -> None:
    """Look for what single settings cannot tell.

    Raises:
        ConfigError: two settings contradict each other, or an address asks for more.
    """
    if settings.rpc.tcp:
        from edge_agent.rpc.addresses import tls_credentials  # noqa: PLC0415 - help comes without it

        tls_credentials(settings.rpc)
    metrics = settings.telemetry.metrics
    if metrics and not is_loopback(metrics.rpartition(":")[0]):
        raise ConfigError(Code.CONFIG_INVALID, f"telemetry.metrics: expected a loopback address, came {metrics}")
    for name, options in settings.station.items():
        from edge_agent.station.camera import open_camera  # noqa: PLC0415 - as above

        # Nothing is connected before somebody asks for a picture.
        open_camera(name, options).close()


def _state_directory(where: Places) -> Iterator[Finding]:
    path = where.state_dir
    if not path.is_dir():
        yield Finding("state directory", BAD, f"{path} is missing")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("state directory", BAD, f"{path} cannot be written by this user")
    else:
        yield Finding("state directory", OK, str(path))


def _space(where: Places, settings: Settings) -> Iterator[Finding]:
    if where.state_dir.is_dir():
        free, reserve = shutil.disk_usage(where.state_dir).free, settings.deployment.reserve_bytes
        state: Literal["ok", "bad"] = OK if free > reserve else BAD
        yield Finding("disk space", state, f"{free} bytes free, {reserve} are reserved")


def _agent(where: Places) -> Iterator[Finding]:
    with AgentClient.at(where.runtime_dir) as client:
        try:
            status = client.status()
        except AgentError as exc:
            yield Finding("agent", WARN, exc.message)
            return
    yield Finding(
        "agent", OK if status.agent.state == "READY" else WARN, f"{status.agent.state} {status.agent.message}"
    )
    for model in status.models:
        healthy = model.state == "READY"
        told = f"{model.active or 'no version'} {model.state} {model.message}".strip()
        yield Finding(f"model {model.name}", OK if healthy else WARN, told)
    if not status.clock.trusted:
        yield Finding("clock", BAD, "it contradicts what was signed; installs wait for it")


def _runtimes(inference: Inference) -> Iterator[Finding]:
    """Tell of every runtime, and of what the settings ask for and none can give."""
    from edge_agent.inference.runtimes.table import available_runtimes  # noqa: PLC0415 - only this verb pays for it

    found = available_runtimes()
    for runtime in found:
        yield Finding(f"runtime {runtime.name}", OK if runtime.usable else WARN, _told(runtime), _facts(runtime))
    usable = {runtime.name for runtime in found if runtime.usable}
    missing = [name for name in inference.runtimes if name not in usable]
    if missing:
        nothing = len(missing) == len(inference.runtimes)
        yield Finding("runtimes", BAD if nothing else WARN, f"configured and not usable: {', '.join(missing)}")
    here = {provider for runtime in found for provider in runtime.providers}
    absent = [name for name in inference.providers if name not in here and f"{name}.0" not in here]
    if absent:
        yield Finding("providers", WARN, f"configured, and no usable runtime has them: {', '.join(absent)}")


def _told(runtime: "RuntimeInfo") -> str:
    parts = [runtime.version, ", ".join(runtime.providers)] if runtime.usable else [runtime.why_not]
    what = ": ".join(filter(None, parts))
    return f"{what} ({runtime.remark})" if runtime.remark else what


def _facts(runtime: "RuntimeInfo") -> dict[str, object]:
    return {
        "usable": runtime.usable,
        "version": runtime.version,
        "providers": list(runtime.providers),
        "extra": runtime.extra,
        "remark": runtime.remark,
    }


def _rivals() -> Iterator[Finding]:
    installed = {str(package.metadata["Name"]).lower().replace("_", "-") for package in metadata.distributions()}
    for pair in RIVALS:
        if installed.issuperset(pair):
            yield Finding("packages", BAD, f"{' and '.join(pair)} share files: remove both and install one")


def _secrets(settings: Settings) -> Iterator[Finding]:
    key = settings.mqtt.private_key
    found = [key.pin_file if isinstance(key, TokenKey) else key, settings.rpc.tls.private_key]
    for credentials in (settings.repository.credentials, settings.capture.credentials):
        kind, _, file = credentials.partition(":")
        found.append(Path(file) if kind == "file" else None)
    for path in dict.fromkeys(path for path in found if path is not None):
        yield _secret(path)


def _token(where: Places, settings: Settings) -> Iterator[Finding]:
    """Tell what can be told without showing the token its PIN."""
    key, certificate = settings.mqtt.private_key, settings.mqtt.certificate
    if not isinstance(key, TokenKey) or certificate is None:
        return
    from edge_agent.identity.lineage import RENEWED, keys_in  # noqa: PLC0415 - only who has a cloud pays for it

    request = certificate.with_name(REQUEST)
    if key.library.is_absolute() and not key.library.is_file():
        yield Finding("token", BAD, key.fault(TokenFault.LIBRARY).message)
    elif not request.is_file():
        yield Finding("token", WARN, f"{request} is missing, by which another certificate is asked for")
    else:
        yield Finding("token", OK, f"key {key.object} in {key.token}; whether it opens the agent's log says")
    yield from (
        Finding("secret", WARN, f"{path}: a key of before the token; end its certificate and delete it")
        for path in (certificate.with_name(KEY), *keys_in(where.state_dir / RENEWED))
        if path.name == KEY and path.exists()
    )


def _certificate(where: Places, settings: Settings) -> Iterator[Finding]:
    """Tell when the certificate in use ends, whichever that is by now."""
    mqtt = settings.mqtt
    if not mqtt.endpoint or mqtt.certificate is None or mqtt.private_key is None:
        return
    from edge_agent.identity.lineage import RENEWED, Files, Lineage  # noqa: PLC0415 - only who has a cloud pays for it

    try:
        lineage = Lineage(where.state_dir / RENEWED, Files(mqtt.certificate, mqtt.private_key))
        files, ends = lineage.files, lineage.current.ends
    except AgentError as exc:
        yield Finding("certificate", BAD, exc.message)
        return
    if isinstance(files.private_key, Path) and files.private_key != mqtt.private_key:
        yield _secret(files.private_key)
    left_days = (ends - time.time()) / _DAY_S
    soon: Literal["ok", "warning"] = WARN if left_days < mqtt.renew_before_days else OK
    day = time.strftime("%Y-%m-%d", time.gmtime(ends))
    yield Finding("certificate", BAD if left_days <= 0 else soon, f"{files.certificate} ends on {day}", {"ends": ends})


def _secret(path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        return Finding("secret", BAD, f"{path}: {exc.strerror}")
    if mode & _OTHERS:
        return Finding("secret", BAD, f"{path}: others may use it; expected mode 0600, came {stat.S_IMODE(mode):04o}")
    return Finding("secret", OK, str(path))
