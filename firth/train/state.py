"""All that changes while a run goes on, and how it gets into a checkpoint and out of it."""

import torch
from torch import Tensor

from firth import distributed
from firth.errors import RunError
from firth.train.best import Best
from firth.train.checkpoint import Checkpoint
from firth.train.memory import keep_freed_blocks
from firth.train.optimizer import Optimizer
from firth.train.precision import choose
from firth.train.run import Run


class State:
    """Weights, optimizer, step index and the best evaluation. The data's place is the index: batches are pure in it."""

    def __init__(self, run: Run):
        self.run, self.index = run, 0
        self.best = Best(run.recipe.train.patience or None)
        self.checkpoints = run.checkpoints

    def __enter__(self) -> "State":
        run = self.run
        keep_freed_blocks()
        self._threads = torch.get_num_threads()
        if run.recipe.train.threads:
            torch.set_num_threads(run.recipe.train.threads)
        run.objective.to(run.device)
        self.optimizer = Optimizer(run.objective, run.recipe.optimizer, choose(run.recipe.train.precision, run.device))
        self._resume()
        run.live = self.optimizer.weights.state
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._keep()
        self.optimizer.weights.release()
        self.run.live = None
        torch.set_num_threads(self._threads)

    def _keep(self) -> None:
        """The best weights where they were looked for, else the last."""
        self.run.kept = self.best.step if self.best.weights else self.index
        if self.best.weights:
            self.optimizer.weights.load(self.best.weights)

    @property
    def over(self) -> bool:
        return self.index >= self.run.steps or self.best.over

    def saved(self) -> list[int]:
        """Steps of the checkpoints there are."""
        return self.checkpoints.steps() if self.checkpoints else []

    def save(self) -> None:
        """A checkpoint of this moment, by the main process, where the run has a folder."""
        if self.checkpoints is None or not distributed.is_main():
            return
        self.checkpoints.save(Checkpoint(self.index, self._tensors(), {"best": self.best.facts()}))

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "weights": self.optimizer.weights.state(),
            "optimizer": self.optimizer.state(),
            "best": self.best.weights,
        }
        return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def _resume(self) -> None:
        found = self._found()
        if found is None:
            return
        self._refuse_other_shapes(found)
        self.optimizer.weights.load(found.part("weights."))
        self.optimizer.load(found.part("optimizer."))
        self.best.load(found.facts.get("best", {}), found.part("best."))
        self.index = self.run.resumed = found.step

    def _found(self) -> Checkpoint | None:
        """What the run was handed, else the newest of its folder."""
        handed, self.run.found = self.run.found, None
        if handed is not None or self.checkpoints is None:
            return handed
        found = self.checkpoints.newest()
        self.run.notes.extend(self.checkpoints.notes)
        return found

    def _refuse_other_shapes(self, found: Checkpoint) -> None:
        ours = {name: tuple(tensor.shape) for name, tensor in self.optimizer.weights.state().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in found.part("weights.").items()}
        differing = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        methods = {name.split(".")[0] for name in found.part("optimizer.")}
        if differing or methods != set(self.optimizer.methods):
            what = f"its weights `{differing[0]}` have another shape here" if differing else "its optimizer is another"
            where = f"{self.run.where}, checkpoint of step {found.step:,}"
            raise RunError(where, what, "Run with the config it was made with, or choose another --out.")
