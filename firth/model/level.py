"""What a head reads of a frozen encoder, each number brought to mean 0 and variance 1 over the training samples.

Numbers of an encoder differ in size by orders of magnitude, most of all where little was learnt. A map that learns in
hundreds of steps then learns the large ones: the head, and not the encoder, decides who wins. Baselines of statistics
are standardised, too. (MAE's linear probe has a batch norm without an affine part for it: He et al. 2021, arXiv
2111.06377, appendix A.) After training the map takes mean and scale into its own weights: nothing of it is left.
"""

import torch
from torch import Tensor, nn

from firth.distributed import total_of

# N rows, D numbers of a row

FEW = 8  # rows that the mean variance of all numbers counts as, on the scale of logarithms: of two samples nobody knows
# a variance, and a number that differs little is not to be drowned by those that differ much
LEAST = 1e-2  # of the root of the mean variance, that a deviation is taken for at least: no noise is blown up


class Level(nn.Module):
    """(…, D) -> (…, D): as it is, until `settle`. It stands before a map with a bias, of vectors or of steps."""

    def __init__(self, map: nn.Linear):
        super().__init__()
        self._map = (map,)  # a tuple: folded into, but registered only once, in the head
        self.mean: Tensor | None = None  # (D,) fp32
        self.scale: Tensor | None = None
        self.sums: Tensor | None = None  # fp64 (2 D + 1,): of the rows, of their squares, and their number

    def forward(self, values: Tensor, padding: Tensor | None = None) -> Tensor:
        """padding: bool (B, T), True where there is nothing; for values (B, T, D)."""
        if self.sums is not None:
            self.sums = self.sums + counted(values.flatten(0, -2) if padding is None else values[~padding])
        if self.mean is None or self.scale is None:
            return values
        return ((values - self.mean) * self.scale).to(values.dtype)

    def look(self) -> None:
        """From now on, count what goes through."""
        width, device = self._map[0].in_features, self._map[0].weight.device
        self.sums = torch.zeros(2 * width + 1, dtype=torch.float64, device=device)

    def settle(self) -> None:
        """Count no more, and level what goes through from now on, by what all ranks have counted since `look`."""
        if self.sums is None:
            raise ValueError("Level: nothing was counted. Call look() first.")
        sums, self.sums = total_of(self.sums), None
        number = sums[-1].clamp(min=1)
        mean, square = (sums[:-1] / number).chunk(2)
        variance = (square - mean.square()).clamp(min=0)
        usual = variance.mean()
        if not usual > 0:  # nothing differs: nothing to level
            return
        ratio = (variance / usual).clamp(min=LEAST**2) ** (number / (number + FEW))
        self.mean, self.scale = mean.float(), (usual * ratio).rsqrt().float()

    @torch.no_grad()
    def fold(self) -> None:
        """The map then does it all: the same function, in weights of its own."""
        self.sums, (mean, scale) = None, (self.mean, self.scale)
        if mean is None or scale is None:
            return
        weight, bias = self._map[0].weight, self._map[0].bias
        own = weight.double() * scale
        bias.sub_((own @ mean.double()).to(bias.dtype))
        weight.copy_(own)
        self.mean = self.scale = None


def counted(rows: Tensor) -> Tensor:
    """(N, D) -> (2 D + 1,) fp64: sums, sums of squares, number."""
    rows = rows.detach().double()
    return torch.cat([rows.sum(0), rows.square().sum(0), rows.new_tensor([len(rows)])])
