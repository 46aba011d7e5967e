"""Masks and heat maps, drawn for those who asked; nobody else pays for them."""

from collections.abc import Mapping
from typing import Any

from edge_agent.formats import AnomalyMap, InspectedFrame


def drawn(
    frame: InspectedFrame, maps: Mapping[str, AnomalyMap], *, mask: bool = False, heat_map: bool = False
) -> InspectedFrame:
    """Return the frame with PNGs of its maps in the results.

    Args:
        frame: what was inspected.
        maps: what can be drawn, by application.
        mask: fill ``mask_png``.
        heat_map: fill ``heat_map_png``.
    """
    if not maps or not (mask or heat_map):
        return frame
    wanted: dict[int, dict[str, bytes]] = {}
    # Applications that share a model share its map, which is drawn once.
    for anomalies in maps.values():
        if id(anomalies) not in wanted:
            wanted[id(anomalies)] = _pictures(anomalies, mask=mask, heat_map=heat_map)
    results = tuple(
        result.model_copy(update=wanted[id(maps[result.application])]) if result.application in maps else result
        for result in frame.results
    )
    return frame.model_copy(update={"results": results})


def _pictures(anomalies: AnomalyMap, *, mask: bool, heat_map: bool) -> dict[str, Any]:
    # Imported when somebody looks: the agent itself does without the image library.
    from edge_agent import vision  # noqa: PLC0415

    pictures = {}
    if mask:
        pictures["mask_png"] = vision.encode_png(vision.map_mask(anomalies))
    if heat_map:
        pictures["heat_map_png"] = vision.encode_png(vision.heat_map(anomalies))
    return pictures
