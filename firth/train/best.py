"""Early stopping: the best weights so far, and when to give up hoping for better ones."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


@dataclass
class Best:
    """patience: evaluations in a row without a better score that end the run; None: never, and nothing is kept."""

    patience: int | None = None
    score: float = float("-inf")
    step: int = -1
    misses: int = 0
    weights: State = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.patience is not None and self.misses >= self.patience

    def see(self, step: int, score: float, state: Callable[[], State]) -> None:
        """After each evaluation. A tie is no better, so that the earlier weights win."""
        if self.patience is None:
            return
        if score > self.score:
            self.score, self.step, self.misses = score, step, 0
            self.weights = {name: tensor.detach().clone() for name, tensor in state().items()}
        else:
            self.misses += 1

    def facts(self) -> dict[str, Any]:
        """For a checkpoint; the weights go with its tensors."""
        if not self.weights:
            return {}
        return {"score": self.score, "step": self.step, "misses": self.misses}

    def load(self, facts: dict[str, Any], weights: State) -> None:
        """The inverse of facts."""
        if facts:
            self.score, self.step, self.misses = facts["score"], facts["step"], facts["misses"]
            self.weights = weights
