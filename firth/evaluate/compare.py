"""Does it pay? The same task from the same labels, begun in different ways, over several seeds and numbers of labels.

Arms differ in nothing but the weights they begin with: a seed draws the labels, the initialisation and the order for
all of them; steps and settings are equal, and none stops early or chooses among its weights: the last ones count. All
are scored once on a common test part.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from firth.data import groups
from firth.data.config import listed
from firth.data.labelled import Labelled, Rows, draw_labelled, read_labelled, shuffled
from firth.errors import InputError, Interrupted
from firth.evaluate import arms as ways
from firth.evaluate import folds as folds_of
from firth.evaluate import processes
from firth.evaluate.arms import Arm, Drawn
from firth.evaluate.comparison import MAINS, Comparison, Trial, amount
from firth.evaluate.folds import Folds
from firth.evaluate.kept import Kept, Key, layers_of
from firth.evaluate.statistics import FEWEST_SEEDS
from firth.interop.folder import mark_of_weights, model_folder
from firth.interop.tensors import read_file, write_file
from firth.recipe import Recipe, apply_settings, filled
from firth.signal import Signal
from firth.train import adaptation, checks, machine, prepare
from firth.train.adapt import DEFAULTS, request
from firth.train.log import Show, Silent

TEST_SHARE = 0.2  # of the labelled data, where no test files are given
LABELS = 200  # where nobody says how many, and there are as many


def compare(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    task: str = "classify",
    labels: Sequence[int | None] | None = None,
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
    jobs: int = 1,
    leave_out: str | None = None,
    like: str | Path | None = None,
) -> Comparison:
    """Hold the pre-training of `model` (a run or model folder) against the other arms on a labelled task.

    paths: labelled files; data.test in settings names the test files, else a fifth is split off by content.
    labels: numbers of labels (images, sound: of each class), validation included, None among them: all there are; None
    alone: 200, or all where there are fewer. seeds: how many, from `seed` on; fewer than 3 give no verdict.
    arms: "random", "pretrained", a name of starts/, a baseline of the task ("tf-idf"); None: all of these. Or what is
    read off frozen vectors: "linear", "neighbours", and of the untrained network "linear-random", "neighbours-random".
    settings: dotted keys of adapt's recipe. models: more run or model folders, an arm each, with their own tokenizers.
    facts: more to tell in the report. begun: what closed-form starts write, where it was computed before.
    out: a folder for the trials; the same call goes on there. control: the labels are shuffled: nothing may be shown.
    title: what the main arm is called; None: Pre-trained. jobs: processes that share the trials; results stay equal
    bit for bit as long as the threads of each (train.threads; the cores, divided by the jobs) do.
    leave_out: a column of groups, or a pattern on names of files, maybe with `=a,b`: each group is the test part in
    turn, a fold that counts as a seed, and `seeds` then says nothing. like: the `out` of the same comparison of another
    run with the same network, whose trials of random initialisation are taken over.
    Raises InputError for what a person can put right.
    """
    show, began = show or Silent(), time.perf_counter()
    request = Request(str(model), list(listed(paths)), task, seed, device, plain(settings), list(arms or ()),
                      [str(one) for one in models], control, leave_out=leave_out)  # fmt: skip
    check(labels, seeds, jobs)
    work = opened(request, show, begun)
    labels = work.usual() if labels is None else labels
    if None in labels:
        work.whole = work.count()
        request = request._replace(whole=work.whole)
    numbers = list(dict.fromkeys(work.whole or 0 if one is None else one for one in labels))
    folds = work.folds
    kept = Kept(Path(out) if out else None, asked(work.recipe, models, control, folds, work.read()),
                Path(like) if like else None)  # fmt: skip
    draws = [(number, one) for one in (folds.seeds if folds else range(seed, seed + seeds)) for number in numbers]
    with prepare.own_threads(), telling_what_is_kept(kept, len(draws) * len(work.arms)):
        if jobs == 1:
            trials, last = run_trials(work.arms, (work.drawn(*draw) for draw in draws), show, kept)
            told = [arm.told() for arm in work.arms.values()]
        else:
            keys, last = [Key(name, *draw) for draw in draws for name in work.arms], work.drawn(*draws[-1])
            with written(request, begun or {}) as whole:
                trials, told = in_processes(whole, keys, jobs, work.recipe.train.threads, last, show, kept, folds)
    notes = [folds.told()] if folds else []
    facts = {**facts_of(told, last, time.perf_counter() - began, folds), **layers_of(trials), **(facts or {})}
    facts["notes"] = [*notes, *facts.get("notes", [])]
    found = comparison_of(ways.titles(work.arms, title), trials, last, facts, work.whole, folds)
    if out:
        found.save(Path(out) / "comparison.json")
    return found


class Request(NamedTuple):
    """What is compared, in plain values: enough for another process to make the same arms and draws."""

    model: str
    paths: list[str]
    task: str
    seed: int
    device: str | None
    settings: Any  # dotted keys: a mapping, or key=value strings
    arms: list[str]  # []: all that go with the task and the signal
    models: list[str]
    control: bool
    begun: Mapping[str, str] | None = None  # by start: the file of what it writes, where it was computed before
    whole: int | None = None  # the number of labels that stands for all
    leave_out: str | None = None  # what groups go by that are left out in turn


@dataclass
class Work:
    """The arms, and the labelled data that they share."""

    recipe: Recipe
    signal: Signal
    arms: dict[str, Arm]
    control: bool
    whole: int | None = None  # the number of labels that stands for all
    latest: Drawn | None = None
    rows: Rows | None = None  # the labelled data, once it was read
    folds: Folds | None = None  # where groups are left out in turn

    def count(self) -> int:
        """How many labels there are beside the test part."""
        return self.left(self.recipe.seed)

    def left(self, seed: int) -> int:
        """The same of a draw; nothing is encoded."""
        bare, config = replace(self.read(), signal=None, tested=None), filled(self.of(seed), data={"labels": None}).data
        return beside(draw_labelled(bare, config, seed, tested_share(config)))

    def usual(self) -> list[int | None]:
        """The number of labels where nobody says one: LABELS, or all where there are fewer, be it in one fold."""
        seeds = self.folds.seeds if self.folds else (self.recipe.seed,)
        return [LABELS if min(map(self.left, seeds)) >= LABELS else None]

    def of(self, seed: int) -> Recipe:
        """The recipe of a draw: of a fold without what it leaves out."""
        return self.folds.recipe(self.recipe, seed) if self.folds else self.recipe

    def part(self, labels: int | None, seed: int) -> Labelled:
        """So many labels drawn by the seed, or all, and the test part."""
        return open_part(self.of(seed), self.signal, labels, seed, self.read())

    def read(self) -> Rows:
        """The labelled data, read once."""
        self.rows = self.rows or read_part(self.of(self.recipe.seed), self.signal)
        return self.rows

    def drawn(self, labels: int, seed: int) -> Drawn:
        """The labelled data of one draw; the test part hangs on the content or the fold. The latest is kept."""
        if self.latest is None or (self.latest.labels, self.latest.seed) != (labels, seed):
            labelled = self.part(None if labels == self.whole else labels, seed)
            labelled = shuffled(labelled, self.signal, seed) if self.control else labelled
            self.latest = Drawn(labels, seed, labelled, self.whole)
        return self.latest


def opened(request: Request, show: Show, begun: ways.Begun | None = None) -> Work:
    """The arms of a request, before anything is trained. Raises InputError for what a person can put right."""
    recipe = recipe_of(request.model, request.paths, request.task, request.seed, request.device, request.settings)
    signal, others = adaptation.open_signal(recipe), ways.others(request.models, recipe, show)
    begun = begun or {name: read_file(Path(file)) for name, file in (request.begun or {}).items()}
    names = request.arms or ways.default(request.task, ways.offers_of(signal))
    arms = ways.arms_of(names, recipe, signal, show, begun) | others
    out = folds_of.opened(recipe, signal, request.leave_out) if request.leave_out else None
    return Work(recipe, signal, arms, request.control, request.whole, folds=out)


def plain(settings: Iterable[str] | Mapping[str, Any] | None) -> Any:
    """Settings that can be read twice, and told to another process."""
    return dict(settings) if isinstance(settings, Mapping) else list(settings or ())


def asked(
    recipe: Recipe, models: Sequence[str | Path], control: bool, folds: Folds | None = None, rows: Rows | None = None
) -> dict[str, Any]:
    """What must be the same for trials to belong together; numbers of labels and seeds may grow. rows: the labelled
    data, of which marks are kept: columns and files may change under the same name, as weights may."""
    data = recipe.data
    grouped = [groups.mark_of(rows.records, folds.rule)] if folds and rows else []
    return {
        "model": recipe.model.source,
        "models": [str(model) for model in models],
        "task": recipe.objective[0],
        "weights": [mark_of_weights(model_folder(model)) for model in (recipe.model.source, *models)],
        "data": [*data.paths, *data.valid, *data.test],
        "content": rows.mark if rows else "",
        "reading": data.model_dump(mode="json", include={"duplicates", "skip_bad"}),
        "settings": {name: getattr(recipe, name).model_dump(mode="json") for name in ("optimizer", "train")},
        "tables": recipe.tables,
        "control": control,
        "encoder": encoder_of(recipe) or None,
        "left out": [folds.rule.by, *folds.groups, folds.mark, *grouped] if folds else None,
    }


def encoder_of(recipe: Recipe) -> dict[str, Any]:
    """How the encoder is fine-tuned, where it is not as usual."""
    keys = ("dropout", "frozen", "reinitialise", "lora", "layer_sum")
    return {key: value for key in keys if (value := getattr(recipe.model, key)) != getattr(DEFAULTS.model, key)}


def comparison_of(
    titles: Mapping[str, str],
    trials: Sequence[Trial],
    drawn: Drawn,
    facts: Mapping[str, Any],
    whole: int | None = None,
    folds: Folds | None = None,
) -> Comparison:
    """The trials on their common test part. whole: the number of labels that stands for all. folds: whose trials
    they are, each tested on its share."""
    drawn = folds.whole if folds else drawn
    task, texts = drawn.labelled.task, [record.text for record in drawn.test]
    main = ways.main_of(titles)
    others = [name for name in titles if name != main]
    rivals = sorted(others, key=lambda name: (name != f"{main}-random", name in MAINS))
    return Comparison(titles, drawn.classes, drawn.gold, trials, main, rivals=rivals, inputs=texts, facts=facts,
                      metric=task.metric, count=drawn.counts, by_class=drawn.labelled.by_class, whole=whole,
                      judge=None if task.classed or folds else drawn.judged,
                      tested=folds.places if folds else None)  # fmt: skip


def recipe_of(model, paths, task: str, seed: int, device: str | None, settings) -> Recipe:
    """adapt's recipe for all arms: the last weights count, unless the settings ask for early stopping."""
    recipe = request(
        model, paths, None, None, task=task, start=adaptation.RANDOM, labels=None, seed=seed, device=device
    )
    recipe = apply_settings(filled(recipe, train={"patience": 0}), settings or ())
    checks.refuse_same_files(recipe.data)
    return recipe


