"""docs/troubleshoot.md: where to look first, and what to do about each code."""

from doclib.markdown import code, table
from edge_agent.errors import Code

INTRODUCTION = """# Troubleshooting

## Where to look

| what you see | ask | on |
|---|---|---|
| a service does not start | `journalctl -u edge-agent -n 50`, then `edge-agent config check` | device |
| anything else on a device | `edge-agent doctor`: settings, directories, secrets, packages, runtimes | device |
| a deployment failed | `edge-agent deployments`, then with its ID: states, seconds, code, message | device |
| a job does not end | `edge-cloud status JOB`: per device state, step, code and message | desk |
| no verdicts, or NO RESULT | `edge-agent status`, then `edge-agent logs --level WARNING` | device |
| a camera or a PLC | `systemctl status edge-agent-station`, `journalctl -u edge-agent-station -n 50` | device |
| the page does not open | `curl http://127.0.0.1:8080/readyz`; [who may reach it](page.md) | device |
| captures do not arrive | `edge-agent captures`: pending, failed, the oldest | device |
| who did what, and when | `edge-agent audit verify`, then `/var/lib/edge-agent/audit.log` | device |

Exit code 78 means that the same configuration would fail again: systemd does not start the service a second time until
you run `systemctl restart`. Exit code 4 of `edge-agent run` means that another agent has the state directory.

A device that is silent for the cloud goes on inspecting. **Nothing here is a reason to delete `/var/lib/edge-agent`**:
whatever can be fetched again is fetched again by itself, and captures that wait for their upload cannot be.

## What to do about each code

A code stands first in an error's message, in `edge-agent deployments`, in a job's status details and in the log. What
it is for programs (classes, gRPC status, exit code) stands in the [README](../README.md#errors).

"""

