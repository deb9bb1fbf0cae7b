"""wav2vec 2.0: hide runs of a sound, and tell what was there from what stood elsewhere in the same clip.

Loss: the sum over hidden steps t of -log exp(cos(c_t, q_t) / κ) / Σ_q exp(cos(c_t, q) / κ), over their number; c_t is
the vector of the encoder, q_t the quantised sound of the step, and the sum goes over q_t and those of other hidden
steps. And a factor times the share of the code books that is not in use, by the perplexity of the mean choice over all
hidden steps of all ranks. Baevski et al. 2020, arXiv 2006.11477, section 3.2, equations 3 and 4.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from firth import distributed
from firth.errors import InputError
from firth.functional.losses import cross_entropy_sum
from firth.functional.random import Draw
from firth.model.features import pick
from firth.model.quantiser import Quantised, Quantiser, perplexity
from firth.objective import Loss, Objective, Term
from firth.objectives._steps import READ, HidingConfig, slots
from firth.signal import Batch, Features, Finding

# B rows, T steps, K hidden steps of a row at most, J others, G books, V codes of a book, E numbers of a guess

FEW = 0.02  # share of the codes; where no more are in use, they have collapsed


class Config(HidingConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"time"})
    reads: ClassVar[frozenset[str]] = READ | {"hidden", "key", "local"}
    adds: ClassVar[frozenset[str]] = HidingConfig.adds | {"chosen", "others"}
    terms: ClassVar[tuple[str, ...]] = ("wav2vec2", "diversity")
    shape: ClassVar[str | None] = "wav2vec2"
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer.lr": 5e-4, "optimizer.layer_decay": 0.7, "train.warmup": 0.1}
    opens: ClassVar[str] = "AutoModelForPreTraining"

    groups: int = Field(2, ge=1, description="code books")
    codes: int = Field(320, ge=2, description="codes of a book")
    code_width: int = Field(256, ge=1, description="numbers of the codes of all books together")
    guess_width: int = Field(256, ge=1, description="numbers of a guess")
    negatives: int = Field(100, ge=1, description="other hidden steps that each is told from")
    temperature: float = Field(0.1, gt=0, description="divides the cosine of guess and code")
    diversity: float = Field(0.1, ge=0, description="factor of the share of codes not in use; in the logged term")
    softness: float = Field(2.0, gt=0, description="temperature of the drawn codes' gradient, at first")
    softness_end: float = Field(0.5, gt=0, description="and at last")
    softness_factor: float = Field(0.999995, gt=0, le=1, description="what it is multiplied by after every update")
    noise: bool = Field(True, description="codes are drawn by their scores in training; else the best is taken")
    encoder_gradient: float = Field(
        0.1, ge=0, le=1, description="factor of the gradient that reaches the convolutions; 0: they stay as they begin"
    )
    score_spread: float = Field(
        3.0, gt=0, description="deviation of the codes' scores at first; less: softer choices among codes"
    )

    @model_validator(mode="after")
    def books_divide_the_width(self) -> Self:
        if self.code_width % self.groups:
            do = f"Set it to a multiple of {self.groups}."
            where = f"wav2vec2.code_width = {self.code_width}"
            raise InputError(where, f"does not divide among {self.groups} code books", do)
        return self

    def unit_of(self, name: str) -> str:
        return "nats" if name == "wav2vec2" else ""

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        hidden = self.hide(batch, draw).numpy()
        hidden = hidden & (hidden.sum(1) > 1)[:, None]  # a step alone has nothing to be told from
        count = hidden.sum(1)  # (B,)
        found = {"hidden": torch.from_numpy(hidden)}
        found["chosen"] = slots(found["hidden"])  # (B, K)
        found["keep"] = found["chosen"].clamp(min=0)
        found["others"] = torch.from_numpy(self.others(count, batch.keys_, found["keep"].shape[1], draw))
        counts = {**batch.counts, "wav2vec2": int(count.sum()), "diversity": int(count.sum())}
        return Batch({**batch, **found}, counts=counts)

    def ailing(self, means: Mapping[str, float]) -> list[Finding]:
        """Few codes in use."""
        used, whole = means.get("wav2vec2_codes", torch.inf), self.groups * self.codes
        if used > max(1.5 * self.groups, FEW * whole):
            return []
        what = f"the code books collapse: the perplexity of their {whole:,} codes is {used:.1f}"
        do = f"Raise wav2vec2.diversity (now {self.diversity:g}), or lower optimizer.lr."
        return [Finding("warning", "wav2vec2", what, do)]

    def others(self, count: np.ndarray, keys: np.ndarray, slots: int, draw: Draw) -> np.ndarray:
        """(B, K, J) int64: for each hidden step the numbers of others among the row's hidden steps, evenly drawn."""
        luck = draw.uniform(keys, "negatives", slots * self.negatives).reshape(len(keys), slots, self.negatives)
        drawn = (luck * np.maximum(count - 1, 0)[:, None, None]).astype(np.int64)
        own = np.arange(slots)[None, :, None]
        return np.where(own < count[:, None, None], drawn + (drawn >= own), 0)


