"""What the loop is given, and what it yields."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from firth.objective import Composed
from firth.recipe import Recipe
from firth.signal import Batch
from firth.train.checkpoint import Checkpoint, Checkpoints


class Batches(Protocol):
    """What the loop asks of data/sampler.py."""

    def step(self, i: int) -> list[Batch]:
        """This rank's micro-batches of update i: a pure function of i."""
        ...

    def evaluation(self, samples: int, batch: int) -> Iterator[Batch]:
        """Always the same batches, with the same things hidden."""
        ...


@dataclass(frozen=True)
class Step:
    """What is known after an update.

    index: updates done so far, from 1. `items` = 0 is an evaluation without an update: before the first step (index 0),
    and the one that is repeated where a run goes on.
    loss: the weighted total over all ranks; metrics: the mean of each loss term and metric.
    lr: learning rate of AdamW. seconds: of this step, waiting for data included, evaluation and saving not.
    items: real tokens, seconds of sound or pictures over all ranks (measure.items). gradient_norm: before clipping.
    evaluation: "loss", terms and metrics on held-out data, at the steps where it is due.
    """

    index: int
    steps: int
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0
    seconds: float = 0.0
    items: int = 0
    gradient_norm: float = 0.0
    evaluation: dict[str, float] | None = None


def lower_loss(evaluation: dict[str, float]) -> float:
    """The default score: the held-out loss, lower is better."""
    return -evaluation["loss"]


@dataclass
class Run:
    """Everything `train` needs. recipe: filled; batches, valid: as data/sampler.py makes them.

    folder: a RunFolder or a path; None keeps no checkpoints. steps: 0 takes recipe.train.steps.
    evaluate_first: also evaluate before the first update (step 0). score: of an evaluation, higher is better; with
    recipe.train.patience the loop stops when it no longer rises and ends with the best weights.
    notes: what was found on the way in, such as a damaged checkpoint. resumed: the step that the run went on from.
    kept: at the end, the step whose weights the objective has. found: the checkpoint to go on from, where somebody has
    read it already; the loop takes it, so that it is not held for longer. ready: called once, when the weights are
    those that training begins or goes on with, in its precision, and before anything is computed with them.
    """

    objective: Composed
    batches: Batches
    recipe: Recipe
    folder: Any = None
    valid: Batches | None = None
    steps: int = 0
    device: str | torch.device = "cpu"
    evaluate_first: bool = False
    score: Callable[[dict[str, float]], float] = lower_loss
    notes: list[str] = field(default_factory=list)
    resumed: int = 0
    kept: int = 0
    found: Checkpoint | None = None
    ready: Callable[[], None] | None = None
    unit: str = "items"  # what people count of the signal: tokens, images, audio-seconds
    live: Callable[[], dict[str, Tensor]] | None = None  # set by the loop while it runs

    def __post_init__(self):
        self.steps = self.steps or self.recipe.train.steps or 0
        if self.steps < 1:
            raise ValueError("Run: steps is open. Give steps=, or fill recipe.train.steps from the plan.")

    @property
    def checkpoints(self) -> Checkpoints | None:
        if self.folder is None:
            return None
        return Checkpoints(Path(getattr(self.folder, "path", self.folder)) / "checkpoints")

    @property
    def where(self) -> str:
        """The place to name in messages."""
        return str(self.folder) if self.folder is not None else "training"

    def state_dict(self) -> dict[str, Tensor]:
        """The weights in full precision, also in the middle of a run: what to save as a model. Copies."""
        state = self.live() if self.live else self.objective.state_dict()
        return {name: tensor.detach().clone() for name, tensor in state.items()}
