"""Masked tokens: hide some tokens of a text and guess them from the others on both sides.

Loss: the sum over hidden steps i of -log p(x_i | the text with the hidden steps replaced), in nats, over their number.
BERT, arXiv 1810.04805, section 3.1 (task 1) and appendix A.1; whole words: the note of May 2019 in BERT's repository;
spans: SpanBERT, arXiv 1907.10529, section 3.1; the higher default rate: arXiv 2202.08005, section 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from firth.errors import InputError
from firth.functional import masking
from firth.functional.losses import IGNORE, cross_entropy_sum
from firth.functional.random import Draw
from firth.model.heads import TokenHead
from firth.objective import Loss, Objective, ObjectiveConfig, Term
from firth.objectives._texts import short_texts
from firth.signal import Batch, Facts, Features, Finding, Sample

SHARES = {"mask_share": 0.8, "random_share": 0.1, "keep_share": 0.1}
WORDS = range(5, 31)  # of a sentence that a model in training is shown
LONG = 4  # letters of a word worth hiding there


class Config(ObjectiveConfig):
    """Shares that are not set divide what the others leave, in the proportion of BERT's 80/10/10:
    `mask_share=1` is mask-only, `random_share=1` is replace-only."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    reads: ClassVar[frozenset[str]] = frozenset({"tokens", "special", "word", "key", "keep"})
    adds: ClassVar[frozenset[str]] = frozenset({"tokens", "keep", "target"})
    terms: ClassVar[tuple[str, ...]] = ("masked_tokens",)
    uses: ClassVar[tuple[str, ...]] = (*ObjectiveConfig.uses, 'firth predict {} "The film was [MASK]."')
    opens: ClassVar[str] = "AutoModelForMaskedLM"

    mask_rate: float = Field(0.30, gt=0, le=1, description="share of ordinary tokens to hide (BERT: 0.15)")
    mask_share: float = Field(0.8, ge=0, le=1, description="share of the hidden that become [MASK]")
    random_share: float = Field(0.1, ge=0, le=1, description="share of the hidden that become a random token")
    keep_share: float = Field(0.1, ge=0, le=1, description="share of the hidden that stay as they are")
    mix: str = Field("", description="all three in one, as per cent: 80-10-10, 100-0-0 (mask only), 0-100-0")
    unit: Literal["token", "word", "span"] = Field("token", description="what is hidden as one")
    span_mean: float = Field(5.0, ge=1, description="words; mean of the geometric span length before span_longest")
    span_longest: int = Field(10, ge=1, description="words; longer spans are cut")
    vocabulary: int = Field(0, description="filled: number of token ids")
    mask_id: int = Field(-1, description="filled: id of [MASK]")
    special_ids: tuple[int, ...] = Field((), description="filled: ids never drawn as replacement")

    @model_validator(mode="before")
    @classmethod
    def share_the_rest(cls, values: dict) -> dict:
        given = {name: float(values[name]) for name in SHARES if name in values}
        if values.get("mix"):
            return {**values, **shares_of(str(values["mix"]), given)}
        missing = {name: share for name, share in SHARES.items() if name not in given}
        rest = max(1.0 - sum(given.values()), 0.0) if given else 1.0
        return {**values, **{name: rest * share / sum(missing.values()) for name, share in missing.items()}}

    @model_validator(mode="after")
    def shares_sum_to_one(self) -> Self:
        total = self.mask_share + self.random_share + self.keep_share
        if abs(total - 1) > 1e-6:
            raise InputError(
                "masked_tokens",
                f"mask_share {self.mask_share:g} + random_share {self.random_share:g} + keep_share "
                f"{self.keep_share:g} is {total:g}, not 1",
                "Set only the share you mean; the others divide what it leaves.",
            )
        return self

    def fill(self, facts: Facts) -> Self:
        if facts.mask_id < 0:
            raise InputError(
                "objective `masked-tokens`",
                "the tokenizer has no [MASK] token",
                "Train a tokenizer (leave out `text.tokenizer=source`), or start from a model of masked text.",
            )
        filled = {"vocabulary": facts.vocabulary, "mask_id": facts.mask_id, "special_ids": facts.special_ids}
        return self.model_copy(update=filled)

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        tokens, keys = batch["tokens"].numpy(), batch.keys_
        chosen, group = self.hide(batch, draw)
        hidden = masking.hidden_steps(tokens, chosen, IGNORE)
        shown = self.replace(tokens, chosen, group, keys, draw)
        before = batch.get("keep", torch.zeros(len(keys), 1, dtype=torch.int64))  # steps that others asked for
        keep = torch.cat([before, torch.from_numpy(hidden.keep[:, 1:])], 1)  # (B, K)
        target = torch.from_numpy(hidden.target)
        target = torch.cat([torch.full_like(before, IGNORE), target[:, 1:]], 1)  # (B, K)
        counts = {**batch.counts, "masked_tokens": int(chosen.sum())}
        return Batch({**batch, "tokens": torch.from_numpy(shown), "keep": keep, "target": target}, counts=counts)

    def hide(self, batch: Batch, draw: Draw) -> tuple[np.ndarray, np.ndarray | None]:
        """(B, T) bool: the steps to hide, and (B, T) int64: what shares a fate (None: each step has its own)."""
        ordinary, keys = ~batch["special"].numpy(), batch.keys_
        wanted = masking.how_many(ordinary, self.mask_rate)
        if self.unit == "token":
            return masking.choose(draw.uniform(keys, "mask", ordinary.shape[1]), ordinary, wanted), None
        word = batch["word"].numpy()
        group = word if self.unit == "word" else self.spans(word, ordinary, keys, draw)
        scores = draw.uniform(keys, "mask", 1 + int(group.max(initial=0)))
        return masking.choose_groups(scores, group, word, ordinary, wanted), group if self.unit == "span" else None

    def spans(self, word: np.ndarray, ordinary: np.ndarray, keys: np.ndarray, draw: Draw) -> np.ndarray:
        start = draw.uniform(keys, "span", word.shape[1]) * self.span_mean < 1
        return masking.spans(word, ordinary, start, self.span_longest)

    def replace(self, tokens, chosen, group, keys, draw: Draw) -> np.ndarray:
        """(B, T) tokens as the model sees them."""
        steps = tokens.shape[1]
        fate = draw.uniform(keys, "fate", steps)
        fate = fate if group is None else np.take_along_axis(fate, group, axis=1)
        ids = masking.ordinary_ids(self.vocabulary, self.special_ids)
        other = ids[draw.integers(keys, "replacement", steps, len(ids))]
        return masking.replace(tokens, chosen, fate, other, self.mask_id, (self.mask_share, self.random_share))

    def check(self, samples: list[Sample]) -> list[Finding]:
        return short_texts("masked-tokens", samples)


