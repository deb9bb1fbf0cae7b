"""What verbs share: options, what they print on, how an error leaves. Torch is imported only inside a verb."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from firth import write_report
from firth.errors import FirthError, InputError
from firth.find import learnable, names
from firth.train.ranks import leads, several

PIPE = 141  # 128 + SIGPIPE: what other programs end with when nobody reads on

app = typer.Typer(
    name="firth",
    help="Self-supervised learning on your own files: pre-train, adapt, and see whether it pays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TEXTS = ("masked-tokens", "next-sentence", "next-token")
PICTURES = ("barlow-twins", "byol", "dino", "mae", "moco", "simclr", "vicreg")
SOUNDS = ("data2vec", "hubert", "masked-frames", "next-frame", "wav2vec2")


def objectives() -> str:
    """Their names, by what they are for as a rule."""
    kinds = {"text": TEXTS, "pictures": PICTURES, "sound": SOUNDS}
    known = {name for group in kinds.values() for name in group}
    other = [name for name in names("objectives") if name not in known]
    return "; ".join(f"{kind}: {', '.join(group)}" for kind, group in (kinds | {"other": other}).items() if group)


def is_given(value: Any) -> bool:
    """Whether an option was typed, by its value."""
    return value is not None and value is not False and value not in ([], ())


def idle(parameter: typer.CallbackParam, value: Any) -> Any:
    """For an option that every verb takes, and that changes nothing in this one: it is refused."""
    if is_given(value):
        with verb(False, False):
            raise InputError(parameter.opts[0], "changes nothing here", "Leave it out.")
    return value


Raw = Annotated[list[str] | None, typer.Argument(metavar="DATA...", help="Raw files; may stand in --config.")]
Runs = Annotated[
    list[str] | None, typer.Argument(metavar="RUN...", help="Run folders, or their names below --in; none: all.")
]
Data = Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders, globs, .zip or .gz of them.")]
Inputs = Annotated[list[str], typer.Argument(metavar="INPUT...", help="Texts, files, or - for a pipe.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, or a Hugging Face model folder.")]
Objective = Annotated[
    str | None,
    typer.Option(help=f"What is learnt (joined by commas). {objectives()}.  [default: by DATA]"),
]
MeasureTask = Annotated[
    str, typer.Option("--task", help=f"What is asked of the model: {', '.join(names('evaluate/measures'))}.")
]
ScoreTask = Annotated[str, typer.Option("--task", help=f"The labelled task: {', '.join(names('tasks'))}.")]
Size = Annotated[
    str | None,
    typer.Option(help="tiny, mini, small, medium, base, large, or layers x width: 4x256.  [default: by the budget]"),
]
Budget = Annotated[
    str | None, typer.Option(help="Time for the whole command (90s, 20m, 2h), 500steps, 3epochs, 10Mtokens.")
]
AdaptBudget = Annotated[
    str | None, typer.Option("--budget", help="How long it learns: 500steps, 5epochs.  [default: by the labels]")
]
Source = Annotated[str | None, typer.Option("--from", metavar="MODEL", help="Go on from a run or a model folder.")]
AdaptTask = Annotated[
    str | None, typer.Option("--task", help=f"The labelled task: {', '.join(learnable())}.  [default: classify]")
]
Start = Annotated[
    str | None,
    typer.Option(help="pretrained, random, or a start's name such as co-occurrence.  [default: pretrained]"),
]
Frozen = Annotated[bool, typer.Option("--frozen", help="The encoder stays as it is; only the task's own head learns.")]
Labels = Annotated[
    int | None,
    typer.Option(help="Use this many labelled examples (pictures, sounds: of each class), validation included."),
]
Text = Annotated[str | None, typer.Option(help="Name of the text column.  [default: found by content]")]
Label = Annotated[str | None, typer.Option(help="Name of the label column.  [default: found by content]")]
Valid = Annotated[list[str] | None, typer.Option(help="Labelled file to validate on while learning (repeatable).")]
Test = Annotated[list[str] | None, typer.Option(help="Labelled test file, scored once at the end (repeatable).")]
Shots = Annotated[str | None, typer.Option(help="prompt: how many examples stand in it.")]
Examples = Annotated[
    list[str] | None, typer.Option(help="prompt: a labelled file that examples are drawn from (repeatable).")
]
Template = Annotated[str | None, typer.Option(help="prompt: one example, as in 'Review: {text}\\nSentiment: {label}'.")]
Document = Annotated[
    str | None, typer.Option(help="What one document is: file, block or line.  [default: found by content]")
]
InputDocument = Annotated[
    str | None,
    typer.Option(
        "--document",
        help="What one input from plain text is: file, block or line.  [default: as MODEL learnt; one file: line]",
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows and files that cannot be read, instead of ending.")
]
Config = Annotated[Path | None, typer.Option(help="A recipe in TOML, such as a run's config.toml.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the recipe, such as optimizer.lr=1e-3 (repeatable)."),
]
Seed = Annotated[int | None, typer.Option(help="The same seed draws the same data and weights.  [default: 0]")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.  [default: auto]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and the estimate; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Result as JSON on stdout, everything else on stderr.")]
Idle = typer.Option(hidden=True, callback=idle, help="Changes nothing here.")
NoConfig = Annotated[Path | None, Idle]
NoSet = Annotated[list[str] | None, typer.Option("--set", hidden=True, callback=idle, help="Changes nothing here.")]
NoSeed = Annotated[int | None, Idle]
NoDevice = Annotated[str | None, Idle]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", hidden=True)]


@contextmanager
def verb(as_json: bool, debug: bool, skips: bool = True) -> Iterator[Any]:
    """What a verb prints on; an error leaves as one message and its exit code. skips: the verb knows --skip-bad."""
    from firth.report.terminal import Terminal, nobody_reads

    show = Terminal(json=as_json)
    try:
        yield show
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        nobody_reads()
        raise typer.Exit(PIPE) from None
    except FirthError as error:
        show.error(error if skips else error.without_skipping())
        if debug:
            raise
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Interrupted. The same command begins again, or goes on from the last checkpoint.", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug or os.environ.get("FIRTH_DEBUG"):
            raise
        first = (str(error).splitlines() or [""])[0][:500]
        typer.echo(
            f"firth: {type(error).__name__}: {first}. This is a fault in firth; run again with --debug.", err=True
        )
        raise typer.Exit(1) from None


def asking(as_json: bool, show: Any) -> Callable[[str, str], str] | None:
    """Asks a question with a suggested answer; None where nobody is there to be asked."""
    if as_json or several() or not show.live or not person():
        return None
    return lambda question, suggested: typer.prompt(question, default=suggested)


def person() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["firth", *sys.argv[1:]])


def emit(as_json: bool, result: Any) -> None:
    """The result as one JSON object on stdout, where asked for."""
    if as_json:
        from firth.evaluate.answers import strict

        value = result.as_dict() if hasattr(result, "as_dict") else result
        typer.echo(json.dumps(strict(value), ensure_ascii=False, default=str))


def finish(as_json: bool, result: Any, show: Any) -> None:
    """The report of a run that is done, and the result."""
    if report := write_report(result):
        show.line("Report", str(report))
    emit(as_json and leads(), result)


def example(*commands: str) -> str:
    """What stands below the options of a verb's help: commands, each on its line."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def kept_at(out: Path | None, dry_run: bool) -> Path | None:
    """Where a result is kept; None: nowhere, as in a dry run. Raises InputError where something is there already."""
    from firth.train.folder import free_place

    place = free_place(out, streams=True) if out else None
    return None if dry_run else place


def refuse_beside(option: str, given: dict[str, Any]) -> None:
    """Raises InputError for what changes nothing beside another option."""
    for name, value in given.items():
        if is_given(value):
            raise InputError(f"--{name.replace('_', '-')}", f"changes nothing beside {option}", "Leave it out.")


def refuse_task(task: str) -> None:
    """Raises InputError for a task that predict does not take: a model says itself what it has learnt."""
    if task != "prompt":
        what = "is nothing to be chosen: a model answers with what it has learnt"
        raise InputError(f"--task {task}", what, "Leave it out; --task prompt asks a language model by examples.")


def refuse_without_task(options: dict[str, Any]) -> None:
    """Raises InputError for an option of prompts where nobody asked for one."""
    for name, value in options.items():
        if value:
            raise InputError(f"--{name}", "belongs to a prompt", "Add --task prompt, or leave it out.")
