"""The graph as every server executes it: ONNX Runtime on the CPU with one thread."""

from typing import Any

import onnxruntime as ort


def open_graph(path: str) -> Any:
    """Return a session of the graph; its input is "image", its output "score"."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
