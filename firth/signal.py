"""What a signal is: how a file becomes tensors, and how tensors become vectors. The parts are in signals/."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from firth.model.features import Features as Features  # part of this contract; defined where encoders are

TOGETHER = 64  # samples that go through a model at once where nothing is learnt


class Finding(NamedTuple):
    """One thing `firth check` says about the data."""

    level: str  # "error" (training refuses it), "warning" (a person should look), "note"
    where: str  # file:line:column, or a column or class name
    what: str
    do: str = ""

    @property
    def text(self) -> str:
        """As one line for people."""
        return (f"{self.where}: " if self.where else "") + f"{self.what}. {self.do}".rstrip()


@dataclass(frozen=True)
class Sample:
    """One thing to learn from: a window of a document, an image, a clip. Made in data/, rearranged by objectives."""

    parts: tuple[np.ndarray, ...]  # text: int32 token ids (n,), one array per segment, without [CLS] and outer [SEP];
    # image: uint8 (C, H, W)
    key: int  # 64 bit: (document content hash, window)
    breaks: np.ndarray | None = None  # text: offsets in parts[0] at which a sentence starts, ascending, 0 left out
    partner: "Sample | None" = None  # a random window of another document, where an objective asks for it
    label: Any = None  # tasks: class index, (L,) 0 or 1 by class where several may hold, number
    targets: dict[str, Any] = field(default_factory=dict)  # what arrange() found out, stacked into the batch by name

    def but(self, **changes) -> "Sample":
        """A copy with these fields changed."""
        return replace(self, **changes)


class Batch(dict[str, Tensor]):
    """Tensors by name, and how many items each loss term is over (where items have weights: the sum of the weights).

    Text: tokens (B, T) int64; pad (B, T) bool, True where there is no token; special (B, T) bool, True at tokens
    that are never hidden ([CLS], [SEP], padding); word (B, T) int64, number of the word in the row (-1 at special);
    segments (B, T) int64 where samples have two parts; key (B,) int64 (the bits of the uint64 key);
    bytes (B, T) int64, how many bytes of text a token stands for; documents (B, T) int64: steps of other numbers are
    not attended to; position (B, T) int64: the place of each step, where that is not its number in the row;
    Sound: wave (B, N) float32, samples in [-1, 1], with pad (B, N) bool; or frames (B, F, M) float32, log-mel, with
    frame_pad (B, F) bool; True where there is nothing, left out where all rows are full; hidden (B, T) bool: the steps
    of the encoder that see a mask instead; seconds (B,) float32, how long each sample lasts.
    keep (B, K) int64, ascending or 0-filled: the steps whose vectors somebody needs, step 0 always first.
    Images: pixels (B, C, H, W) uint8, or float in [0, 1] where an objective has changed them; key.
    """

    def __init__(self, *args, counts: Mapping[str, float] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.counts: dict[str, float] = dict(counts or {})

    def to(self, device) -> "Batch":
        """A copy on `device`; counts stay Python numbers."""
        return Batch({k: v.to(device, non_blocking=True) for k, v in self.items()}, counts=self.counts)

    @property
    def keys_(self) -> np.ndarray:
        """(B,) uint64 sample keys, for Draw."""
        return self["key"].cpu().numpy().view(np.uint64)


class Facts(NamedTuple):
    """What objectives may know of a fitted signal."""

    offers: frozenset[str]  # e.g. {"tokens", "sentences", "partner"}, {"pixels", "pooled"}
    vocabulary: int = 0  # number of token ids
    mask_id: int = -1
    pad_id: int = -1
    special_ids: tuple[int, ...] = ()  # never drawn as replacements
    classes: tuple[str, ...] = ()  # names of the labels, in index order, where the data is labelled
    end_id: int = -1  # stands after each text, and so before the next, where rows are cut from a stream of texts
    infill_ids: tuple[
        int, ...
    ] = ()  # stand before the beginning, the middle and the end of a text (fill in the middle)
    bands: int = 0  # numbers of a log-mel frame


class SignalConfig(BaseModel):
    """The recipe table of a signal, named after its file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def suited(cls, needs: frozenset[str]) -> dict[str, Any]:
        """The keys that go with objectives of these needs, where nobody set them."""
        return {}

    @property
    def in_words(self) -> bool:
        """Whether its units are words, pieces of words, or the like, which keep company."""
        return True

    @property
    def kept(self) -> str:
        """ "on": decoded arrays are kept on disk; "off": they are made again in each pass; "auto": as they fit."""
        return "on"


class Unit(NamedTuple):
    """What people count of a signal."""

    thing: str  # one of its samples or documents: "document", "image"
    steps: str  # what a run goes through: "tokens", "images"
    per: int = 1  # items of a batch (measure.items) that are one of `steps`
    given: str = '"…"'  # what `predict` is given, and
    labelled: str = "LABELS.tsv"  # what `adapt` is, in commands that are shown


