"""`firth adapt`: a pre-trained model, or its shape with other weights, learns a labelled task."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from firth.data.config import listed
from firth.errors import FirthError, InputError, did_you_mean
from firth.find import learnable, names
from firth.recipe import Model, Optimizer, Recipe, Train, apply_settings, load_toml, with_options
from firth.train import checks
from firth.train import folder as folders
from firth.train.adapted import Adapted, counts, describe, finish, planned, show_finished
from firth.train.budget import Budget, Clock
from firth.train.folder import RunFolder
from firth.train.log import Recorded, Show
from firth.train.pretrain import flat, keys, planned_anew

DEFAULTS = Recipe(
    verb="adapt",
    objective=("classify",),
    model=Model(dropout=0.1, start="pretrained"),
    optimizer=Optimizer(betas=(0.9, 0.999)),
    train=Train(schedule="linear", warmup=0.1, evaluate_samples=2000),
)


def adapt(
    model: str | Path,
    paths: str | Path | Iterable[str | Path] = (),
    task: str | None = None,
    start: str | None = None,
    labels: int | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    settings: Iterable[str] | Mapping[str, Any] | None = None,
    config: str | Path | Recipe | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    device: str | None = None,
    started: float | None = None,
    budget: str | None = None,
    frozen: bool = False,
    text: str | None = None,
    label: str | None = None,
    valid: str | Path | Iterable[str | Path] = (),
    test: str | Path | Iterable[str | Path] = (),
    document: str | None = None,
    skip_bad: bool = False,
) -> Adapted:
    """Fine-tune `model` on labelled data; returns when the model folder is written and scored.

    model: a run folder or any model folder. paths: labelled files; valid and test name further ones, else
    validation is split off. start: "pretrained", "random" (same shape and tokenizer, weights unused) or a name in
    starts/; everything else stays equal. labels: use so many (images, sound: of each class), validation included.
    budget: 500steps or 5epochs; None: by the labels. frozen, text, label, valid, test, document, skip_bad: short for
    keys of the tables `model` and `data`. settings: dotted keys, which win over all of these.
    The same call on an unfinished run folder resumes it; on a finished one it returns the result.
    Raises InputError for what a person can put right, RunError where the run could not go on, Interrupted on a signal.
    """
    clock, recorded = Clock(started), Recorded(show)
    checks.refuse_ranks()
    settings = with_options(settings, frozen=frozen, text=text, label=label, valid=valid, test=test, document=document,
                            skip_bad=skip_bad)  # fmt: skip
    given = {"task": task, "start": start, "labels": labels, "budget": budget, "seed": seed, "device": device}
    recipe = request(model, paths, settings, config, **given)
    folder = folders.claim(Path(out) if out else default_place(recipe), flat(recipe), recipe if config else None)
    if folder.status == "finished":
        return show_finished(folder, recorded)
    return run(recipe, folder, clock, recorded, dry_run)


def request(model, paths, settings, config, **given) -> Recipe:
    """The recipe as it was asked for: defaults or the config, then the options, then the settings."""
    config = config if isinstance(config, Recipe) else load_toml(config) if config else None
    recipe = config or DEFAULTS
    options = {
        "verb": "adapt",
        "data.paths": listed(paths),
        "objective": (given["task"] or "classify",) if given["task"] or recipe.verb != "adapt" else None,
        "model.source": str(model) if model else None,
        "model.start": given["start"],
        "data.labels": given["labels"],
        "train.budget": given.get("budget"),
        "seed": given["seed"],
        "device": given["device"],
    }
    recipe = apply_settings(recipe, {k: v for k, v in options.items() if v not in (None, ())}, "options")
    recipe = apply_settings(planned_anew(recipe, given.get("budget"), settings), settings or ())
    if recipe.model.source and "signal" not in keys(settings) and config is None:
        recipe = apply_settings(recipe, {"signal": checks.signal_of_source(recipe)})
    refuse_unteachable(recipe.objective[0])
    if not recipe.model.source:
        raise InputError("MODEL", "is not given", "Name a run folder or a model folder: firth adapt runs/x labels.tsv.")
    if not recipe.data.paths:
        raise InputError("DATA", "is not given", "Name labelled files: firth adapt runs/x labels.tsv.")
    checks.refuse_other_shape(recipe, keys(settings), config, "adapt")
    checks.refuse_same_files(recipe.data)
    return recipe


def refuse_unteachable(task: str) -> None:
    """Raises InputError for a task that does not exist, and for one that changes no weights."""
    name, known = task.replace("_", "-"), learnable()
    if name in known:
        return
    if name in names("tasks"):
        do = f"Label with it: firth predict MODEL INPUT --task {name}; adapt to one of {', '.join(known)}."
        raise InputError(f"--task {task}", "learns nothing: its examples stand in the prompt", do)
    raise InputError(f"--task {task}", "no such task", f"{did_you_mean(name, known)}There is: {', '.join(known)}.")


def default_place(recipe: Recipe) -> Path:
    """runs/<data>-<task>, and the start where it is not `pretrained`, and whether the encoder is frozen."""
    first = Path(recipe.data.paths[0])
    stem = first.resolve().name.split(".")[0] if "*" not in first.name else first.parent.resolve().name
    start = [] if recipe.model.start == "pretrained" else [recipe.model.start]
    frozen = ["frozen"] if recipe.model.frozen else []
    return Path("runs") / "-".join([stem or "data", *recipe.objective, *start, *frozen])


def run(recipe: Recipe, folder: RunFolder, clock: Clock, show: Recorded, dry_run: bool) -> Adapted:
    """Assemble, train, score, save."""
    from firth.train import adaptation, machine, prepare

    with prepare.own_threads():
        resumed = folder.status == "unfinished"
        if resumed:
            show.note(f"{folder} is unfinished; going on.")
        work = adaptation.assemble(folder.recipe if resumed else recipe, show=show)
        data = adaptation.data_facts(work.labelled)
        if resumed and folder.facts.get("data", {}).get("fingerprint") != data["fingerprint"]:
            raise InputError(
                ", ".join(recipe.data.paths),
                f"is not the data {folder} was begun with",
                f"Put the former files back, or delete the run: firth runs --delete {folder}.",
            )
        clock.lap("preparing")
        describe(work, show)
        if dry_run:
            show.note(f"Nothing was trained or written; {folder} is free for the run.")
            return Adapted(folder.path, work.task, recipe.model.start, labels=counts(work), plan=planned(work),
                           status="planned", seconds=clock.spent)  # fmt: skip
        with folders.locked(folder):
            if not resumed:
                folders.refuse_taken(folder)
                facts = {"data": data, "plan": planned(work), "start": work.begun}
                folder.create(work.recipe, asked=flat(recipe), seed=recipe.seed, **machine.facts(), **facts)
            return trained(work, folder, clock, show)


def trained(work, folder: RunFolder, clock: Clock, show: Recorded) -> Adapted:
    """Train to the end, whatever it is; run.json says which."""
    from firth.train import adaptation, prepare, session

    frame = prepare.Work(work.recipe, Budget("steps", work.recipe.train.steps or 0), clock, show, folder.path)
    frame.signal, frame.held_out = work.signal, work.labelled.valid
    diary: list[session.Diary] = []

    def each(step, job) -> None:
        if not diary:
            diary.append(session.Diary(frame, folder, job))
        diary[0].write(step)
        show.progress(step, job)

    try:
        with folders.writing(folder.path):
            job = adaptation.fit(work, folder, each)
            clock.lap("training")
            return finish(work, folder, job, clock, show)
    except FirthError as error:
        folder.update(status="interrupted" if error.exit_code == 130 else "failed", error=str(error))
        raise
    finally:
        for one in diary:
            one.close()
