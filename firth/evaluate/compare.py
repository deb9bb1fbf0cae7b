"""Does it pay? The same task from the same labels, begun in different ways, over several seeds and numbers of labels.

Arms differ in nothing but the weights they begin with: a seed draws the labels, the initialisation and the order for
all of them; steps and settings are equal, and none stops early or chooses among its weights: the last ones count. All
are scored once on a common test part.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from firth.data.labelled import Labelled, open_labelled
from firth.errors import InputError
from firth.evaluate import arms as ways
from firth.evaluate.arms import Arm, Drawn, Neural
from firth.evaluate.comparison import Comparison, Trial
from firth.evaluate.statistics import FEWEST_SEEDS
from firth.recipe import Recipe, apply_settings, filled
from firth.signal import Signal
from firth.train import adaptation, machine, prepare
from firth.train.adapt import request
from firth.train.log import Show, Silent

TEST_SHARE = 0.2  # of the labelled data, where no test files are given


def compare(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    task: str = "classify",
    labels: Sequence[int] = (200,),
    seeds: int = FEWEST_SEEDS,
    seed: int = 0,
    arms: Sequence[str] = ways.DEFAULT,
    settings: Iterable[str] | Mapping[str, Any] | None = None,
    device: str | None = None,
    show: Show | None = None,
    facts: Mapping[str, Any] | None = None,
    begun: ways.Begun | None = None,
) -> Comparison:
    """Hold the pre-training of `model` (a run folder) against the other arms on a labelled task.

    paths: labelled files; data.test in settings names the test files, else a fifth is split off by content.
    labels: numbers of labels, validation included. seeds: how many, from `seed` on; fewer than 3 give no verdict.
    arms: "random", "pretrained", a name of starts/, or a baseline ("tf-idf"). settings: dotted keys of adapt's recipe.
    facts: more to tell in the report. begun: what closed-form starts write, where it was computed before.
    Raises InputError for what a person can put right.
    """
    show, began = show or Silent(), time.perf_counter()
    recipe = recipe_of(model, paths, task, seed, device, settings)
    check(labels, seeds)
    signal = adaptation.open_signal(recipe)
    chosen = ways.arms_of(arms, recipe, signal, show, begun)
    with prepare.own_threads():
        trials, drawn = run_trials(chosen, draws(recipe, signal, labels, range(seed, seed + seeds)), show)
    told = {**facts_of(chosen, drawn, time.perf_counter() - began), **(facts or {})}
    titles = {name: ways.title(name) for name in arms}
    texts = [record.text for record in drawn.labelled.records["test"]]
    return Comparison(titles, drawn.labelled.classes, drawn.gold, trials, inputs=texts, facts=told)


def recipe_of(model, paths, task: str, seed: int, device: str | None, settings) -> Recipe:
    """adapt's recipe for all arms: the last weights count, unless the settings ask for early stopping."""
    recipe = request(
        model, paths, None, None, task=task, start=adaptation.RANDOM, labels=None, seed=seed, device=device
    )
    return apply_settings(filled(recipe, train={"patience": None}), settings or ())


def check(labels: Sequence[int], seeds: int) -> None:
    """Raises InputError where there is nothing to compare."""
    if not labels:
        raise InputError("labels", "no number of labels was given", "Say how many, as in labels=(200,).")
    if seeds < 1:
        raise InputError(f"seeds = {seeds}", "nothing would be trained", f"Use at least {FEWEST_SEEDS} for a verdict.")


def draws(recipe: Recipe, signal: Signal, labels: Sequence[int], seeds: Iterable[int]) -> Iterable[Drawn]:
    """The labelled data of each seed and number of labels; the test part hangs on the content alone."""
    for seed in seeds:
        for number in labels:
            yield Drawn(number, seed, open_part(recipe, signal, number, seed))


def open_part(recipe: Recipe, signal: Signal, labels: int, seed: int) -> Labelled:
    """So many labels drawn by the seed, and the test part. Raises InputError where nothing is left to test on."""
    config = filled(recipe, data={"labels": labels}).data
    labelled = open_labelled(config, signal, seed, test_share=0.0 if config.test else TEST_SHARE)
    if not labelled.test:
        raise InputError(", ".join(config.paths), "leaves nothing to test on", "Give a test file: data.test.")
    return labelled


def run_trials(arms: Mapping[str, Arm], drawn: Iterable[Drawn], show: Show) -> tuple[list[Trial], Drawn]:
    """Every arm on every draw, the arms in turn; the trials and the last draw."""
    trials: list[Trial] = []
    last: Drawn | None = None
    for last in drawn:
        gold = last.gold
        for name, arm in arms.items():
            trial = arm(last)
            trials.append(trial)
            right = 100 * float((trial.predicted == gold).mean())
            text = f"{ways.title(name)} · {last.labels:,} labels · seed {last.seed} · test accuracy {right:.1f} %"
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
        "data": {"test items": len(drawn.gold), **drawn.labelled.facts},
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
    }