class Rung(NamedTuple):
    """A size of a shape that reads a signal, and when it is worth its time. Samples count as `Signal.extent`."""

    size: str
    samples: float  # that a run sees at least; fewer are better spent on a smaller one
    rate: float  # samples a second on the two cores that the ladder was set on


class Signal:
    """A fitted signal: tokenizer or front end, ready to make tensors. One subclass per file in signals/."""

    Config: ClassVar[type[SignalConfig]] = SignalConfig
    name: ClassVar[str] = ""
    store: ClassVar[str] = "corpus"  # the module of data/ that reads and keeps its files
    doctor: ClassVar[str] = "check"  # the module of data/ that looks through its files
    suffixes: ClassVar[frozenset[str]] = frozenset()  # of files that are of this signal and of no other
    objective: ClassVar[tuple[str, ...]] = ()  # what is learnt where nobody says
    shape: ClassVar[str] = ""  # the architecture, where neither a person nor the objective says
    defaults: ClassVar[Mapping[str, Any]] = {}  # recipe keys that go with it, where neither person nor objective says
    ladders: ClassVar[Mapping[str, tuple[Rung, ...]]] = {}  # by shape, ascending; none: by the tokens of a budget
    unit: ClassVar[Unit] = Unit("document", "tokens")
    labels_by_class: ClassVar[bool] = False  # a budget of labels counts those of each class, not of all together
    known: Container[int] = ()  # keys of samples whose features somebody has: what they are made from is not asked for
    config: SignalConfig

    @property
    def facts(self) -> Facts:
        raise NotImplementedError

    @classmethod
    def ladder(cls, shape: str, config: SignalConfig) -> tuple[Rung, ...]:
        """The sizes of a shape for a time budget; () where they go by tokens."""
        return cls.ladders.get(shape, ())

    def of_texts(self) -> "Signal":
        """The same signal as tasks read it: what a sample has, and nothing of what stood beside it in the data."""
        return self

    def stack(self, samples: list[Sample]) -> Batch:
        """Samples → one padded batch on the CPU, `key` and the samples' targets included."""
        raise NotImplementedError

    def length(self, sample: Sample) -> int:
        """The number of steps the sample takes in a batch."""
        raise NotImplementedError

    @property
    def sizes(self) -> dict[str, Any]:
        """What a shape must be made for, as keys of model.sizes.shape_of: the vocabulary, the pixels."""
        return {}

    def extent(self, lengths: np.ndarray | None) -> float:
        """What a sample counts on the ladder, in the mean; lengths: those of all."""
        return 1.0

    def longest(self, lengths: np.ndarray | None) -> int:
        """What the longest sample holds of what a shape reads: tokens, frames, samples of sound."""
        return 1 if lengths is None or not len(lengths) else int(np.max(lengths))

    def batch_for(self, lengths: np.ndarray | None, seen: float | None = None) -> int | None:
        """Samples of a step of pre-training where nobody says, by the lengths of all, and by how many samples the whole
        run will see, where that is known; None: as many as usual."""
        return None

    def encode(self, inputs: list[Any]) -> list["Encoded"]:
        """What a model reads of each input: of a text, or of whatever else the signal's files hold."""
        raise NotImplementedError

    def embed(self, shape) -> nn.Module:
        """The module batch → (B, T, D), in the form that `shape` (of model/shape.py) wants; of a convolution net
        (B, D, H, W)."""
        raise NotImplementedError

    def picture(self, sample: Sample) -> np.ndarray | None:
        """uint8 (H, W, 3): what a person is shown of a sample, where it can be seen."""
        return None

    def save(self, folder) -> None:
        """Write what other tools need to read the same input (tokenizer files) into a model folder."""
        raise NotImplementedError

    @classmethod
    def open(cls, folder, config=None) -> "Signal":
        """The inverse of save."""
        raise NotImplementedError


class Encoded(NamedTuple):
    """One input as a model reads it."""

    ids: np.ndarray  # text: int32 (n,), without special tokens; else the array of a sample
    breaks: np.ndarray | None = None  # text: int32 (s,), offsets in ids at which a sentence starts, 0 left out


class Look(NamedTuple):
    """What the head of a file says, before it is decoded."""

    form: str  # "JPEG"
    size: tuple[int, ...]  # pixels: width, height; samples of sound: their number
    told: Mapping[str, Any] = {}  # anything more that `fit` asks for


class Unreadable(Exception):
    """A file that cannot be decoded: what is wrong with it, and what to do."""

    def __init__(self, what: str, do: str):
        super().__init__(what)
        self.what, self.do = what, do


