"""Transcribe: what is said in a clip, as characters or phones, by connectionist temporal classification (CTC).

Loss: the sum over clips of -log p(transcript | clip), in nats, over the units of all transcripts (Graves et al. 2006).
Units are learnt from the transcripts: their characters, the blank between words among them, or, where a transcript is a
list or symbols with blanks between, those symbols. As *ForCTC of the sound shapes has it: dropout, one linear map.
Scores: words and characters wrong (WER, CER) or phones wrong (PER), as `jiwer` counts them.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from firth.errors import InputError, count
from firth.functional import ctc, edits
from firth.functional.cells import listed
from firth.functional.random import Draw
from firth.model.level import Level
from firth.objective import Loss, Objective, Term, quiet
from firth.signal import Batch, Features, Sample, Signal, answered
from firth.task import Example, Outcome, parts_of
from firth.tasks._one_label import samples_of
from firth.tasks._spans import SpansConfig
from firth.tasks._spans import heard as heard_by

# B clips, T steps, U units of a transcript, V classes: the units, and the blank before them

COLUMNS = ("transcript", "transcription", "text", "sentence", "phones", "label")  # of transcripts, by usual names
KINDS = Literal["auto", "characters", "phones"]
Said = tuple[str, ...]  # the units of a transcript


class Config(SpansConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"time"})
    reads: ClassVar[frozenset[str]] = SpansConfig.reads | {"transcript"}
    terms: ClassVar[tuple[str, ...]] = ("transcribe",)
    columns: ClassVar[tuple[str, ...]] = COLUMNS

    units: KINDS = Field(
        "auto",
        description="what a transcript is made of: `characters`, or `phones`, any symbols with blanks between them; "
        "filled: `phones` where transcripts are lists",
    )
    stress: bool = Field(
        True, description="whether numbers at the end of phones count (AH0, AH1); false: they are dropped"
    )
    hidden: int = Field(0, ge=0, description="width of a layer before the last map; 0: there is none")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of each step's vector dropped while training")
    beam: int = Field(
        1, ge=1, description="prefixes that the search keeps; 1: the likeliest class of each step is taken"
    )
    looked_at: int = Field(16, ge=1, description="classes of a step that the search looks at, the likeliest")
    hide_share: float = Field(
        0.05, ge=0, lt=1, description="share of the steps hidden while the encoder learns, in runs; as in transformers"
    )

    @property
    def metric(self) -> str:  # type: ignore[override]
        return "phone_accuracy" if self.units == "phones" else "word_accuracy"

    @property
    def classed(self) -> bool:
        return False

    def classes_of(self, example: Example) -> tuple[str, ...]:
        """None: parts are cut without regard to what is said."""
        return ()

    def look(self, examples: Sequence[Example]) -> Self:
        if self.units != "auto" or not examples:
            return self
        lists = all(listed(str(one.label)) is not None for one in examples)
        return self.model_copy(update={"units": "phones" if lists else "characters"})

    def example(self, example: Example) -> Example:
        said = self.cut(str(example.label))
        if not said:
            raise InputError(
                str(example.where), "has an empty transcript", "Leave it out, or --skip-bad leaves it out."
            )
        return example._replace(label=self.written(said), target=said)

    def cut(self, transcript: str) -> Said:
        """The units of a transcript."""
        if self.units != "phones":
            return tuple(" ".join(transcript.split()))
        symbols = listed(transcript)
        found = transcript.split() if symbols is None else symbols
        return tuple(one if self.stress else one.rstrip("0123456789") or one for one in found)

    def written(self, said: Sequence[str]) -> str:
        """Units as a person writes them."""
        return (" " if self.units == "phones" else "").join(said)

    def names(self, examples: Sequence[Example]) -> tuple[str, ...]:
        return tuple(sorted({unit for one in examples for unit in one.target}))

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch.counts["transcribe"] = int((batch["transcript"] != ctc.NOTHING).sum()) if "transcript" in batch else 0
        return super().prepare(batch, draw)

    def counts(self, examples: Sequence[Example]) -> np.ndarray | None:
        return np.array([len(self.counted(one.target)) for one in examples], float)

    def counted(self, said: Said) -> Sequence[str]:
        """What errors are counted in: phones, or words."""
        return said if self.units == "phones" else edits.words(self.written(said))

    def samples(self, examples: Sequence[Example], signal: Signal) -> list[Sample]:
        """A unit that no training example has is left out of what is learnt; it counts in the score."""
        numbers = {name: number for number, name in enumerate(self.classes, ctc.BLANK + 1)}
        targets = [np.array([numbers[unit] for unit in one.target if unit in numbers], np.int64) for one in examples]
        made = super().samples(examples, signal)
        return [one.but(label=None, targets={"transcript": own}) for one, own in zip(made, targets, strict=True)]


Settings = Config  # the type, where the class below has its own name `Config`


class Transcribe(Objective):
    """A hidden layer where one is asked for, dropout, Linear(D, V) at every step."""

    Config = Config
    config: Settings
    level: Level
    all_steps = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        if not config.classes:
            what, do = (
                "there are no transcripts to learn units from",
                "Give clips with a column of transcripts: --label.",
            )
            raise InputError("task `transcribe`", what, do)
        width = config.hidden or backbone.shape.width
        first = nn.Linear(backbone.shape.width, width)
        self.hidden = nn.Sequential(first, nn.GELU()) if config.hidden else nn.Sequential()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, len(config.classes) + 1)
        self.level = Level(first if config.hidden else self.classifier)

    def encode(self, batch: Batch, layers: bool = False) -> Features:
        return super().encode(heard_by(self, batch), layers)

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader of the model folder must know besides the weights."""
        return {key: getattr(self.config, key) for key in ("units", "stress", "hidden", "beam", "looked_at")}

    def levelled(self, features: Features) -> Tensor:
        return self.level(features.values, features.padding)

    def logits(self, features: Features) -> Tensor:
        """(B, T, D) -> (B, T, V), at least fp32."""
        found = self.classifier(self.dropout(self.hidden(self.levelled(features))))
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def loss(self, features: Features, batch: Batch) -> Loss:
        logits, units, pad = self.logits(features), batch["transcript"], features.padding  # (B, T, V), (B, U), (B, T)
        terms = {"transcribe": Term(ctc.ctc_sum(logits, units, pad), batch.counts["transcribe"])}
        short = (~ctc.fits(units, ctc.lengths_of(logits, pad))).sum()
        return Loss(terms, {"transcribe_too_short": Term(short, len(units))} | self.shown(logits, units, pad))

    def shown(self, logits: Tensor, units: Tensor, pad: Tensor | None) -> dict[str, Term]:
        """Units less errors of the greedy search, where nothing is learnt: the search takes time."""
        if torch.is_grad_enabled():
            return {}
        gold = [row[row != ctc.NOTHING].tolist() for row in units.cpu()]
        said = [ctc.greedy(one) for one in rows(logits, pad)]
        wrong, sizes = edits.errors(gold, said)
        return {"transcribe_accuracy": Term(logits.new_tensor(sizes.sum() - wrong.sum()), float(sizes.sum()))}


