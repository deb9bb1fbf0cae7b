"""Spans of a clip that an encoder does not hear while it learns a task (SpecAugment, arXiv 1904.08779).

Spans of time as wav2vec 2.0 has them when it is fine-tuned (arXiv 2006.11477, section 4.3): runs of steps where the
encoder sees its mask vector instead; encoders without one (causal) hear all. Spans of bands, of log-mel frames, become
their mean. A frozen encoder, and one that is asked, hears all; one that other objectives share, what these leave.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from firth.functional import masking
from firth.functional.random import Draw
from firth.functional.sound import hide_bands, span_of_bands
from firth.objective import Objective
from firth.objectives._steps import READ, StepsConfig
from firth.signal import Batch
from firth.task import TaskConfig

# B clips, T steps, F frames, M bands


class SpansConfig(StepsConfig, TaskConfig):
    """Writes down what is to be hidden; `heard` hides it where something learns."""

    reads: ClassVar[frozenset[str]] = READ | {"key"}
    adds: ClassVar[frozenset[str]] = frozenset({"spans", "bands"})

    hide_share: float = Field(
        0.0, ge=0, lt=1, description="share of the steps hidden while the encoder learns, in runs"
    )
    hide_span: int = Field(10, ge=1, description="steps of such a run; runs overlap")
    hide_bands: float = Field(
        0.0, ge=0, lt=1, description="widest run of bands hidden in a clip while the encoder learns, as a share of them"
    )

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        found = {}
        if self.hide_share and batch.keys() & {"frames", "wave"}:
            found["spans"] = self.runs(batch, draw)
        if self.hide_bands and "frames" in batch:
            span = span_of_bands(draw, batch.keys_, batch["frames"], self.hide_bands)
            found["bands"] = torch.cat(span, 1)  # (B, 2): begin, width
        return Batch({**batch, **found}, counts=batch.counts)

    def runs(self, batch: Batch, draw: Draw) -> Tensor:
        """(B, T) bool: the steps to hide."""
        scores = draw.uniform(batch.keys_, "spans", self.longest(batch))
        luck, share = draw.uniform(batch.keys_, "runs", 1)[:, 0], self.hide_share / self.hide_span
        return torch.from_numpy(masking.runs(scores, luck, self.steps(batch), share, self.hide_span, fewest=0))


def heard(part: Objective, batch: Batch) -> Batch:
    """The batch as the encoder hears it."""
    if not part.training or getattr(part.backbone, "frozen", False):
        return batch
    found = Batch(batch, counts=batch.counts)
    if "spans" in batch:
        found["hidden"] = batch["spans"]
    if "bands" in batch:
        begins, widths = batch["bands"].split(1, 1)
        found["frames"] = hide_bands(batch["frames"], (begins, widths))
    return found
