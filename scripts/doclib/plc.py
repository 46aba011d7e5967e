"""docs/plc.md, from the table of registers."""

from doclib.markdown import code, table
from edge_agent.station.plc.table import SCALE, Fault, Kind, Phase, Row, Said, Space, rows_of

INTRODUCTION = f"""# PLC: Modbus TCP, OPC UA, digital outputs

The station tells a PLC its verdicts in three ways, all off until they are configured. They need the extra `plc`
(`pip install 'edge-agent[plc]'`). The settings stand in [settings.md](settings.md) under `[station.NAME]`:

```toml
[station.left]
source = "directory:/srv/frames"
mode = "trigger"            # or "free-running": every result as it comes
deadline_s = 1.0            # from the trigger to Results Valid

[station.left.modbus]
listen = "127.0.0.1:502"    # beyond loopback also: clients = ["192.168.0.10"]

[station.left.opcua]
endpoint = "opc.tcp://127.0.0.1:4840"

[station.left.outputs]
chip = "/dev/gpiochip0"
ok = 5
ng = 6
no_result = 13
reject = 19
delay_ms = 400
pulse_ms = 80
```

## Whom to trust

**Modbus has no login and no encryption.** Whoever reaches the port can trigger and read. It listens on loopback; with
any other address `clients` must name the PLCs, and everybody else is turned away at once. That is a filter, no
protection against somebody in the same network: give the PLC a network of its own. `connections`, `idle_s` and the
size of a request bound what a client can take. One client at a time should write; all may read.

OPC UA on loopback takes anybody on this machine. Beyond loopback it takes only signed and encrypted connections
(`Basic256Sha256`, SignAndEncrypt) of clients whose certificates, or whose authorities', lie in `trusted`; without
`certificate`, `private_key` and `trusted` such an endpoint is refused. There are no passwords, and there is no
revocation.

## The handshake

1. The PLC raises **Trigger Enable** and waits for **Trigger Ready**.
2. It writes `trigger_id` (its number of the part) and raises **Trigger**. The station raises **Trigger Ack** and
   **Busy**, clears the last result and takes a picture. The PLC may drop Trigger now, and Ack falls with it.
3. The station writes the results under `inspection_id`, repeated as `result_id` beside the echoed
   `result_trigger_id`, and raises **Results Valid**.
4. The PLC reads the results in one request, and checks `result_trigger_id`. It raises **Results Ack**, the station
   drops Results Valid, the PLC drops Results Ack. With Trigger and Results Ack both low, Trigger Ready is there
   again.

What goes wrong is never OK:

- The camera or the agent is away, answers too late or has no verdict: NO RESULT with **Error**, `error_code` and
  `error_text`.
- A trigger while not ready is not acknowledged and counted (`missed_triggers`). It also costs the inspection under
  way or not yet acknowledged its verdict, since nobody can tell whose result the PLC then waits for.
- Trigger Enable falls before the results are there: NO RESULT, and the late answer is thrown away.
- The station hangs: the result is NO RESULT half a second after the deadline, for the PLC and the reject gate in the
  same moment, and `heartbeat` stands still from the moment the loop is overdue. A PLC should take a heartbeat that
  does not change for three seconds beyond the deadline for a station that is gone.
- Error falls with the next accepted trigger, or when Trigger Enable falls while nothing is inspected.

The picture is never older than the trigger: a camera that runs by itself gives up the picture it holds and the one
under way, which costs up to two of its frame times; one that takes pictures on demand does not. A camera of the
network is waited for longer, since its pictures are on their way for a while
([cameras](cameras.md#what-the-line-is-shown)): where none that was surely taken after the trigger comes by the
deadline, the part is NO RESULT. A camera that an input of its own fires must be fired after Trigger Ack: a picture
that came before is nobody's, and the next one that comes would be taken for this part's.

In free-running mode triggers are ignored; each result gets a new `result_id`, and Results Valid stays. Where an input
of the camera takes the pictures, a part whose picture was skipped or damaged is a result of its own: NO RESULT, in its
turn. If the loop hangs, or no result comes for `outputs.silence_s` (10 s, also without outputs; in a station that looks
more seldom, for the time between two looks and `deadline_s`), the last verdict gives way to NO RESULT with Error, under
the same `result_id` and not counted: the camera shows nothing new, so nobody knows of the parts that pass.
Read `result_id` with the results, in one request. A PLC that says nothing keeps nobody waiting.

## Numbers

Verdicts: {{said}}. Memory full of zeros is therefore no verdict, and neither is any number that is not named here.
Scores are there as `float32` and as whole numbers (times {SCALE}). They are those of the model that decided with the
highest score.

Addresses begin at 0, as they go over the wire (address 0 is 00001, 10001, 30001 or 40001 in the old notation). Big
endian: the high byte first, and of two registers the high word first. Any unit number is answered. Texts are UTF-8,
padded with zero bytes, and cut where they do not fit. What lies outside is answered with exception 2 (illegal data
address).

In OPC UA the nodes stand under `Objects/NAME/FOLDER`, in the namespace `urn:edge-agent:plc`, as
`ns=…;s=NAME.FOLDER.Node`. Nodes are read one by one there: with free running, read `ResultId` before and after the
others. """

