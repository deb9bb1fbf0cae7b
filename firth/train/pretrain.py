"""`firth pretrain`: from raw files to a model folder."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firth.data.config import listed
from firth.data.kind import signal_of
from firth.data.synthetic import MARK as MADE
from firth.errors import InputError, did_you_mean
from firth.find import find, main_class, names
from firth.model.sizes import READS, check_size
from firth.recipe import Recipe, apply_settings, config_of, filled, load_toml, plain, with_options
from firth.signal import Signal
from firth.train import budget as budgets
from firth.train import checks, ranks
from firth.train import folder as folders
from firth.train.budget import Budget, Clock
from firth.train.folder import RunFolder
from firth.train.log import Recorded, Show


@dataclass(frozen=True)
class Result:
    """What a run ended with. Losses are means over items of the held-out part; seconds are wall time of the command."""

    folder: Path
    loss: float | None = None  # the weighted total that was minimised
    accuracy: float | None = None  # of the last objective that reports one, in [0, 1]
    seconds: float = 0.0
    steps: int = 0
    tokens: int = 0  # real tokens trained on
    metrics: dict[str, float] = field(default_factory=dict)  # every held-out mean
    random_loss: float | None = None  # of the untrained model
    first_loss: float | None = None  # before the first step, after the start or --from
    peak_memory: int = 0  # bytes
    vectors: dict[str, float] = field(default_factory=dict)  # rank, spread, … of held-out samples, where watched
    collapse: str | None = None  # step, what fell, cause and remedy, where the vectors were collapsed at the end
    plan: dict[str, Any] = field(default_factory=dict)
    status: str = "finished"  # or "planned" (dry run)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"folder": str(self.folder)}


def pretrain(
    paths: str | Path | Iterable[str | Path] = (),
    objective: str | Iterable[str] | None = None,
    size: str | None = None,
    budget: str | None = None,
    out: str | Path | None = None,
    source: str | Path | None = None,
    seed: int | None = None,
    settings: Iterable[str] | Mapping[str, Any] | None = None,
    config: str | Path | Recipe | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    device: str | None = None,
    started: float | None = None,
    text: str | None = None,
    document: str | None = None,
    skip_bad: bool = False,
    ask: Callable[[str, str], str] | None = None,
) -> Result:
    """Self-supervised training from raw files; returns when the model folder is written.

    paths: files, folders, globs, zip. objective: names of objectives/, by default what goes with the signal, which the
    files tell; several are composed.
    size: `tiny` … `large` or `4x256`; None: by the budget. budget: `20m` (wall time of the whole command, from
    `started`), `500steps`, `3epochs`, `100Mtokens`. source: a model folder to go on from. settings: dotted keys.
    config: a recipe or its .toml; a run's config.toml repeats the run. dry_run: the plan, nothing written outside the
    cache. started: on the clock of time.monotonic(); default: this call. text, document, skip_bad: short for keys of
    the table `data`. ask: how a person is asked for the budget where nothing says it; None: nobody is there.
    The same call on an unfinished run folder resumes it; on a finished one it returns the result.
    Raises InputError for what a person can put right, RunError where the run could not go on, Interrupted on a signal.
    """
    clock, recorded = Clock(started), Recorded(show if ranks.leads() else None)
    settings = with_options(settings, text=text, document=document, skip_bad=skip_bad)
    recipe = request(
        paths,
        settings,
        config,
        objective=objective,
        size=size,
        budget=budget,
        source=source,
        seed=seed,
        device=device,
    )
    if ask and not (recipe.train.steps or recipe.train.budget):
        recipe, clock = filled(recipe, train={"budget": budgets.asked_for(ask)}), Clock()
    amount = budget_of(recipe)
    place = Path(out) if out else default_place(recipe)
    with ranks.joined(recipe.device):
        folder = folders.claim(place, flat(recipe), recipe if config else None)
        if folder.status == "finished":
            return show_finished(folder, recorded)
        from firth.train import session  # torch comes with it

        return session.run(recipe, amount, folder, flat(recipe), clock, recorded, dry_run)


def request(paths, settings, config, **given) -> Recipe:
    """The recipe as it was asked for: the config, then the options, then the settings."""
    base = config if isinstance(config, Recipe) else load_toml(config) if config else None
    recipe = base or Recipe()
    options = {
        "data.paths": listed(paths),
        "objective": _names(given["objective"]),
        "model.size": given["size"],
        "train.budget": given["budget"],
        "model.source": str(given["source"]) if given["source"] else None,
        "seed": given["seed"],
        "device": given["device"],
    }
    recipe = apply_settings(
        recipe, {key: value for key, value in options.items() if value not in (None, ())}, "options"
    )
    recipe = apply_settings(planned_anew(recipe, given["budget"], settings), settings or ())
    if not recipe.data.paths:
        raise InputError("DATA", "is not given", "Name files or folders: firth pretrain texts/ --budget 20m.")
    recipe = with_signal(recipe, {*options_given(options), *keys(settings)}, base)
    refuse(recipe)
    checks.refuse_adapting_keys(recipe)
    options_set = {key for key, value in options.items() if value is not None}
    checks.refuse_other_shape(recipe, options_set | keys(settings), base, "--from")
    checks.refuse_start(recipe, keys(settings))
    return suit(recipe, keys(settings) | options_given(options) | (set() if config is None else {"model.start"}), base)


def planned_anew(recipe: Recipe, budget: str | None, settings=()) -> Recipe:
    """The recipe without the steps of an old config, where a new budget was given, be it among the settings."""
    if not (budget or "train.budget" in keys(settings)) or not recipe.train.steps:
        return recipe
    return filled(recipe, train=dict.fromkeys(("steps", "evaluate_every", "checkpoint_every")))


def options_given(options: Mapping[str, Any]) -> set[str]:
    return {key for key, value in options.items() if value not in (None, ())}


def with_signal(recipe: Recipe, given: set[str], base: Recipe | None) -> Recipe:
    """The recipe with the signal that the data is of, and what goes with it, where neither person nor config says."""
    if base is not None:
        return recipe
    if "signal" not in given:
        found = checks.signal_of_source(recipe) if recipe.model.source else signal_of(recipe.data.paths)
        recipe = apply_settings(recipe, {"signal": found})
    own = main_class(find("signals", recipe.signal), Signal).objective
    return recipe if "objective" in given or not own else apply_settings(recipe, {"objective": own})


def refuse(recipe: Recipe) -> None:
    """Raises InputError for what shows before the data is read: another verb's recipe, an unknown size or start."""
    if recipe.verb != "pretrain":
        raise InputError("verb", f"the recipe is one of `{recipe.verb}`", f"Use it with firth {recipe.verb} --config.")
    if recipe.model.source:
        return
    if recipe.model.size:
        check_size(recipe.model.size)
    if (start := recipe.model.start.replace("_", "-")) not in (known := ["random", *names("starts")]):
        hint = did_you_mean(start, known)
        raise InputError(f"model.start = {start}", "no such start", f"{hint}There is: {', '.join(known)}.")


