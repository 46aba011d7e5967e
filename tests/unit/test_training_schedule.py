"""How large the steps of a training are, however few there are."""

import pytest

pytest.importorskip("torch", reason="the extra train is not installed")

import torch

from cloud_tools.training.schedule import one_cycle


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 6, 36])
def test_any_number_of_steps_is_one_cycle_that_ends_with_the_smallest(steps: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = one_cycle(optimizer, [1e-3], steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step() if len(rates) < steps else None
    assert 0 < max(rates) <= 1e-3 + 1e-12
    assert rates[-1] == min(rates)
    if steps >= 5:
        assert max(rates) > 5e-4
