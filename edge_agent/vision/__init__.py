"""From bytes to a verdict: the one implementation that training, evaluation and worker call.

Pure: numpy and cv2 only, no files, no clock. Whatever a model sees on the line went
through ``decode`` and ``prepare``, and whatever a person reads came out of
``form_outcome``; the training side calls the same three, so they cannot differ.
Not done here: executing the model.
"""

from edge_agent.vision.anomaly_map import heat_map, map_mask
from edge_agent.vision.decode import MAX_PIXELS, RGB, decode, from_raw, size_of
from edge_agent.vision.draw import encode_jpeg, encode_png, heat_colours, overlay, small_jpeg
from edge_agent.vision.outcome import Outcome, anomaly_map, form_outcome, mask_from_logits, picture_logits
from edge_agent.vision.preprocess import Placement, place, prepare
from edge_agent.vision.scoring import calibrate, logit, sigmoid, softmax

__all__ = [
    "MAX_PIXELS",
    "RGB",
    "Outcome",
    "Placement",
    "anomaly_map",
    "calibrate",
    "decode",
    "encode_jpeg",
    "encode_png",
    "form_outcome",
    "from_raw",
    "heat_colours",
    "heat_map",
    "logit",
    "map_mask",
    "mask_from_logits",
    "overlay",
    "picture_logits",
    "place",
    "prepare",
    "sigmoid",
    "size_of",
    "small_jpeg",
    "softmax",
]