def check(labels: Sequence[int | None] | None, seeds: int, jobs: int = 1) -> None:
    """Raises InputError where there is nothing to compare, or nobody to do it."""
    if labels is not None and not labels:
        raise InputError("labels", "no number of labels was given", "Say how many, as in labels=(200,).")
    if seeds < 1:
        raise InputError(f"seeds = {seeds}", "nothing would be trained", f"Use at least {FEWEST_SEEDS} for a verdict.")
    if jobs < 1:
        raise InputError(f"jobs = {jobs}", "no process would train", "Use 1, or as many as there are cores.")


def read_part(recipe: Recipe, signal: Signal) -> Rows:
    """The labelled data as it is read, before anything is drawn. Raises InputError for rows that cannot be used."""
    return read_labelled(recipe.data, signal, task=adaptation.task_of(recipe))


def open_part(recipe: Recipe, signal: Signal, labels: int | None, seed: int, rows: Rows | None = None) -> Labelled:
    """So many labels drawn by the seed, or all, and the test part. rows: where they were read before.

    Raises InputError where nothing is left to test.
    """
    rows = rows or read_part(recipe, signal)
    most = None if labels is None else min(labels, len(rows.records["train"]))
    config = filled(recipe, data={"labels": most}).data
    labelled = draw_labelled(rows, config, seed, tested_share(config))
    if not labelled.test:
        raise InputError(", ".join(config.paths), "leaves nothing to test on", "Give a test file: --test FILE.")
    if labels is not None:
        refuse_fewer(labelled, labels, bool(config.test))
    return labelled


