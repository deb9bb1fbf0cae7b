"""What a signal is: how a file becomes tensors, and how tensors become vectors. The parts are in signals/."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

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


@dataclass(frozen=True)
class Sample:
    """One thing to learn from: a window of a document, an image, a clip. Made in data/, rearranged by objectives."""

    parts: tuple[np.ndarray, ...]  # text: int32 token ids (n,), one array per segment, without [CLS] and outer [SEP]
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
    keep (B, K) int64, ascending or 0-filled: the steps whose vectors somebody needs, step 0 always first.
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

    offers: frozenset[str]  # e.g. {"tokens", "sentences", "partner"}
    vocabulary: int = 0  # number of token ids
    mask_id: int = -1
    pad_id: int = -1
    special_ids: tuple[int, ...] = ()  # never drawn as replacements
    classes: tuple[str, ...] = ()  # names of the labels, in index order, where the data is labelled
    end_id: int = -1  # stands after each text, and so before the next, where rows are cut from a stream of texts
    infill_ids: tuple[
        int, ...
    ] = ()  # stand before the beginning, the middle and the end of a text (fill in the middle)


class SignalConfig(BaseModel):
    """The recipe table of a signal, named after its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def suited(cls, needs: frozenset[str]) -> dict[str, Any]:
        """The keys that go with objectives of these needs, where nobody set them."""
        return {}

    @property
    def in_words(self) -> bool:
        """Whether its units are words, pieces of words, or the like, which keep company."""
        return True


class Signal:
    """A fitted signal: tokenizer or front end, ready to make tensors. One subclass per file in signals/."""

    Config: ClassVar[type[SignalConfig]] = SignalConfig
    name: ClassVar[str] = ""
    config: SignalConfig

    @property
    def facts(self) -> Facts:
        raise NotImplementedError

    def of_texts(self) -> "Signal":
        """The same signal as tasks read it: what a sample has, and nothing of what stood beside it in the data."""
        return self

    def stack(self, samples: list[Sample]) -> Batch:
        """Samples → one padded batch on the CPU, `key` and the samples' targets included."""
        raise NotImplementedError

    def length(self, sample: Sample) -> int:
        """The number of steps the sample takes in a batch."""
        raise NotImplementedError

    def embed(self, shape) -> nn.Module:
        """The module batch → (B, T, D), in the form that `shape` (a model.shape.Shape) wants."""
        raise NotImplementedError

    def save(self, folder) -> None:
        """Write what other tools need to read the same input (tokenizer files) into a model folder."""
        raise NotImplementedError

    @classmethod
    def open(cls, folder, config=None) -> "Signal":
        """The inverse of save."""
        raise NotImplementedError


def answered(run: Callable[[Batch], Sequence[Any]], signal: Signal, samples: Sequence[Sample]) -> list[Any]:
    """What `run` makes of each sample, one item a row of its batch, in the order of the samples.

    Samples of like length share a batch; the longest go first, so that what does not fit memory shows at once.
    """
    order = sorted(range(len(samples)), key=lambda i: -signal.length(samples[i]))
    found: dict[int, Any] = {}
    for begin in range(0, len(order), TOGETHER):
        places = order[begin : begin + TOGETHER]
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
