"""The model as Triton's Python backend wants one; copied into its repository as ``model.py``."""

import json
from typing import Any

import triton_python_backend_utils as utils
from one_thread import open_graph


class TritonPythonModel:
    """The graph behind Triton."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Open the graph that the configuration names."""
        configuration = json.loads(arguments["model_config"])
        self._session = open_graph(configuration["parameters"]["path"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the pictures, one request each."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        image = utils.get_input_tensor_by_name(request, "image").as_numpy()
        (score,) = self._session.run(None, {"image": image})
        return utils.InferenceResponse([utils.Tensor("score", score)])