def suit(recipe: Recipe, given: set[str], base: Recipe | None = None) -> Recipe:
    """The keys that go with signal and objectives, where nobody named others; given: dotted keys that somebody did.

    A start from the company of words is left out where the signal's units are none. base: the config, whose own keys
    stay.
    """
    configs = [config_of(recipe, "objectives", name) for name in recipe.objective]
    wanted = dict(main_class(find("signals", recipe.signal), Signal).defaults)
    for config in configs:
        wanted |= config.defaults if recipe.model.source else {**config.defaults, **config.fresh_defaults}
    recipe = apply_settings(recipe, {key: value for key, value in wanted.items() if open_in(recipe, key, given, base)})
    if recipe.model.source:
        return recipe
    needs = frozenset().union(*(config.needs for config in configs))
    shape = recipe.model.shape or next((config.shape for config in configs if config.shape), None)
    needs |= {READS[shape]} if shape else frozenset()  # what the encoder reads is needed, too
    own, table = config_of(recipe, "signals", recipe.signal), recipe.tables.get(recipe.signal, {})
    wanted = {key: value for key, value in own.suited(needs).items() if key not in table}
    recipe = apply_settings(recipe, {f"{recipe.signal}.{key}": value for key, value in wanted.items()})
    alone = "model.start" not in given and not config_of(recipe, "signals", recipe.signal).in_words
    return apply_settings(recipe, {"model.start": "random"}) if alone else recipe


