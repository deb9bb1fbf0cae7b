"""`firth compare`: one model held against others on labelled data, or pre-training choices held against each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from firth.data.config import listed
from firth.errors import InputError, did_you_mean
from firth.evaluate import arms as ways
from firth.evaluate.compare import LABELS, Request, Work, check, compare, opened, plain
from firth.evaluate.comparison import MAINS, Comparison
from firth.evaluate.kept import refuse_place
from firth.recipe import Recipe, after, load_toml, with_options
from firth.train import adaptation, checks
from firth.train.log import Show, Silent
from firth.train.pretrain import keys, planned_anew, pretrain

CONTROLS = ("shuffled-labels",)
SHUFFLED = "A control: labels are dealt out anew, so that there is nothing to learn, and nothing may be shown."
MOST = 12  # combinations that --vary may make: a search beyond that should be thought about
ALL = "all"  # labels
USUAL = f"{LABELS}, or {ALL} where there are fewer"
Labels = str | int | Sequence[int | str | None] | None
ENCODER = ("frozen", "reinitialise", "lora", "layer_sum")  # keys of the table `model` on how it is fine-tuned
LOST = (
    "Of {}, compare takes how is trained and fine-tuned (`train`, `optimizer`, `model`), and not {}: "
    "say them as options or with --set."
)
CHOICES = "Write --vary masked_tokens.mask_rate=0.15,0.3."


def versus(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    task: str = "classify",
    labels: Labels = None,
    seeds: int = 3,
    arms: str | Sequence[str] | None = None,
    against: Sequence[str | Path] = (),
    vary: Sequence[str] = (),
    budget: str | None = None,
    control: str | None = None,
    config: str | Path | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
    out: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    report: Callable[..., Path] | None = None,
    jobs: int = 1,
    command: str | None = None,
    leave_out: str | None = None,
    frozen: bool = False,
    text: str | None = None,
    label: str | None = None,
    test: str | Path | Iterable[str | Path] = (),
    document: str | None = None,
    skip_bad: bool = False,
) -> Comparison | dict[str, Any]:
    """Compare `model` with the other arms on the labelled files `paths`; the result lies in `out`, with its report.

    labels: numbers of labels, "100,500,all", a number or a list; None: 200, or all where there are fewer. arms: as of
    evaluate.compare; against: more model folders.
    vary: "key=a,b" pre-trains `model`, then raw data, once for each value (each combination of several) at `budget`;
    the runs are the arms; "key=a" holds for all of them. control: "shuffled-labels". report: writes the page, or None.
    jobs: processes that share the trials, not the pre-trainings of `vary`.
    command: what was typed, for the page. leave_out: as of evaluate.compare. frozen, text, label, test, document,
    skip_bad: short for keys of adapt's tables `model` and `data`; settings win over them.
    The same call goes on where it was ended. A dry run returns the plan. Raises InputError.
    """
    checks.refuse_ranks()
    show = show or Silent()
    given = list(listed(paths))
    numbers = numbers_of(labels)
    refuse_control(control)
    check(numbers, seeds, jobs)
    chosen = names_of(arms)
    refuse_arms(chosen, against, vary)
    place = Path(out) if out else default_place(given, task, vary)
    said = with_options(settings, frozen=frozen, text=text, label=label, test=test, document=document,
                        skip_bad=skip_bad)  # fmt: skip
    recipe = load_toml(config) if config else None
    own = merged(recipe, said)
    if recipe and (lost := untaken(recipe, task, said)):
        show.note(LOST.format(config, ", ".join(lost)))
    choices = combinations(vary)
    names = [name_of(differing(choice, choices)) for choice in choices]
    if vary and not budget:
        raise InputError("--vary", "needs a budget for each pre-training", "Add one such as --budget 500steps.")
    if dry_run:
        return planned(model, given, task, numbers, seeds, chosen, against, names, own, show, place, leave_out)
    if control:
        show.note(SHUFFLED)
    runs, asked = place / "runs", zip(names, choices, strict=True)
    models = [trained(model, runs, *one, str(budget), seed, device, show) for one in asked] if vary else [model]
    found = compare(
        models[0], given, task, numbers, seeds, seed, chosen, own, device, show,
        told_of(task, given, control, command), models=[*models[1:], *against],
        out=place / "comparison" if vary else place, control=bool(control), title=names[0] if vary else None,
        jobs=jobs, leave_out=leave_out,
    )  # fmt: skip
    show.result(found)
    if report:
        show.line("Report", str(report(found, place / "report.html")))
    return found


def told_of(task: str, paths: Sequence[str | Path], control: str | None, command: str | None) -> dict[str, Any]:
    """What the report tells of what was asked for."""
    subject = f"firth compare · {task} on {', '.join(map(str, paths))}"
    told = {"subject": f"{subject} · {control}", "notes": [SHUFFLED]} if control else {"subject": subject}
    return told | ({"command": command} if command else {})


def numbers_of(labels: Labels) -> list[int | None] | None:
    """ "100,500,all" as numbers, ascending; None among them: all; None alone: nobody said any. Raises InputError."""
    if labels is None:
        return None
    typed = labels.split(",") if isinstance(labels, str) else [labels] if isinstance(labels, int) else labels
    named = (ALL if part is None else part for part in typed)
    parts = [part.strip().replace("_", "") if isinstance(part, str) else part for part in named]
    try:
        found: list[int | None] = [*sorted({int(part) for part in parts if part != ALL})]
    except ValueError:
        raise InputError(f"--labels {labels}", "is no list of numbers", "Write numbers: --labels 100,500.") from None
    return [*found, None] if ALL in parts else found


def names_of(arms: str | Sequence[str] | None) -> list[str] | None:
    if arms is None:
        return None
    return [name.strip() for name in arms.split(",")] if isinstance(arms, str) else list(arms)


def refuse_arms(arms: Sequence[str] | None, against: Sequence[str | Path], vary: Sequence[str]) -> None:
    """Raises InputError where there is nothing the verdict could be about, or nothing to hold it against."""
    if arms is None:
        return
    where, main = f"--arms {','.join(arms)}", adaptation.PRETRAINED
    if not set(MAINS) & set(arms) and not did_you_mean(main, arms):  # a misspelt one is named later
        do = f"Add it: --arms {','.join([main, *arms])}"
        raise InputError(where, f"leaves out `{main}`, which the verdict is about", do)
    if len(set(arms)) + len(against) + len(vary) < 2:
        raise InputError(where, "has nothing to hold it against", f"Add an arm, as in --arms random,{main}.")


def refuse_control(control: str | None) -> None:
    if control is not None and control not in CONTROLS:
        raise InputError(f"--control {control}", "no such control", f"There is: {', '.join(CONTROLS)}.")


def default_place(paths: Sequence[str | Path], task: str, vary: Sequence[str]) -> Path:
    """runs/<data>-<task>-compare."""
    first = Path(paths[0]).resolve().name.split(".")[0] if paths else "data"
    return Path("runs") / f"{first}-{task}-{'vary' if vary else 'compare'}"


def merged(config: Recipe | None, settings: Iterable[str] | Mapping[str, Any]) -> Any:
    """Settings on top of what a recipe says of training, optimizer and how the encoder is fine-tuned."""
    if config is None:
        return settings
    recipe: Recipe = planned_anew(config, None, settings)
    own = {f"{table}.{key}": value for table in ("train", "optimizer", "model")
           for key, value in getattr(recipe, table).model_dump(mode="json", exclude_unset=True).items()
           if value is not None and (table != "model" or key in ENCODER)}  # fmt: skip
    return after(own, settings)


def untaken(recipe: Recipe, task: str, settings: Iterable[str] | Mapping[str, Any]) -> list[str]:
    """What a recipe says, beyond what is usual, that is not taken of it, and that no setting says."""
    found = [f"data.{key}" for key in recipe.data.model_dump(exclude_defaults=True, exclude={"paths"})]
    found += [f"the table `{name}`" for name in recipe.tables]
    found += ["objective"] * (recipe.objective not in ((task,), Recipe().objective))
    return [name for name in found if name not in keys(settings)]


# ------------------------------------------------------------------ pre-training choices


def combinations(vary: Sequence[str]) -> list[dict[str, str]]:
    """["a=1,2", "b=x"] → two choices, b the same in both. Raises InputError for no choice, and for more than MOST."""
    keys = []
    for text in vary:
        key, _, values = text.partition("=")
        listed = [value.strip() for value in values.split(",") if value.strip()]
        if not key.strip() or not listed:
            raise InputError(f"--vary {text}", "names no two values", CHOICES)
        keys.append([(key.strip(), value) for value in listed])
    found = [dict(choice) for choice in product(*keys)] if keys else []
    if len(found) == 1:
        raise InputError(f"--vary {' '.join(vary)}", "names no two values", CHOICES)
    if len(found) > MOST:
        raise InputError("--vary", f"makes {len(found)} pre-trainings", f"Vary less at a time: at most {MOST}.")
    return found


def differing(choice: Mapping[str, str], choices: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What of a choice is not the same in all."""
    return {key: value for key, value in choice.items() if any(other[key] != value for other in choices)}


