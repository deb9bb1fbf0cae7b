"""What an export is checked with: batches of many lengths, and how far two models' answers to them lie apart."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.errors import InputError, RunError, install
from firth.functional.masking import ordinary_ids
from firth.functional.random import Draw
from firth.signal import Batch, Media, Sample

# B samples, T steps

CLOSE = 1e-4  # largest difference between two answers, of numbers up to 1; of greater ones in shares of the greatest
LONGEST = 512  # tokens of a sample that is checked, special ones included
SOUND = 16_000  # values of an array of any length

Answer = Mapping[str, Tensor]  # by name of the output
Run = Callable[[Batch], Answer]


class Checked(NamedTuple):
    """How far two models lie apart."""

    difference: float  # the greatest, over all outputs and batches
    outputs: tuple[str, ...]  # what was compared
    batches: int
    rows: tuple[int, int]  # of a batch: fewest, most
    steps: tuple[int, int] = (0, 0)  # of a text, in tokens; 0: what was compared are no texts

    def __str__(self) -> str:
        rows, steps = (f"{low:,} to {high:,}" for low, high in (self.rows, self.steps))
        things = f"{rows} texts, {steps} tokens" if self.steps[1] else f"{rows} samples"
        names = ", ".join(self.outputs)
        return f"{names}: at most {self.difference:.1g} apart in {self.batches} batches of {things}"


def need(option: str, packages: Sequence[str], extra: str) -> None:
    """Raises InputError where a package is missing, naming the extra that brings it."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        names = f"package{'s' * (len(missing) > 1)} {' and '.join(missing)}"
        raise InputError(option, f"wants the {names}", f"Install what it wants: {install(extra)}.")


def installed(package: str) -> str:
    """Its name and version, for the line that says what an export was opened with."""
    return f"{package} {version(package)}"


def check_batches(signal: Any) -> list[Batch]:
    """One short sample, one as long as the context, four of unequal length, three of two parts each; of pictures and
    sounds: one, and three."""
    if isinstance(signal, Media):
        return [signal.stack([made(signal, 8 * count + i) for i in range(count)]) for count in (1, 3)]
    room = min(signal.config.context, LONGEST) - 2
    lengths: list[list[tuple[int, ...]]] = [[(1,)], [(room,)], [(1,), (room // 4,), (room,), (room // 2,)]]
    lengths.append([(2, 1), (room // 3, room // 2), (1, room // 2)])
    ids = ordinary_ids(signal.facts.vocabulary, signal.facts.special_ids)
    return [signal.stack([drawn(ids, row, 8 * number + i) for i, row in enumerate(rows)])
            for number, rows in enumerate(lengths)]  # fmt: skip


def made(signal: Media, key: int) -> Sample:
    """A sample of random numbers, of all that an array may hold."""
    limits = np.iinfo(signal.dtype)
    form = tuple(SOUND if size < 0 else size for size in signal.form)
    numbers = Draw(0).integers([key], "export", prod(form), limits.max - limits.min + 1) + limits.min
    return Sample((numbers.reshape(form).astype(signal.dtype),), key)


def plain_batches(vocabulary: int, context: int) -> list[Batch]:
    """Random tokens without padding: one step, as many as the context has, three rows of some."""
    sizes = [(1, 1), (1, min(context, LONGEST)), (3, max(2, min(context, LONGEST) // 3))]
    drawn = [Draw(0).integers(np.arange(rows) + 8 * steps, "export", steps, vocabulary) for rows, steps in sizes]
    return [Batch(tokens=torch.from_numpy(tokens)) for tokens in drawn]


def drawn(ids: np.ndarray, lengths: Sequence[int], key: int) -> Sample:
    """A sample of random tokens."""
    places = Draw(0).integers([key], "export", sum(lengths), len(ids))[0]
    return Sample(tuple(np.split(ids[places].astype(np.int32), np.cumsum(lengths)[:-1])), key)


def compared(ours: Run, theirs: Run, batches: Sequence[Batch]) -> Checked:
    """Both models on all batches; outputs that only one of them has are left aside."""
    answers = [(batch, ours(batch), theirs(batch)) for batch in batches]
    names = [name for name in answers[0][1] if name in answers[0][2]]
    uneven = {
        name for name in names if len({one[name].shape[1:2] for _, one, _ in answers}) > 1
    }  # as long as the batch
    differences = [
        apart(one[name], other[name], batch.get("pad") if name in uneven else None)
        for batch, one, other in answers
        for name in names
    ]
    rows = [len(batch["tokens"] if "tokens" in batch else batch["key"]) for batch in batches]
    steps = [batch["tokens"].shape[1] if "tokens" in batch else 0 for batch in batches]
    return Checked(greatest(differences), tuple(names), len(batches), (min(rows), max(rows)), (min(steps), max(steps)))


def apart(one: Tensor, other: Tensor, pad: Tensor | None = None) -> float:
    """The greatest difference, in shares of the greatest number where that is above 1; infinite for other sizes.

    pad: (B, T) True at steps that do not count.
    """
    if one.shape != other.shape:
        return float("inf")
    one, other = (values.detach().double().cpu() for values in (one, other))
    if pad is not None:
        one, other = one[~pad], other[~pad]
    return ((one - other).abs().max() / one.abs().max().clamp(min=1)).item()


def greatest(differences: Iterable[float]) -> float:
    """NaN where one is; 0 of none."""
    return float(np.max([*differences], initial=0.0))


def refuse_apart(place: object, checked: Checked, of: str, limit: float = CLOSE) -> None:
    """Raises RunError where an export does not give what the model gives. of: what it was opened with."""
    if not checked.outputs:
        raise RunError(place, f"{of} gives no output of the model's", "Nothing was kept; please report it.")
    if not checked.difference <= limit:  # also where it is NaN
        what = f"{of} gives other numbers than the model: {checked}"
        raise RunError(place, what, "Nothing was kept; try other versions of the packages, and please report it.")
