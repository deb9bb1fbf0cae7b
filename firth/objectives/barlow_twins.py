"""Barlow Twins: over a batch, each number of a vector correlates with itself in the other view, and with no other.

Loss: Zbontar et al. 2021, arXiv 2103.03230, section 2.1, equations 1 and 2: Σ_i (1 - C_ii)² + λ Σ_{i ≠ j} C_ij², where
C_ij is the correlation, over the N pictures of a batch, of number i of the first view with number j of the second.
"""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from firth.objective import Loss, Term
from firth.objectives._projector import Projector, spread, together
from firth.objectives._views import ComparingViews, UnlikeViewsConfig
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch

# B samples of this rank, N of all ranks, V = 2 views, Z width of the projection

EPSILON = 1e-5  # beside a variance, as in a batch norm


class Config(UnlikeViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("barlow_twins",)
    shares: ClassVar[int] = 1

    redundancy: float = Field(0.005, ge=0, description="factor of the correlations of different numbers (λ)")
    hidden: int = Field(512, ge=1, description="width between the three maps of the projector (paper: 8192)")
    out: int = Field(512, ge=2, description="width of what is compared (paper: 8192)")

    def unit_of(self, name: str) -> str:
        return ""

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        what = f"barlow_twins.redundancy = {self.redundancy:g} lets numbers repeat each other"
        return what, "Raise barlow_twins.redundancy, or train.batch."


Settings = Config  # the type, where the class below has its own name `Config`


class BarlowTwins(ComparingViews):
    Config = Config
    config: Settings
    compares_samples = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.projector = Projector(backbone.shape.width, (config.hidden, config.hidden), config.out)

    def forward(self, batch: Batch) -> Loss:
        projected = self.projector(self.pooled(batch))  # (V·B, Z)
        alike, unlike = correlations(*together(projected))
        count = batch.counts["barlow_twins"]
        loss = alike + self.config.redundancy * unlike
        metrics = {
            "barlow_twins_diagonal": Term(alike.detach() * count, count),
            "barlow_twins_spread": spread(projected),
        }
        return Loss({"barlow_twins": Term(loss * count, count)}, metrics)


def correlations(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(N, Z), (N, Z) -> Σ_i (1 - C_ii)² and Σ_{i ≠ j} C_ij², statistics of the whole batch."""
    matrix = standard(first).T @ standard(second) / len(first)  # (Z, Z)
    diagonal = matrix.diagonal()
    return (1 - diagonal).square().sum(), matrix.square().sum() - diagonal.square().sum()


def standard(x: Tensor) -> Tensor:
    """(N, Z) -> the same: every number with mean 0 and variance 1 over the rows."""
    centred = x - x.mean(0)
    return centred * (centred.square().mean(0) + EPSILON).rsqrt()