Settings = Config  # the type, where the class below has its own name `Config`


def shares_of(mix: str, given: Mapping[str, float]) -> dict[str, float]:
    """80-10-10 as the three shares. given: shares that are set besides. Raises InputError where they are others."""
    parts = mix.split("-")
    if len(parts) != len(SHARES) or not all(map(str.isdecimal, parts)) or sum(map(int, parts)) != 100:
        do = "Write three whole numbers that sum to 100: 80-10-10, 100-0-0 (mask only) or 0-100-0 (replace only)."
        raise InputError(f"masked_tokens.mix = {mix}", "is no mask-random-keep in per cent", do)
    shares = {name: int(part) / 100 for name, part in zip(SHARES, parts, strict=True)}
    other = [name for name, share in given.items() if abs(share - shares[name]) > 1e-6]
    if other:
        what = f"says {shares[other[0]]:g}, and masked_tokens.{other[0]} {given[other[0]]:g}"
        raise InputError(f"masked_tokens.mix = {mix}", what, "Set one of the two.")
    return shares


class MaskedTokens(Objective):
    """One TokenHead, tied to the token embedding, at the hidden steps only."""

    Config = Config
    config: Settings
    all_steps = False
    causal = False

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.head = TokenHead(backbone.shape, backbone.embed.word.weight)

    def loss(self, features: Features, batch: Batch) -> Loss:
        target = batch["target"]  # (B, K)
        values = features.at(batch["keep"][:, : target.shape[1]])  # (B, K, D)
        hidden = (target.flatten() != IGNORE).nonzero()[:, 0]  # (N,)
        logits = self.head(values.flatten(0, 1).index_select(0, hidden))  # (N, D) -> (N, V)
        nats, right = cross_entropy_sum(logits, target.flatten()[hidden], IGNORE)
        count = batch.counts["masked_tokens"]
        return Loss({"masked_tokens": Term(nats, count)}, {"masked_tokens_accuracy": Term(right, count)})


class Filled(NamedTuple):
    """A text with [MASK] in it, filled in."""

    text: str
    filled: str  # the likeliest token in each place
    guesses: list[list[tuple[str, float]]]  # for each [MASK]: (token, probability), the likeliest first


def predict(objective, signal, texts: list[str], numbers: Sequence[int] = (), top: int = 5) -> list[Filled]:
    """Fill each text in. numbers: the texts' places in a longer stream, for messages."""
    return [_filled(*pair) for pair in zip(texts, fill_in(objective, signal, texts, top, numbers), strict=True)]


def _filled(text: str, guesses: list[list[tuple[str, float]]]) -> Filled:
    filled = text
    for blank in guesses:
        filled = filled.replace("[MASK]", blank[0][0], 1)
    return Filled(text, filled, guesses)


