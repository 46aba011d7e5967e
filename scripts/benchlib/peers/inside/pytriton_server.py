"""``python pytriton_server.py MODEL PORT``: PyTriton with the graph, gRPC on PORT."""

import sys
from typing import Any

import numpy as np
from one_thread import open_graph
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

_LOOPBACK = "127.0.0.1"
_REST_PORT, _METRICS_PORT = 9280, 9282


def main(path: str, port: int) -> None:
    """Serve until told to end."""
    session = open_graph(path)
    shape = session.get_inputs()[0].shape

    def infer(requests: Any) -> Any:
        return [{"score": session.run(None, {"image": request["image"]})[0]} for request in requests]

    addresses = {"http_address": _LOOPBACK, "grpc_address": _LOOPBACK, "metrics_address": _LOOPBACK}
    ports = {"http_port": _REST_PORT, "grpc_port": port, "metrics_port": _METRICS_PORT}
    with Triton(config=TritonConfig(**addresses, **ports)) as triton:
        triton.bind(
            model_name="lite0",
            infer_func=infer,
            inputs=[Tensor(name="image", dtype=np.uint8, shape=tuple(shape))],
            outputs=[Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=ModelConfig(batching=False),
        )
        triton.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
