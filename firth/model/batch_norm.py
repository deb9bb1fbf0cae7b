"""Batch normalisation over the samples of all ranks: Ioffe & Szegedy 2015, arXiv 1502.03167.

torch's synchronised form takes no tensors on a CPU. This one sums by `distributed.total_of`, so that N ranks give the
values and the gradients of one, and takes parameters in bf16 beside running statistics in fp32.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.distributed import total_of, world

# N samples, C channels


class BatchNorm(nn.Module):
    """(N, C) or (N, C, H, W) -> the same shape: each channel with mean 0 and variance 1, then scaled and shifted.

    Training takes mean and variance of the batch, over the rows of all ranks; evaluation takes the running ones.
    affine: whether there is a scale and a shift. momentum: the share of the batch in the running statistics.
    """

    remembers = True  # whether training changes the running statistics

    running_mean: Tensor
    running_variance: Tensor  # unbiased: divided by the number of values less one

    def __init__(self, width: int, affine: bool = True, epsilon: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        scale, shift = (None if p is None else p.to(exact) for p in (self.weight, self.bias))
        if self.training and (world() > 1 or x.numel() <= x.shape[1]):
            return self._over_ranks(x.to(exact), scale, shift).to(x.dtype)
        aside = self.training and not self.remembers  # else no copies where the dtype fits
        mean, variance = (running.to(exact, copy=aside) for running in (self.running_mean, self.running_variance))
        out = F.batch_norm(x, mean, variance, scale, shift, self.training, self.momentum, self.epsilon)
        if self.training and self.remembers and mean is not self.running_mean:
            self.running_mean.copy_(mean)
            self.running_variance.copy_(variance)
        return out

    def _over_ranks(self, x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
        """The same by sums over all ranks; a single value a channel, of which torch has no variance, becomes 0."""
        across, of_channels = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
        count = total_of(x.new_tensor(x.numel() / x.shape[1])).clamp(min=1)
        mean = total_of(x.sum(across)) / count  # (C,)
        centred = x - mean.view(of_channels)
        variance = total_of(centred.square().sum(across)) / count  # (C,)
        if self.remembers:
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        out = centred * (variance + self.epsilon).rsqrt().view(of_channels)
        return out if scale is None or shift is None else out * scale.view(of_channels) + shift.view(of_channels)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_variance.lerp_(variance.to(self.running_variance.dtype), self.momentum)


def norms_of(*modules: nn.Module) -> list[BatchNorm]:
    """The batch norms in the modules."""
    return [part for module in modules for part in module.modules() if isinstance(part, BatchNorm)]


@contextmanager
def nothing_remembered(*modules: nn.Module) -> Iterator[None]:
    """Batch norms in the modules leave their running statistics alone, also while they train."""
    norms = [norm for norm in norms_of(*modules) if norm.remembers]
    for norm in norms:
        norm.remembers = False
    try:
        yield
    finally:
        for norm in norms:
            norm.remembers = True


@contextmanager
def statistics_of_the_batch(module: nn.Module) -> Iterator[None]:
    """Batch norms in the module take mean and variance of the batch, as in training, and remember nothing of it."""
    resting = [norm for norm in norms_of(module) if not norm.training]
    for norm in resting:
        norm.training = True
    try:
        with nothing_remembered(module):
            yield
    finally:
        for norm in resting:
            norm.training = False
