"""A toy for the loop: a linear backbone, two objectives with different counts, batches as a function of the step.

Everything is written out here, so that the loop is tested against the contract and not against a real method.
"""

import time

import numpy as np
import torch
from torch import Tensor, nn

from firth.functional.random import Draw
from firth.objective import Composed, Loss, Objective, ObjectiveConfig, Term
from firth.recipe import Optimizer, Recipe, Train
from firth.signal import Batch, Features
from firth.train.checkpoint import digest
from firth.train.loop import train
from firth.train.run import Run

WIDTH, STEPS_IN = 8, 5


class Backbone(nn.Module):
    """tokens (B, T) -> values (B, T, D): an embedding, a hidden matrix, a norm, dropout."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.embed = nn.Embedding(16, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch, keep=None, layers=False, causal=None) -> Features:
        return Features(self.dropout(self.norm(torch.tanh(self.hidden(self.embed(batch["tokens"]))))))


class NextToken(Objective):
    """Guess the token plus one, at every step that is counted."""

    class Config(ObjectiveConfig):
        terms = ("guess",)

    def __init__(self, config, backbone):
        super().__init__(config, backbone)
        self.head = nn.Linear(WIDTH, 16)

    def loss(self, features: Features, batch: Batch) -> Loss:
        logits = self.head(features.values)[batch["asked"]]  # (N, 16)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        target = (batch["tokens"][batch["asked"]] + 1) % 16
        nats = nn.functional.cross_entropy(logits, target, reduction="sum")
        right = (logits.argmax(-1) == target).sum()
        count = batch.counts["guess"]
        return Loss({"guess": Term(nats, count)}, {"guess_accuracy": Term(right, count)})


class Level(Objective):
    """The mean token of a row, guessed from the pooled vector; counts rows."""

    class Config(ObjectiveConfig):
        terms = ("level",)

    def __init__(self, config, backbone):
        super().__init__(config, backbone)
        self.head = nn.Linear(WIDTH, 1)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def loss(self, features: Features, batch: Batch) -> Loss:
        wanted = batch["tokens"].to(features.values.dtype).mean(1)
        error = (self.head(features.pooled)[:, 0] - wanted).square().sum()
        return Loss({"level": Term(error, batch.counts["level"])}, {})

    def after_step(self, progress: float) -> None:
        self.updates += 1


class Comparing(Level):
    compares_samples = True


class ToyBatches:
    """Rows of token ids by counter-based hash; the number of asked tokens differs from batch to batch."""

    def __init__(self, batch: int = 8, micro: int | None = None, rank: int = 0, world: int = 1, seconds: float = 0.0):
        self.batch, self.micro, self.rank, self.world = batch, micro or batch, rank, world
        self.seconds, self.asked_for = seconds, []

    def step(self, i: int) -> list[Batch]:
        self.asked_for.append(i)
        time.sleep(self.seconds)
        mine = np.arange(i * self.batch, (i + 1) * self.batch)[self.rank :: self.world]
        return [self.rows(mine[start : start + self.micro]) for start in range(0, len(mine), self.micro)]

    def evaluation(self, samples: int, batch: int):
        for start in range(0, samples, batch):
            yield self.rows(np.arange(start, min(start + batch, samples)) + 10**6)

    def rows(self, keys: np.ndarray) -> Batch:
        tokens = torch.from_numpy(Draw(1).integers(keys, "tokens", STEPS_IN, 16))
        asked = torch.from_numpy(Draw(1).uniform(keys, "asked", STEPS_IN) < 0.5)
        return Batch(tokens=tokens, asked=asked, counts={"guess": int(asked.sum()), "level": len(keys)})


def composed(dropout: float = 0.0, seed: int = 0, classes=(NextToken, Level), weight: float = 0.1) -> Composed:
    torch.manual_seed(seed)
    backbone = Backbone(dropout)
    return Composed(backbone, {c.__name__.lower(): c(c.Config(weight=weight), backbone) for c in classes})


def recipe(
    steps: int = 12, name: str = "adamw", precision: str = "fp32", clip: float = 1.0, lr=0.01, **train_
) -> Recipe:
    settings = {"batch": 8, "checkpoint_every": 3, "evaluate_every": 4, "evaluate_samples": 20} | train_
    return Recipe(
        optimizer=Optimizer(name=name, lr=lr, clip=clip), train=Train(steps=steps, precision=precision, **settings)
    )


def toy_run(folder=None, dropout: float = 0.0, micro: int | None = None, valid: bool = True, **settings) -> Run:
    batches = ToyBatches(micro=micro)
    return Run(composed(dropout), batches, recipe(**settings), folder, ToyBatches() if valid else None)


def finish(run: Run) -> list:
    """All steps of a run."""
    return list(train(run))


def sha(run: Run) -> str:
    """Of all weights, bit by bit."""
    return digest(run.state_dict())


def weights(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.state_dict().items()}
