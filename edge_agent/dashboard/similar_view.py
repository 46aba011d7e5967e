"""What looks like a part, for people. Pure."""

from collections.abc import Callable
from urllib.parse import quote

from edge_agent.dashboard.presentation import View
from edge_agent.dashboard.today_view import clock, day
from edge_agent.dashboard.words import Words
from edge_agent.formats import BankStatus, SimilarPart, SimilarParts


def similar_view(similar: SimilarParts | None, trouble: str, small: Callable[[bytes], str], words: Words) -> View:
    """Return what looks like a part.

    Args:
        similar: what the agent says; None: nothing.
        trouble: why it says nothing.
        small: keeps a small picture and returns its address.
        words: the language.
    """
    told = similar or SimilarParts()
    return {
        "trouble": trouble or _trouble(told, words),
        "by": words("similar.by", model=f"{told.model} {told.version}") if told.model else "",
        "distance": words("similar.far" if told.far else "similar.near") if told.model and not told.message else "",
        "tone": "bad" if told.far else "good",
        "parts": [_part(part, small, words) for part in told.parts],
    }


def bank_view(bank: BankStatus | None, words: Words) -> View:
    """Return how live parts lie to what a model learnt: a word, how grave it is, and what it means."""
    if bank is None:
        return {"word": words("bank.NONE"), "tone": "", "meaning": ""}
    if bank.state == "BROKEN":
        meaning = bank.message
    elif bank.state == "WAITING":
        meaning = words("bank.seen", seen=words.number(bank.seen, 0), needed=words.number(bank.needed, 0))
    else:
        share = words.number(bank.far_share * 100, 1)
        meaning = words("bank.far", share=share, seen=words.number(bank.seen, 0), drift=words.number(bank.drift, 2))
    tone = {"DRIFTED": "bad", "BROKEN": "bad", "STEADY": "good"}.get(bank.state, "")
    return {"word": words.or_as_is("bank", bank.state), "tone": tone, "meaning": meaning}


def _trouble(told: SimilarParts, words: Words) -> str:
    if not told.model:
        return words("similar.no_memory")
    if told.message:
        return words("similar.no_bank", model=f"{told.model} {told.version}", why=told.message)
    return "" if told.parts else words("similar.none")


def _part(part: SimilarPart, small: Callable[[bytes], str], words: Words) -> View:
    at = f"{day(part.at)} {clock(part.at)}" if part.captured else ""
    return {
        "similarity": f"{words.number(part.similarity * 100, 2)} %",
        "what": words("similar.captured" if part.captured else "similar.learnt"),
        "origin": "captured" if part.captured else "learnt",
        "verdict": part.verdict or None,
        "word": words.or_as_is("verdict", part.verdict) if part.verdict else "",
        "label": part.label,
        "name": at if part.captured else part.id,
        "picture": _picture(part, small),
    }


def _picture(part: SimilarPart, small: Callable[[bytes], str]) -> str | None:
    if part.captured:
        return f"/captures/{quote(part.id, safe='')}/thumbnail"
    return small(part.thumbnail) if part.thumbnail else None