class Examiner:
    """What the doctor finds in the files of one signal, beyond what holds of all: shown each head, then its arrays."""

    def head(self, look: Look) -> None:
        """A file begins."""

    def array(self, array: np.ndarray) -> None:
        """An array of it."""

    def facts(self) -> dict[str, Any]:
        return {}

    def findings(self) -> list[Finding]:
        return []

    def lines(self) -> list[str]:
        """The facts, as a person reads them."""
        return []

    def seconds(self) -> float:
        """About how long a small model on two cores takes to see it all once."""
        return 1.0


class Media(Signal):
    """A signal whose files are samples themselves, pictures or recordings; each is decoded once, into an array."""

    store: ClassVar[str] = "arrays"
    doctor: ClassVar[str] = "check_media"
    labels_by_class: ClassVar[bool] = True
    readable: ClassVar[str] = ""  # the files it reads, for messages
    dtype: ClassVar[str] = "uint8"  # of the arrays
    streams: ClassVar[bool] = False  # large files are read in blocks: look and pieces take a path or a stream, too

    @classmethod
    def look(cls, data: Any) -> Look:
        """The head of a file alone. Raises Unreadable."""
        raise NotImplementedError

    @classmethod
    def fit(cls, looks: Iterable[Look], config: Any) -> Self:
        """The signal that suits such files; what nobody set is chosen by them."""
        raise NotImplementedError

    @property
    def form(self) -> tuple[int, ...]:
        """The shape of every array, -1 for a length that differs."""
        raise NotImplementedError

    @property
    def window(self) -> int | None:
        """Values of an array in one sample; longer arrays are cut evenly into as many samples as it takes."""
        return None

    @property
    def whole(self) -> int | None:
        """Values up to which a file that somebody asks about, or has labelled, is not cut; None: none is."""
        return None

    def span(self, begin: int, end: int) -> str:
        """Where a piece lies in its file, by values, as a person says it."""
        return f"{begin:,}–{end:,}"

    @property
    def decoding(self) -> dict[str, Any]:
        """The keys of the config on which the arrays hang: part of the name they are kept under."""
        raise NotImplementedError

    def decode(self, data: Any) -> np.ndarray:
        """The bytes of a file → an array of `form`. Raises Unreadable."""
        raise NotImplementedError

    def pieces(self, source: Any, note: Callable[[str, str], None] | None = None) -> Iterator[np.ndarray]:
        """The arrays of a file, one after the other.

        source: its bytes; its path or a stream where it is large and the signal `streams`.
        note: told what is odd about it and what to do. Raises Unreadable.
        """
        yield self.decode(source)

    def settled(self, arrays: list[np.ndarray]) -> Self:
        """The signal with what follows from the arrays themselves, such as means; arrays: some of them."""
        return self

    def recalled(self, folder) -> Self:
        """The signal with what `settled` once found, as it was saved with the arrays in `folder`."""
        return self

    @classmethod
    def examiner(cls, config: Any) -> Examiner:
        """For the doctor."""
        return Examiner()

    def told(self, looks: list[Look], values: int) -> list[str]:
        """What a person should know of such files, for the line on the data; values: of all arrays together."""
        return []


def answered(
    run: Callable[[Batch], Sequence[Any]], signal: Signal, samples: Sequence[Sample], together: int = TOGETHER
) -> list[Any]:
    """What `run` makes of each sample, one item a row of its batch, in the order of the samples; `together` in a batch.

    Samples of like length share a batch; the longest go first, so that what does not fit memory shows at once.
    """
    order = sorted(range(len(samples)), key=lambda i: -signal.length(samples[i]))
    found: dict[int, Any] = {}
    for begin in range(0, len(order), together):
        places = order[begin : begin + together]
        found |= zip(places, run(signal.stack([samples[i] for i in places])), strict=True)
    return [found[i] for i in range(len(samples))]


def stack_targets(samples: list[Sample]) -> dict[str, Tensor]:
    """key, and each target and label that the samples carry, stacked by name; uneven lists are filled up with -1."""
    stacked = {"key": torch.from_numpy(np.array([s.key for s in samples], dtype=np.uint64).view(np.int64))}
    for name in samples[0].targets:
        stacked[name] = torch.as_tensor(_stack([np.asarray(s.targets[name]) for s in samples]))
    if samples[0].label is not None:
        stacked["label"] = torch.as_tensor(np.stack([np.asarray(s.label) for s in samples]))
    return stacked


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    longest = max((len(one) for one in arrays if one.ndim == 1), default=0)
    if all(one.ndim != 1 or len(one) == longest for one in arrays):
        return np.stack(arrays)
    return np.stack([np.pad(one, (0, longest - len(one)), constant_values=-1) for one in arrays])
