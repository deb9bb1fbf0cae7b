"""Means over held-out batches, streamed: only sums and counts are kept."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from firth import distributed
from firth.objective import Composed, Loss, Term
from firth.signal import Batch

EVALUATED = 256  # held-out samples per evaluation, where nothing else is said


class Sums:
    """Adds up terms by name; sums stay tensors until they are asked for."""

    def __init__(self):
        self.sums: dict[str, Tensor | float] = defaultdict(float)
        self.counts: dict[str, float] = defaultdict(float)

    def add(self, loss: Loss) -> None:
        for name, term in (loss.terms | loss.metrics).items():
            self.sums[name] = self.sums[name] + _wide(term)
            self.counts[name] += float(term.count)

    def means(self) -> dict[str, float]:
        """Sum / count of each term over all ranks; a term that nothing was counted for is left out."""
        numbers = {f"sum {name}": float(value) for name, value in self.sums.items()}
        whole = distributed.total(numbers | {f"count {name}": value for name, value in self.counts.items()})
        seen = [name for name in self.sums if whole[f"count {name}"] > 0]
        return {name: whole[f"sum {name}"] / whole[f"count {name}"] for name in seen}


def measure(objective: Composed, batches: Iterable[Batch], device: str | torch.device = "cpu") -> dict[str, float]:
    """Mean of each loss term and metric over the batches, and "loss", their weighted total. Dropout is off.

    objective: a Composed; its mode (train, eval) is left as it was.
    """
    was_training, sums = objective.training, Sums()
    objective.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                sums.add(objective(batch.to(device)))
    finally:
        objective.train(was_training)
    means = sums.means()
    return {"loss": weighted(means, objective.weights)} | means


def weighted(means: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The total that is minimised, from the means of its terms."""
    return sum(weight * means.get(name, 0.0) for name, weight in weights.items())


def items(batch: Batch) -> float:
    """How much a batch holds of what people count: seconds of sound; real steps, padding left out; else its samples."""
    if "seconds" in batch:
        return float(batch["seconds"].sum())
    if "pad" in batch:
        return int((~batch["pad"]).sum())
    return max((t.shape[0] * t.shape[1] for name, t in batch.items() if name == "tokens"), default=_rows(batch))


def _rows(batch: Batch) -> int:
    return next(iter(batch.values())).shape[0]


def _wide(term: Term) -> Tensor:
    return term.sum.detach().double()