def rows(logits: Tensor, pad: Tensor | None) -> list[np.ndarray]:
    """(B, T, V), (B, T) -> log-probabilities (T, V) of the steps of each clip."""
    shares = logits.detach().log_softmax(-1).float().cpu().numpy()
    sizes = ctc.lengths_of(logits, pad).tolist()
    return [one[:size] for one, size in zip(shares, sizes, strict=True)]


class Prediction(NamedTuple):
    """What the model hears in one clip."""

    text: str  # the name of the clip
    transcript: str
    probability: float  # per unit: the geometric mean; of the greedy search that of its steps
    others: list[str]  # further transcripts that the beam holds, the likeliest first


def part_of(objective) -> Transcribe:
    return objective if isinstance(objective, Transcribe) else objective.parts["transcribe"]


def predict(
    objective, signal, texts: Sequence[Any], numbers: Sequence[int] = (), top: int | None = None
) -> list[Prediction]:
    """One Prediction per clip, in one batch; `top` = how many transcripts are named (None: the likeliest alone)."""
    if not texts:
        return []
    part = part_of(objective)
    found = heard(part, signal.stack(samples_of(signal, [(text,) for text in texts])))
    return [prediction(part.config, str(text), one, top or 1) for text, one in zip(texts, found, strict=True)]


def prediction(config: Settings, name: str, shares: np.ndarray, top: int) -> Prediction:
    """(T, V) -> what is said."""
    guesses = search(config, shares)
    first, *others = [config.written([config.classes[unit - 1] for unit in guess.units]) for guess in guesses[:top]]
    size = max(len(guesses[0].units) if config.beam > 1 else len(shares), 1)
    return Prediction(name, first, float(np.exp(guesses[0].nats / size)), others)


