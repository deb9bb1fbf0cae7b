"""VICReg: two views of a picture have like vectors, while the numbers of a vector keep their variance and do not
repeat each other.

Loss: Bardes, Ponce & LeCun 2021, arXiv 2105.04906, section 4.1, equations 1 to 6, over the N pictures of a batch with
vectors z, z' of d numbers: λ · s(z, z') + μ · (v(z) + v(z')) + ν · (c(z) + c(z')), where s is the mean square
difference of their N d numbers (equation 5 sums over d; the paper's code divides by it, as here), v the mean over the
numbers of max(0, 1 - √(variance + 0.0001)), and c the sum of the squared covariances of different numbers, by d.
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

EPSILON = 1e-4  # keeps the root differentiable where nothing varies; in the paper's code


class Config(UnlikeViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("vicreg",)
    shares: ClassVar[int] = 1

    invariance: float = Field(25.0, ge=0, description="factor of the distance between the two views (λ)")
    variance: float = Field(25.0, ge=0, description="factor of the variance that is missing (μ); 0: vectors collapse")
    covariance: float = Field(1.0, ge=0, description="factor of the covariances (ν)")
    hidden: int = Field(512, ge=1, description="width between the three maps of the projector (paper: 8192)")
    out: int = Field(512, ge=2, description="width of what is compared (paper: 8192)")

    def unit_of(self, name: str) -> str:
        return ""

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.variance < self.invariance / 10:
            return f"vicreg.variance = {self.variance:g} asks for no spread", "Set vicreg.variance=25."
        return "the covariances are not kept down", "Raise vicreg.covariance, or train.batch."


Settings = Config  # the type, where the class below has its own name `Config`


class VICReg(ComparingViews):
    Config = Config
    config: Settings
    many_directions = True
    compares_samples = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.projector = Projector(backbone.shape.width, (config.hidden, config.hidden), config.out)

    def forward(self, batch: Batch) -> Loss:
        projected = self.projector(self.pooled(batch))  # (V·B, Z)
        config, count = self.config, batch.counts["vicreg"]
        parts = terms_of(*together(projected))
        loss = config.invariance * parts[0] + config.variance * parts[1] + config.covariance * parts[2]
        names = ("vicreg_distance", "vicreg_missing_variance", "vicreg_covariance")
        metrics = {name: Term(part.detach() * count, count) for name, part in zip(names, parts, strict=True)}
        return Loss({"vicreg": Term(loss * count, count)}, metrics | {"vicreg_spread": spread(projected)})


def terms_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, Z), (N, Z) -> distance, missing variance and covariance of both: statistics of the whole batch."""
    distance = (first - second).square().mean()
    (missing, shared), (other_missing, other_shared) = missing_and_shared(first), missing_and_shared(second)
    return distance, missing + other_missing, shared + other_shared


def missing_and_shared(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, Z) -> v and c of the docstring above."""
    covariance = (x - x.mean(0)).T @ (x - x.mean(0)) / max(len(x) - 1, 1)  # (Z, Z)
    variance = covariance.diagonal()
    missing = (1 - (variance + EPSILON).sqrt()).relu().mean()
    return missing, (covariance.square().sum() - variance.square().sum()) / x.shape[1]
