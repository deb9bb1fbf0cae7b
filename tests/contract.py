"""What every objective and task must keep to, stated once; a toy signal and samples to state it on.

A new file in objectives/ or tasks/ is covered without editing a test, as long as a kit has what it needs.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from firth import find
from firth.functional.random import Draw
from firth.model.backbones import backbone_of
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone as Backbone
from firth.model.init import initialise
from firth.model.sizes import READS, shape_of
from firth.objective import Composed, Objective, collate, total
from firth.objectives.moco import Vectors
from firth.signal import Batch, Facts, Sample, Signal, SignalConfig, stack_targets
from tests import pictures, sounds

PAD, CLS, SEP, MASK = 0, 2, 3, 4
VOCABULARY = 40
CONTEXT = 32
DRAW = Draw(seed=7)
FORMS: dict[str, dict] = {  # a method under settings that change its loss: "classify.weighted" is classify
    "classify.weighted": {"class_weights": {"bad": 0.25, "good": 1.0, "so-so": 3.5}},
    "classify.several": {"separator": "list"},
    "classify.several-weighted": {"separator": "list", "class_weights": {"bad": 0.25, "good": 1.0, "so-so": 3.5}},
    "wav2vec2.frames": {},
    "hubert.frames": {},
    "dino.small": {"local": 2},
}


SMALL = {  # settings that make a method small, and free of chance on the device
    "wav2vec2": {"codes": 6, "code_width": 8, "guess_width": 16, "negatives": 5, "noise": False, "mask_start": 0.2},
    "hubert": {"clusters": sounds.UNITS, "guess_width": 16, "mask_start": 0.2},
    "masked-frames": {"mask_start": 0.2, "mask_span": 2, "random_share": 0.2, "keep_share": 0.2},
}


class ToyConfig(SignalConfig):
    context: int = CONTEXT


class ToySignal(Signal):
    """Numbers as text: ids 5 to 39; a token with an even id goes on with the word before it."""

    Config = ToyConfig
    name = "toy"
    config = ToyConfig()

    @property
    def sizes(self) -> dict:
        return {"vocabulary": VOCABULARY, "positions": CONTEXT, "pad_id": PAD}

    @property
    def facts(self) -> Facts:
        offers = frozenset({"tokens", "sentences", "partner", "stream", "words", "labels", "class token", "pooled"})
        classes = ("bad", "good", "so-so")
        return Facts(offers, VOCABULARY, MASK, PAD, (PAD, 1, CLS, SEP, MASK), classes, end_id=SEP)

    def stack(self, samples: list[Sample]) -> Batch:
        rows = [np.concatenate([[CLS], *(np.append(part, SEP) for part in s.parts)]).astype(np.int64) for s in samples]
        longest = max(len(row) for row in rows)
        tokens = np.stack([np.pad(row, (0, longest - len(row)), constant_values=PAD) for row in rows])
        special = tokens < 5
        starts = ~special & ((tokens % 2 == 1) | np.pad(special, ((0, 0), (1, 0)))[:, :-1])
        word = np.where(special, -1, np.cumsum(starts, axis=1) - 1)
        arrays = {"tokens": tokens, "special": special, "word": word, "segments": self.segments(samples, longest)}
        if (tokens == PAD).any():
            arrays["pad"] = tokens == PAD
        return Batch({name: torch.from_numpy(array) for name, array in arrays.items()} | stack_targets(samples))

    def segments(self, samples: list[Sample], longest: int) -> np.ndarray:
        """(B, T): 1 in the second part and its [SEP]."""
        steps = np.arange(longest)[None, :]
        first = np.array([[2 + len(sample.parts[0])] for sample in samples])
        whole = np.array([[1 + sum(1 + len(part) for part in sample.parts)] for sample in samples])
        return ((steps >= first) & (steps < whole)).astype(np.int64)

    def length(self, sample: Sample) -> int:
        return 1 + sum(1 + len(part) for part in sample.parts)

    def embed(self, shape):
        return TokenEmbedding(shape)

    def encode(self, texts: list[str], specials: bool = False) -> list:
        """Words `[MASK]` and numbers."""
        ids = [[MASK if word == "[MASK]" else int(word) for word in text.split()] for text in texts]
        return [SimpleNamespace(ids=np.array(row, np.int32), breaks=None) for row in ids]

    def decode(self, ids, skip_special: bool = True) -> str:
        return " ".join("[MASK]" if number == MASK else str(number) for number in ids)


SIGNAL = ToySignal()


def window(source: np.random.Generator, length: int, key: int) -> Sample:
    """`length` random tokens with a sentence start about every fourth."""
    breaks = np.arange(1, length)[source.random(max(length - 1, 0)) < 0.25]
    tokens = source.integers(5, VOCABULARY, length).astype(np.int32)
    return Sample((tokens,), key=key, breaks=np.union1d(breaks, [length // 2]).astype(np.int32) if length > 1 else None)


def texts(count: int, seed: int = 0, shortest: int = 6, longest: int = 26) -> list[Sample]:
    """Windows of uneven length with partner, label and targets: enough for objectives over text and for tasks."""
    source = np.random.default_rng(seed)
    keys = source.integers(0, 2**63, 2 * count).tolist()
    made = [window(source, int(source.integers(shortest, longest + 1)), key) for key in keys]
    pairs = zip(made[:count], made[count:], strict=True)
    return [
        one.but(partner=other, label=int(source.integers(3)), targets=targets(source, len(one.parts[0])))
        for one, other in pairs
    ]


def targets(source: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """What `tag` and `span` are to say: a class for every other token, and two steps of the row."""
    first = np.arange(1, length + 1, 2)
    ends = np.sort(source.integers(1, length + 1, 2))
    return {"first": first, "tags": source.integers(0, 3, len(first)), "start": ends[0], "end": ends[1]}


def no_texts() -> list[Sample]:
    """Two windows without a token."""
    return [Sample((np.empty(0, np.int32),), key=key, partner=texts(1)[0]) for key in (1, 2)]


class Kit(NamedTuple):
    """A toy signal and samples of it."""

    signal: Signal
    samples: Callable[..., list[Sample]]  # (count, seed, shortest, longest in steps)
    nothing: Callable[[], list[Sample]] | None  # samples of which no term counts anything; None: there are none


KITS = {  # by the batch key that a shape reads
    "tokens": Kit(SIGNAL, texts, no_texts),
    "wave": Kit(sounds.WAVE, sounds.waves, sounds.nothing),
    "frames": Kit(sounds.FRAMES, sounds.frames, sounds.nothing),
    "pixels": Kit(pictures.SIGNAL, pictures.samples, None),
}
ON = {"wav2vec2.frames": "frames", "hubert.frames": "frames"}  # forms on another kit than the first
SUMS = frozenset({"vicreg", "barlow-twins"})  # whose loss is a sum over the numbers of a vector, and not of nats
BARRED = {"mae": ("resnet",)}  # shapes that a method refuses


def reads(name: str) -> str:
    """The key of the first kit that offers what a method needs, unless a form names one; empty: none does."""
    if name in ON:
        return ON[name]
    needs = module_of(name).Config.needs
    return next((key for key, kit in KITS.items() if needs <= kit.signal.facts.offers), "")


def kit_of(names: str | Sequence[str]) -> Kit:
    return KITS[reads(names if isinstance(names, str) else names[0])]


def shapes_of(name: str) -> list[str]:
    """The shapes that a method can be built over."""
    return [shape for shape, key in READS.items() if key == reads(name) and shape not in BARRED.get(name, ())]


def usual_shape(name: str) -> str:
    """BERT over text, as it has all that a text can have; else that of the method, or of the signal."""
    if reads(name) == "tokens":
        return "bert"
    named = module_of(name).Config.shape
    return named if READS.get(named) == reads(name) else kit_of(name).signal.shape or shapes_of(name)[0]


def samples(count: int, seed: int = 0, shortest: int = 6, longest: int = 26, of=("masked-tokens",)) -> list[Sample]:
    """Samples for these methods."""
    return kit_of(of).samples(count, seed, shortest, longest)


def method_of(name: str) -> str:
    """The method of a form."""
    return name.partition(".")[0]


def kind_of(name: str) -> str:
    return "objectives" if method_of(name) in find.names("objectives") else "tasks"


def module_of(name: str):
    return find.find(kind_of(name), method_of(name))


def config_of(name: str, **settings):
    chosen = {**SMALL.get(method_of(name), {}), **FORMS.get(name, {}), **settings}
    return main_class(name).Config(**chosen).fill(kit_of(name).signal.facts).fit(form_of(name))


def form_of(name: str, shape: str = "", vocabulary: int = VOCABULARY):
    """A tiny shape for a method, without dropout."""
    own = {"vocabulary": vocabulary} if reads(name) == "tokens" else {}
    form = shape_of(shape or usual_shape(name), "tiny", **(kit_of(name).signal.sizes | own))
    return form.model_copy(update={"dropout": 0.0}) if form.can_drop else form


def main_class(name: str) -> type[Objective]:
    return find.main_class(module_of(name), Objective)


def learnt_tasks() -> list[str]:
    """The tasks that weights change for; of the others there is no objective."""
    return [name for name in find.names("tasks") if find.find("tasks", name).Config.learns and reads(name)]


def methods() -> list[str]:
    """Every objective and every task that learns."""
    return [*objectives(), *learnt_tasks()]


def objectives() -> list[str]:
    return [name for name in find.names("objectives") if reads(name)]


def cases() -> list[tuple[str, ...]]:
    """Each method alone, in each form; all composable objectives of a kit together, in both orders; a task with an
    objective."""
    found: list[tuple[str, ...]] = [(name,) for name in [*methods(), *FORMS]]
    for key in KITS:
        shared = tuple(name for name in objectives() if shares_a_pass(name) and reads(name) == key)
        tasks = [name for name in learnt_tasks() if reads(name) == key]
        found += [shared, shared[::-1]] if len(shared) > 1 else []
        found += [(shared[0], name) for name in tasks if shared and main_class(name).forward is Objective.forward]
    return found


def shares_a_pass(name: str) -> bool:
    """With objectives that look to both sides."""
    return main_class(name).forward is Objective.forward and main_class(name).causal is not True


def build(
    names, dtype=torch.float64, shape: str = "", seed: int = 3, vocabulary: int = VOCABULARY, **settings
) -> Composed:
    """The named methods over one tiny backbone without dropout; settings: of a method, by its file name."""
    form = form_of(names[0], shape, vocabulary)
    backbone = backbone_of(form, kit_of(names).signal.embed(form))
    parts = {}
    for name in names:
        own = dict(settings.get(name.replace("-", "_"), {}))
        own |= {"dropout": 0.0} if "dropout" in main_class(name).Config.model_fields else {}
        parts[method_of(name)] = main_class(name)(config_of(name, **own).fit(form), backbone)
    objective = Composed(backbone, parts)
    initialise(objective, form, seed)
    objective.begun()
    fill_queues(objective)
    return objective.to(dtype)


def fill_queues(objective: Composed) -> None:
    """As after some steps: against an empty queue a loss is 0, and says nothing."""
    for part in objective.objectives:
        if hasattr(part, "enqueue"):
            noise = torch.randn(12, part.queue.shape[1], generator=torch.Generator().manual_seed(0))
            part.enqueue(Vectors(torch.nn.functional.normalize(noise), torch.arange(12)))


def batch_of(objective: Composed, chosen: list[Sample], draw: Draw = DRAW) -> Batch:
    if any(getattr(config, "several", False) for config in objective.configs):
        chosen = [sample.but(label=np.arange(3, dtype=np.float32) >= sample.label) for sample in chosen]
    return collate(chosen, objective.configs, KITS[READS[objective.backbone.shape.name]].signal, draw)


def gradients(objective: Composed) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def buffers(objective: Composed) -> dict[str, torch.Tensor]:
    """Running statistics, teachers, queues: what a method keeps beside its weights."""
    return {name: buffer.clone().contiguous() for name, buffer in objective.named_buffers()}


def backward(objective: Composed, batches: list[Batch], counts: dict[str, float]) -> None:
    """What the loop does with the micro-batches of one step."""
    for batch in batches:
        total(objective(batch), counts, objective.weights).backward()


def counts_of(batches: list[Batch]) -> dict[str, int]:
    return {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}


def sums(objective: Composed, batch: Batch) -> dict[str, float]:
    loss = objective(batch)
    return {name: term.sum.item() for name, term in (loss.terms | loss.metrics).items()}


class Counted(Draw):
    """A draw that counts how often it is asked, over all of them."""

    asked = 0

    def bits(self, keys, purpose, count):
        Counted.asked += 1
        return super().bits(keys, purpose, count)


class Watched(Batch):
    """A batch that remembers which keys were asked for."""

    def __init__(self, batch: Batch):
        super().__init__(batch, counts=batch.counts)
        self.read: set[str] = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)

    def __contains__(self, key):
        self.read.add(key)
        return super().__contains__(key)