def tested_share(config) -> float:
    """What is split off for testing."""
    return 0.0 if config.test else TEST_SHARE


def beside(labelled: Labelled) -> int:
    """How many labels there are beside the test part."""
    return len(labelled.records["train"]) + len(labelled.records["valid"])


def refuse_fewer(labelled: Labelled, labels: int, tested: bool = False) -> None:
    """Raises InputError where fewer labels are left beside the test part than were asked for.

    tested: the test part has files of its own.
    """
    have = beside(labelled)
    if have < labels:
        what = f"only {have:,} labelled examples are left beside a test part of {len(labelled.records['test']):,}"
        do = f"Say `--labels {have}` or `--labels all`{'' if tested else ', or give `--test FILE`'}."
        raise InputError(f"--labels {labels}", what, do)


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
            show.line("Trial", described(trial, last))
    if last is None:
        raise ValueError("run_trials: there was nothing drawn. Give at least one seed and one number of labels.")
    return trials, last


def described(trial: Trial, drawn: Drawn) -> str:
    """Pre-trained · 200 labels · seed 1 · test accuracy 81.2 % · 4.3 s"""
    score, metric = trial.items(drawn.gold, drawn.counts).mean(), drawn.labelled.task.metric.replace("_", " ")
    tested = f"test {metric} {100 * score:.1f} %"
    labels = amount(trial.labels, drawn.labelled.by_class, drawn.whole)
    return f"{ways.title(trial.arm)} · {labels} · seed {trial.seed} · {tested} · {trial.seconds:.1f} s"


