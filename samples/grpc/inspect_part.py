"""Software beside a PLC asks the agent for one verdict over gRPC.

Make the stubs once, in this folder (pip install grpcio grpcio-tools):
    python -m grpc_tools.protoc -I ../../protos --python_out=. --grpc_python_out=. edge_agent/v1/edge_agent.proto
Usage: python inspect_part.py PICTURE [TARGET]; TARGET is 127.0.0.1:8001 or unix:/run/edge-agent/agent.sock.
Exit code 0: OK, 1: NG, 2: NO RESULT or no answer; a part without an OK is not good.
"""

import sys
from pathlib import Path

import grpc
from edge_agent.v1 import edge_agent_pb2 as pb
from edge_agent.v1 import edge_agent_pb2_grpc as services

DEADLINE_S = 2.0
LARGEST_BYTES = 64 << 20


def main() -> int:
    """Inspect one picture."""
    picture = Path(sys.argv[1])
    target = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:8001"  # noqa: PLR2004
    request = pb.InspectRequest(encoded=picture.read_bytes(), source="plc", frame_name=picture.name)
    with grpc.insecure_channel(target, options=[("grpc.max_send_message_length", LARGEST_BYTES)]) as channel:
        try:
            answer = services.InspectionStub(channel).Inspect(request, timeout=DEADLINE_S)
        except grpc.RpcError as exc:
            print(f"NO RESULT: {exc.code().name} {exc.details()}")
            return 2
    print(f"{pb.Verdict.Name(answer.verdict)} {answer.frame_id} {answer.milliseconds:.1f} ms {answer.message}".rstrip())
    for result in answer.results:
        print(f"  {result.model} {result.version}: {pb.Verdict.Name(result.verdict)} {result.score:.4f}")
    return {pb.OK: 0, pb.NG: 1}.get(answer.verdict, 2)


if __name__ == "__main__":
    sys.exit(main())
