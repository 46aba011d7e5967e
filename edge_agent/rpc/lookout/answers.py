"""From a model's result to what Lookout's clients read."""

import numpy as np
from numpy.typing import NDArray

from edge_agent._proto.lookoutvision import edge_agent_pb2 as pb
from edge_agent.formats import AnomalyMap, ModelResult, Verdict
from edge_agent.rpc.lookout.pictures import ANOMALY, BACKGROUND, Colour

BACKGROUND_NAME = "background"
_ANOMALY_NAME = "defect"


def defective_pixels(anomalies: AnomalyMap) -> NDArray[np.bool_]:
    """Return where the picture is defective, [height, width]."""
    # Imported when a model draws: the agent itself does without the image library.
    from edge_agent.vision import map_mask  # noqa: PLC0415

    return np.asarray(map_mask(anomalies) > 0)


def answer_of(result: ModelResult, area: float, mask: pb.Bitmap | None) -> pb.DetectAnomaliesResponse:
    """Return the answer.

    Args:
        result: what the model said, a verdict.
        area: defective share of the picture.
        mask: None: the model draws none, or it does not fit.
    """
    anomalous = result.verdict is Verdict.NG
    anomalies = [_anomaly(BACKGROUND_NAME, 1.0 - area, BACKGROUND)]
    if area > 0:
        anomalies.append(_anomaly(_ANOMALY_NAME, area, ANOMALY))
    return pb.DetectAnomaliesResponse(
        detect_anomaly_result=pb.DetectAnomalyResult(
            is_anomalous=anomalous,
            confidence=result.score if anomalous else 1.0 - result.score,
            anomaly_mask=mask,
            anomalies=anomalies,
            anomaly_score=result.score,
            anomaly_threshold=result.threshold,
        )
    )


def _anomaly(name: str, area: float, colour: Colour) -> pb.Anomaly:
    return pb.Anomaly(name=name, pixel_anomaly=pb.PixelAnomaly(total_percentage_area=area, hex_color=colour.hex))
