"""The page *Health*: everything that may ail, at one glance. Pure."""

from collections.abc import Sequence

from edge_agent.dashboard.captures_view import queue_view
from edge_agent.dashboard.delivery_view import model_view, seconds, size
from edge_agent.dashboard.hub import Snapshot
from edge_agent.dashboard.presentation import NOTHING, View, agent_view, cameras_view, local_time
from edge_agent.dashboard.similar_view import bank_view
from edge_agent.dashboard.words import Words
from edge_agent.formats import ClockStatus, LogLine, ModelStatus, Status

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def health_view(
    snapshot: Snapshot,
    status: Status | None,
    trouble: str,
    lines: Sequence[LogLine],
    unread: str,
    words: Words,
    now: float,
) -> View:
    """Return the page *Health*.

    Args:
        snapshot: what is known of the agent.
        status: what it says just now; None: nothing.
        trouble: why it says nothing.
        lines: of its log, newest last.
        unread: why there are none.
        words: the language.
        now: epoch seconds.
    """
    models = status.models if status else snapshot.models
    return {
        "trouble": trouble,
        "facts": _agent_facts(status, words),
        "models": [_model(model, words) for model in models],
        "memory": size(sum(model.memory_bytes for model in models), words) or NOTHING,
        "cameras": cameras_view(status.cameras if status else snapshot.cameras, words),
        "clock": _clock(status.clock if status else None, now, words),
        "queue": queue_view(status.captures if status else snapshot.captures, words),
        "lines": [line_view(line) for line in reversed(lines)],
        "unread": unread or ("" if lines else words("logs.none")),
        "agent": agent_view(snapshot, words, now),
    }


def line_view(line: LogLine) -> View:
    """Return one line of the log."""
    fields = " ".join(f"{name}={value}" for name, value in sorted(line.fields.items()))
    return {
        "at": local_time(line.at),
        "level": line.level,
        "logger": line.logger,
        "message": line.message,
        "fields": fields,
    }


def _agent_facts(status: Status | None, words: Words) -> View:
    agent = status.agent if status else None
    return {
        "version": agent.version if agent else NOTHING,
        "uptime": seconds(agent.uptime_s, words) if agent else NOTHING,
        "message": agent.message if agent else "",
    }


def _model(model: ModelStatus, words: Words) -> View:
    shown = model_view(model, words)
    runs = " · ".join(part for part in (model.runtime, model.provider) if part)
    memory = size(model.memory_bytes, words) or NOTHING
    bank = {f"bank_{name}": value for name, value in bank_view(model.bank, words).items()}
    return {**shown, **bank, "memory": memory, "runs": runs or NOTHING}


def _clock(clock: ClockStatus | None, now: float, words: Words) -> View:
    if clock is None:
        return {"state": "UNKNOWN", "word": words("clock.UNKNOWN"), "now": NOTHING, "floor": NOTHING, "apart": ""}
    state = "TRUSTED" if clock.trusted else "UNTRUSTED"
    apart = abs(now - clock.now) if clock.now else 0.0
    return {
        "state": state,
        "word": words(f"clock.{state}"),
        "now": _moment(clock.now),
        "floor": _moment(clock.floor),
        "apart": words("clock.apart", apart=seconds(apart, words)) if apart > 5 else "",  # noqa: PLR2004  # a slow call
    }


def _moment(at: float) -> str:
    return local_time(at, "%Y-%m-%d %H:%M:%S") if at else NOTHING
