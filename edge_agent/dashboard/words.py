"""What the page says, in the languages that it speaks: one JSON file each."""

import json
from collections.abc import Mapping
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "languages"
FALLBACK = "en"


class Words:
    """One language.

    Args:
        language: its code, as ``de``.
        texts: what is said, by key; ``{name}`` stands for a value.
    """

    def __init__(self, language: str, texts: Mapping[str, str]) -> None:
        self.language = language
        self.texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values filled in; a key that is unknown is a KeyError."""
        return self.texts[key].format(**values) if values else self.texts[key]

    def or_as_is(self, prefix: str, word: str) -> str:
        """Return the text for a word of the protocol, or the word where it has none."""
        return self.texts.get(f"{prefix}.{word}", word)

    def number(self, value: float, digits: int) -> str:
        """Return a number as this language writes it."""
        marks = {ord(","): self("group"), ord("."): self("decimal")}
        return f"{value:,.{digits}f}".translate(marks)


def read_languages(directory: Path = _DIRECTORY) -> dict[str, Words]:
    """Return all languages by code."""
    files = sorted(directory.glob("*.json"))
    return {file.stem: Words(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files}
