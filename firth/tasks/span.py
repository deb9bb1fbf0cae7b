"""Span: the answer to a question is a stretch of a document. Two vectors, drawn at random at the beginning, are
multiplied with every output vector; a softmax over the positions of the document gives where it starts and ends.

BERT, arXiv 1810.04805, sections 4.2 and 4.3: question and document are the two segments; the first step ([CLS]) stands
for "no answer here". Documents longer than the context are cut into windows that overlap; what two windows offer is
compared by its score over that window's own "no answer". Exact match and F1: SQuAD's (arXiv 1606.05250, 1806.03822).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firth.errors import InputError
from firth.functional import answers
from firth.functional.random import Draw
from firth.objective import Loss, Objective, Term, quiet
from firth.signal import Batch, Features, Sample, Signal, answered
from firth.task import Example, Outcome, TaskConfig, key_of

# B windows, T steps, D width

NOWHERE = 0  # the step of [CLS]


class Config(TaskConfig):
    metric: ClassVar[str] = "f1"
    rows: ClassVar[bool] = True
    fielded: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"start", "end", "segments", "special"})
    adds: ClassVar[frozenset[str]] = frozenset()
    terms: ClassVar[tuple[str, ...]] = ("span",)

    question: int = Field(64, ge=1, description="tokens of a question that are read, at most half the context")
    stride: int = Field(64, ge=1, description="tokens that two windows of a document share, at most half a window")
    longest: int = Field(30, ge=1, description="tokens of an answer")
    best: int = Field(20, ge=1, description="starts and ends that are looked at in each window")
    unanswerable: bool | None = Field(
        None, description="whether `no answer` may be said; filled: whether some question has none"
    )
    threshold: float = Field(0.0, description="score over `no answer` from which an answer is given")

    @property
    def labelled(self) -> bool:
        return False

    def look(self, examples: Sequence[Example]) -> Self:
        missing = {name for name in ("question", "context") if examples and name not in examples[0].fields}
        if missing:
            what = f"has no `{sorted(missing)[0]}`"
            do = "Give SQuAD's JSON, or rows with question, context and answers (text, start)."
            raise InputError(str(examples[0].where).split(":")[0], what, do)
        none = any(not answers_of(one) for one in examples)
        return self.model_copy(update={"unanswerable": none if self.unanswerable is None else self.unanswerable})

    def inputs(self, example: Example) -> tuple[str, str]:
        question, context = (str(example.fields.get(name) or "") for name in ("question", "context"))
        for name, text in (("question", question), ("context", context)):
            if not text.strip():
                raise InputError(str(example.where), f"`{name}` is empty", "Fill it in, or leave out the row; "
                                 "--skip-bad leaves out such rows.")  # fmt: skip
        return question, context

    def example(self, example: Example) -> Example:
        (question, context), found = self.inputs(example), answers_of(example)
        for text, start in found:
            check_answer(example, context, text, start)
        return example._replace(
            text=f"{question}\n{context}", parts=(question, context), group=context, label=None, target=found
        )

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch.counts["span"] = len(batch["start"]) if "start" in batch else 0
        return batch

    def shuffled(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """Each answer becomes a stretch of as many words elsewhere in its document."""
        return [one._replace(target=[elsewhere(one, seed)] if one.target else []) for one in examples]

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        return [window.sample for windows in cut(self, signal, examples) for window in windows]


Settings = Config  # the type, where the class below has its own name `Config`


def answers_of(example: Example) -> list[tuple[str, int]]:
    """(text, character) of the answers of a row, in the forms that files have them."""
    found = example.fields.get("answers") or []
    if isinstance(found, dict):  # columns of `datasets`: {"text": […], "answer_start": […]}
        starts = found.get("answer_start") or found.get("start") or []
        return list(zip(found.get("text") or [], starts, strict=True))
    return [(one["text"], int(one.get("start", one.get("answer_start", 0)))) for one in found]


def check_answer(example: Example, context: str, text: str, start: int) -> None:
    """Raises InputError for an answer that does not stand where it is said to."""
    if text and context[start : start + len(text)] == text:
        return
    nearest = min((at for at in occurrences(text, context)), key=lambda at: abs(at - start), default=None)
    shown = text if len(text) <= 40 else text[:37] + "…"
    if nearest is None:
        what, do = f"the answer `{shown}` is not in the document", "Copy it from the document as it stands there."
    else:
        what = f"the answer `{shown}` is not at character {start:,} of the document"
        do = f"It is at {nearest:,}; offsets count characters from 0."
    raise InputError(str(example.where), what, do)


def occurrences(text: str, context: str) -> Iterator[int]:
    place = context.find(text) if text else -1
    while place >= 0:
        yield place
        place = context.find(text, place + 1)


def elsewhere(example: Example, seed: int) -> tuple[str, int]:
    """A stretch of as many words as the first answer has, at a place drawn by the seed."""
    context, count = example.parts[1], len(example.target[0][0].split())
    words = list(re.finditer(r"\S+", context))
    places = max(1, len(words) - count + 1)
    first = int(Draw(seed).bits([key_of(example)], "shuffled", 1)[0, 0]) % places
    begin, end = words[first].start(), words[min(first + count, len(words)) - 1].end()
    return context[begin:end], begin


class Window(NamedTuple):
    """A part of a document beside the question."""

    sample: Sample
    shift: int  # step of the window's first document token
    begin: np.ndarray  # (n,) character at which each of its tokens begins
    end: np.ndarray  # (n,) the character after it


def cut(config: Config, signal: Any, examples: Sequence[Example]) -> list[list[Window]]:
    """The windows of each example; targets `start` and `end` are steps of the row, 0 where the answer is elsewhere."""
    context = signal.config.context
    asked = signal.encode([one.parts[0] for one in examples])
    read = dict.fromkeys(one.parts[1] for one in examples)
    documents = dict(zip(read, signal.encode_offsets(list(read)), strict=True))
    found = []
    for one, question in zip(examples, asked, strict=True):
        ids = question.ids[: min(config.question, context // 2)]
        found.append(list(windows(config, one, ids, documents[one.parts[1]], context - len(ids) - 3)))
    return found


def windows(config: Config, example: Example, question: np.ndarray, pieces: Any, room: int) -> Iterator[Window]:
    step = max(1, room - min(config.stride, room // 2))
    shift, total = len(question) + 2, len(pieces.ids)
    target = place(example, pieces)
    for number, begin in enumerate(range(0, max(1, total - room + step), step)):
        stop = min(begin + room, total)
        inside = target is not None and begin <= target[0] and target[1] < stop
        start, end = (at - begin + shift for at in target) if inside and target else (NOWHERE, NOWHERE)
        targets = {"start": np.int64(start), "end": np.int64(end)}
        sample = Sample((question, pieces.ids[begin:stop]), key_of(example, number), targets=targets)
        yield Window(sample, shift, pieces.begin[begin:stop], pieces.end[begin:stop])


def place(example: Example, pieces: Any) -> tuple[int, int] | None:
    """First and last token of the first answer."""
    if not example.target:
        return None
    text, start = example.target[0]
    touched = np.flatnonzero((pieces.end > start) & (pieces.begin < start + len(text)))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


class Span(Objective):
    """The two vectors of width D, and nothing else."""

    Config = Config
    config: Settings
    all_steps = True
    causal = False  # the first step stands for "no answer", and must see the document

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.ends = nn.Linear(backbone.shape.width, 2, bias=False)  # rows: start, end

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of the model folder must know besides the weights."""
        kept = ("question", "stride", "longest", "best", "unanswerable", "threshold")
        return {name: getattr(self.config, name) for name in kept}

    def logits(self, features: Features, batch: Batch) -> Tensor:
        """(B, T, D) -> (2, B, T): starts and ends, -inf outside the document and [CLS]."""
        found = self.ends(features.values)  # (B, T, 2)
        found = found.to(torch.promote_types(found.dtype, torch.float32)).permute(2, 0, 1)
        return found.masked_fill(~allowed(batch), float("-inf"))

    def loss(self, features: Features, batch: Batch) -> Loss:
        starts, ends = self.logits(features, batch)  # (B, T) each
        nats = sum(cross_entropy(logits, gold, reduction="sum") for logits, gold in
                   ((starts, batch["start"]), (ends, batch["end"])))  # fmt: skip
        right = ((starts.argmax(-1) == batch["start"]) & (ends.argmax(-1) == batch["end"])).sum()
        count = batch.counts["span"]
        return Loss({"span": Term(nats, count)}, {"span_exact": Term(right, count)})  # type: ignore[arg-type]


