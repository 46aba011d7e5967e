"""What several calls ask of their requests."""

from edge_agent.errors import Code, InferenceError

_LIST_DEFAULT = 100
_LIST_LIMIT = 1000
_TEXT_LIMIT = 1000


def limited(limit: int) -> int:
    """Return how many of a list are answered; 0: as many as is usual."""
    return min(limit or _LIST_DEFAULT, _LIST_LIMIT)


def check_text(field: str, text: str) -> None:
    """Check a text that is put on record.

    Raises:
        InferenceError: INVALID_ARGUMENT: it is empty or too long.
    """
    if not text.strip() or len(text) > _TEXT_LIMIT:
        message = f"{field}: expected 1 to {_TEXT_LIMIT} characters, came {len(text.strip())}"
        raise InferenceError(Code.INVALID_ARGUMENT, message)