OUTPUTS = """
## Digital outputs

Lines of a GPIO character device, by libgpiod 2. **Untested on hardware**: the rules are tested, and the door against
a chip in memory only.

- Exactly one of `ok`, `ng` and `no_result` is on. `no_result` is on from the start until the first verdict, on any
  doubt, after `silence_s` without a verdict, when the station stops and when a thread of its process crashes, whichever
  station's.
- With `mode = "trigger"` the outputs hear of a part when the PLC does, once, whatever ended its inspection.
- `reject` is pulsed `delay_ms` after the part's moment: its trigger, or in free-running mode the moment at which its
  picture came from the camera, damaged or not; where none comes nobody is rejected. A trigger that was missed is a part
  that nobody looked at: not OK. Without a delay it is pulsed when the verdict comes. Each part
  keeps its own moment however many follow; pulses that overlap are one longer pulse. A verdict that comes after its
  part has passed the gate rejects nobody and is logged (`reject_late`): choose `delay_ms` above `deadline_s` by more
  than the half second after which an inspection that hangs is given up.
- A chip that fails is logged and shown in the unit's status, and tried again each second. The inspection goes on.
- When the process is killed the kernel lets the lines go, and what they show then is the hardware's business: wire
  them so that no current means NO RESULT.

## On a device

The station's unit runs without privileges. Two things need a drop-in (`systemctl edit edge-agent-station`), if wanted:

```ini
[Service]
# Ports below 1024, as 502; or choose another port, as 5020.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
# The group that /dev/gpiochip0 belongs to, for digital outputs.
SupplementaryGroups=gpio
```

## Clients

[samples/plc](../samples/plc) has the PLC's side of the handshake in Python, [samples/grpc](../samples/grpc) clients of
the agent itself for software beside a PLC, in Python, C# and C++ (those two not compiled where they were written).
How long a trigger takes stands in [performance.md](performance.md).
"""
_FOLDERS = {Space.COIL: "Commands", Space.HOLDING: "Commands", Space.DISCRETE: "Status", Space.INPUT: "Registers"}
_TITLES = {
    Space.COIL: "Coils (the PLC writes)",
    Space.DISCRETE: "Discrete inputs (the station writes)",
    Space.HOLDING: "Holding registers (the PLC writes)",
    Space.INPUT: "Input registers (the station writes)",
}
_FAULTS = {
    Fault.NONE: "no error",
    Fault.TRIGGER_NOT_READY: "Trigger rose while Trigger Ready was low",
    Fault.ENABLE_DROPPED: "Trigger Enable fell before the results were there",
    Fault.DEADLINE: "no result in time",
    Fault.CAMERA: "the camera gives no picture",
    Fault.AGENT: "the agent is away or refused",
    Fault.NO_VERDICT: "the agent answered that there is no verdict",
}


def document() -> str:
    """Return the whole page."""
    said = ", ".join(f"{each.value} {each.name.replace('_', ' ')}" for each in Said)
    tables = "".join(f"\n### {_TITLES[space]}\n\n{_table(space)}\n" for space in Space)
    codes = table(
        ("error_code", "name", "meaning"), ((str(each.value), code(each.name), _FAULTS[each]) for each in Fault)
    )
    phases = ", ".join(f"{each.value} {each.name}" for each in Phase)
    return INTRODUCTION.replace("{said}", said) + tables + f"\n### Errors\n\n{codes}\n\nPhases: {phases}.\n" + OUTPUTS


def _table(space: Space) -> str:
    return table(("address", "name", "type", "OPC UA", "meaning"), (_cells(row) for row in rows_of(space)))


def _cells(row: Row) -> tuple[str, ...]:
    last = row.address + row.width - 1
    address = str(row.address) if last == row.address else f"{row.address} to {last}"
    kind = f"text, {row.length * 2} bytes" if row.kind is Kind.TEXT else row.kind.value
    return address, code(row.name), kind, code(f"{_FOLDERS[row.space]}.{row.node}"), row.meaning
