"""How large the steps of a training are: small, then large, then smaller and smaller (Smith and Topin 2018)."""

import torch
from torch.optim.lr_scheduler import OneCycleLR

WARM_UP = 0.2
"""Share of the steps that grow."""


def one_cycle(optimizer: torch.optim.Optimizer, rates: list[float], steps: int) -> OneCycleLR:
    """Return a schedule of so many steps, at least one, that reaches these rates.

    torch divides by the number of steps that grow, less one. Where that is exactly one, as of
    five steps, none grows here.
    """
    share = WARM_UP if abs(WARM_UP * steps - 1) > 1e-6 else WARM_UP / 2  # noqa: PLR2004 - rounding
    return OneCycleLR(optimizer, rates, total_steps=steps, pct_start=share)
