"""AdamW, or Muon for the hidden matrices with AdamW for the rest, over flat fp32 master weights.

One fused AdamW over a flat tensor takes a quarter of the time of the per-parameter loop on a CPU. It is torch's own
function; torch's class would import its compiler, 1.7 s of start that a run of a minute can do without.
"""

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from firth import distributed
from firth.recipe import Optimizer as Settings
from firth.train.precision import Weights, trained

LEARNING_RATE = 1e-3  # where the recipe leaves it open
KINDS = ("embedding", "plain", "decayed", "matrix")  # the order in memory: what AdamW treats alike lies together


def kinds(module: nn.Module) -> dict[str, str]:
    """Name of each trained parameter → "matrix" (what Muon may take), "decayed", "plain" or "embedding".

    Biases and norms are plain: no weight decay; nor on embeddings, which may have a rate of their own. Hidden matrices
    are the two-dimensional weights of the backbone that are no embedding (Jordan 2024, "Muon"): heads and embeddings
    stay with AdamW.
    """
    embeddings = {id(p) for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    return {name: _kind(name, p, id(p) in embeddings) for name, p in trained(module)}


def _kind(name: str, parameter: nn.Parameter, is_embedding: bool) -> str:
    if is_embedding:
        return "embedding"
    if parameter.ndim < 2:
        return "plain"
    hidden = name.startswith("backbone.") and not name.startswith("backbone.embed.")
    return "matrix" if hidden and parameter.ndim == 2 else "decayed"


class Optimizer:
    """The update of a module's trained parameters, and all state of it."""

    def __init__(self, module: nn.Module, settings: Settings, dtype: torch.dtype):
        self.settings, self.lr = settings, settings.lr or LEARNING_RATE
        kind = kinds(module)
        groups = [[p for n, p in trained(module) if kind[n] == k] for k in KINDS]
        self.weights = Weights(module, groups, dtype)
        self.flat = nn.Parameter(self.weights.flat)
        self.flat.grad = self.weights.gradient
        self.methods = self._methods(len(groups[-1]))

    def _methods(self, matrices: int) -> "dict[str, AdamW | Muon]":
        weights, (embedding, plain, decayed, matrix) = self.weights, self.weights.spans
        if self.settings.name == "muon" and matrices:
            views = zip(weights.masters[-matrices:], weights.gradients[-matrices:], strict=True)
            rest = AdamW(weights, embedding, plain, decayed, self.settings)
            return {"adamw": rest, "muon": Muon(list(views), self.settings)}
        return {"adamw": AdamW(weights, embedding, plain, slice(decayed.start, matrix.stop), self.settings)}

    def collect(self, first: bool) -> None:
        """After each backward: take the gradients of a micro-batch, in fp32."""
        self.weights.collect(first)

    @torch.no_grad()
    def norm(self) -> float:
        """The global gradient norm, after summing over the ranks."""
        distributed.sum_gradients([self.flat])
        return torch.linalg.vector_norm(self.weights.gradient).item()

    @torch.no_grad()
    def step(self, factor: float, norm: float) -> float:
        """Clip, update, round. factor: the schedule's. Returns the learning rate of AdamW."""
        if self.settings.clip and norm > self.settings.clip:
            self.weights.gradient.mul_(self.settings.clip / norm)
        for name, method in self.methods.items():
            method.step(factor * (self.settings.muon_lr if name == "muon" else self.lr))
        self.weights.publish()
        return factor * self.lr

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by name: adamw.exp_avg, muon.3, …"""
        return {f"{name}.{key}": value for name, m in self.methods.items() for key, value in m.state().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of state."""
        for name, method in self.methods.items():
            prefix = f"{name}."
            method.load({n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})


class AdamW:
    """Loshchilov & Hutter 2019, "Decoupled weight decay regularization", over three stretches of the flat tensor."""

    def __init__(self, weights: Weights, embedding: slice, plain: slice, decayed: slice, settings: Settings):
        self.weights, self.settings, self.updates = weights, settings, 0
        slow = 1.0 if settings.embedding_lr is None else settings.embedding_lr
        self.spans = [(embedding, 0.0, slow), (plain, 0.0, 1.0), (decayed, settings.weight_decay, 1.0)]
        self.size = decayed.stop
        self.first = torch.zeros_like(weights.flat[: self.size])  # (n,) mean of the gradients
        self.second = torch.zeros_like(self.first)  # (n,) mean of their squares

    def step(self, lr: float) -> None:
        for span, decay, factor in self.spans:
            if span.stop > span.start:
                self._update(span, decay, factor * lr)
        self.updates += 1

    def _update(self, span: slice, decay: float, lr: float) -> None:
        flat, gradient = self.weights.flat[span], self.weights.gradient[span]
        count = torch.tensor(float(self.updates), device=flat.device)
        beta1, beta2 = self.settings.betas
        adamw(
            [flat], [gradient], [self.first[span]], [self.second[span]], [], [count], fused=True, lr=lr, beta1=beta1,
            beta2=beta2, eps=self.settings.epsilon, weight_decay=decay, amsgrad=False, maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        return {"first": self.first, "second": self.second, "updates": torch.tensor(self.updates)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.updates = int(state["updates"])


class Muon:
    """torch.optim.Muon on hidden matrices: Jordan 2024, momentum made orthogonal by five Newton–Schulz steps."""

    def __init__(self, views: list[tuple[Tensor, Tensor]], settings: Settings):
        self.matrices = [nn.Parameter(weight) for weight, _ in views]
        for matrix, (_, gradient) in zip(self.matrices, views, strict=True):
            matrix.grad = gradient
        self.method = torch.optim.Muon(self.matrices, lr=settings.muon_lr, weight_decay=settings.weight_decay)

    def step(self, lr: float) -> None:
        self.method.param_groups[0]["lr"] = lr
        self.method.step()

    def state(self) -> dict[str, Tensor]:
        """{number of the matrix: momentum}; empty before the first step."""
        return {str(n): s["momentum_buffer"] for n, s in self.method.state_dict()["state"].items()}

    def load(self, state: dict[str, Tensor]) -> None:
        whole = self.method.state_dict()
        whole["state"] = {int(number): {"momentum_buffer": tensor.clone()} for number, tensor in state.items()}
        self.method.load_state_dict(whole)
