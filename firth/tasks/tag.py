"""Tag: one tag for each word (parts of speech, names), read from the vector of the word's first piece.

Loss: the sum over words of -log p(tag | words), in nats, over their number. First sub-word alignment: BERT, arXiv
1810.04805, section 5.3. Sentences longer than the context are cut into windows that overlap by half; each word is
tagged once, in the window where it has most company on both sides. Span F1 over BIO tags: as `seqeval` counts it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firth.errors import InputError, count
from firth.functional import metrics, spans
from firth.functional.random import Draw, permute
from firth.model.features import pick
from firth.model.heads import PoolHead
from firth.objective import Loss, Objective, Term, quiet
from firth.signal import Batch, Features, Sample, Signal, answered
from firth.task import Example, Outcome, TaskConfig, key_of

# B windows, T steps, W words, D width, L tags

WORDS = ("words", "tokens")  # names of the column of words, the first that is there
TAGS = ("tags", "upos", "ner_tags", "pos_tags", "ner", "pos", "labels", "label", "xpos")  # likewise of tags
NONE = -1  # where there is no word, or none to tag in this window


class Config(TaskConfig):
    reads: ClassVar[frozenset[str]] = frozenset({"first", "tags"})
    adds: ClassVar[frozenset[str]] = frozenset()
    terms: ClassVar[tuple[str, ...]] = ("tag",)
    rows: ClassVar[bool] = True
    fielded: ClassVar[bool] = True

    column: str = Field("", description="the column of tags; filled: upos, tags, … whichever is there")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of each word's vector dropped while training")

    @property
    def labelled(self) -> bool:
        return False

    def look(self, examples: Sequence[Example]) -> Self:
        there = {name for one in examples for name in one.fields}
        column = self.column or next((name for name in TAGS if name in there), "")
        if column not in there and examples:
            where = str(examples[0].where).split(":")[0]
            what = f"has no column `{column}`" if column else "has no column of tags"
            listed = ", ".join(f"`{name}`" for name in sorted(there))
            raise InputError(where, what, f"Name it: --set tag.column=NAME can be {listed}.")
        return self.model_copy(update={"column": column})

    def inputs(self, example: Example) -> list[str]:
        return listed(example, next((name for name in WORDS if name in example.fields), "words"))

    def example(self, example: Example) -> Example:
        words = self.inputs(example)
        tags = listed(example, self.column)
        if len(words) != len(tags):
            what = f"{count(len(words), 'word')} and {count(len(tags), 'tag')}"
            raise InputError(str(example.where), what, "Give each word one tag.")
        if not words:
            raise InputError(str(example.where), "has no words", "Leave it out; --skip-bad leaves out such rows.")
        return example._replace(text=" ".join(words), label=None, target=(tuple(words), tuple(tags)))

    def names(self, examples: Sequence[Example]) -> tuple[str, ...]:
        return tuple(sorted({tag for one in examples for tag in one.target[1]}))

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch.counts["tag"] = int((batch["tags"] >= 0).sum()) if "tags" in batch else 0
        return batch

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        numbers = {name: number for number, name in enumerate(self.classes)}
        return [
            sample
            for one, pieces in zip(examples, encode(signal, [one.target[0] for one in examples]), strict=True)
            for sample in windows(one, pieces, [numbers[tag] for tag in self.known(one)], signal)
        ]

    def shuffled(self, examples: Sequence[Example], seed: int) -> list[Example]:
        tags = [tag for one in examples for tag in one.target[1]]
        dealt = iter([tags[i] for i in permute(np.arange(len(tags)), len(tags), seed, 0)] if tags else [])
        return [one._replace(target=(one.target[0], tuple(next(dealt) for _ in one.target[1]))) for one in examples]

    def counts(self, examples: Sequence[Example]) -> np.ndarray | None:
        return np.array([len(one.target[0]) for one in examples], float)

    def known(self, example: Example) -> Sequence[str]:
        """The example's tags. Raises InputError for one that is no class."""
        for place, tag in enumerate(example.target[1]):
            if tag not in self.classes:
                what = f"word {place + 1}, `{example.target[0][place]}`: the tag `{tag}` is in no training example"
                raise InputError(str(example.where), what, f"There is: {', '.join(self.classes)}.")
        return example.target[1]


