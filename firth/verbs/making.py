"""The verbs that make a model. Each is a thin call of a Python function; torch is imported only inside a verb."""

from pathlib import Path
from typing import Annotated, Any

import typer

from firth.errors import InputError
from firth.options import (
    AdaptBudget,
    AdaptTask,
    Budget,
    Config,
    Data,
    Debug,
    Device,
    Document,
    DryRun,
    Frozen,
    Json,
    Label,
    Labels,
    Model,
    NoDevice,
    NoSeed,
    Objective,
    Raw,
    Seed,
    Set,
    Size,
    SkipBad,
    Source,
    Start,
    Test,
    Text,
    Valid,
    app,
    asking,
    emit,
    example,
    finish,
    refuse_beside,
    typed,
    verb,
)


@app.command(short_help="The whole story in two minutes.", epilog=example("firth demo", "firth demo --dry-run"))
def demo(
    out: Annotated[Path | None, typer.Option(help="The folder of its runs and report.  [default: runs/demo]")] = None,
    seed: Seed = None, device: Device = None, config: Config = None, settings: Set = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """The whole story in under two minutes: pre-train, adapt, compare, and the report."""
    with verb(as_json, debug) as show:
        from firth.evaluate.demo import demo as run
        from firth.report.html import write_comparison

        emit(as_json, run(out=out, seed=seed or 0, device=device or "auto", config=config, settings=settings or [],
                          dry_run=dry_run, show=show, report=write_comparison))  # fmt: skip


@app.command(
    short_help="Find what is wrong with data.",
    epilog=example("firth check raw/", "firth check labels.tsv --test test.tsv"),
)
def check(
    data: Data, text: Text = None, label: Label = None, valid: Valid = None, test: Test = None,
    document: Document = None, skip_bad: SkipBad = False, config: Config = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="A file for the report as JSON.")] = None,
    seed: NoSeed = None, device: NoDevice = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Read the data as training would, and name every bad file, row and label."""
    with verb(as_json, debug) as show:
        from firth.evaluate.doctor import check as run

        found = run(data, text, label, valid or [], test or [], document, settings or [], config, out, show,
                    dry_run)  # fmt: skip
        emit(as_json, found)
        if found.errors and not skip_bad:
            raise typer.Exit(InputError.exit_code)


@app.command(
    short_help="Learn from raw files.",
    epilog=example("firth pretrain raw/ --budget 20m", "firth pretrain photos/ --objective byol --budget 1h",
                   "firth pretrain raw/ --from runs/raw-next-token --budget 20m --out runs/more"),
)  # fmt: skip
def pretrain(
    data: Raw = None, objective: Objective = None, size: Size = None, budget: Budget = None, source: Source = None,
    text: Text = None, document: Document = None, skip_bad: SkipBad = False,
    config: Config = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/DATA-OBJECTIVE]")] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Self-supervised training from raw files: texts, pictures or sounds."""
    with verb(as_json, debug) as show:
        from firth.train.budget import process_start
        from firth.train.pretrain import pretrain as run

        result = run(
            data or [], objective=objective, size=size, budget=budget, source=source, text=text, document=document,
            skip_bad=skip_bad, config=config, settings=settings, out=out, seed=seed, device=device, dry_run=dry_run,
            show=show, started=process_start(), ask=asking(as_json, show),
        )  # fmt: skip
        finish(as_json, result, show)


@app.command(
    short_help="Learn a task from labels.",
    epilog=example("firth adapt runs/raw-masked-tokens labels.tsv --test test.tsv",
                   "firth adapt runs/raw-masked-tokens tags.conllu --task tag"),
)  # fmt: skip
def adapt(
    model: Model, data: Data, task: AdaptTask = None, start: Start = None, labels: Labels = None,
    frozen: Frozen = False, budget: AdaptBudget = None,
    text: Text = None, label: Label = None, valid: Valid = None, test: Test = None, document: Document = None,
    skip_bad: SkipBad = False, config: Config = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/DATA-TASK]")] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Fine-tune on labelled data; --start random takes the same shape, but new weights."""
    with verb(as_json, debug) as show:
        from firth.train.adapt import adapt as run
        from firth.train.budget import process_start

        result = run(
            model, data, task=task, start=start, labels=labels, frozen=frozen, budget=budget, text=text, label=label,
            valid=valid or (), test=test or (), document=document, skip_bad=skip_bad, config=config, settings=settings,
            out=out, seed=seed, device=device, dry_run=dry_run, show=show, started=process_start(),
        )  # fmt: skip
        finish(as_json, result, show)


@app.command(
    short_help="Does pre-training pay?",
    epilog=example("firth compare runs/raw-masked-tokens labels.tsv --labels 20,100",
                   "firth compare runs/a labels.tsv --against runs/b --labels 100",
                   "firth compare runs/a runs/b --suite speech"),
)  # fmt: skip
def compare(
    model: Model,
    data: Annotated[
        list[str] | None, typer.Argument(metavar="DATA...", help="Labelled files; with --suite further runs.")
    ] = None,
    task: AdaptTask = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Numbers of labels (pictures, sounds: of each class), validation included: 100,500,all.  "
            "[default: 200, or all where there are fewer]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds for each; fewer than 3 give no verdict.")] = 3,
    arms: Annotated[
        str | None,
        typer.Option(help="random, pretrained, linear, a start, a baseline; joined by commas.  [default: by DATA]"),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="A further model to compare with (repeatable).")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B", help="Compare settings: MODEL is raw data, pre-trained on for each value."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="With --vary: of each pre-training, such as 500steps.")] = None,
    control: Annotated[
        str | None, typer.Option(help="shuffled-labels: with labels dealt out anew, no gain may be shown.")
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Test on each group in turn: a column such as speaker."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="A suite of tasks, such as speech or speech:digits,phones, or a TOML file.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes that share the trials, and the cores.")] = 1,
    frozen: Frozen = False,
    text: Text = None, label: Label = None, test: Test = None, document: Document = None, skip_bad: SkipBad = False,
    config: Config = None, settings: Set = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of trials and report.  [default: runs/DATA-TASK-compare]")
    ] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Does pre-training pay? MODEL against random weights and baselines, and a verdict.

    All learn from the same labels, with several seeds; differences are told with 95 % intervals.
    """
    with verb(as_json, debug) as show:
        if suite:
            from firth.evaluate.standings import run_suite

            refuse_beside("--suite", {
                "task": task, "labels": labels, "arms": arms, "against": against, "vary": vary, "budget": budget,
                "control": control, "leave_out": leave_out, "frozen": frozen, "text": text, "label": label,
                "test": test, "document": document, "skip_bad": skip_bad, "config": config,
            })  # fmt: skip
            standings = run_suite([model, *(data or [])], suite, seeds, seed or 0, out, settings or [], device, jobs,
                                  dry_run, show)  # fmt: skip
            return emit(as_json, standings)
        from firth.evaluate.versus import versus as run
        from firth.report.html import write_comparison

        found: Any = run(
            model, data or [], task=task or "classify", labels=labels, seeds=seeds, arms=arms, against=against or [],
            vary=vary or [], budget=budget, control=control, frozen=frozen, text=text, label=label, test=test or (),
            document=document, skip_bad=skip_bad, config=config, settings=settings or [], out=out, seed=seed or 0,
            device=device, dry_run=dry_run, show=show, report=write_comparison, command=typed(), jobs=jobs,
            leave_out=leave_out,
        )  # fmt: skip
        emit(as_json, found)
