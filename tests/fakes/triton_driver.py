"""Drives tritonclient in its own environment: one line of JSON asks, one answers. Imports nothing of the agent.

Started by ``tests.fakes.triton``; the only argument is the server's address.
"""

import contextlib
import json
import os
import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException, shared_memory, triton_to_np_dtype

SIDE = 16
PATIENCE_S = 60


def image(value: int, batch: int = 1) -> Any:
    return np.full((batch, SIDE, SIDE, 3), value, np.uint8)


def as_input(pixels: Any, name: str = "image") -> Any:
    tensor = triton.InferInput(name, list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return tensor


def told(result: Any) -> dict[str, Any]:
    response = result.get_response()
    outputs = {output.name: result.as_numpy(output.name).tolist() for output in response.outputs}
    return {"model": response.model_name, "version": response.model_version, "id": response.id, "outputs": outputs}


class Driver:
    """What a test may ask for, by method name."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client = triton.InferenceServerClient(address)

    def call(self, method: str, **arguments: Any) -> Any:
        """Any call of the client that takes and returns plain values."""
        return getattr(self._client, method)(**arguments)

    def infer(self, model: str, value: int, batch: int = 1, outputs: tuple[str, ...] = (), **more: Any) -> Any:
        wanted = [triton.InferRequestedOutput(name) for name in outputs] or None
        return told(self._client.infer(model, [as_input(image(value, batch))], outputs=wanted, **more))

    def infer_as(self, model: str, name: str, datatype: str, shape: list[int]) -> Any:
        """Zeros of any type and shape under any name."""
        tensor = triton.InferInput(name, shape, datatype)
        if datatype == "BYTES":
            tensor.set_data_from_numpy(np.full(shape, b"x", np.object_))
        elif datatype == "BOOL":
            tensor.set_data_from_numpy(np.zeros(shape, np.bool_))
        else:
            tensor.set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(datatype)))
        return told(self._client.infer(model, [tensor]))

    def classify(self, model: str) -> Any:
        wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
        return told(self._client.infer(model, [as_input(image(0))], outputs=wanted))

    def infer_async(self, model: str, values: list[int]) -> Any:
        """Requests that overlap, answered in any order and told by id."""
        answers: queue.Queue[Any] = queue.Queue()
        for number, value in enumerate(values):
            self._client.async_infer(
                model,
                [as_input(image(value))],
                lambda result, error: answers.put((result, error)),
                request_id=str(number),
            )
        return self._collected(answers, len(values))

    def stream(self, model: str, values: list[int | None], **more: Any) -> Any:
        """Requests on one stream; None: one for a model that is not there."""
        answers: queue.Queue[Any] = queue.Queue()
        self._client.start_stream(lambda result, error: answers.put((result, error)))
        try:
            for number, value in enumerate(values):
                name = model if value is not None else "nothing"
                pixels = as_input(image(value or 0))
                # A stream that was refused may say so before it takes a request; the callback is told in any case.
                with contextlib.suppress(InferenceServerException):
                    self._client.async_stream_infer(name, [pixels], request_id=str(number), **more)
            return self._collected(answers, len(values))
        finally:
            self._client.stop_stream()

    def open_streams(self, model: str, number: int) -> Any:
        """Streams that stay open, one more each time, until one is refused; then all are closed."""
        clients, told_each = [], []
        for _ in range(number):
            client = triton.InferenceServerClient(self._address)
            clients.append(client)
            answers: queue.Queue[Any] = queue.Queue()
            client.start_stream(lambda result, error, answers=answers: answers.put((result, error)))
            # As in ``stream``.
            with contextlib.suppress(InferenceServerException):
                client.async_stream_infer(model, [as_input(image(0))])
            told_each += self._collected(answers, 1)
            if "error" in told_each[-1]:
                break
        for client in clients:
            client.stop_stream(cancel_requests=True)
            client.close()
        return told_each

    def shared(self, model: str, value: int, name: str) -> Any:
        """Input and both outputs in one segment of system shared memory."""
        pixels = image(value)
        handle = shared_memory.create_shared_memory_region(f"{name}-region", f"/{name}", pixels.nbytes + 64)
        try:
            shared_memory.set_shared_memory_region(handle, [pixels])
            self._client.register_system_shared_memory(f"{name}-region", f"/{name}", pixels.nbytes + 64)
            status = self._client.get_system_shared_memory_status(as_json=True)
            tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
            tensor.set_shared_memory(f"{name}-region", pixels.nbytes)
            score, both = triton.InferRequestedOutput("score"), triton.InferRequestedOutput("probabilities")
            score.set_shared_memory(f"{name}-region", 4, pixels.nbytes)
            both.set_shared_memory(f"{name}-region", 8, pixels.nbytes + 8)
            result = self._client.infer(model, [tensor], outputs=[score, both])
            there = result.get_output("score").parameters["shared_memory_region"].string_param
            answer = {
                "status": status,
                "region": there,
                "empty": [len(content) for content in result.get_response().raw_output_contents],
                "score": shared_memory.get_contents_as_numpy(handle, np.float32, [1], pixels.nbytes).tolist(),
                "probabilities": shared_memory.get_contents_as_numpy(
                    handle, np.float32, [1, 2], pixels.nbytes + 8
                ).tolist(),
            }
            self._client.unregister_system_shared_memory(f"{name}-region")
            return answer | {"after": self._client.get_system_shared_memory_status(as_json=True)}
        finally:
            shared_memory.destroy_shared_memory_region(handle)

    def small_output(self, model: str, name: str) -> Any:
        """An output into a part of a region that is too small for it."""
        handle = shared_memory.create_shared_memory_region(f"{name}-region", f"/{name}", 64)
        try:
            self._client.register_system_shared_memory(f"{name}-region", f"/{name}", 64)
            score = triton.InferRequestedOutput("score")
            score.set_shared_memory(f"{name}-region", 2)
            return told(self._client.infer(model, [as_input(image(0))], outputs=[score]))
        finally:
            self._client.unregister_system_shared_memory(f"{name}-region")
            shared_memory.destroy_shared_memory_region(handle)

    def truncated(self, model: str, name: str, size: int) -> Any:
        """The input's segment, registered whole and then cut to ``size`` bytes by its owner."""
        pixels = image(0)
        path = Path("/dev/shm") / name
        path.write_bytes(pixels.tobytes())
        try:
            self._client.register_system_shared_memory(name, f"/{name}", pixels.nbytes)
            os.truncate(path, size)
            tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
            tensor.set_shared_memory(name, pixels.nbytes)
            return told(self._client.infer(model, [tensor]))
        finally:
            self._client.unregister_system_shared_memory(name)
            path.unlink()

    def load_files(self, model: str, content: str) -> Any:
        """Load a model from bytes in the request, as Triton does where its owner allows it."""
        config = json.dumps({"backend": "onnxruntime"})
        self._client.load_model(model, config=config, files={"file:1/model.onnx": bytes.fromhex(content)})

    def descriptors(self) -> Any:
        """Both files as Triton's clients have them, serialised."""
        return [module.DESCRIPTOR.serialized_pb.hex() for module in (service_pb2, model_config_pb2)]

    def read_config(self, serialized: str) -> Any:
        """What tritonclient's own class reads in our bytes, and writes back."""
        message = model_config_pb2.ModelConfig.FromString(bytes.fromhex(serialized))
        return message.SerializeToString(deterministic=True).hex()

    def _collected(self, answers: "queue.Queue[Any]", number: int) -> list[Any]:
        found = [answers.get(timeout=PATIENCE_S) for _ in range(number)]
        return [told(result) if error is None else {"error": str(error)} for result, error in found]


def main() -> None:
    driver = Driver(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"answer": getattr(driver, asked["do"])(**asked["with"])}
        except InferenceServerException as exc:
            answer = {"error": [str(exc.status()), exc.message()]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
