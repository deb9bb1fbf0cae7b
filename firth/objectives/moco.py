"""MoCo: a view of a picture is found, by a slowly moving copy of the encoder, among other pictures of this batch and of
earlier ones.

Loss: He et al. 2019, arXiv 1911.05722, section 3.1, equation 1, with the projector, the temperature and the views of
MoCo v2 (Chen et al. 2020, arXiv 2003.04297): the sum over the pictures of -log( exp(q·k / τ) / (exp(q·k / τ) + Σ_n
exp(q·n / τ)) ), in nats, over their number. q is the unit vector of the first view, k that of the second by the
teacher, a moving average without a gradient; the n are what the teacher says of the other pictures of the batch, of all
ranks, as in MoCo v3 (Chen, Xie & He 2021, arXiv 2104.02057, algorithm 1), and its vectors of earlier batches, in a
queue. A vector of the picture itself, old or of a copy in the batch, is none of the n.

Departures: the first paper has earlier batches alone. A young teacher changes fast, and its new vectors are then told
from its old ones by being new, whatever they show; so there are both. The queue begins empty, and not full of noise.
The projector has batch norms, the last one without scale and shift. Where the first paper shuffles the pictures among
GPUs, so that a picture's two views do not share the statistics of a part of the batch, batch norm is here over the
samples of all ranks.
"""

from typing import ClassVar, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor

from firth import distributed
from firth.functional.losses import cross_entropy_sum
from firth.objective import Before, Loss, Term
from firth.objectives._projector import Projector, Teacher, spread, unit
from firth.objectives._views import ComparedViewsConfig, ComparingViews, look
from firth.objectives._views import pictured as pictured
from firth.objectives._views import tries as tries
from firth.signal import Batch

# B samples of this rank, N of all ranks, V = 2 views, Q length of the queue, M = N + Q, Z width of the projection

QUEUE = 4096  # vectors, at most, where nobody says
SHARE = 0.5  # of the pictures, at most: what is in the queue is then younger than half an epoch


class Config(ComparedViewsConfig):
    terms: ClassVar[tuple[str, ...]] = ("moco",)
    shares: ClassVar[int] = 1

    temperature: float = Field(0.2, gt=0, description="divides the cosines")
    queue: int | None = Field(
        None,
        ge=1,
        description="filled: vectors of earlier batches to be told from: half as many as pictures, at most 4096 "
        "(paper: 65536)",
    )
    momentum: float = Field(
        0.99, ge=0, le=1, description="share of itself the teacher keeps in a step, less in the first (paper: 0.999)"
    )
    follows_statistics: bool = Field(
        False, description="whether the teacher computes with the student's running statistics of batch norm, averaged"
    )
    hidden: int = Field(512, ge=1, description="width between the two maps of the projector")
    out: int = Field(128, ge=2, description="width of what is compared")

    def ready(self, given: Before) -> Self:
        """The queue is no longer than goes with the data."""
        if self.queue is not None:
            return self
        return self.model_copy(update={"queue": max(1, min(QUEUE, int(SHARE * len(given.sources[0]))))})

    def blamed(self) -> tuple[str, str]:
        """Where vectors collapse: the likely cause, and what to do."""
        if self.temperature > 1:
            return f"moco.temperature = {self.temperature:g} makes all pairs alike", "Set moco.temperature=0.2."
        what = "the views may have too little in common, or the steps may be too large"
        return what, "Look at samples/views.png; set a lower optimizer.lr."


Settings = Config  # the type, where the class below has its own name `Config`


class Vectors(NamedTuple):
    """Of pictures."""

    values: Tensor  # (N, Z) unit vectors
    owners: Tensor  # (N,) int64, the keys of the pictures

    @classmethod
    def joined(cls, several: list["Vectors"]) -> "Vectors":
        return cls(*(torch.cat(tensors) for tensors in zip(*several, strict=True)))


class MoCo(ComparingViews):
    """Samples are compared with each other and with the queue, which grows after the step."""

    Config = Config
    config: Settings
    compares_samples = many_directions = True
    queue: Tensor
    owners: Tensor  # (Q,) int64, the key of the picture that each vector is of
    place: Tensor  # where the next vectors go
    filled: Tensor  # how many places hold vectors

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.projector = Projector(backbone.shape.width, (config.hidden,), config.out, last_norm=True)
        self.teacher = Teacher(backbone, self.projector, follows_statistics=config.follows_statistics)
        self.register_buffer("queue", torch.zeros(config.queue or QUEUE, config.out))
        self.register_buffer("owners", torch.zeros(len(self.queue), dtype=torch.int64))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.fresh: list[Vectors] = []  # of this step, of all ranks

    def begun(self) -> None:
        self.teacher.become()

    def after_step(self, progress: float) -> None:
        self.teacher.follow(self.config.momentum)
        self.enqueue(Vectors.joined(self.fresh))
        self.fresh = []

    def enqueue(self, vectors: Vectors) -> None:
        """Those of all ranks take the place of the oldest; of more than the queue holds the last are kept."""
        values, owners = (tensor[-len(self.queue) :] for tensor in vectors)
        places = (self.place + torch.arange(len(values), device=self.place.device)) % len(self.queue)
        self.queue.index_copy_(0, places, values.to(self.queue.dtype))
        self.owners.index_copy_(0, places, owners)
        self.place.copy_((self.place + len(values)) % len(self.queue))
        self.filled.copy_((self.filled + len(values)).clamp(max=len(self.queue)))

    @property
    def queued(self) -> Vectors:
        """As many as there are."""
        filled = int(self.filled)
        return Vectors(self.queue[:filled], self.owners[:filled])

    def forward(self, batch: Batch) -> Loss:
        first, second = self.pictures(batch).chunk(2)  # (B, C, S, S) each
        projected = self.projector(look(self.backbone, first))  # (B, Z)
        wanted, key = unit(self.teacher(1, self.teacher(0, {"pixels": second}).pooled)), batch["key"]  # (B, Z), (B,)
        everyone = Vectors(distributed.gather_rows(wanted), distributed.gather_rows(key))
        if self.training:
            self.fresh.append(everyone)
        own = distributed.rows_before(key) + torch.arange(len(key), device=key.device)  # where its key is
        among = Vectors.joined([everyone, self.queued])
        nats, right = found(Vectors(unit(projected), key), own, among, self.config.temperature)
        count = batch.counts["moco"]
        return Loss(
            {"moco": Term(nats, count)}, {"moco_accuracy": Term(right, count), "moco_spread": spread(projected)}
        )


def found(queries: Vectors, own: Tensor, among: Vectors, temperature: float) -> tuple[Tensor, Tensor]:
    """Of B queries, and M vectors of which own (B,) says which is the query's key -> the loss summed over the queries,
    and how many are nearest to their key; other vectors of the same picture are left out."""
    logits = queries.values @ among.values.to(queries.values.dtype).T / temperature  # (B, M)
    same = queries.owners[:, None] == among.owners
    return cross_entropy_sum(logits.masked_fill(same.scatter(1, own[:, None], False), -torch.inf), own)