# The rows stand in the order of the codes; what is told here is told nowhere else.
ADVICE = {
    Code.CONFIG_INVALID: (
        "`edge-agent config check` names the file, the key and the nearest known one; [settings](settings.md)."
    ),
    Code.DOCUMENT_INVALID: "The message names the document and its field; compare it with its [schema](schemas).",
    Code.JOB_INVALID: (
        "The job was not made by `edge-cloud deploy`, or by a newer one: look at its document in the cloud."
    ),
    Code.UNSIGNED_PACKAGE: (
        "An old pipeline still sends packages. Convert and sign them: [models from "
        "elsewhere](models-from-elsewhere.md), [moving](migrating-sagemaker-edge.md)."
    ),
    Code.DOWNGRADE: (
        "To go back use `edge-cloud rollback`. To bring an older model for good, package it again under a new "
        "version and publish that."
    ),
    Code.BELOW_FLOOR: "The version was revoked for good by `edge-cloud repo revoke`. Publish a later one.",
    Code.NO_PREVIOUS: (
        "The device has kept nothing to go back to. Deploy the version that you want, under a new number if it is"
        " older."
    ),
    Code.WRONG_HARDWARE: (
        "The manifest's `needs` name other machines. Package for this one, or send the job to the right group."
    ),
    Code.RUNTIME_MISSING: (
        "Install the extra (`pip install 'edge-agent[openvino]'`) and name the runtime in `inference.runtimes`; "
        "`edge-agent doctor` says which are usable."
    ),
    Code.AGENT_TOO_OLD: "Update the agent first: [operating](operate.md#updating-the-agent).",
    Code.QUARANTINED: (
        "This very manifest ended the agent three times. Find out why (`edge-agent deployments`), fix the model, "
        "publish it as a new version. `edge-agent quarantine clear` lets the same one try again."
    ),
    Code.MEMORY_EXCEEDED: (
        "A smaller model, int8 ([export](models-from-elsewhere.md)), fewer models, or a larger "
        "`inference.memory_budget_bytes` if the machine has it."
    ),
    Code.MODEL_MAPPED: (
        "Take the application out of `mappings` in `models_config.json`, `systemctl reload edge-agent`, and "
        "remove it then."
    ),
    Code.WRONG_VERSION: (
        "Somebody was faster: look at `edge-agent models` and order it anew for the version that answers now."
    ),
    Code.TRANSFER_FAILED: (
        "It is tried again until the job's deadline, and goes on where it stopped. If it never ends: name "
        "resolution, firewall, `repository.proxy` (variables such as HTTPS_PROXY are not followed), "
        "`repository.ca`."
    ),
    Code.OBJECT_MISSING: (
        "`edge-cloud repo verify` reads every byte of the repository and says what lacks. Publish the bundle again."
    ),
    Code.ACCESS_DENIED: (
        "The role or file of credentials may not read the prefix, or is outdated: `repository.credentials`, the "
        "role alias, the bucket's policy."
    ),
    Code.DEADLINE_EXCEEDED: (
        "A deployment: it waited for its window or the network until `deployment.deadline_s`. A request: the "
        "device is too slow or too busy for the caller's deadline; *Today* on the page shows how long parts take."
    ),
    Code.SIGNATURE_INVALID: (
        "The device pins another root than the one the repository began with: compare `trust.root` with "
        "`root.json` of the keys' directory. Both the same: somebody changed the bucket; [who signs "
        "what](trust.md)."
    ),
    Code.METADATA_EXPIRED: (
        "Nobody refreshed the repository: `edge-cloud repo refresh`, then a timer for it ([signing "
        "host](../systemd/signing-host/edge-cloud-refresh.service)). Serving goes on meanwhile."
    ),
    Code.CLOCK_UNTRUSTED: (
        "Set the device's clock (NTP, the battery); it is trusted again at once. Serving goes on meanwhile."
    ),
    Code.METADATA_ROLLBACK: (
        "The repository is an old copy, a restored backup or a mirror that lags: bring its `metadata/` to the "
        "newest state. Never lower a floor on devices."
    ),
    Code.DEMO_ROOT: (
        "The repository was made with `repo init --demo`. Make a real one ([a ceremony](trust.md#a-ceremony)); "
        "for trying out, `trust.allow_demo_root`."
    ),
    Code.RELEASE_UNKNOWN: (
        "It was never published, or to another repository: `edge-cloud repo verify --json` lists what is signed."
    ),
    Code.DIGEST_MISMATCH: (
        "Bytes in the bucket or on the way are not those that were signed. `edge-cloud repo verify` tells which; "
        "publish again."
    ),
    Code.MANIFEST_INVALID: "The bundle was changed by hand after it was packaged. Package it again.",
    Code.FORMAT_FORBIDDEN: (
        "Devices take ONNX and OpenVINO's IR by content, whatever the file is called. Convert it: [models from "
        "elsewhere](models-from-elsewhere.md)."
    ),
    Code.NO_SPACE: (
        "The message says how much lacks. Fewer `deployment.keep_versions`, a smaller `capture.quota_bytes` or "
        "`deployment.reserve_bytes`; what other programs left on the disk."
    ),
    Code.STORAGE_FAILED: (
        "The disk or its file system: `dmesg`, `smartctl`. A read-only remount ends here too. The version before stays."
    ),
    Code.STORE_LOCKED: (
        "`systemctl status edge-agent`: a second agent, started by hand, has the directory. End one of them."
    ),
    Code.CONTENT_MISSING: (
        "It is fetched again from the repository by itself where that can be reached; where not, roll back. Again"
        " and again: the disk is dying."
    ),
    Code.BUILD_FAILED: (
        "Try the bundle at a desk: `edge-cloud evaluate --bundle`. Then `deployment.build_timeout_s` and "
        "`build_memory_bytes`; `edge-agent logs` has the runtime's own words."
    ),
    Code.LOAD_FAILED: (
        "As above: the graph, its inputs and outputs against its manifest, memory. `edge-agent logs --level "
        "WARNING` says how the worker ended."
    ),
    Code.GOLDEN_MISMATCH: (
        "This machine computes otherwise than the one that packaged: another precision, int8 without VNNI, "
        "another runtime. Package on a machine of the same kind, or with the tolerance of int8."
    ),
    Code.SHADOW_REGRESSION: (
        "The message has each figure and its bound. The new model disagrees with the old on this line's parts: "
        "look at [how it is watched](watching.md), and whether the disagreement is what you wanted."
    ),
    Code.PROBATION_REGRESSION: "As above; the version before answers again, and no request was lost.",
    Code.ROLLED_BACK: "The code and message of the state before say why: `edge-agent deployments ID`.",
    Code.INTERRUPTED: "Power or the process went away while leases turned. Order it again.",
    Code.SUPERSEDED: "Intended: a rollback or another order came meanwhile.",
    Code.CANCELLED: "Intended: the job was cancelled, removed, or its time was over in the cloud.",
    Code.NOT_CONNECTED: (
        "Port 8883 to `mqtt.endpoint`, the certificate's validity and its policy in AWS IoT, the clock. Reports "
        "wait on the disk and are sent later."
    ),
    Code.UPDATE_REJECTED: "The cloud has ended the job execution already. The device shadow tells what runs.",
    Code.CAMERA_FAILED: (
        "Cable, address, power, another program that has the camera; [cameras](cameras.md). It is asked again by "
        "itself."
    ),
    Code.OUTPUT_FAILED: (
        "`gpioinfo`: the chip, the lines, who has them; the group of `/dev/gpiochip0` ([drop-in](../systemd/plc.conf))."
    ),
    Code.NOT_FOUND: "`edge-agent models` lists the names. Right after an install wait for READY.",
    Code.ALREADY_EXISTS: "For LoadModel of old clients this is normal: the name works.",
    Code.UNAVAILABLE: (
        "The agent is not there or a worker is being replaced: ask again; `systemctl status edge-agent`, "
        "`edge-agent logs`."
    ),
    Code.INVALID_ARGUMENT: "The message says what was expected and what came.",
    Code.FAILED_PRECONDITION: (
        "The message says which state: capture paused, a model stopped, a directory that nobody signed."
    ),
    Code.RESOURCE_EXHAUSTED: (
        "More requests than the device computes: fewer or slower callers, `inference.lanes`, a smaller model. Or "
        "memory: `edge-agent status`."
    ),
    Code.OUT_OF_RANGE: (
        "A threshold lies outside the manifest's signed `threshold_range`, or a time stamp in the future."
    ),
    Code.PERMISSION_DENIED: (
        "The user is not in the group of that socket (`edge-agent` to inspect, `edge-agent-admin` to operate), or"
        " a TLS client's name is not in `rpc.tls.clients`."
    ),
    Code.INTERNAL: (
        "A fault of ours: `edge-agent logs --level ERROR` finds the id of the message. Report it with those lines."
    ),
}


def document() -> str:
    """Return the whole page."""
    rows = ((code(word.value), word.meaning, ADVICE.get(word, "")) for word in Code)
    return INTRODUCTION + table(("code", "meaning", "what to do"), rows) + "\n"