Settings = Config  # the type, where the class below has its own name `Config`


class Wav2Vec2(Objective):
    """A quantiser of what the convolutions give, and a linear map on each side of the cosine."""

    Config = Config
    config: Settings
    compares_samples = True  # the diversity is one number for all
    causal = False
    all_steps = False
    softness: Tensor

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        channels = backbone.embed.map.in_features
        self.quantiser = Quantiser(channels, config.groups, config.codes, config.code_width, config.score_spread)
        self.guess = nn.Linear(backbone.shape.width, config.guess_width)
        self.truth = nn.Linear(config.code_width, config.guess_width)
        self.register_buffer("softness", torch.tensor(config.softness))

    def begin(self, drawn) -> None:
        """Variance 1 in, variance 1 out."""
        for name, layer in (("guess", self.guess), ("truth", self.truth)):
            layer.weight.copy_(drawn(name, layer.weight.shape, layer.in_features**-0.5))

    def meet(self, batch: Batch) -> None:
        """The scores of codes are centred on what is heard, and within reach of the noise that draws among them."""
        embed: Any = self.backbone.embed
        with torch.no_grad():
            local, padding = embed.local(batch), embed.padding(batch)
        self.quantiser.suit(local.flatten(0, 1) if padding is None else local[~padding])

    def forward(self, batch: Batch) -> Loss:
        """Encoder and quantiser read the same convolutions, computed once."""
        batch = Batch({**batch, "local": self.local(batch)}, counts=batch.counts)
        return self.loss(self.encode(batch), batch)

    def local(self, batch: Batch) -> Tensor:
        """(B, T, C): what the convolutions give, which learn more slowly than what reads it."""
        return slowed(self.backbone.embed.local(batch), self.config.encoder_gradient)  # type: ignore[union-attr, operator]

    def loss(self, features: Features, batch: Batch) -> Loss:
        chosen, local = batch["chosen"], batch.get("local")  # (B, K), -1 where a row has fewer
        local = self.local(batch) if local is None else local
        real, place = chosen >= 0, chosen.clamp(min=0)
        found = self.quantiser(pick(local, place), self.softness, self.config.noise)
        nats, right = self.contrast(self.guess(features.at(place)), found, batch["others"], real)
        used = self.in_use(found.shares[real])
        unused = 1 - used / (self.config.groups * self.config.codes)
        count = batch.counts["wav2vec2"]
        terms = {"wav2vec2": Term(nats, count), "diversity": Term(self.config.diversity * unused * count, count)}
        metrics = {"wav2vec2_accuracy": Term(right, count), "wav2vec2_codes": Term(used.detach() * count, count)}
        return Loss(terms, metrics)

    def contrast(self, guess: Tensor, found: Quantised, others: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, E), (B, K, J), (B, K) -> nats, and how many are nearer to their own than to all others.

        Another step with the very same codes is no other: it is left out (as in fairseq).
        """
        exact = torch.promote_types(guess.dtype, torch.float32)
        here, there = (F.normalize(one.to(exact), dim=-1) for one in (guess, self.truth(found.values)))
        alike = here @ there.mT / self.config.temperature  # (B, K, K)
        same = (found.chosen[:, :, None] == found.chosen[:, None]).all(-1)  # (B, K, K)
        own = alike.diagonal(dim1=1, dim2=2)[..., None]  # (B, K, 1)
        rest = alike.masked_fill(same, -torch.inf).gather(2, others)  # (B, K, J)
        logits = torch.cat([own, rest], -1)[real]  # (N, 1 + J)
        return cross_entropy_sum(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @staticmethod
    def in_use(shares: Tensor) -> Tensor:
        """(N, G, V) -> scalar: the codes in use by all ranks, from 1 for each book to all codes."""
        sums = distributed.total_of(shares.sum(0))  # (G, V)
        return perplexity(sums / sums.sum(-1, keepdim=True).clamp(min=1e-9)).sum()

    def after_step(self, progress: float) -> None:
        """The temperature of the gradient falls by the same factor in every update, however many there will be."""
        config = self.config
        self.softness.mul_(config.softness_factor).clamp_(min=min(config.softness, config.softness_end))


def slowed(values: Tensor, factor: float) -> Tensor:
    """The same values, bit for bit; their gradient goes back `factor` times as large."""
    return values if factor == 1 else torch.lerp(values.detach(), values, factor)