def allowed(batch: Batch) -> Tensor:
    """(B, T) bool: the tokens of the document, which is the last segment, and [CLS]."""
    segments = batch["segments"]
    inside = (segments == segments.amax(1, keepdim=True)) & ~batch["special"]
    inside[:, NOWHERE] = True
    return inside


class Candidate(NamedTuple):
    """A stretch of the document, or no answer at all (begin = end = 0, text empty)."""

    text: str
    begin: int  # character of the document
    end: int  # the character after it
    score: float  # over "no answer", in nats of start and end together
    probability: float = 0.0  # among the candidates


class Prediction(NamedTuple):
    """The answer to a question, and what else came into question."""

    text: str  # the question
    answer: str
    begin: int
    end: int
    probability: float
    best: list[Candidate]


def part_of(objective) -> Span:
    return objective if isinstance(objective, Span) else objective.parts["span"]


class Asked(NamedTuple):
    """Enough of an Example for `windows`."""

    parts: tuple[str, str]
    text: str
    target: None = None
    content: int = 0


def predict(objective, signal, texts, numbers: Sequence[int] = (), top: int | None = None) -> list[Prediction]:
    """One Prediction per (question, document), or string "question<TAB>document"; `top`: candidates that are named."""
    numbered = zip(texts, numbers or range(1, len(texts) + 1), strict=True)
    asked = [question_of(text, number) for text, number in numbered]
    part = part_of(objective)
    return [
        Prediction(one.parts[0], said[0].text, said[0].begin, said[0].end, said[0].probability, said[: top or 3])
        for one, said in zip(asked, candidates(part, signal, asked), strict=True)
    ]


