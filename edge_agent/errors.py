"""The whole error tree, ordered by what the receiver of an error does next.

Every error carries a ``Code``: a stable word that appears in a job's status
details, in logs and in the README's error table, which is generated from here.
Messages say what was expected and what came. Not done here: logging, and
translating errors of outside libraries (each door does that for its own).
"""

from enum import Enum

from typing_extensions import Self


class Code(str, Enum):
    """Stable words for what went wrong; the string after each says it to a person."""

    def __new__(cls, word: str, meaning: str) -> Self:
        """Make the member's value its word and keep the meaning beside it."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    meaning: str

    # configuration
    CONFIG_INVALID = "CONFIG_INVALID", "A setting is missing, unknown or has a bad value."
    DOCUMENT_INVALID = "DOCUMENT_INVALID", "A document (manifest, job, models_config) has a bad field."

    # refused: can never succeed on this device
    JOB_INVALID = "JOB_INVALID", "The job document is not one this agent understands."
    UNSIGNED_PACKAGE = "UNSIGNED_PACKAGE", "The job names a package that nobody signed."
    DOWNGRADE = "DOWNGRADE", "The release is older than the one that is committed."
    BELOW_FLOOR = "BELOW_FLOOR", "The release was revoked: its sequence lies under the signed floor."
    NO_PREVIOUS = "NO_PREVIOUS", "There is no previous version to roll back to."
    WRONG_HARDWARE = "WRONG_HARDWARE", "The release is not made for this machine."
    RUNTIME_MISSING = "RUNTIME_MISSING", "The runtime that the release needs is not installed."
    AGENT_TOO_OLD = "AGENT_TOO_OLD", "The release needs a newer agent."
    QUARANTINED = "QUARANTINED", "This manifest took the device down before and is quarantined."
    MEMORY_EXCEEDED = "MEMORY_EXCEEDED", "The release needs more memory than this device has for models."
    MODEL_MAPPED = "MODEL_MAPPED", "An application is mapped to the model, so it cannot be removed."
    WRONG_VERSION = "WRONG_VERSION", "The order means another version than the one that is committed."

    # transfer
    TRANSFER_FAILED = "TRANSFER_FAILED", "The repository could not be reached or answered wrongly."
    OBJECT_MISSING = "OBJECT_MISSING", "The repository does not hold the object."
    ACCESS_DENIED = "ACCESS_DENIED", "The repository refused the credentials."
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED", "The work did not end in its time."

    # trust, bundle
    SIGNATURE_INVALID = "SIGNATURE_INVALID", "Metadata is not signed by keys that this device trusts."
    METADATA_EXPIRED = "METADATA_EXPIRED", "The repository's metadata has expired."
    CLOCK_UNTRUSTED = "CLOCK_UNTRUSTED", "The clock contradicts what was signed; installs wait for it."
    METADATA_ROLLBACK = "METADATA_ROLLBACK", "The repository offers metadata older than what was seen."
    DEMO_ROOT = "DEMO_ROOT", "The root of trust is a demo's; this device does not allow that."
    RELEASE_UNKNOWN = "RELEASE_UNKNOWN", "No signed release has this name and version."
    DIGEST_MISMATCH = "DIGEST_MISMATCH", "The bytes are not the ones that were signed."
    MANIFEST_INVALID = "MANIFEST_INVALID", "The signed manifest is malformed or contradicts itself."
    FORMAT_FORBIDDEN = "FORMAT_FORBIDDEN", "An artefact has a format outside the allow-list."

    # storage
    NO_SPACE = "NO_SPACE", "The disk does not hold the release and the reserve."
    STORAGE_FAILED = "STORAGE_FAILED", "The state directory could not be read or written."
    STORE_LOCKED = "STORE_LOCKED", "Another agent already uses this state directory."
    CONTENT_MISSING = "CONTENT_MISSING", "A version that should be in the store is not, or is damaged."

    # activation
    BUILD_FAILED = "BUILD_FAILED", "The engine could not be built from the model."
    LOAD_FAILED = "LOAD_FAILED", "The candidate could not be loaded or its worker ended."
    GOLDEN_MISMATCH = "GOLDEN_MISMATCH", "The candidate's answers differ from the golden samples."
    SHADOW_REGRESSION = "SHADOW_REGRESSION", "The candidate disagreed with the live model on live requests."
    PROBATION_REGRESSION = "PROBATION_REGRESSION", "The new version broke a guard while it answered."
    ROLLED_BACK = "ROLLED_BACK", "The deployment was undone; the version before it answers."
    INTERRUPTED = "INTERRUPTED", "The agent ended while the new version was being activated."
    SUPERSEDED = "SUPERSEDED", "A newer order took this deployment's place."
    CANCELLED = "CANCELLED", "The job was cancelled, timed out or removed in the cloud."

    # jobs
    NOT_CONNECTED = "NOT_CONNECTED", "There is no connection to the job service."
    UPDATE_REJECTED = "UPDATE_REJECTED", "The job service rejected a report."

    # station
    CAMERA_FAILED = "CAMERA_FAILED", "The camera gives no picture; it is asked again with growing pauses."
    OUTPUT_FAILED = "OUTPUT_FAILED", "The chip of the digital outputs does not switch; it is tried again each second."

    # inference: these words are gRPC's
    NOT_FOUND = "NOT_FOUND", "Nothing of that name is there."
    ALREADY_EXISTS = "ALREADY_EXISTS", "Something of that name is already there."
    UNAVAILABLE = "UNAVAILABLE", "The worker ended or no version is loaded; ask again."
    INVALID_ARGUMENT = "INVALID_ARGUMENT", "The request is malformed."
    FAILED_PRECONDITION = "FAILED_PRECONDITION", "The request cannot be served in this state."
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED", "The queue or the memory is full."
    OUT_OF_RANGE = "OUT_OF_RANGE", "A value lies outside what is possible."
    PERMISSION_DENIED = "PERMISSION_DENIED", "This caller may not do that."
    INTERNAL = "INTERNAL", "A fault of the agent itself; the id stands in its log."

    def __str__(self) -> str:
        """Return the word alone."""
        return str(self.value)


class AgentError(Exception):
    """Root of the tree.

    Args:
        code: the stable word.
        message: what was expected and what came, for a person.
    """

    def __init__(self, code: Code, message: str) -> None:
        """Keep the code and the message."""
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message


class ConfigError(AgentError):
    """The configuration is wrong: exit 78, no restart loop."""


class TokenError(ConfigError):
    """The token of the device's key is away or refuses: the settings may be right, and another try later can help."""


