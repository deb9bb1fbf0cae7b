"""Does it pay? The same task from the same labels, begun in different ways, over several seeds and numbers of labels.

Arms differ in nothing but the weights they begin with: a seed draws the labels, the initialisation and the order for
all of them; steps and settings are equal, and none stops early or chooses among its weights: the last ones count. All
are scored once on a common test part.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firth.data.labelled import Labelled, open_labelled, shuffled
from firth.errors import InputError
from firth.evaluate import arms as ways
from firth.evaluate.arms import Arm, Drawn, Neural
from firth.evaluate.comparison import Comparison, Trial
from firth.evaluate.kept import Kept
from firth.evaluate.statistics import FEWEST_SEEDS
from firth.recipe import Recipe, apply_settings, filled
from firth.signal import Signal
from firth.train import adaptation, checks, machine, prepare
from firth.train.adapt import DEFAULTS, request
from firth.train.log import Show, Silent

TEST_SHARE = 0.2  # of the labelled data, where no test files are given


def compare(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    task: str = "classify",
    labels: Sequence[int | None] = (200,),
    seeds: int = FEWEST_SEEDS,
    seed: int = 0,
    arms: Sequence[str] | None = None,
    settings: Iterable[str] | Mapping[str, Any] | None = None,
    device: str | None = None,
    show: Show | None = None,
    facts: Mapping[str, Any] | None = None,
    begun: ways.Begun | None = None,
    models: Sequence[str | Path] = (),
    out: str | Path | None = None,
    control: bool = False,
    title: str | None = None,
) -> Comparison:
    """Hold the pre-training of `model` (a run or model folder) against the other arms on a labelled task.

    paths: labelled files; data.test in settings names the test files, else a fifth is split off by content.
    labels: numbers of labels, validation included; None: all there are. seeds: how many, from `seed` on; fewer than 3
    give no verdict.
    arms: "random", "pretrained", a name of starts/, or a baseline of the task ("tf-idf"); None: all of these.
    settings: dotted keys of adapt's recipe. models: more run or model folders, an arm each, with their own tokenizers.
    facts: more to tell in the report. begun: what closed-form starts write, where it was computed before.
    out: a folder for the trials; the same call goes on there. control: the labels are shuffled: nothing may be shown.
    title: what the main arm is called; None: Pre-trained.
    Raises InputError for what a person can put right.
    """
    show, began = show or Silent(), time.perf_counter()
    recipe = recipe_of(model, paths, task, seed, device, settings)
    check(labels, seeds)
    signal, names = adaptation.open_signal(recipe), list(arms or ways.default(task))
    others = ways.others(models, recipe, show)
    chosen = ways.arms_of(names, recipe, signal, show, begun) | others
    kept = Kept(Path(out) if out else None, asked(recipe, models, control))
    with prepare.own_threads():
        drawn = draws(recipe, signal, labels, range(seed, seed + seeds), control)
        trials, last = run_trials(chosen, drawn, show, kept)
    told = {**facts_of(chosen, last, time.perf_counter() - began), **(facts or {})}
    titles = {name: ways.title(name) for name in chosen} | ({adaptation.PRETRAINED: title} if title else {})
    found = comparison_of(titles, trials, last, told)
    if out:
        found.save(Path(out) / "comparison.json")
    return found


def asked(recipe: Recipe, models: Sequence[str | Path], control: bool) -> dict[str, Any]:
    """What must be the same for trials to belong together; numbers of labels and seeds may grow."""
    data = recipe.data
    return {
        "model": recipe.model.source,
        "models": [str(model) for model in models],
        "task": recipe.objective[0],
        "data": [*data.paths, *data.valid, *data.test],
        "settings": {name: getattr(recipe, name).model_dump(mode="json") for name in ("optimizer", "train")},
        "tables": recipe.tables,
        "control": control,
        "encoder": encoder_of(recipe) or None,
    }


def encoder_of(recipe: Recipe) -> dict[str, Any]:
    """How the encoder is fine-tuned, where it is not as usual."""
    keys = ("dropout", "frozen", "reinitialise", "lora")
    return {key: value for key in keys if (value := getattr(recipe.model, key)) != getattr(DEFAULTS.model, key)}


def comparison_of(
    titles: Mapping[str, str], trials: Sequence[Trial], drawn: Drawn, facts: Mapping[str, Any]
) -> Comparison:
    """The trials on their common test part."""
    task, texts = drawn.labelled.task, [record.text for record in drawn.test]
    rivals = [name for name in titles if name != adaptation.PRETRAINED]
    common: dict[str, Any] = {"inputs": texts, "facts": facts, "metric": task.metric, "rivals": rivals}
    if task.classed:
        numbers = {name: number for number, name in enumerate(drawn.labelled.classes)}
        gold = np.array([numbers[str(record.label)] for record in drawn.test], dtype=int)
        return Comparison(titles, drawn.labelled.classes, gold, trials, **common)
    targets = [record.target for record in drawn.test]
    return Comparison(titles, (), targets, trials, count=drawn.counts, judge=drawn.judged, **common)


def recipe_of(model, paths, task: str, seed: int, device: str | None, settings) -> Recipe:
    """adapt's recipe for all arms: the last weights count, unless the settings ask for early stopping."""
    recipe = request(
        model, paths, None, None, task=task, start=adaptation.RANDOM, labels=None, seed=seed, device=device
    )
    recipe = apply_settings(filled(recipe, train={"patience": 0}), settings or ())
    checks.refuse_same_files(recipe.data)
    return recipe