def exported(part: Span, features: Features) -> dict[str, Tensor]:
    """What other tools are given: start_logits and end_logits (B, T), also where no answer may begin or end."""
    starts, ends = part.ends(features.values).unbind(-1)  # (B, T, 2)
    return {"start_logits": starts, "end_logits": ends}


def question_of(text: str | Sequence[str], number: int) -> Asked:
    """Raises InputError for what is no pair."""
    parts = text.split("\t", 1) if isinstance(text, str) else list(text)
    if len(parts) != 2 or not all(map(str.strip, parts)):
        what = "a question and a document are needed"
        raise InputError(f"input {number}", what, "Write the question, a tab, the document.")
    question, document = parts[0].strip(), parts[1]  # the document stays as it is: offsets count its characters
    return Asked((question, document), f"{question}\n{document}")


def candidates(part: Span, signal, examples: Sequence[Any]) -> list[list[Candidate]]:
    """For each example what its windows offer, the best first; with probabilities among them."""
    flat = [(i, window) for i, found in enumerate(cut(part.config, signal, examples)) for window in found]
    scores = answered(lambda batch: run(part, batch), signal, [window.sample for _, window in flat])
    offers: list[list[Candidate]] = [[] for _ in examples]
    for (i, window), (starts, ends) in zip(flat, scores, strict=True):
        offers[i] += offered(part.config, examples[i].parts[1], window, starts, ends)
    return [ranked(part.config, found) for found in offers]


@torch.inference_mode()
def run(part: Span, batch: Batch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores of starts and ends (T,) of each window, without dropout."""
    with quiet(part.backbone, part):
        batch = batch.to(part.ends.weight.device)
        starts, ends = part.logits(part.encode(batch), batch).float().cpu().numpy()
    return list(zip(starts, ends, strict=True))


def offered(config: Config, document: str, window: Window, starts: np.ndarray, ends: np.ndarray) -> list[Candidate]:
    """The best stretches of one window."""
    none, length = starts[NOWHERE] + ends[NOWHERE], len(window.begin)
    starts, ends = (scores[window.shift : window.shift + length] for scores in (starts, ends))
    first, last = (np.argsort(-scores, kind="stable")[: config.best] for scores in (starts, ends))
    fits = (last[None, :] >= first[:, None]) & (last[None, :] < first[:, None] + config.longest)
    found = []
    for i, j in np.argwhere(fits).tolist():
        a, b = int(first[i]), int(last[j])
        begin, end = bare(document, int(window.begin[a]), int(window.end[b]))
        found.append(Candidate(document[begin:end], begin, end, float(starts[a] + ends[b] - none)))
    return found


def bare(document: str, begin: int, end: int) -> tuple[int, int]:
    """Without the blanks that some tokenizers write with a word."""
    said = document[begin:end]
    left, right = len(said) - len(said.lstrip()), len(said) - len(said.rstrip())
    return (begin + left, end - right) if left < len(said) else (begin, end)


def ranked(config: Config, found: list[Candidate]) -> list[Candidate]:
    """The best first, each stretch once; no answer where that may be said and nothing scores above the threshold."""
    found = sorted(found, key=lambda one: -one.score)
    found = list({(one.begin, one.end): one for one in reversed(found)}.values())
    found = sorted(found, key=lambda one: -one.score)[: config.best]
    if config.unanswerable or not found:
        found = sorted([*found, Candidate("", 0, 0, config.threshold)], key=lambda one: -one.score)
    shares = np.exp(np.array([one.score for one in found]) - found[0].score)
    shares /= shares.sum()
    return [one._replace(probability=float(share)) for one, share in zip(found, shares, strict=True)]


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    """Exact match and F1 as SQuAD counts them; `right`: the F1 of each question."""
    part = part_of(objective)
    found = [said[0] for said in candidates(part, signal, examples)]
    outcome = judged(part.config, examples, [one.text for one in found])
    for one in outcome.wrong:
        one["probability"] = found[one.pop("place")].probability
    outcome.wrong.sort(key=lambda one: -one["probability"])
    return outcome


def judged(config: TaskConfig, examples: Sequence[Example], predicted: Sequence[str]) -> Outcome:
    """What any way of predicting made of the examples; `wrong` in their order."""
    gold = [[text for text, _ in one.target] for one in examples]
    version = 1 if all(gold) else 2
    scores = [answers.best(p, g, version) for p, g in zip(predicted, gold, strict=True)]
    exact, f1 = (np.array([getattr(one, name) for one in scores], float) for name in ("exact", "f1"))
    figures = {"items": len(gold), "f1": float(f1.mean()), "exact_match": float(exact.mean())}
    wrong = [
        {"text": one.text, "gold": gold[i], "predicted": predicted[i], "place": i}
        for i, one in enumerate(examples)
        if not exact[i]
    ]
    return Outcome(figures, list(predicted), gold, f1, np.ones(len(f1)), wrong)
