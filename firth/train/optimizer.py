"""AdamW, or Muon for the hidden matrices with AdamW for the rest, over flat fp32 master weights.

One fused AdamW over a flat tensor takes a quarter of the time of the per-parameter loop on a CPU. It is torch's own
function; torch's class would import its compiler, 1.7 s of start that a run of a minute can do without.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from firth import distributed
from firth.recipe import Optimizer as Settings
from firth.train.muon import Matrix, Muon, rows_of
from firth.train.precision import Weights, trained

LEARNING_RATE = 1e-3  # where the recipe leaves it open
KINDS = ("embedding", "plain", "decayed", "matrix")  # the order in memory: what AdamW treats alike lies together
DECAYING = ("decayed", "matrix")
BLOCK = re.compile(r"backbone\.encoder\.blocks\.(\d+)\.")

Groups = dict[tuple[str, int], list[nn.Parameter]]  # (kind, depth) → parameters


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


def depths(module: nn.Module) -> dict[str, int]:
    """Name of each trained parameter → how far it lies below the heads.

    0: heads, and the norm after the last block; 1: the last block; L: the first of L blocks; L + 1: embeddings. So
    BEiT counts (arXiv 2106.08254, its published code); ELECTRA (arXiv 2003.10555) leaves one step free below the heads.
    """
    found = {name: BLOCK.match(name) for name, _ in module.named_parameters()}
    number = {name: int(block[1]) for name, block in found.items() if block}
    layers = max(number.values(), default=-1) + 1
    return {
        name: layers + 1 if name.startswith("backbone.embed.") else layers - number.get(name, layers)
        for name, _ in trained(module)
    }


def groups_of(module: nn.Module, settings: Settings) -> Groups:
    """The trained parameters in the order in which they lie in memory; without layer decay all depths count as 0."""
    kind, depth = kinds(module), depths(module) if settings.layer_decay < 1 else {}
    groups: Groups = {}
    for name, parameter in trained(module):
        groups.setdefault((kind[name], depth.get(name, 0)), []).append(parameter)
    return dict(sorted(groups.items(), key=lambda group: (KINDS.index(group[0][0]), group[0][1])))


class Stretch(NamedTuple):
    """A part of the flat tensor that AdamW treats alike."""

    span: slice
    decay: float  # of the weights
    factor: float  # of the learning rate


def stretches(spans: dict[tuple[str, int], slice], settings: Settings) -> list[Stretch]:
    """spans: by kind and depth, one after the other. Matrices join what decays at the same rate before them."""
    found: list[Stretch] = []
    slow, before = 1.0 if settings.embedding_lr is None else settings.embedding_lr, ""
    for (kind, depth), span in spans.items():
        factor = settings.layer_decay**depth * (slow if kind == "embedding" else 1.0)
        one = Stretch(span, settings.weight_decay if kind in DECAYING else 0.0, factor)
        if kind == "matrix" and before in DECAYING and found[-1].factor == factor:
            one = one._replace(span=slice(found.pop().span.start, span.stop))
        found.append(one)
        before = kind
    return found


class Optimizer:
    """The update of a module's trained parameters, and all state of it."""

    def __init__(self, module: nn.Module, settings: Settings, dtype: torch.dtype):
        self.settings, self.lr = settings, settings.lr or LEARNING_RATE
        groups = groups_of(module, settings)
        self.weights = Weights(module, list(groups.values()), dtype)
        self.flat = nn.Parameter(self.weights.flat)
        self.flat.grad = self.weights.gradient
        self.methods = self._methods(groups)

    def _methods(self, groups: Groups) -> "dict[str, AdamW | Muon]":
        spans = dict(zip(groups, self.weights.spans, strict=True))
        factors = [self.settings.layer_decay**depth for kind, depth in groups if kind == "matrix"
                   for _ in groups[kind, depth]]  # fmt: skip
        if self.settings.name == "muon" and factors:
            rest = {group: span for group, span in spans.items() if group[0] != "matrix"}
            last = slice(-len(factors), None)
            known = rows_of(self.weights.module)
            rows = [known.get(id(parameter)) for parameter in self.weights.parameters[last]]
            given = zip(self.weights.masters[last], self.weights.gradients[last], factors, rows, strict=True)
            return {"adamw": AdamW(self.weights, stretches(rest, self.settings), self.settings),
                    "muon": Muon([Matrix(*one) for one in given], self.settings)}  # fmt: skip
        return {"adamw": AdamW(self.weights, stretches(spans, self.settings), self.settings)}

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
    """Loshchilov & Hutter 2019, "Decoupled weight decay regularization", over stretches of the flat tensor."""

    def __init__(self, weights: Weights, stretches: list[Stretch], settings: Settings):
        self.weights, self.settings, self.updates = weights, settings, 0
        self.stretches = stretches
        self.size = stretches[-1].span.stop if stretches else 0
        self.first = torch.zeros_like(weights.flat[: self.size])  # (n,) mean of the gradients
        self.second = torch.zeros_like(self.first)  # (n,) mean of their squares

    def step(self, lr: float) -> None:
        for span, decay, factor in self.stretches:
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