def name_of(choice: Mapping[str, str]) -> str:
    """mask_rate=0.15 random_share=0.1: as people read it, and as the folder is called."""
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in choice.items())


def trained(
    data, place: Path, name: str, choice: Mapping[str, str], budget: str, seed: int, device, show: Show
) -> Path:
    """The run of one choice, made, gone on with, or found finished. `objective` may be varied: joined by +."""
    settings = {key: value for key, value in choice.items() if key not in ("objective", "size")}
    objective, size = (choice[key].replace("+", ",") if key in choice else None for key in ("objective", "size"))
    out = place / name.replace(" ", "_").replace("/", "_")
    show.line("Choice", name)
    run = pretrain([data], objective, size, budget, out, seed=seed, device=device, settings=settings, show=show)
    return run.folder


# ------------------------------------------------------------------ the plan


def planned(
    model,
    paths,
    task,
    labels,
    seeds,
    arms,
    against,
    choices: Sequence[str],
    settings,
    show: Show,
    place: Path,
    leave_out: str | None = None,
) -> dict[str, Any]:
    """What would be done; the labelled data is read and checked where there is a model."""
    refuse_place(place)
    plan: dict[str, Any] = {"labels": shown(labels), "seeds": seeds, "out": str(place),
                            "trials of each arm": len(labels or (LABELS,)) * seeds}  # fmt: skip
    if choices:
        plan["pre-trainings"] = list(choices)
    else:
        given = (str(model), list(map(str, paths)), task, 0, None, plain(settings))
        work = opened(Request(*given, list(arms or ()), list(map(str, against)), False, leave_out=leave_out), show)
        labels = work.usual() if labels is None else labels
        drawn = work.drawn(labels[-1], 0)
        plan |= {"labels": shown(labels), "arms": [ways.title(name) for name in work.arms]}
        plan |= {"test items": len(drawn.test)}
        plan |= {"rows": drawn.labelled.task.notes} if drawn.labelled.task.notes else {}
        plan |= folded(work, len(labels)) if work.folds else {}
    for key, value in plan.items():
        show.line("Plan", f"{key}: {value if not isinstance(value, list) else ', '.join(map(str, value))}")
    show.note("Nothing was trained or written.")
    return plan


def shown(labels: Sequence[int | None] | None) -> list[int | str]:
    """Numbers of labels for the plan."""
    return [USUAL] if labels is None else [ALL if number is None else number for number in labels]


def folded(work: Work, budgets: int) -> dict[str, Any]:
    """What of the plan is otherwise where groups are left out in turn."""
    folds = work.folds
    assert folds is not None
    number = len(folds.groups)
    return {"seeds": number, "left out in turn": list(folds.groups), "trials of each arm": budgets * number,
            "test items": len(folds.whole.test)}  # fmt: skip
