"""What devices and buckets call things reaches a person, but no terminal obeys it."""

import json

import pytest

from cloud_tools.output import emit

# Clear the screen, set the window's title, one byte that begins a sequence too, and turn the direction of writing.
HOSTILE = "unet\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\x7f\U000e0001"


@pytest.mark.parametrize("text", ["", f"job {HOSTILE}: failed\nsecond line"])
def test_no_answer_for_a_person_holds_what_a_terminal_obeys(capsys: pytest.CaptureFixture[str], text: str) -> None:
    emit({f"model {HOSTILE}": HOSTILE}, as_json=False, text=text)
    told = capsys.readouterr().out
    assert "[2J" in told
    assert all(line.isprintable() for line in told.splitlines())
    assert len(told.splitlines()) == text.count("\n") + 1, "lines stay lines"


def test_json_tells_it_in_escapes_and_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"model": HOSTILE, "plant": "Köln"}, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert "Köln" in line
    assert json.loads(line) == {"model": HOSTILE, "plant": "Köln"}