def in_processes(
    request: Request,
    keys: Sequence[Key],
    jobs: int,
    threads: int | None,
    drawn: Drawn,
    show: Show,
    kept: Kept,
    folds: Folds | None = None,
) -> tuple[list[Trial], list[dict[str, Any]]]:
    """The trials in the order of the keys, and what the arms told; `drawn`: any draw, for its test part, which
    folds have their own shares of."""

    def tell(trial: Trial) -> None:
        show.line("Trial", described(trial, folds.part(trial.seed)._replace(whole=drawn.whole) if folds else drawn))

    done = {key: trial for key in keys if (trial := kept.get(*key))}
    for trial in done.values():
        tell(trial)
    told = []
    missing = [key for key in keys if key not in done]
    with closing(processes.trained(request._asdict(), missing, jobs, threads, show)) as finished:
        for trial, facts in finished:
            done[Key(trial.arm, trial.labels, trial.seed)] = kept.put(trial)
            tell(trial)
            told.append(facts)
    return [done[key] for key in keys], told


@contextmanager
def written(request: Request, begun: ways.Begun) -> Iterator[Request]:
    """The request with files of what starts write, for as long as other processes need them."""
    with TemporaryDirectory(prefix="firth-starts-") as folder:
        files = {name: Path(folder) / f"{name}.safetensors" for name in begun}
        for name, file in files.items():
            write_file(file, begun[name])
        yield request._replace(begun={name: str(file) for name, file in files.items()})


@contextmanager
def telling_what_is_kept(kept: Kept, trials: int):
    """Who stops a comparison learns how far it came."""
    try:
        yield
    except Interrupted:
        if kept.folder is None:
            raise
        what = f"stopped after {kept.count} of {trials} trials"
        raise Interrupted(kept.folder, what, "The same command goes on from there.") from None


def facts_of(
    told: Iterable[Mapping[str, Any]], drawn: Drawn, seconds: float, folds: Folds | None = None
) -> dict[str, Any]:
    """Data, settings, cost, versions: what the report tells besides the result. told: by the arms."""
    settings: dict[str, Any] = {}
    begun: dict[str, float] = {}
    models: dict[str, str] = {}
    for one in told:
        settings = settings or one.get("settings", {})
        begun |= one.get("cost", {})
        models |= one.get("models", {})
    return {
        "data": {"test items": len((folds.whole if folds else drawn).test), **drawn.labelled.facts},
        "settings": settings,
        "models": models if len({*models.values()}) > 1 else {},
        "cost": begun | {"comparing": seconds - sum(begun.values())},
        "cores": machine.cores(),
        **machine.facts(),
    }
