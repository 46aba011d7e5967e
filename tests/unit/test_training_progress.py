"""Bars where somebody looks, lines everywhere else."""

import io
import re

import pytest

from cloud_tools.training.progress import shown, stepped, without_lines

_COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-9]|38;5;\d+)[0-9;]*m")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _told(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with shown() as progress:
        for step in stepped(progress, "learning", 1, 3):
            progress(f"epoch {step + 1}: [red]fine[/red]\x1b[2J")
    return stream.getvalue()


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _told(monkeypatch, io.StringIO())
    assert told.splitlines() == ["epoch 2: [red]fine[/red] [2J", "epoch 3: [red]fine[/red] [2J"]
    assert "\x1b" not in told


def test_a_terminal_gets_a_bar_and_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    told = _told(monkeypatch, _Terminal())
    assert "learning" in told
    assert "3/3" in told
    assert "epoch 3: [red]fine[/red]" in told
    assert "\x1b[2J" not in told
    assert _COLOUR.search(told)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    told = _told(monkeypatch, _Terminal())
    assert "3/3" in told
    assert not _COLOUR.search(told)


def test_whoever_passes_a_plain_function_gets_all_steps() -> None:
    lines: list[str] = []
    assert list(stepped(lines.append, "learning", 2, 5)) == [2, 3, 4]
    assert lines == []


def test_a_control_has_its_bar_and_keeps_its_lines_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = _Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with shown() as progress:
        quiet = without_lines(progress)
        for _ in stepped(quiet, "control", 0, 2):
            quiet("a line of the control")
    assert "2/2" in stream.getvalue()
    assert "a line of the control" not in stream.getvalue()
