"""Clips made of tones: words are chords, letters are tones, speakers have a pitch of their own. A toy signal of frames,
and an encoder over it, that the tests of tasks on sound share; nothing is read from a disk."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from firth.functional.random import Draw
from firth.model.features import Features
from firth.model.init import initialise
from firth.model.shape import Shape
from firth.model.sizes import shape_of
from firth.objective import Composed
from firth.signal import Batch, Facts, Sample, Signal, SignalConfig, stack_targets
from firth.task import Example, Where

# B clips, T frames, M bands, D width

BANDS, WIDTH = 12, 32
LETTERS = "abcde "
SPEAKERS = ("ann", "bob", "cid")


class Encoded:
    """What a signal makes of an input."""

    def __init__(self, ids: np.ndarray):
        self.ids, self.breaks = ids, None


class ToneConfig(SignalConfig):
    longest: float = 10.0


class Tones(Signal):
    """The name of a clip says what is in it: `cab@ann#3` is "cab" as ann says it for the third time."""

    Config = ToneConfig
    name = "tones"
    config = ToneConfig()

    @property
    def facts(self) -> Facts:
        return Facts(frozenset({"frames", "pooled", "time"}))

    def encode(self, inputs: list[str]) -> list[Encoded]:
        return [Encoded(frames(name)) for name in inputs]

    def stack(self, samples: list[Sample]) -> Batch:
        rows = [sample.parts[0] for sample in samples]
        longest = max(len(row) for row in rows)
        values = np.stack([np.pad(row, ((0, longest - len(row)), (0, 0))) for row in rows])
        batch = Batch({"frames": torch.from_numpy(values), **stack_targets(samples)})
        if any(len(row) < longest for row in rows):
            batch["pad"] = torch.arange(longest)[None] >= torch.tensor([len(row) for row in rows])[:, None]
        return batch

    def length(self, sample: Sample) -> int:
        return len(sample.parts[0])


SIGNAL = Tones()


def frames(name: str, noise: float = 0.1) -> np.ndarray:
    """float32 (T, M): three to five frames of each letter in its band, one frame of nothing between, the speaker's band
    throughout."""
    said, _, rest = name.partition("@")
    speaker, _, number = rest.partition("#")
    source = np.random.default_rng([len(said), int(number or 0), *map(ord, name)])
    rows: list[np.ndarray] = []
    for letter in said:
        rows += [np.eye(BANDS)[LETTERS.index(letter)]] * int(source.integers(3, 6)) + [np.zeros(BANDS)]
    values = np.stack(rows or [np.zeros(BANDS)]) + noise * source.normal(size=(max(len(rows), 1), BANDS))
    values[:, 8 + (SPEAKERS.index(speaker) if speaker in SPEAKERS else 3)] += 1.0
    return values.astype(np.float32)


def names(count: int, seed: int = 0, least: int = 2, most: int = 5) -> list[str]:
    """Clips of random letters by each speaker in turn; no blank at the edges."""
    source = np.random.default_rng(seed)
    found = []
    for number in range(count):
        letters = "".join(source.choice(list(LETTERS), source.integers(least, most + 1)))
        said = " ".join(letters.split()) or "a"
        found.append(f"{said}@{SPEAKERS[number % len(SPEAKERS)]}#{number}")
    return found


def said_in(name: str) -> str:
    return name.partition("@")[0]


def speaker_of(name: str) -> str:
    return name.partition("@")[2].partition("#")[0]


def example(name: str, label: str | None = None) -> Example:
    """A clip with its transcript for a label, or with another one."""
    return Example(name, said_in(name) if label is None else label, Where("clips.tsv", 2), {"clip": name})


class Backbone(nn.Module):
    """Two layers over frames, each of which sees one frame to both sides; padding stays nothing."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape, self.frozen = shape, False
        self.embed = nn.Linear(BANDS, shape.width)
        make = partial(nn.Conv1d, shape.width, shape.width, 3, padding=1)
        self.blocks = nn.ModuleList(make() for _ in range(shape.layers))

    def forward(self, batch, keep=None, layers: bool = False, causal=None) -> Features:
        pad = batch.get("pad")
        values = self.quietened(self.embed(batch["frames"].to(self.embed.weight.dtype)), pad)
        outputs = [values]
        for block in self.blocks:
            values = self.quietened(values + torch.tanh(block(values.transpose(1, 2)).transpose(1, 2)), pad)
            outputs.append(values)
        return Features(values, pad, layers=outputs if layers else None)

    @staticmethod
    def quietened(values: Tensor, pad: Tensor | None) -> Tensor:
        return values if pad is None else values.masked_fill(pad[..., None], 0.0)


def composed(name: str, part_class, config, seed: int = 0) -> Composed:
    """A task over the toy encoder, freshly initialised, with numbers large enough that every one of them counts."""
    shape = shape_of("bert", f"2x{WIDTH}", 10, 16).model_copy(update={"dropout": 0.0})
    backbone = Backbone(shape)
    objective = Composed(backbone, {name: part_class(config, backbone)})
    initialise(objective, shape, seed)
    with torch.no_grad():
        for own in backbone.parameters():
            own.mul_(10 if own.dim() > 1 else 1)
    return objective


def learn(objective: Composed, examples: list[Example], steps: int = 60, lr: float = 1e-2) -> list[float]:
    """Adam over all examples at once; the loss by item of each step."""
    part = objective.objectives[0]
    samples = part.config.samples(examples, SIGNAL)
    batch = part.config.prepare(SIGNAL.stack(samples), Draw(0))
    optimizer, losses = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr), []
    for _ in range(steps):
        (term,) = objective(batch).terms.values()
        loss = term.sum / term.count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
