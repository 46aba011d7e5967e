"""``python kserve_server.py MODEL PORT``: KServe's model server with the graph, gRPC on PORT."""

import sys
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from one_thread import open_graph

_REST_PORT = 9180


class Lite0(Model):
    """The model as KServe's documentation writes one."""

    def __init__(self, path: str) -> None:
        super().__init__("lite0")
        self._session = open_graph(path)
        self.ready = True

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:  # noqa: ARG002
        """Answer one picture."""
        (score,) = self._session.run(None, {"image": payload.inputs[0].as_numpy()})
        output = InferOutput("score", list(score.shape), "FP32")
        output.set_data_from_numpy(score, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    ModelServer(http_port=_REST_PORT, grpc_port=int(sys.argv[2]), workers=1).start([Lite0(sys.argv[1])])
