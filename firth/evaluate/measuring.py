"""`firth measure`: what a language model knows without learning a task, by one of the files in measures/.

A measure is one file there: `TAKES`, the options that it knows, and `measured(judge, asked)`, which gives something
with `lines()` for people and `as_dict()` for machines.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firth.data.config import listed
from firth.errors import InputError, did_you_mean
from firth.evaluate import parts
from firth.evaluate.asked import Asked
from firth.evaluate.judge import open_judge
from firth.find import find, names
from firth.recipe import Recipe, apply_settings, load_toml
from firth.train import machine
from firth.train.log import Show, Silent

MEASURES = "evaluate/measures"


@dataclass(frozen=True)
class Measured:
    """What was found of a model, and how. found: as the measure gives it; None of a dry run."""

    model: str
    task: str
    data: tuple[str, ...]
    judge: str  # the model in a line
    kind: str  # of the nats: likelihood, or pseudo-log-likelihood
    found: Any
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)  # machine, versions, settings

    def as_dict(self) -> dict[str, Any]:
        told = {"kind": "measure", "model": self.model, "task": self.task, "data": list(self.data), "by": self.kind}
        found = self.found.as_dict() if self.found is not None else {"status": "planned"}
        return told | found | {"seconds": self.seconds, "facts": self.facts}


def measure(
    model: str | Path,
    paths: str | Path | Iterable[str | Path] = (),
    task: str = "likelihood",
    shots: str | Sequence[int] | None = None,
    examples: str | Path | Iterable[str | Path] | None = None,
    template: str | None = None,
    draws: int | None = None,
    most: int | None = None,
    stride: int | None = None,
    text: str | None = None,
    label: str | None = None,
    config: str | Path | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    device: str | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    kept: str | Path | None = None,
) -> Measured:
    """Score a model that guesses tokens; nothing of it is changed.

    model: a run folder, or a model folder of firth or of transformers. paths: what is scored. task: a name of
    measures/: likelihood, last-word, minimal-pairs, multiple-choice, prompt, in-context. shots: numbers of examples,
    "0,1,4" or a list. examples: labelled files they are drawn from; draws: how often. template: of one example, with
    {label}. most: items. stride: tokens. settings: dotted keys of the signal and of the task `prompt`.
    kept: a file for what is scored; the same call goes on from there.
    Raises InputError at once for a task, an option, a model or a file that cannot be.
    """
    show, began = show or Silent(), time.perf_counter()
    module = module_of(task)
    recipe = recipe_of(config, settings, template, seed)
    files, drawn = listed(paths), listed(examples or ()) or None
    asked = Asked(files, recipe, text, label, numbers(shots), drawn, draws, most, stride)
    asked.refuse(task, module.TAKES)
    judge = open_judge(model, signal_keys(recipe), device or recipe.device)
    show.line("Model", judge.title)
    told = Measured(str(model), task, asked.paths, judge.title, judge.kind, None, facts=machine.facts())
    if dry_run:
        show.note("Nothing was scored.")
        return told
    found = module.measured(parts.watched(judge, parts.opened(kept, model, signal_keys(recipe), show)), asked)
    for number, line in enumerate(found.lines()):
        show.line("" if number else "Result", line)
    return Measured(**vars(told) | {"found": found, "seconds": round(time.perf_counter() - began, 2)})


def module_of(task: str) -> Any:
    """The file of a measure. Raises InputError."""
    known = names(MEASURES)
    if task.replace("_", "-") not in known:
        hint = f"{did_you_mean(task, known)}There is: {', '.join(known)}."
        raise InputError(f"--task {task}", "is nothing that is measured without learning", hint)
    return find(MEASURES, task)


def recipe_of(config: str | Path | None, settings, template: str | None, seed: int | None) -> Recipe:
    """The tables of the signal and of the prompt, and the seed."""
    recipe = load_toml(config) if config else Recipe()
    options = {"prompt.template": template, "seed": seed}
    recipe = apply_settings(recipe, {key: value for key, value in options.items() if value is not None}, "options")
    return apply_settings(recipe, settings or ())


def signal_keys(recipe: Recipe) -> dict[str, Any]:
    """What was set of the signal, as dotted keys."""
    return {f"{recipe.signal}.{key}": value for key, value in dict(recipe.tables.get(recipe.signal, {})).items()}


def numbers(shots: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """ "0,1,4" as numbers, ascending. Raises InputError."""
    if shots is None:
        return None
    parts = shots.split(",") if isinstance(shots, str) else list(shots)
    try:
        found = sorted({int(part) for part in parts})
    except ValueError:
        found = [-1]
    if not found or found[0] < 0:
        raise InputError(f"--shots {shots}", "is no list of numbers", "Write numbers: --shots 0,1,4,16.")
    return tuple(found)