class DocumentError(AgentError):
    """A document does not have the form its schema asks for; each reader says what follows."""


class DeploymentError(AgentError):
    """A deployment cannot go on."""


class RefusedError(DeploymentError):
    """It can never succeed here: the job ends REJECTED."""


class TransferError(DeploymentError):
    """Bytes did not arrive: retried with full-jitter back-off until the job's deadline."""

    def __init__(self, code: Code, message: str, *, permanent: bool = False) -> None:
        """Keep also whether another try can help."""
        super().__init__(code, message)
        self.permanent = permanent


class TrustError(DeploymentError):
    """A signature, an expiry or a floor is wrong: FAILED, nothing of it kept."""


class BundleError(DeploymentError):
    """The signed bytes are wrong: FAILED, nothing of it kept."""


class StorageError(DeploymentError):
    """The disk is wrong: FAILED, the previous version stays."""


class ActivationError(DeploymentError):
    """Built, tried or served badly: rolled back, FAILED."""


class CancelledError(DeploymentError):
    """The cloud no longer wants this deployment."""


class JobsError(AgentError):
    """Not connected, or an update was rejected."""

    def __init__(self, code: Code, message: str, *, permanent: bool = False) -> None:
        """Keep also whether sending the same again can help."""
        super().__init__(code, message)
        self.permanent = permanent


class IdentityError(AgentError):
    """The device's key or certificate cannot be made, taken or changed; what it had stays."""


class CameraError(AgentError):
    """A camera is away: NO RESULT for the line, and it is asked again with growing pauses."""


class OutputError(AgentError):
    """A digital output does not switch: shown, and tried again."""


class InferenceError(AgentError):
    """A request cannot be answered; the code is a gRPC status word."""
