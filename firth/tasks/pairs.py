"""Pairs: one answer for two texts: entailment, neutral or contradiction; any classes; or a number (similarity).

The two texts are the two segments of one input. Classes: the head and the loss of `_classes.py`, as classify has them
(BERT, arXiv 1810.04805, section 4.1: MNLI). Numbers: half the squared error of the standardised number; scored by
Pearson's and Spearman's correlation (STS-B, same section).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from firth.errors import InputError
from firth.functional import metrics
from firth.objective import Loss, Term
from firth.signal import Batch, Features, Sample, Signal
from firth.task import Example, Outcome
from firth.tasks import _classes, _one_label
from firth.tasks._classes import ClassHead, part_of

# B samples, N examples

FIRST = ("premise", "sentence1", "sentence_a", "text1", "text_a", "first", "question1", "question", "query", "a")
SECOND = ("hypothesis", "sentence2", "sentence_b", "text2", "text_b", "second", "question2", "answer", "passage", "b")


class Config(_classes.Config):
    fielded: ClassVar[bool] = True
    terms: ClassVar[tuple[str, ...]] = ("pairs",)

    first: str = Field("", description="column of the first text; filled: premise, sentence1, … or by content")
    second: str = Field("", description="column of the second text; filled")
    kind: Literal["auto", "classes", "number"] = Field("auto", description="what an answer is; filled")
    center: float = Field(0.0, description="filled: mean of the training numbers")
    scale: float = Field(1.0, gt=0, description="filled: their standard deviation")

    @property
    def metric(self) -> str:  # type: ignore[override]
        return "pearson" if self.kind == "number" else "accuracy"

    @property
    def classed(self) -> bool:
        return self.kind != "number"

    def unit_of(self, name: str) -> str:
        return "squared error" if self.kind == "number" else super().unit_of(name)

    def look(self, examples: Sequence[Example]) -> Self:
        first, second = columns(self, examples)
        kind = self.kind
        if kind == "auto":
            kind = "number" if metrics.are_numbers(one.label for one in examples) else "classes"
        found: dict[str, Any] = {"first": first, "second": second, "kind": kind}
        if kind == "number":
            numbers = np.array([number(one) for one in examples])
            found |= {"center": float(numbers.mean()), "scale": float(numbers.std()) or 1.0}
        return self.model_copy(update=found)

    def inputs(self, example: Example) -> tuple[str, ...]:
        names = (self.first, self.second) if self.first and self.second else columns(self, [example])
        texts = tuple(str(example.fields.get(name) or "").strip() for name in names)
        for name, text in zip(names, texts, strict=True):
            if name not in example.fields:
                do = f"Name the two columns as in the labelled data: `{names[0]}`, `{names[1]}`."
                raise InputError(str(example.where), f"has no column `{name}`", do)
            if not text:
                raise InputError(str(example.where), f"`{name}` is empty", "Fill it in, or leave out the row; "
                                 "--skip-bad leaves out such rows.")  # fmt: skip
        return texts

    def example(self, example: Example) -> Example:
        texts = self.inputs(example)
        target = number(example) if self.kind == "number" else None
        label = None if self.kind == "number" else example.label
        return example._replace(text="\n".join(texts), parts=texts, target=target, label=label)

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        made = super().samples(examples, signal)
        if self.kind != "number":
            return made
        targets = [np.float32((one.target - self.center) / self.scale) for one in examples]
        return [sample.but(label=target) for sample, target in zip(made, targets, strict=True)]


Settings = Config  # the type, where the class below has its own name `Config`


def columns(config: Config, examples: Sequence[Example]) -> tuple[str, str]:
    """The two columns of text: as named, else by their usual names, else the two wordiest, in their order."""
    names = list(dict.fromkeys(name for one in examples for name in one.fields))
    lower = {name.lower(): name for name in names}
    usual = [next((lower[name] for name in known if name in lower), "") for known in (FIRST, SECOND)]
    found = [given or guess for given, guess in zip((config.first, config.second), usual, strict=True)]
    if not all(found):
        words = {name: wordiness(name, examples) for name in names if name not in found}
        best = sorted(sorted(words, key=words.__getitem__)[-2:], key=names.index)
        best = [name for name in best if words[name] > 1]
        found = [name or (best.pop(0) if best else "") for name in found]
    for name in found:
        if name not in names:
            where = str(examples[0].where).split(":")[0] if examples else "DATA"
            what = f"has no column `{name}`" if name else "has no two columns of text"
            listed = ", ".join(f"`{name}`" for name in names)
            raise InputError(where, what, f"Name them: --set pairs.first=A --set pairs.second=B can be {listed}.")
    return found[0], found[1]


def wordiness(name: str, examples: Sequence[Example]) -> float:
    """Mean number of words in the column; 0 for the label."""
    cells = [one.fields.get(name) for one in examples]
    if all(str(cell) == str(one.label) for cell, one in zip(cells, examples, strict=True)):
        return 0.0
    return float(np.mean([len(cell.split()) if isinstance(cell, str) else 0 for cell in cells]))


def number(example: Example) -> float:
    """The label as a number. Raises InputError."""
    try:
        value = float(str(example.label))
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        what = f"the label `{example.label}` is no number"
        raise InputError(str(example.where), what, "Write a number, or --set pairs.kind=classes.")
    return value


class Number(NamedTuple):
    """What the model says about one input, where that is a number."""

    text: str
    number: float  # in the unit of the labels


class Pairs(ClassHead):
    """Classes of two segments; with numbers, one output and half the squared error."""

    Config = Config
    config: Settings  # type: ignore[assignment]

    @classmethod
    def outputs(cls, config: Settings) -> int:  # type: ignore[override]
        return 1 if config.kind == "number" else super().outputs(config)

    @property
    def facts(self) -> dict[str, Any]:
        kept = ("kind", "center", "scale", "first", "second")
        return super().facts | {name: getattr(self.config, name) for name in kept}

    def loss(self, features: Features, batch: Batch) -> Loss:
        if self.config.kind != "number":
            return super().loss(features, batch)
        said, count = self.logits(features)[:, 0], batch.counts["pairs"]
        error = (said - batch["label"].to(said.dtype)).square().sum()
        return Loss({"pairs": Term(error / 2, count)}, {"pairs_error": Term(error, count)})


def predict(objective, signal, texts, numbers: Sequence[int] = (), top: int | None = None) -> list:
    """A label with probabilities, or a number, per pair; a pair is two texts, or a string with a tab between them."""
    part: Any = part_of(objective)
    numbered = zip(texts, numbers or range(1, len(texts) + 1), strict=True)
    lists = [pair(text, place) for text, place in numbered]
    if part.config.kind != "number":
        return _one_label.predict(part, signal, lists, top) if lists else []
    found = values(part, signal.stack(_one_label.samples_of(signal, lists))).tolist() if lists else []
    return [Number(" | ".join(both), value) for both, value in zip(lists, found, strict=True)]


def exported(part: Any, features: Features) -> dict[str, Tensor]:
    """What other tools are given: logits (B, L); of numbers also number (B,), in the unit of the labels."""
    found = {"logits": part.logits(features)}
    if part.config.kind != "number":
        return found
    return found | {"number": found["logits"][:, 0] * part.config.scale + part.config.center}


def pair(text: str | Sequence[str], place: int) -> tuple[str, str]:
    """The two texts of an input. Raises InputError."""
    parts = text.split("\t") if isinstance(text, str) else list(text)
    if len(parts) != 2 or not all(part.strip() for part in parts):
        found = f"{len(parts)} text" + "s" * (len(parts) != 1)
        raise InputError(f"input {place}", f"{found} where a pair is needed", "Write both with a tab between them.")
    return parts[0].strip(), parts[1].strip()


def values(part: ClassHead, batch: Batch) -> Tensor:
    """(B,) the numbers, in the unit of the labels."""
    config: Settings = part.config  # type: ignore[assignment]
    return _one_label.logits_of(part, batch)[:, 0] * config.scale + config.center


def settle(objective, signal, examples: Sequence[Example]) -> dict[str, Any]:
    """After training, by held-out examples: the temperature of the classes."""
    part: Any = part_of(objective)
    return {} if part.config.kind == "number" else _one_label.settle(part, signal, examples)


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    """As classify's for classes. Numbers: correlations; `right` sums to Pearson's, its influence by example."""
    part: Any = part_of(objective)
    if part.config.kind != "number":
        return _one_label.evaluate(part, signal, examples)
    said = _one_label.outputs(lambda batch: values(part, batch), signal, examples)
    return judged(part.config, examples, said.tolist())  # type: ignore[arg-type]


def judged(config: Config, examples: Sequence[Example], predicted: Sequence) -> Outcome:
    """What any way of predicting made of the examples; `wrong` in their order, for numbers the farthest off first."""
    if config.kind != "number":
        return _one_label.judged(config, examples, predicted)
    said = np.array(predicted, float)
    gold = np.array([one.target for one in examples], float)
    pearson = metrics.pearson(gold, said)
    figures = {"items": len(gold), "pearson": pearson, "spearman": metrics.spearman(gold, said),
               "mean_absolute_error": float(np.abs(gold - said).mean())}  # fmt: skip
    order = np.argsort(-np.abs(gold - said))
    wrong = [
        {"text": examples[i].text, "gold": gold[i], "predicted": said[i], "probability": 1.0} for i in order.tolist()
    ]
    return Outcome(figures, said.tolist(), gold.tolist(), influence(gold, said, pearson), np.ones(len(gold)), wrong)


def influence(gold: np.ndarray, said: np.ndarray, pearson: float) -> np.ndarray:
    """(N,) values whose mean is Pearson's r and whose spread is that of its estimate: r + u v - r (u² + v²) / 2 for
    standardised u, v (Devlin, Gnanadesikan & Kettenring 1975)."""
    u, v = ((one - one.mean()) / (one.std() or 1.0) for one in (gold, said))
    return pearson + u * v - pearson * (u**2 + v**2) / 2
