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

Raw = Annotated[list[str] | None, typer.Argument(metavar="DATA...", help="Raw files; may stand in --config.")]
Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Run folders; none: all of ./runs.")]
Data = Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders, globs, .zip or .gz of them.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, or a Hugging Face model folder.")]
Objective = Annotated[
    str | None,
    typer.Option(help=f"What is learnt (joined by commas): {', '.join(names('objectives'))}.  [default: by DATA]"),
]
Task = Annotated[str, typer.Option(help=f"The labelled task: {', '.join(learnable())}.")]
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
Shots = Annotated[
    str | None, typer.Option(help="prompt: how many examples stand in it; of measure several numbers: 0,1,4,16.")
]
Examples = Annotated[
    list[str] | None, typer.Option(help="prompt: a labelled file that examples are drawn from (repeatable).")
]
Template = Annotated[str | None, typer.Option(help="prompt: one example, as in 'Review: {text}\\nSentiment: {label}'.")]
Document = Annotated[
    str | None, typer.Option(help="What one document is: file, block or line.  [default: found by content]")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows and files that cannot be read, instead of ending.")
]
Config = Annotated[Path | None, typer.Option(help="A recipe in TOML, such as a run's config.toml.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the recipe, such as optimizer.lr=1e-3 (repeatable)."),
]
Out = Annotated[Path | None, typer.Option(help="The folder, or the file, to write.")]
Seed = Annotated[int | None, typer.Option(help="The same seed draws the same data and weights.  [default: 0]")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.  [default: auto]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and the estimate; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Result as JSON on stdout, everything else on stderr.")]
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
    if as_json or several() or not show.live or sys.stdin is None or not sys.stdin.isatty():
        return None
    return lambda question, suggested: typer.prompt(question, default=suggested)


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["firth", *sys.argv[1:]])


def emit(as_json: bool, result: Any) -> None:
    """The result as one JSON object on stdout, where asked for."""
    if as_json:
        value = result.as_dict() if hasattr(result, "as_dict") else result
        typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def finish(as_json: bool, result: Any, show: Any) -> None:
    """The report of a run that is done, and the result."""
    if report := write_report(result):
        show.line("Report", str(report))
    emit(as_json and leads(), result)


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
