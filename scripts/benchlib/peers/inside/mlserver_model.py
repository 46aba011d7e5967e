"""The model as MLServer's documentation writes one; ``model-settings.json`` names it."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from one_thread import open_graph


class Lite0(MLModel):
    """The graph behind MLServer."""

    async def load(self) -> bool:
        """Open the graph that the settings name."""
        self._session = open_graph(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one picture."""
        (score,) = self._session.run(None, {"image": NumpyCodec.decode_input(payload.inputs[0])})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", score)])
