"""What every objective and task must keep to, stated once; a toy signal and samples to state it on.

A new file in objectives/ or tasks/ is covered without editing a test, as long as `samples` has what it needs.
"""

from types import SimpleNamespace

import numpy as np
import torch

from firth import find
from firth.functional.random import Draw
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.init import initialise
from firth.model.sizes import shape_of
from firth.objective import Composed, Objective, collate, total
from firth.signal import Batch, Facts, Sample, Signal, SignalConfig, stack_targets

PAD, CLS, SEP, MASK = 0, 2, 3, 4
VOCABULARY = 40
CONTEXT = 32
DRAW = Draw(seed=7)
FORMS = {  # a method under settings that change its loss: "classify.weighted" is classify
    "classify.weighted": {"class_weights": {"bad": 0.25, "good": 1.0, "so-so": 3.5}},
    "classify.several": {"separator": "list"},
    "classify.several-weighted": {"separator": "list", "class_weights": {"bad": 0.25, "good": 1.0, "so-so": 3.5}},
}


class ToyConfig(SignalConfig):
    context: int = CONTEXT


class ToySignal(Signal):
    """Numbers as text: ids 5 to 39; a token with an even id goes on with the word before it."""

    Config = ToyConfig
    name = "toy"
    config = ToyConfig()

    @property
    def facts(self) -> Facts:
        offers = frozenset({"tokens", "sentences", "partner", "words", "labels"})
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


def samples(count: int, seed: int = 0, shortest: int = 6, longest: int = 26) -> list[Sample]:
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
    """What `tag`, `span` and `transcribe` are to say: a class for every other token, two steps, some units."""
    first = np.arange(1, length + 1, 2)
    ends = np.sort(source.integers(1, length + 1, 2))
    units = source.integers(1, 4, max(1, length // 3))
    return {"first": first, "tags": source.integers(0, 3, len(first)), "start": ends[0], "end": ends[1], "units": units}


def method_of(name: str) -> str:
    """The method of a form."""
    return name.partition(".")[0]


def kind_of(name: str) -> str:
    return "objectives" if method_of(name) in find.names("objectives") else "tasks"


def module_of(name: str):
    return find.find(kind_of(name), method_of(name))


def config_of(name: str, **settings):
    return main_class(name).Config(**FORMS.get(name, {}), **settings).fill(SIGNAL.facts)


def main_class(name: str) -> type[Objective]:
    return find.main_class(module_of(name), Objective)


def learnt_tasks() -> list[str]:
    """The tasks that weights change for; of the others there is no objective."""
    return [name for name in find.names("tasks") if find.find("tasks", name).Config.learns]


def methods() -> list[str]:
    """Every objective and every task that learns."""
    return [*find.names("objectives"), *learnt_tasks()]


def cases() -> list[tuple[str, ...]]:
    """Each method alone, in each form; all composable objectives together, in both orders; a task with an objective."""
    shared = tuple(name for name in find.names("objectives") if shares_a_pass(name))
    mixed = [(shared[0], name) for name in learnt_tasks() if main_class(name).forward is Objective.forward]
    return [*((name,) for name in [*methods(), *FORMS]), shared, shared[::-1], *mixed]


def shares_a_pass(name: str) -> bool:
    """With objectives that look to both sides."""
    return main_class(name).forward is Objective.forward and main_class(name).causal is not True


def build(
    names, dtype=torch.float64, shape: str = "bert", seed: int = 3, vocabulary: int = VOCABULARY, **settings
) -> Composed:
    """The named methods over one tiny backbone without dropout; settings: of a method, by its file name."""
    form = shape_of(shape, "tiny", vocabulary, CONTEXT).model_copy(update={"dropout": 0.0})
    backbone = Backbone(form, SIGNAL.embed(form))
    parts = {}
    for name in names:
        own = dict(settings.get(name.replace("-", "_"), {}))
        own |= {"dropout": 0.0} if "dropout" in main_class(name).Config.model_fields else {}
        parts[method_of(name)] = main_class(name)(config_of(name, **own), backbone)
    objective = Composed(backbone, parts)
    initialise(objective, form, seed)
    return objective.to(dtype)


def batch_of(objective: Composed, chosen: list[Sample], draw: Draw = DRAW) -> Batch:
    if any(getattr(config, "several", False) for config in objective.configs):
        chosen = [sample.but(label=np.arange(3, dtype=np.float32) >= sample.label) for sample in chosen]
    return collate(chosen, objective.configs, SIGNAL, draw)


def gradients(objective: Composed) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


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
