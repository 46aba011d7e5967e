"""The door of digital outputs, and the chip in memory that stands for it in other tests: one contract for both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import gpiod
import pytest

from edge_agent.errors import Code, OutputError
from edge_agent.station.plc.chip import GpioChip
from edge_agent.station.plc.outputs import Chip
from tests.fakes.chip import FakeChip, FakeKernel


class Bench(NamedTuple):
    """One kind of chip: how it is opened, what its lines show, how it breaks."""

    open: Callable[[Mapping[int, bool]], Chip]
    shown: Callable[[], dict[int, bool]]
    held: Callable[[], bool]
    set_broken: Callable[[bool], None]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel()
    monkeypatch.setattr(gpiod, "request_lines", kernel.request_lines)
    return kernel


@pytest.fixture(params=["in memory", "gpiod"])
def bench(request: pytest.FixtureRequest, kernel: FakeKernel) -> Bench:
    if request.param == "gpiod":
        broken = lambda value: setattr(kernel, "broken", value)  # noqa: E731 - one of four
        return Bench(lambda levels: GpioChip("chip", levels), lambda: kernel.high, lambda: kernel.held, broken)
    chip = FakeChip()
    return Bench(chip.open, lambda: chip.levels, lambda: chip.opened, lambda value: setattr(chip, "broken", value))


def test_lines_show_what_they_are_opened_with_and_what_they_are_set_to(bench: Bench) -> None:
    chip = bench.open({3: True, 5: False})
    assert (bench.shown(), bench.held()) == ({3: True, 5: False}, True)
    chip.set({3: False, 5: True})
    assert bench.shown() == {3: False, 5: True}
    chip.close()
    assert bench.held() is False


def test_a_chip_that_fails_is_an_output_error_when_opened_and_when_set(bench: Bench) -> None:
    chip = bench.open({3: True})
    bench.set_broken(True)
    for act in (lambda: chip.set({3: False}), lambda: bench.open({3: True})):
        with pytest.raises(OutputError) as caught:
            act()
        assert caught.value.code is Code.OUTPUT_FAILED
    bench.set_broken(False)
    chip.set({3: False})
    assert bench.shown() == {3: False}


def test_with_active_low_on_is_a_low_level_from_the_first_moment(kernel: FakeKernel) -> None:
    chip = GpioChip("chip", {3: True, 5: False}, active_low=True)
    assert (kernel.high, kernel.consumer) == ({3: False, 5: True}, "edge-agent")
    chip.set({3: False, 5: True})
    assert kernel.high == {3: True, 5: False}


@pytest.mark.parametrize("there", [False, True], ids=["no such file", "no chip"])
def test_a_chip_that_is_not_there_is_an_error_with_its_path_and_lines(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "gpiochip0"
    if there:
        path.write_bytes(b"")
    with pytest.raises(OutputError, match=r"gpiochip0: expected the lines \[3, 5\]") as caught:
        GpioChip(str(path), {5: False, 3: True})
    assert caught.value.code is Code.OUTPUT_FAILED