Settings = Config  # the type, where the class below has its own name `Config`


def listed(example: Example, column: str) -> list[str]:
    """The cell as a list: a list as it is, a string cut at blanks."""
    cell = example.fields.get(column)
    if cell is None:
        raise InputError(str(example.where), f"has no `{column}`", "Give words and tags, as many tags as words.")
    return cell.split() if isinstance(cell, str) else [str(item) for item in cell]


def encode(signal: Any, lists: Sequence[Sequence[str]]) -> list[Any]:
    return signal.encode_words([list(words) for words in lists])


def windows(example: Example, pieces: Any, tags: Sequence[int], signal: Any) -> list[Sample]:
    """The words of one example as samples that fit the context. `first`: (W,) step of each word's first piece;
    `tags`: (W,) its class, -1 where another window tags it."""
    room = signal.config.context - 2
    starts = range(0, max(1, len(pieces.ids) - room // 2), max(1, room // 2)) if len(pieces.ids) > room else range(1)
    begins = np.array(starts)
    first = pieces.begin
    inside = np.minimum(first[:, None] - begins, begins + room - 1 - first[:, None])  # (words, windows): company
    chosen = inside.argmax(1) if len(first) else np.empty(0, np.int64)
    found = []
    for number, begin in enumerate(starts):
        words = np.flatnonzero((first >= begin) & (first < begin + room))
        target = np.where(chosen[words] == number, np.asarray(tags, np.int64)[words], NONE)
        targets = {"first": first[words] - begin + 1, "tags": target, "number": words}
        found.append(Sample((pieces.ids[begin : begin + room],), key_of(example, number), targets=targets))
    return found


class Tag(Objective):
    """The shape's own head before a classifier (none for BERT), dropout, Linear(D, L) at the first piece of each word:
    as *ForTokenClassification of the shape has it."""

    Config = Config
    config: Settings
    all_steps = True
    causal = False  # the first piece of a word must see the others, and what comes after the word

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        if len(config.classes) < 2:
            found = f"there is one tag only, `{config.classes[0]}`" if config.classes else "there are no tags"
            raise InputError("task `tag`", f"{found}: nothing to tell apart", "Give words with at least two tags.")
        shape = backbone.shape
        self.pool = nn.Identity() if shape.name == "bert" else PoolHead(shape)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(shape.width, len(config.classes))

    @property
    def facts(self) -> dict[str, Any]:
        return {"column": self.config.column}

    def logits(self, features: Features, first: Tensor) -> Tensor:
        """(B, T, D), (B, W) -> (B, W, L)."""
        return self.every(pick(features.values, first.clamp(min=0)))

    def every(self, values: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, L)."""
        return self.classifier(self.dropout(self.pool(values)))

    def loss(self, features: Features, batch: Batch) -> Loss:
        logits, tags = self.logits(features, batch["first"]), batch["tags"]  # (B, W, L), (B, W)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        nats = cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=NONE, reduction="sum")
        words, right = batch.counts["tag"], ((logits.argmax(-1) == tags) & (tags >= 0)).sum()
        return Loss({"tag": Term(nats, words)}, {"tag_accuracy": Term(right, words)})


class Prediction(NamedTuple):
    """What the model says about one text: as many tags as words."""

    text: str
    words: list[str]
    tags: list[str]
    probabilities: list[float]  # of each tag


def part_of(objective) -> Tag:
    return objective if isinstance(objective, Tag) else objective.parts["tag"]


def predict(
    objective, signal, texts: Sequence[str | Sequence[str]], numbers: Sequence[int] = (), top: int | None = None
) -> list[Prediction]:
    """One Prediction per text; a text is a list of words, or a string that is cut at blanks."""
    lists = [text.split() if isinstance(text, str) else [str(word) for word in text] for text in texts]
    found = tagged(part_of(objective), signal, lists)
    return [
        Prediction(text if isinstance(text, str) else " ".join(text), words, [tag for tag, _ in tags],
                   [share for _, share in tags])
        for text, words, tags in zip(texts, lists, found, strict=True)
    ]  # fmt: skip


def exported(part: Tag, features: Features) -> dict[str, Tensor]:
    """What other tools are given: logits (B, T, L); those of a word are at its first piece."""
    return {"logits": part.every(features.values)}


class Words(NamedTuple):
    """Enough of an Example for `windows`."""

    text: str
    content: int = 0


def tagged(part: Tag, signal, lists: Sequence[Sequence[str]]) -> list[list[tuple[str, float]]]:
    """(tag, its probability) for every word of every list."""
    answers: list[list[tuple[str, float]]] = [[("", 0.0)] * len(words) for words in lists]
    samples: list[tuple[int, Sample]] = []
    for place, (words, pieces) in enumerate(zip(lists, encode(signal, lists), strict=True)):
        if words:
            made = windows(Words(" ".join(words)), pieces, [0] * len(words), signal)  # type: ignore[arg-type]
            samples += [(place, sample) for sample in made]
    best = answered(lambda batch: likeliest(part, batch), signal, [sample for _, sample in samples])
    for (place, sample), (classes, shares) in zip(samples, best, strict=True):
        for i in np.flatnonzero(sample.targets["tags"] >= 0).tolist():
            word = int(sample.targets["number"][i])
            answers[place][word] = part.config.classes[int(classes[i])], float(shares[i])
    return answers


@torch.inference_mode()
def likeliest(part: Tag, batch: Batch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Class and probability (W,) of each window's words; without dropout."""
    with quiet(part.backbone, part):
        batch = batch.to(part.classifier.weight.device)
        shares, classes = part.logits(part.encode(batch), batch["first"]).float().softmax(-1).max(-1)  # (B, W)
    return list(zip(classes.cpu().numpy(), shares.cpu().numpy(), strict=True))


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    """The score over examples; `right` counts words."""
    part = part_of(objective)
    found = tagged(part, signal, [list(one.target[0]) for one in examples])
    outcome = judged(part.config, examples, [[tag for tag, _ in one] for one in found])
    for one in outcome.wrong:
        one["probability"] = found[one.pop("sentence")][one["place"] - 1][1]
    outcome.wrong.sort(key=lambda one: -one["probability"])
    return outcome


def judged(config: TaskConfig, examples: Sequence[Example], predicted: Sequence[Sequence[str]]) -> Outcome:
    """What any way of predicting made of the examples; `wrong`: the words, in their order."""
    gold = [list(one.target[1]) for one in examples]
    right = np.array([sum(map(str.__eq__, a, b)) for a, b in zip(gold, predicted, strict=True)], float)
    sizes = np.array([len(one) for one in gold], float)
    figures = score(gold, predicted) | confusion(gold, predicted, config.classes)
    wrong = [
        {"text": one.text, "word": word, "place": place, "gold": tag, "predicted": said, "sentence": sentence}
        for sentence, (one, tags) in enumerate(zip(examples, predicted, strict=True))
        for place, (word, tag, said) in enumerate(zip(*one.target, tags, strict=True), 1)
        if said != tag
    ]
    return Outcome(figures, list(predicted), gold, right, sizes, wrong)


def confusion(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], classes: Sequence[str]) -> dict:
    """Over words, rows: gold; with the names of the classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    true, said = ([numbers[tag] for one in tags for tag in one] for tags in (gold, predicted))
    return {"confusion": metrics.confusion_matrix(true, said, len(classes)).tolist(), "classes": list(classes)}


def score(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Share of words with the right tag; for BIO tags the F1 of whole spans, too."""
    pairs = [(a, b) for one, other in zip(gold, predicted, strict=True) for a, b in zip(one, other, strict=True)]
    figures: dict[str, Any] = {"items": len(pairs), "sentences": len(gold)}
    figures["accuracy"] = sum(a == b for a, b in pairs) / max(1, len(pairs))
    if spans.is_bio([tag for one in gold for tag in one]):
        figures["span_f1"] = spans.span_f1(gold, predicted)["f1"]
    return figures
