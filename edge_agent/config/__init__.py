"""The settings, read once and passed on in parts.

Precedence: file < ``EDGE_AGENT__ROOM__KEY`` < flag. An unknown key is an error
that names the nearest known one.
"""

from edge_agent.config.delivery import Deployment, Device, Mqtt, Probation, Repository, Shadow, Trust
from edge_agent.config.fields import CREDENTIALS_PATTERN, THING_PATTERN, Room, is_loopback
from edge_agent.config.inspection import Inspection
from edge_agent.config.line import Capture, Dashboard, Station
from edge_agent.config.plc import Modbus, Opcua, Outputs
from edge_agent.config.serving import Batch, Inference, ProviderName, Rpc, RpcTls, RuntimeName
from edge_agent.config.settings import (
    DEFAULT_FILE,
    DEFAULT_RUNTIME_DIR,
    DEFAULT_STATE_DIR,
    PREFIX,
    Settings,
    Telemetry,
    read_settings,
)
from edge_agent.config.tokens import KeyPlace, TokenFault, TokenKey, read_pin, token_fault, token_key

__all__ = [
    "CREDENTIALS_PATTERN",
    "DEFAULT_FILE",
    "DEFAULT_RUNTIME_DIR",
    "DEFAULT_STATE_DIR",
    "PREFIX",
    "THING_PATTERN",
    "Batch",
    "Capture",
    "Dashboard",
    "Deployment",
    "Device",
    "Inference",
    "Inspection",
    "KeyPlace",
    "Modbus",
    "Mqtt",
    "Opcua",
    "Outputs",
    "Probation",
    "ProviderName",
    "Repository",
    "Room",
    "Rpc",
    "RpcTls",
    "RuntimeName",
    "Settings",
    "Shadow",
    "Station",
    "Telemetry",
    "TokenFault",
    "TokenKey",
    "Trust",
    "is_loopback",
    "read_pin",
    "read_settings",
    "token_fault",
    "token_key",
]
