"""What stands on an encoder where views are compared: projectors, a teacher that follows its student, vectors of all
ranks, and a sign of collapse."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth import distributed
from firth.model.batch_norm import BatchNorm
from firth.objective import Term

# B samples of this rank, N of all ranks, V views, D width, Z width of what is compared


class Projector(nn.Sequential):
    """(B, D) -> (B, Z): linear, batch norm, ReLU, as often as there are hidden widths, then linear.

    last_norm: a batch norm without scale and shift at the end. norm: False leaves batch norm out.
    """

    def __init__(self, width: int, hidden: tuple[int, ...], out: int, norm: bool = True, last_norm: bool = False):
        widths, parts = (width, *hidden), list[nn.Module]()
        for before, after in pairwise(widths):
            parts += [nn.Linear(before, after, bias=not norm), *([BatchNorm(after)] if norm else []), nn.ReLU()]
        parts.append(nn.Linear(widths[-1], out, bias=not last_norm))
        super().__init__(*parts, *([BatchNorm(out, affine=False)] if last_norm else []))


class Teacher(nn.Module):
    """Copies of a student's modules that have no gradient and follow it: a moving average of its weights.

    All its tensors are buffers: the optimizer does not see them, a checkpoint has them, and they stay in full precision
    where the student's are rounded, since the average moves by less than that. Where the student computes in bf16, so
    does the teacher, by autocast.
    follows_statistics: it takes the student's running statistics of batch norm, averaged like the weights, and computes
    with them (Cai et al. 2021, EMAN, arXiv 2101.08482); else it has its own, of its own batches.
    hurries: in its first updates it follows faster, as `hurried` says, and soon leaves the weights that were drawn.
    """

    updates: Tensor  # how often it has followed

    def __init__(self, *students: nn.Module, follows_statistics: bool = False, hurries: bool = True):
        super().__init__()
        self._students = students  # used, but registered where they learn
        self.copies = nn.ModuleList(_frozen(deepcopy(student)) for student in students)
        self.follows_statistics, self.hurries = follows_statistics, hurries
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(mode and not self.follows_statistics)

    def forward(self, index: int, *given, **named):
        """What the copy of student `index` makes of its arguments."""
        with torch.no_grad(), self._precision():
            return self.copies[index](*given, **named)

    def _precision(self) -> AbstractContextManager:
        weight = next(self._students[-1].parameters())
        low = weight.dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(weight.device.type, weight.dtype) if low else nullcontext()

    @torch.no_grad()
    def become(self) -> None:
        """Exactly the student, which it has not followed yet."""
        for own, theirs in self._pairs(everything=True):
            own.copy_(theirs)
        self.updates.zero_()

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Every weight: momentum × itself + (1 - momentum) × the student's; by a lower momentum where it hurries."""
        momentum = hurried(momentum, int(self.updates)) if self.hurries else momentum
        self.updates += 1
        for own, theirs in self._pairs(everything=False):
            if own.is_floating_point():
                own.lerp_(theirs.to(own.dtype), 1 - momentum)

    def _pairs(self, everything: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Each tensor here and there. everything: buffers of the student, too, as where its statistics are followed."""
        for copy, student in zip(self.copies, self._students, strict=True):
            own = dict(copy.named_buffers())
            buffers = student.named_buffers() if everything or self.follows_statistics else ()
            for name, tensor in [*student.named_parameters(), *buffers]:
                yield own[name], tensor


def _frozen(module: nn.Module) -> nn.Module:
    """Its parameters as buffers, in place."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            del part._parameters[name]
            part.register_buffer(name, parameter.detach().clone())
    return module


def rising(momentum: float, progress: float) -> float:
    """From `momentum` to 1 by half a cosine; progress in [0, 1] (BYOL, arXiv 2006.07733, section 3.2)."""
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2


def hurried(momentum: float, updates: int) -> float:
    """The momentum of a moving average after so many updates: at most (1 + n) / (10 + n), the warm-up of TensorFlow's
    `ExponentialMovingAverage`. By 0.99 all along, 0.4 of what was drawn is left after 90 updates; so, next to nothing.
    """
    return min(momentum, (1 + updates) / (10 + updates))


def unit(x: Tensor) -> Tensor:
    """(…, Z) -> the same in full precision, every vector of length 1."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def together(projected: Tensor) -> tuple[Tensor, Tensor]:
    """(2·B, Z) on each rank, first views then second -> (N, Z) and (N, Z) of all ranks, in full precision."""
    exact = projected.to(torch.promote_types(projected.dtype, torch.float32))
    first, second = distributed.gather_rows(torch.stack(exact.chunk(2), 1)).unbind(1)
    return first, second


@torch.no_grad()
def spread(x: Tensor) -> Term:
    """(B, Z) on each rank -> the standard deviation of a number of a unit vector, times √Z, over the rows of all ranks.

    1 where vectors point everywhere alike, 0 where all are one: the sign of collapse of Chen & He 2020, SimSiam, arXiv
    2011.10566, section 4.1. Counted by rows.
    """
    rows = distributed.gather_rows(unit(x))
    deviation = rows.std(0, correction=0).mean() * rows.shape[1] ** 0.5
    return Term(deviation * len(x), len(x))