def open_in(recipe: Recipe, key: str, given: set[str], base: Recipe | None) -> bool:
    """Whether nobody has said anything of a key; a config says what it does not leave at none."""
    table, _, name = key.rpartition(".")
    tree = getattr(recipe, table) if table in Recipe.model_fields else recipe.tables.get(table, {})
    value = getattr(tree, name, None) if not isinstance(tree, Mapping) else tree.get(name)
    return key not in given and (base is None or value is None)


def budget_of(recipe: Recipe) -> Budget:
    """Steps of a complete recipe before anything else; raises InputError where nothing says how long to train."""
    if recipe.train.steps:
        return Budget("steps", recipe.train.steps)
    if not recipe.train.budget:
        raise budgets.missing()
    return budgets.refuse_short(budgets.parse(recipe.train.budget))


def default_place(recipe: Recipe) -> Path:
    """runs/<data>-<objective>"""
    return Path("runs") / f"{stem(recipe.data.paths[0]) or 'data'}-{'-'.join(recipe.objective)}"


def stem(given: str) -> str:
    """A short name of data: of the file or folder, of the folder a pattern looks in, of the generator."""
    path = Path(given)
    if given.startswith(MADE):
        return given.split(":")[1]
    return path.resolve().name.split(".")[0] if "*" not in path.name else path.parent.resolve().name


def flat(recipe: Recipe) -> dict[str, Any]:
    """The request as plain values by dotted key: what decides whether a folder holds the same run."""
    tree = recipe.model_dump(mode="json", exclude={"tables"}) | {k: plain(v) for k, v in recipe.tables.items()}
    pairs: dict[str, Any] = {}
    for key, value in tree.items():
        pairs |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return {key: value for key, value in pairs.items() if value is not None}


def show_finished(folder: RunFolder, show: Show) -> Result:
    """The result of a run that is done, read from its run.json."""
    kept = folder.facts.get("result") or {}
    result = Result(
        **{key: value for key, value in kept.items() if key in Result.__dataclass_fields__} | {"folder": folder.path}
    )
    show.note(f"{folder} is finished; nothing to do. To train anew, choose another --out.")
    show.line("Result", describe(result))
    show.result(result)
    return result


def describe(result: Result) -> str:
    """held-out masked tokens loss 4.12 (perplexity 61) · 24.1 % right at first guess · 17,100 steps in 19 min"""
    from firth.train.card import describe_metrics
    from firth.train.describe import count, duration
    from firth.train.watch import said

    unit = result.plan.get("unit", "tokens")
    did = f"{result.steps:,} steps · {count(result.tokens)} {unit} · {duration(result.seconds)}"
    vectors = f"{said(result.vectors)} · " if result.vectors else ""
    collapsed = f"COLLAPSED, {result.collapse} · " if result.collapse else ""
    return f"{collapsed}{describe_metrics(result.metrics)} · {vectors}{did}"


def _names(objective) -> tuple[str, ...] | None:
    """`a,b`, ["a", "b"] or None."""
    if objective is None:
        return None
    parts = objective.split(",") if isinstance(objective, str) else objective
    return tuple(part.strip().replace("_", "-") for part in parts)


def keys(settings) -> set[str]:
    """The dotted keys of settings: ["train.batch=32"] or a mapping."""
    return set(
        settings if isinstance(settings, Mapping) else (str(s).partition("=")[0].strip() for s in settings or ())
    )