def exported(part: MaskedTokens, features: Features) -> dict[str, Tensor]:
    """What other tools are given: logits (B, T, V)."""
    return {"logits": part.head(features.values)}


def fill_in(
    objective, signal, texts: list[str], top: int = 5, numbers: Sequence[int] = ()
) -> list[list[list[tuple[str, float]]]]:
    """For each text, for each [MASK] in it from left to right: the `top` (token, probability) pairs, likeliest first.

    objective: a MaskedTokens, or a Composed that has one. Special tokens are not offered as guesses; their probability
    is not given to the others. Raises InputError for a text without [MASK], or with one beyond the context.
    """
    part = objective if isinstance(objective, MaskedTokens) else objective.parts["masked-tokens"]
    own = signal.decode([part.config.mask_id], skip_special=False).strip()  # `<mask>` in some tokenizers
    encoded = [item.ids for item in signal.encode([text.replace("[MASK]", own) for text in texts], specials=True)]
    batch = signal.stack([Sample(parts=(ids,), key=0) for ids in encoded])
    masked = batch["tokens"] == part.config.mask_id  # (B, T)
    written = [int((ids == part.config.mask_id).sum()) for ids in encoded]
    _check_masks(texts, written, masked.sum(1).tolist(), numbers or range(1, len(texts) + 1))
    kept = masking.hidden_steps(batch["tokens"].numpy(), masked.numpy(), IGNORE)
    batch["keep"] = torch.from_numpy(kept.keep)
    with _inference(part.backbone, part):
        device = next(part.parameters()).device
        values = part.encode(batch.to(device)).values[:, 1:]  # (B, K - 1, D)
        guesses = _guesses(part, values[torch.from_numpy(kept.target[:, 1:] != IGNORE).to(device)], top)
    named = iter([[(signal.decode([token]).strip(), share) for token, share in pairs] for pairs in guesses])
    return [[next(named) for _ in range(count)] for count in masked.sum(1).tolist()]


class Blank(NamedTuple):
    text: str  # with [MASK]
    truth: str


def tries(signal, texts: Iterator[str], draw: Draw, count: int) -> list[Blank]:
    """What a model in training is shown: a sentence from the middle of each of the first texts in which one has a fit
    length, `count` in all, with one longer word hidden; the same for one seed."""
    found: list[Blank] = []
    for number, text in enumerate(texts):
        words = middle_sentence(text).split()
        choices = [i for i, word in enumerate(words) if word.isalpha() and len(word) >= LONG]
        if len(words) in WORDS and choices:
            place = choices[int(draw.integers(number, "blank", 1, len(choices))[0, 0])]
            found.append(Blank(" ".join([*words[:place], "[MASK]", *words[place + 1 :]]), words[place]))
        if len(found) == count:
            break
    return found


def middle_sentence(text: str) -> str:
    parts = [part.strip() for part in text.replace("!", ".").replace("?", ".").split(".")]
    whole = parts[1:-1] or parts
    return whole[len(whole) // 2] + " ."


def shown(objective, signal, tries: list[Blank]) -> list[str]:
    """the ship [MASK] the tide · follows 31 %, meets 20 %, loses 9 % · truth: carries"""
    guesses = fill_in(objective, signal, [blank.text for blank in tries], top=3)
    return [line(blank, found[0]) for blank, found in zip(tries, guesses, strict=True)]


def line(blank: Blank, guesses: list[tuple[str, float]]) -> str:
    told = ", ".join(f"{token} {100 * share:.0f} %" for token, share in guesses)
    return f"{blank.text} · {told} · truth: {blank.truth}"


def _guesses(part: MaskedTokens, values: Tensor, top: int) -> list[list[tuple[int, float]]]:
    """(N, D) -> per row the `top` (id, probability)."""
    shares = part.head(values).float().softmax(-1)  # (N, V)
    shares[:, list(part.config.special_ids)] = -1
    best = shares.topk(min(top, shares.shape[1] - len(part.config.special_ids)), -1)
    return [list(zip(*row, strict=True)) for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def _check_masks(texts: list[str], written: list[int], seen: list[int], numbers: Sequence[int]) -> None:
    for text, there, left, number in zip(texts, written, seen, numbers, strict=True):
        where = f"input {number} `{text[:40]}{'…' if len(text) > 40 else ''}`"
        if there == 0:
            raise InputError(where, "there is no [MASK] in it", "Write [MASK] where a word shall be guessed.")
        if left < there:
            raise InputError(where, f"{there - left} of {there} [MASK] lie beyond the context", "Shorten the text.")


@contextmanager
def _inference(*modules):
    """Without gradients and dropout; afterwards the modules are in the mode they were in."""
    modes = [(module, module.training) for top in modules for module in top.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
