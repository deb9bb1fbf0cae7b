"""SimCLR: two views of a picture are found among the views of all pictures of a batch.

Loss (NT-Xent), Chen et al. 2020, arXiv 2002.05709, section 2.1, over all 2 N views of a batch: the sum over views i of
-log( exp(s(i, j) / τ) / Σ_{k ≠ i} exp(s(i, k) / τ) ), in nats, over their number; j is the other view of the same
picture, s the cosine of what a projector makes of two views. Views of a copy of the picture in the batch are no k.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from firth import distributed
from firth.functional.losses import cross_entropy_sum
from firth.objective import Loss, Term
from firth.objectives._projector import Projector, spread, unit
from firth.objectives._views import ComparedViewsConfig, ComparingViews
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch

# B samples of this rank, N of all ranks, V = 2 views, Z width of the projection


class Config(ComparedViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("simclr",)

    temperature: float = Field(0.2, gt=0, description="divides the cosines (paper: 0.5 for CIFAR-10, 0.1 for ImageNet)")
    hidden: int = Field(512, ge=1, description="width between the two maps of the projector")
    out: int = Field(128, ge=2, description="width of what is compared")

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.temperature > 1:
            return f"simclr.temperature = {self.temperature:g} makes all pairs alike", "Set simclr.temperature=0.2."
        return (
            "the views may have too little in common, or too much",
            "Look at samples/views.png; change simclr.augment.",
        )


Settings = Config  # the type, where the class below has its own name `Config`


class SimCLR(ComparingViews):
    Config = Config
    config: Settings
    many_directions = True
    compares_samples = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.projector = Projector(backbone.shape.width, (config.hidden,), config.out)

    def forward(self, batch: Batch) -> Loss:
        projected = self.projector(self.pooled(batch))  # (V·B, Z)
        nats, right = nt_xent(projected, batch["key"], self.config.temperature)
        count = batch.counts["simclr"]
        metrics = {"simclr_accuracy": Term(right, count), "simclr_spread": spread(projected)}
        return Loss({"simclr": Term(nats, count)}, metrics)


def nt_xent(projected: Tensor, key: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(2·B, Z), first views then second, (B,) of the pictures, on each rank -> the sum over this rank's views, and how
    many find the other.

    The candidates are the other view, and the views of all pictures of all ranks with another key.
    """
    first, second = unit(projected).chunk(2)  # (B, Z) each
    own = torch.stack([first, second], 1)  # (B, 2, Z)
    everyone = distributed.gather_rows(own)  # (N, 2, Z)
    begin = 2 * distributed.rows_before(own)
    logits = own.flatten(0, 1) @ everyone.flatten(0, 1).T / temperature  # (2·B, 2·N)
    other = begin + (torch.arange(len(logits), device=logits.device) ^ 1)
    same = key[:, None] == distributed.gather_rows(key)  # (B, N)
    same = same.repeat_interleave(2, 0).repeat_interleave(2, 1).scatter(1, other[:, None], False)
    return cross_entropy_sum(logits.masked_fill(same, -torch.inf), other)
