"""MoCo: a view of a picture is found, by a slowly moving copy of the encoder, among the pictures of earlier batches.

Loss: He et al. 2019, arXiv 1911.05722, section 3.1, equation 1, with the projector, the temperature and the views of
MoCo v2 (Chen et al. 2020, arXiv 2003.04297): the sum over the pictures of -log( exp(q·k / τ) / (exp(q·k / τ) + Σ_n
exp(q·n / τ)) ), in nats, over their number. q is the unit vector of the first view, k that of the second by the
teacher, a moving average without a gradient; the n are the teacher's vectors of earlier batches, in a queue.

Departures: the queue begins empty, and not full of noise, from which everything is told apart by being alike; so the
loss begins at 0 and rises while the queue fills. The projector has a batch norm. And where the paper shuffles the
pictures among GPUs before batch norm, so that a picture's two views do not share a batch's statistics, the teacher here
computes with the student's running statistics, averaged like its weights (Cai et al. 2021, EMAN, arXiv 2101.08482).
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from firth import distributed
from firth.functional.losses import cross_entropy_sum
from firth.objective import Loss, Term
from firth.objectives._projector import Projector, Teacher, spread, unit
from firth.objectives._views import ComparingViews, ViewsConfig, look
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch

# B samples of this rank, V = 2 views, Q length of the queue, Z width of the projection


class Config(ViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("moco",)
    shares: ClassVar[int] = 1

    temperature: float = Field(0.2, gt=0, description="divides the cosines")
    queue: int = Field(4096, ge=1, description="vectors of earlier batches that are told apart from (paper: 65536)")
    momentum: float = Field(0.99, ge=0, le=1, description="share of itself the teacher keeps in a step (paper: 0.999)")
    hidden: int = Field(512, ge=1, description="width between the two maps of the projector")
    out: int = Field(128, ge=2, description="width of what is compared")

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.temperature > 1:
            return f"moco.temperature = {self.temperature:g} makes all pairs alike", "Set moco.temperature=0.2."
        what = f"moco.momentum = {self.momentum:g} lets the queue grow old too fast"
        return what, "Raise moco.momentum towards 1, or lower moco.queue."


Settings = Config  # the type, where the class below has its own name `Config`


class MoCo(ComparingViews):
    """Samples are compared with the queue, which grows after the step, and with each other by batch norm alone."""

    Config = Config
    config: Settings
    compares_samples = many_directions = True
    queue: Tensor
    place: Tensor  # where the next vectors go
    filled: Tensor  # how many places hold vectors

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.projector = Projector(backbone.shape.width, (config.hidden,), config.out)
        self.teacher = Teacher(backbone, self.projector, follows_statistics=True)
        self.register_buffer("queue", torch.zeros(config.queue, config.out))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.fresh: list[Tensor] = []  # of this step's micro-batches, each (B, Z)

    def begun(self) -> None:
        self.teacher.become()

    def after_step(self, progress: float) -> None:
        self.teacher.follow(self.config.momentum)
        self.enqueue(distributed.gather_rows(torch.cat(self.fresh)))
        self.fresh = []

    def enqueue(self, vectors: Tensor) -> None:
        """(N, Z) of all ranks take the place of the oldest; of more than the queue holds the last are kept."""
        vectors = vectors[-len(self.queue) :].to(self.queue.dtype)
        places = (self.place + torch.arange(len(vectors), device=self.place.device)) % len(self.queue)
        self.queue.index_copy_(0, places, vectors)
        self.place.copy_((self.place + len(vectors)) % len(self.queue))
        self.filled.copy_((self.filled + len(vectors)).clamp(max=len(self.queue)))

    def forward(self, batch: Batch) -> Loss:
        first, second = self.pictures(batch).chunk(2)  # (B, C, S, S) each
        projected = self.projector(look(self.backbone, first))  # (B, Z)
        wanted = unit(self.teacher(1, self.teacher(0, {"pixels": second}).pooled))  # (B, Z)
        if self.training:
            self.fresh.append(wanted)
        nats, right = found(unit(projected), wanted, self.queue[: int(self.filled)], self.config.temperature)
        count = batch.counts["moco"]
        return Loss(
            {"moco": Term(nats, count)}, {"moco_accuracy": Term(right, count), "moco_spread": spread(projected)}
        )


def found(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(B, Z), (B, Z), (Q, Z) unit vectors -> the loss summed over queries, and how many are nearest to their key."""
    own = (queries * keys).sum(-1, keepdim=True)  # (B, 1)
    logits = torch.cat([own, queries @ queue.to(queries.dtype).T], 1) / temperature  # (B, 1 + Q)
    return cross_entropy_sum(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
