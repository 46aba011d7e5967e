"""What may never sink: role versions, each model's lowest release, the time of signing.

Two copies, each with a checksum over its content. Reading takes what is highest in
those that are whole. A role's version is kept together with the keys that signed it:
when root (for a delegated role: targets) gives it other keys its count may begin anew
(TUF 1.0 §5.3.11), so a stolen timestamp key cannot lock a device out for ever by a
version of 2^31.
"""

import json
import logging
from hashlib import sha256
from pathlib import Path

from pydantic import Field

from edge_agent.errors import Code, DocumentError, TrustError
from edge_agent.formats import Document, parse
from edge_agent.storage import durable

log = logging.getLogger(__name__)

_COPIES = ("floors-1.json", "floors-2.json")
_LIMIT_BYTES = 4 << 20


class RoleFloor(Document):
    """The newest metadata of one role that was accepted."""

    version: int = Field(ge=0)
    keys: str = Field("", description="digest of the key ids that root names for the role")


class Floors(Document):
    """All floors at once."""

    serial: int = Field(0, ge=0, description="grows with every change")
    roles: dict[str, RoleFloor] = Field(default_factory=dict)
    issued: float = Field(0.0, ge=0, allow_inf_nan=False, description="when the timestamp was signed")
    models: dict[str, int] = Field(default_factory=dict, description="lowest release_seq of each model")

    def sunk(self, seen: "Floors") -> dict[str, TrustError]:
        """Return a refusal, METADATA_ROLLBACK, for each role that a repository offers older than was accepted."""
        return {
            role: TrustError(
                Code.METADATA_ROLLBACK,
                f"{role}: expected version {floor.version} or later, which this device has seen; "
                f"came {offered.version}",
            )
            for role, offered in seen.roles.items()
            if (floor := self.roles.get(role, RoleFloor(version=0))).version > offered.version
            and floor.keys == offered.keys
        }

    def raised(self, seen: "Floors") -> "Floors":
        """Return the floors after ``seen`` was accepted; only a role with other keys may sink."""
        same_signer = self.roles.get("timestamp", RoleFloor(version=0)).keys == _keys(seen, "timestamp")
        models = {name: max(self.models.get(name, 0), seen.models.get(name, 0)) for name in self.models | seen.models}
        raised = Floors(
            serial=self.serial,
            roles=self.roles | seen.roles,
            issued=max(self.issued, seen.issued) if same_signer else seen.issued,
            models=models,
        )
        return raised if raised == self else raised.model_copy(update={"serial": self.serial + 1})

    def joined(self, other: "Floors") -> "Floors":
        """Return the floors of this device together with those of a backup: none is lower than it was here.

        Of a role that other keys sign there, what this device has seen itself counts.
        """
        roles = other.roles | self.roles
        for role, floor in other.roles.items():
            if roles[role].keys == floor.keys and floor.version > roles[role].version:
                roles[role] = floor
        models = {name: max(self.models.get(name, 0), other.models.get(name, 0)) for name in self.models | other.models}
        comparable = _keys(self, "timestamp") in ("", _keys(other, "timestamp"))
        issued = max(self.issued, other.issued) if comparable else self.issued
        return Floors(serial=max(self.serial, other.serial) + 1, roles=roles, issued=issued, models=models)


class FloorFiles:
    """The two copies.

    Args:
        directory: where they lie; it is there when ``save`` is called.
    """

    def __init__(self, directory: Path) -> None:
        self._paths = [directory / name for name in _COPIES]

    def load(self) -> Floors:
        """Return the highest of what is whole; empty floors, of serial 0, where nothing is.

        Damage is logged. With both copies gone python-tuf's own metadata still protects.
        """
        found = sorted((floors for path in self._paths if (floors := _read(path))), key=lambda floors: floors.serial)
        if not found:
            return Floors()
        newest = found[-1]
        models = {name: max(f.models.get(name, 0) for f in found) for name in {n for f in found for n in f.models}}
        return newest.model_copy(update={"models": models})

    def save(self, floors: Floors) -> None:
        """Write both copies, one after the other, so that one is whole at any moment.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        body = floors.to_json()
        line = json.dumps({"sha256": sha256(body).hexdigest()}).encode() + b"\n"
        for path in self._paths:
            durable.write(path, line + body)

    def complete(self, floors: Floors) -> bool:
        """Tell whether both copies hold ``floors``."""
        return all(_read(path, quiet=True) == floors for path in self._paths)


def _keys(floors: Floors, role: str) -> str:
    return floors.roles.get(role, RoleFloor(version=0)).keys


def _read(path: Path, *, quiet: bool = False) -> Floors | None:
    try:
        with path.open("rb") as file:
            return _whole(file.read(_LIMIT_BYTES), path.name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, DocumentError) as exc:
        if not quiet:
            log.warning("floors damaged", extra={"action": "floors_damaged", "path": str(path), "reason": str(exc)})
        return None


def _whole(content: bytes, name: str) -> Floors:
    line, _, body = content.partition(b"\n")
    if json.loads(line)["sha256"] != sha256(body).hexdigest():
        raise ValueError("the checksum does not match")
    return parse(Floors, body, what=name)
