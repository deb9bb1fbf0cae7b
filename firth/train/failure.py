"""When the loss or the gradient is no number: which step, why probably, what to do, and what is still good."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from firth.errors import RunError


def is_number(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def not_a_number(
    where, step: int, loss: float, norm: float, module: nn.Module, lr: float, saved: list[int]
) -> RunError:
    """step: the update that was refused, from 1. lr: of AdamW at that step. saved: steps of checkpoints."""
    sick = first_sick_weight(module.named_parameters())
    subject = f"the loss is {loss}" if not is_number(loss) else f"the gradient norm is {norm} (the loss is {loss:.4g})"
    what = f"{subject} at step {step:,}: {_cause(sick, step, lr)}"
    return RunError(where, what, f"{_remedy(sick, lr)} {_last_good(saved)}")


def first_sick_weight(named: Iterable[tuple[str, nn.Parameter]]) -> str | None:
    """Name of the first parameter that holds nan or inf; the update was refused, so such a weight was there before."""
    return next((name for name, p in named if not bool(torch.isfinite(p).all())), None)


def _cause(sick: str | None, step: int, lr: float) -> str:
    if sick:
        return f"the weights `{sick}` hold nan or inf"
    if step == 1:
        return "it is the first step, so the input or the weights that it began with hold extreme values"
    return f"the learning rate {lr:.3g} is probably too high"


def _remedy(sick: str | None, lr: float) -> str:
    if sick:
        return "Begin from other weights (--from, or --set model.start=random)."
    return f"Try --set optimizer.lr={lr / 3:.1g}, or --set train.precision=fp32."


def _last_good(saved: list[int]) -> str:
    if not saved:
        return "No checkpoint was written yet."
    return f"The checkpoint of step {saved[-1]:,} is good; this step was not saved."