def check(labels: Sequence[int | None], seeds: int) -> None:
    """Raises InputError where there is nothing to compare."""
    if not labels:
        raise InputError("labels", "no number of labels was given", "Say how many, as in labels=(200,).")
    if seeds < 1:
        raise InputError(f"seeds = {seeds}", "nothing would be trained", f"Use at least {FEWEST_SEEDS} for a verdict.")


def draws(
    recipe: Recipe, signal: Signal, labels: Sequence[int | None], seeds: Iterable[int], control: bool = False
) -> Iterable[Drawn]:
    """The labelled data of each seed and number of labels; the test part hangs on the content alone."""
    for seed in seeds:
        for number in labels:
            labelled = open_part(recipe, signal, number, seed)
            have = sum(len(labelled.records[part]) for part in ("train", "valid"))
            yield Drawn(number or have, seed, shuffled(labelled, signal, seed) if control else labelled)


def open_part(recipe: Recipe, signal: Signal, labels: int | None, seed: int) -> Labelled:
    """So many labels drawn by the seed, or all, and the test part. Raises InputError where nothing is left to test."""
    config = filled(recipe, data={"labels": labels}).data
    share = 0.0 if config.test else TEST_SHARE
    labelled = open_labelled(config, signal, seed, test_share=share, task=adaptation.task_of(recipe))
    if not labelled.test:
        raise InputError(", ".join(config.paths), "leaves nothing to test on", "Give a test file: data.test.")
    if labels is not None:
        refuse_fewer(labelled, labels)
    return labelled


def refuse_fewer(labelled: Labelled, labels: int) -> None:
    """Raises InputError where fewer labels are left beside the test part than were asked for."""
    have = len(labelled.records["train"]) + len(labelled.records["valid"])
    if have < labels:
        what = f"only {have:,} labelled examples are left beside a test part of {len(labelled.records['test']):,}"
        raise InputError(f"data.labels = {labels}", what, "Use fewer, or give a test file: data.test.")


def run_trials(
    arms: Mapping[str, Arm], drawn: Iterable[Drawn], show: Show, kept: Kept | None = None
) -> tuple[list[Trial], Drawn]:
    """Every arm on every draw, the arms in turn; the trials and the last draw. kept: those that are done already."""
    kept = kept or Kept(None, {})
    trials: list[Trial] = []
    last: Drawn | None = None
    for last in drawn:
        for name, arm in arms.items():
            trial = kept.get(name, last.labels, last.seed) or kept.put(arm(last))
            trials.append(trial)
            score = 100 * comparison_of({name: name}, [trial], last, {}).score(trial)
            metric = last.labelled.task.metric.replace("_", " ")
            text = f"{ways.title(name)} · {last.labels:,} labels · seed {last.seed} · test {metric} {score:.1f} %"
            show.line("Trial", f"{text} · {trial.seconds:.1f} s")
    if last is None:
        raise ValueError("run_trials: there was nothing drawn. Give at least one seed and one number of labels.")
    return trials, last


def facts_of(arms: Mapping[str, Arm], drawn: Drawn, seconds: float) -> dict[str, Any]:
    """Data, settings, cost, versions: what the report tells besides the result."""
    neural = [arm for arm in arms.values() if isinstance(arm, Neural) and arm.last]
    begun = {f"{arm.name} start": arm.start_seconds for arm in neural if arm.start_seconds}
    settings = settings_of(neural[0].last.recipe) if neural and neural[0].last else {}
    cost = begun | {"comparing": seconds - sum(begun.values())}
    return {
        "data": {"test items": len(drawn.test), **drawn.labelled.facts},
        "settings": settings,
        "cost": cost,
        "cores": machine.cores(),
        **machine.facts(),
    }


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What all neural arms share."""
    train, model = recipe.train, recipe.model
    return {
        "model": f"{model.shape}, {model.layers} layers × {model.width}",
        "steps": train.steps,
        "batch": train.batch,
        "learning rate": recipe.optimizer.lr,
        "schedule": train.schedule,
        "dropout": model.dropout,
        "evaluated every": f"{train.evaluate_every} steps",
        "precision": train.precision,
        "threads": train.threads,
    } | fine_tuning(recipe)


def fine_tuning(recipe: Recipe) -> dict[str, Any]:
    """What is only told where it was asked for."""
    told = {
        "layer decay": recipe.optimizer.layer_decay if recipe.optimizer.layer_decay < 1 else None,
        "encoder": "frozen" if recipe.model.frozen else None,
        "blocks drawn anew": recipe.model.reinitialise or None,
        "rank of the adapters": recipe.model.lora or None,
    }
    return {name: value for name, value in told.items() if value is not None}
