"""Texts that came from elsewhere, for people to read."""


def printable(text: str, *, keep: str = "") -> str:
    """Return text without what a terminal would obey, each such letter a space; those in ``keep`` stay."""
    return "".join(letter if letter.isprintable() or letter in keep else " " for letter in text)
