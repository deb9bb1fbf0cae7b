"""Weights in the precision of the arithmetic, with master copies in fp32.

All trained parameters lie in one flat tensor, in the order of the optimizer's groups: gathering gradients, their norm,
the update and the copy back are then a few passes over memory, however many parameters there are.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from firth.train.machine import native_bf16

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
ALIGNED = 32  # elements: every parameter begins at a multiple of 64 bytes, also in bf16


def choose(name: str, device: str | torch.device = "cpu") -> torch.dtype:
    """The dtype of the arithmetic. "auto": bf16 where the machine multiplies it faster, else fp32."""
    if name == "auto":
        name = "bf16" if has_fast_bf16(torch.device(device)) else "fp32"
    return DTYPES[name]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 are faster than in fp32 there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and native_bf16()


class Weights:
    """Master copies of the trained parameters of a module, and their gradients.

    module: its parameters are converted to `dtype` in place; `release` gives them back in their own dtype.
    groups: the trained parameters, in the order in which they are to lie in `flat`.
    flat, gradient: (N,) fp32 (fp64 for dtype fp64). spans[g]: the slice of group g.
    """

    def __init__(self, module: nn.Module, groups: list[list[nn.Parameter]], dtype: torch.dtype):
        self.module, self.dtype = module, dtype
        self.parameters = [parameter for group in groups for parameter in group]
        self.own_dtypes = {id(p): p.dtype for p in module.parameters()}
        self._lay_out(groups)
        self._convert()

    def _lay_out(self, groups: list[list[nn.Parameter]]) -> None:
        self.offsets, self.spans, end = [], [], 0
        for group in groups:
            start = end
            for parameter in group:
                self.offsets.append(end)
                end += -(-parameter.numel() // ALIGNED) * ALIGNED
            self.spans.append(slice(start, end))
        self.size = end

    @torch.no_grad()
    def _convert(self) -> None:
        device = next(self.module.parameters()).device
        master = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.flat = torch.zeros(self.size, dtype=master, device=device)
        self.gradient = torch.zeros_like(self.flat)
        self.working = self.flat if self.dtype == master else torch.zeros_like(self.flat, dtype=self.dtype)
        self.masters, self.gradients = self.views(self.flat), self.views(self.gradient)
        for master_view, parameter in zip(self.masters, self.parameters, strict=True):
            master_view.copy_(parameter)
        self.publish()
        self._frozen = {id(p): p.data for p in self.module.parameters() if not p.requires_grad}
        for parameter in self.module.parameters():
            parameter.data = parameter.data.to(self.dtype)
        for view, parameter in zip(self.views(self.working), self.parameters, strict=True):
            parameter.data = view

    def views(self, flat: Tensor) -> list[Tensor]:
        """flat (N,) -> one view per trained parameter, in its shape."""
        placed = zip(self.offsets, self.parameters, strict=True)
        return [flat[offset : offset + p.numel()].view(p.shape) for offset, p in placed]

    @torch.no_grad()
    def collect(self, first: bool) -> None:
        """Move the parameters' gradients into `gradient`, in its precision; not the first: add to what is there."""
        for view, parameter in zip(self.gradients, self.parameters, strict=True):
            if parameter.grad is not None:
                view.copy_(parameter.grad) if first else view.add_(parameter.grad)
            elif first:
                view.zero_()
            parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Round the master copies into the parameters that the module computes with."""
        if self.working is not self.flat:
            self.working.copy_(self.flat)

    def state(self) -> dict[str, Tensor]:
        """The module's state_dict, with the master copies where a parameter is trained. Shares their memory."""
        masters = {id(p): view for p, view in zip(self.parameters, self.masters, strict=True)}
        named = self.module.state_dict(keep_vars=True).items()
        return {name: masters[id(t)] if id(t) in masters else self._untrained(t) for name, t in named}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of state, in place. The names and shapes must be those of `state()`."""
        masters = {id(p): view for p, view in zip(self.parameters, self.masters, strict=True)}
        with torch.no_grad():
            for name, tensor in self.module.state_dict(keep_vars=True).items():
                masters.get(id(tensor), tensor).copy_(state[name])
                if id(tensor) in self._frozen:
                    self._frozen[id(tensor)] = state[name].to(tensor.device)
        self.publish()

    def release(self) -> None:
        """Give the module its parameters back, in the dtype they came in, rounded nowhere on the way."""
        untrained = {id(p): self._untrained(p) for p in self.module.parameters() if id(p) in self._frozen}
        for parameter, view in zip(self.parameters, self.masters, strict=True):
            parameter.data = view.to(self.own_dtypes[id(parameter)], copy=True)
            parameter.grad = None
        for parameter in self.module.parameters():
            if id(parameter) in untrained:
                parameter.data = untrained[id(parameter)].to(self.own_dtypes[id(parameter)])

    def _untrained(self, tensor: Tensor) -> Tensor:
        """A frozen parameter in its own precision, unless the method has changed it since; a buffer as it is."""
        own = self._frozen.get(id(tensor))
        if own is None or not torch.equal(own.to(tensor.dtype), tensor.detach()):
            return tensor.detach()
        return own


def trained(module: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """The named parameters that have a gradient, each once."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)
