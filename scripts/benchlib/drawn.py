"""When a browser has drawn a part: what the bench adds to the page, and what its sightings come to.

The product has none of this. A picture and a verdict count as drawn when both stand in the page, the picture is
decoded, and two animation frames have begun since: the first begins before the browser paints them, the second
after. That is up to one animation frame later than the eye, never earlier.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from edge_agent.formats import InspectedFrame

Figures = dict[str, Any]

# Runs in the page before its own scripts; relies on nothing but the two test ids.
WATCH = """(() => {
  window.benchSightings = [];
  const find = (id) => document.querySelector(`[data-testid="${id}"]`);
  const seen = () => {
    const image = find("frame"), verdict = find("verdict");
    if (!image || !verdict || !image.getClientRects().length || !verdict.getClientRects().length) return null;
    return { image, source: image.src, word: verdict.textContent.trim() };
  };
  const stays = (sight) => {
    const now = seen();
    return now && now.source === sight.source && now.word === sight.word;
  };
  let last = "";
  const look = async () => {
    const sight = seen();
    if (!sight || !sight.source || last === sight.source + sight.word) return;
    last = sight.source + sight.word;
    try { await sight.image.decode(); } catch { return; } // replaced before it was drawn
    requestAnimationFrame(() => {
      if (!stays(sight)) return;
      requestAnimationFrame(() => window.benchSightings.push([sight.source, sight.word, Date.now()]));
    });
  };
  new MutationObserver(look).observe(document,
    { subtree: true, childList: true, characterData: true, attributes: true });
  document.addEventListener("load", look, true);
})();"""

_WORDS = re.compile(r"\b(OK|NG|NO[ _]RESULT)\b")


class Sighting(NamedTuple):
    """A picture and a verdict that stood in the page together.

    Attributes:
        source: the picture's address, which holds the frame's id.
        word: the verdict's text.
        at_ms: epoch milliseconds.
    """

    source: str
    word: str
    at_ms: float


def arrivals(log: Iterable[str]) -> dict[str, float]:
    """Return when the station had each picture in hand, epoch milliseconds, by frame id.

    Args:
        log: its lines at level DEBUG: each ``answered`` tells its time and the milliseconds since then.
    """
    told = (json.loads(line) for line in log if '"answered"' in line)
    return {
        line["frame_id"]: datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp() * 1000
        - line["milliseconds"]
        for line in told
        if line.get("action") == "answered" and line["frame_id"]
    }


def arrivals_in(log: Path) -> dict[str, float]:
    """Return ``arrivals`` of a log that is being written: its last line may be half."""
    content = log.read_text(encoding="utf-8")
    return arrivals(content[: content.rfind("\n") + 1].splitlines())


def first_drawn(frames: Iterable[InspectedFrame], sightings: Sequence[Sighting]) -> dict[str, float]:
    """Return when each frame's picture first stood beside its own verdict, by id; those that never did are left out."""
    wanted = {frame.id: frame.verdict.value.replace("_", " ") for frame in frames}
    drawn: dict[str, float] = {}
    for sight in sorted(sightings, key=lambda sight: sight.at_ms):
        for identity in _ids_in(sight.source):
            if wanted.get(identity) == _verdict(sight.word):
                drawn.setdefault(identity, sight.at_ms)
    return drawn


def told(frames: Sequence[InspectedFrame], arrived: Mapping[str, float], sightings: Sequence[Sighting]) -> Figures:
    """Return the figures of a stretch: from a picture's arrival to its drawing, the models' own time taken off.

    Args:
        frames: inspected in that stretch.
        arrived: ``arrivals``.
        sightings: what the page told.
    """
    drawn = first_drawn(frames, sightings)
    measured = [frame for frame in frames if frame.id in drawn and frame.id in arrived]
    whole = np.array([drawn[frame.id] - arrived[frame.id] for frame in measured])
    models = np.array([sum(result.milliseconds for result in frame.results) for frame in measured])
    if not measured:
        return {"frame_to_browser_ms": None, "frames_measured": 0, "frames_not_drawn": len(frames)}
    return {
        "frame_to_browser_ms": _at(whole - models, 50),
        "frame_to_browser_p95_ms": _at(whole - models, 95),
        "frame_to_browser_with_models_ms": _at(whole, 50),
        "frame_to_browser_with_models_p95_ms": _at(whole, 95),
        "models_ms": _at(models, 50),
        "frames_measured": len(measured),
        "frames_not_drawn": len(frames) - len(measured),
    }


def _ids_in(source: str) -> list[str]:
    """Return whatever in a picture's address may be a frame's id: its path's parts, without an ending."""
    return [PurePosixPath(part).stem for part in urlsplit(source).path.split("/") if part]


def _verdict(word: str) -> str:
    found = _WORDS.search(word)
    return found[0].replace("_", " ") if found else ""


def _at(values: Any, percent: float) -> float:
    return round(float(np.percentile(values, percent)), 2)
