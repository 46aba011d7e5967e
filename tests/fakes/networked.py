"""``python -m tests.fakes.networked DIR``: an agent asked over a network of its own, by a caller not on loopback.

Runs inside ``unshare --net``: the address belongs to that namespace's loopback device and is reached by nobody else.
Prints one JSON object: what each request was answered, by its name.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc

from edge_agent._proto.edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent._proto.edge_agent.v1 import edge_agent_pb2_grpc as services
from edge_agent.config import Rpc, RpcTls
from tests.fakes.agent_core import drawn_part, served
from tests.fakes.certificates import Authority
from tests.fakes.posix_memory import PosixMemory

# RFC 5737: an address for documentation.
ADDRESS = "192.0.2.1"
SIDE = 16
WAIT_S = 60


def main(directory: Path) -> None:
    for command in (["link", "set", "lo", "up"], ["addr", "add", f"{ADDRESS}/32", "dev", "lo"]):
        subprocess.run(["ip", *command], check=True)
    authority = Authority(directory)
    agent, client = authority.issue("agent"), authority.issue("plc-1")
    tls = RpcTls(
        certificate=agent.certificate, private_key=agent.private_key, client_ca=authority.ca, clients=("plc-1",)
    )
    credentials = grpc.ssl_channel_credentials(
        authority.ca.read_bytes(), client.private_key.read_bytes(), client.certificate.read_bytes()
    )
    own_name = (("grpc.ssl_target_name_override", "localhost"),)
    with served(directory, rpc=Rpc(tcp=f"{ADDRESS}:0", tls=tls)) as running:
        target = f"{ADDRESS}:{running.data.tcp_port}"
        with grpc.secure_channel(target, credentials, own_name) as far:
            sys.stdout.write(json.dumps(asked(far) | {"near": near(running.runtime_dir)}) + "\n")


def asked(channel: grpc.Channel) -> dict[str, str]:
    with PosixMemory(bytes(SIDE * SIDE * 3)) as memory:
        shared = pb.SharedImage(name=memory.name, width=SIDE, height=SIDE)
        requests = {
            "encoded": pb.InspectRequest(encoded=drawn_part(0)),
            "shared": pb.InspectRequest(shared=shared),
        }
        return {name: answer(channel, request) for name, request in requests.items()}


def near(runtime_dir: Path) -> str:
    with grpc.insecure_channel(f"unix:{runtime_dir}/agent.sock") as channel:
        return asked(channel)["shared"]


def answer(channel: grpc.Channel, request: pb.InspectRequest) -> str:
    stub: Any = services.InspectionStub(channel)
    try:
        return str(pb.Verdict.Name(stub.Inspect(request, timeout=WAIT_S).verdict))
    except grpc.RpcError as exc:
        error: Any = exc
        return f"{error.code().name}: {error.details()}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
