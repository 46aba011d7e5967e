"""A PLC's side of the trigger handshake over Modbus TCP: one part, one verdict.

Usage: python modbus_client.py [HOST:PORT] [NUMBER OF THE PART]
Needs pymodbus 3 (pip install "pymodbus>=3.11"). Addresses are those of docs/plc.md.
Exit code 0: OK, 1: NG, 2: NO RESULT or no answer; a part without an OK is not good.
"""

import struct
import sys
import time
from collections.abc import Callable

from pymodbus.client import ModbusTcpClient

TRIGGER_ENABLE, TRIGGER, RESULTS_ACK = 0, 1, 2  # coils
TRIGGER_READY, TRIGGER_ACK, BUSY, RESULTS_VALID, ERROR = range(5)  # discrete inputs
TRIGGER_ID = 0  # holding registers
HEARTBEAT, RESULT_ID, ERROR_TEXT = 1, 16, 76  # input registers
VERDICTS = {1: "OK", 2: "NG", 3: "NO RESULT"}
PATIENCE_S = 10.0


def inspect(plc: ModbusTcpClient, part: int) -> tuple[str, float, str]:
    """Run one whole handshake; return verdict, score and the reason of an error."""
    plc.write_coils(TRIGGER_ENABLE, [True, False, False])
    wait_for("Trigger Ready", lambda: bit(plc, TRIGGER_READY))
    plc.write_registers(TRIGGER_ID, [part >> 16, part & 0xFFFF])
    plc.write_coils(TRIGGER, [True])
    wait_for("Trigger Ack", lambda: bit(plc, TRIGGER_ACK))
    plc.write_coils(TRIGGER, [False])
    wait_for("Results Valid", lambda: bit(plc, RESULTS_VALID))
    # One request, so that all registers are of the same moment.
    words = plc.read_input_registers(RESULT_ID, count=12).registers
    text = plc.read_input_registers(ERROR_TEXT, count=32).registers if bit(plc, ERROR) else []
    plc.write_coils(RESULTS_ACK, [True])
    wait_for("Results Valid to fall", lambda: not bit(plc, RESULTS_VALID))
    plc.write_coils(RESULTS_ACK, [False])
    if words[2] << 16 | words[3] != part:
        return "NO RESULT", 0.0, "these results belong to another part"
    score = struct.unpack(">f", struct.pack(">2H", *words[6:8]))[0]
    return VERDICTS.get(words[4], "NO RESULT"), score, as_text(text)


def bit(plc: ModbusTcpClient, address: int) -> bool:
    """Return one discrete input."""
    return bool(plc.read_discrete_inputs(address, count=1).bits[0])


def as_text(words: list[int]) -> str:
    """Return a text of registers."""
    return struct.pack(f">{len(words)}H", *words).rstrip(b"\0").decode()


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    """Ask until it holds, as a PLC does in each cycle."""
    due = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > due:
            raise TimeoutError(f"expected {what} within {PATIENCE_S:g} s")
        time.sleep(0.005)


def main() -> int:
    """Inspect one part."""
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:502").rpartition(":")
    part = int(sys.argv[2]) if len(sys.argv) > 2 else 1  # noqa: PLR2004
    with ModbusTcpClient(host, port=int(port)) as plc:
        began = time.monotonic()
        verdict, score, reason = inspect(plc, part)
        print(
            f"part {part}: {verdict}, score {score:.4f}, {(time.monotonic() - began) * 1000:.0f} ms {reason}".rstrip()
        )
    return {"OK": 0, "NG": 1}.get(verdict, 2)


if __name__ == "__main__":
    sys.exit(main())
