"""A model's anomaly map as pictures: the mask, and the heat map before any threshold."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.formats import AnomalyMap
from edge_agent.vision.scoring import logit

_WHITE = 255


def map_mask(anomalies: AnomalyMap) -> NDArray[np.uint8]:
    """Return [height, width] of the picture: 255 where the sigmoid reaches the pixel threshold, else 0."""
    # The sigmoid is monotonic: comparing logits spares an exp for every pixel of the picture.
    defective = enlarged(anomalies) >= logit(anomalies.pixel_threshold)
    return np.where(defective, np.uint8(_WHITE), np.uint8(0))


def heat_map(anomalies: AnomalyMap) -> NDArray[np.uint8]:
    """Return [height, width] of the picture: the sigmoid of the logits, 0..255 for 0..1."""
    share = 1 / (1 + np.asarray(cv2.exp(-enlarged(anomalies)), np.float32))
    return np.asarray(share * _WHITE + 0.5, np.uint8)


def enlarged(anomalies: AnomalyMap) -> NDArray[np.float32]:
    """Return the logits [height, width] in the picture's size."""
    logits = np.frombuffer(anomalies.logits, np.float32).reshape(anomalies.rows, anomalies.columns)
    size = (anomalies.width, anomalies.height)
    return np.asarray(cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR), np.float32)