def search(config: Settings, shares: np.ndarray) -> list[ctc.Guess]:
    """(T, V) -> the transcripts found, the likeliest first."""
    if config.beam > 1:
        return ctc.beam(shares, config.beam, config.looked_at)
    return [ctc.Guess(tuple(ctc.greedy(shares)), float(shares.max(-1).sum()) if len(shares) else 0.0)]


@torch.inference_mode()
def heard(part: Transcribe, batch: Batch) -> list[np.ndarray]:
    """Log-probabilities (T, V) of each clip of a batch, without dropout; the modules keep their mode."""
    with quiet(part.backbone, part):
        features = part.encode(batch.to(part.classifier.weight.device))
        return rows(part.logits(features), features.padding)


def exported(part: Transcribe, features: Features) -> dict[str, Tensor]:
    """What other tools are given: logits (B, T, V), the blank first."""
    return {"logits": part.logits(features)}


def over(part: Transcribe, signal, examples: Sequence[Example], run: Callable[[np.ndarray], Any]) -> list[Any]:
    """What `run` makes of the log-probabilities of each example, in their order."""
    samples = samples_of(signal, [parts_of(one) for one in examples])
    return answered(lambda batch: [run(one) for one in heard(part, batch)], signal, samples)


def evaluate(objective, signal, examples: Sequence[Example]) -> Outcome:
    """The score over clips; `right`: words or phones less errors."""
    part = part_of(objective)
    config = part.config
    found = over(part, signal, examples, lambda shares: search(config, shares)[0].units)
    return judged(config, examples, [config.written([config.classes[i - 1] for i in units]) for units in found])


def judged(config: Config, examples: Sequence[Example], predicted: Sequence[str]) -> Outcome:
    """What any way of predicting made of the examples; `wrong`: the clips with the most errors first."""
    gold = [config.written(one.target) for one in examples]
    units = [
        (config.counted(one.target), config.counted(config.cut(said)))
        for one, said in zip(examples, predicted, strict=True)
    ]
    errors, sizes = edits.errors(*zip(*units, strict=True)) if units else (np.empty(0), np.empty(0))
    wrong = [
        {"text": examples[i].text, "gold": gold[i], "predicted": predicted[i], "errors": count(int(errors[i]), "error")}
        for i in np.argsort(-errors, kind="stable").tolist() if errors[i]
    ]  # fmt: skip
    return Outcome(
        score(gold, predicted, config.units == "phones"), list(predicted), gold, sizes - errors, sizes, wrong
    )


def score(gold: Sequence[str], predicted: Sequence[str], phones: bool) -> dict[str, Any]:
    """Error rates, and 1 - the first of them, which HTK calls accuracy; it is below 0 where much is inserted."""
    cut = str.split if phones else edits.words
    found = edits.total([cut(one) for one in gold], [cut(one) for one in predicted])
    named = {"phone_accuracy": 1 - found.rate, "per": found.rate}
    if not phones:
        characters = edits.error_rate(*([edits.characters(one) for one in side] for side in (gold, predicted)))
        named = {"word_accuracy": 1 - found.rate, "wer": found.rate, "cer": characters}
    return {"items": len(gold), **named, **found._asdict()}


class Heard(NamedTuple):
    """Where a unit stands in a clip: steps begin to end - 1."""

    unit: str
    begin: int
    end: int


def places(objective, signal, examples: Sequence[Example]) -> list[list[Heard]]:
    """Forced alignment: where each unit of the examples' own transcripts stands in their clips, as far as this model
    knows; nothing for a clip that is too short for its transcript, and for units that it never learnt."""
    part = part_of(objective)
    numbers = {name: number for number, name in enumerate(part.config.classes, ctc.BLANK + 1)}
    known = [[unit for unit in one.target if unit in numbers] for one in examples]
    shares = over(part, signal, examples, lambda one: one)
    return [aligned(one, said, numbers) for one, said in zip(shares, known, strict=True)]


def aligned(shares: np.ndarray, said: Sequence[str], numbers: dict[str, int]) -> list[Heard]:
    """(T, V), the units of a transcript, the class of each -> their places."""
    classes = [numbers[unit] for unit in said]
    if not classes or not ctc.fits(torch.tensor([classes]), torch.tensor([len(shares)])).all():
        return []
    return [Heard(unit, place.begin, place.end) for unit, place in zip(said, ctc.align(shares, classes), strict=True)]
