"""The verbs. Each is a thin call of a Python function; torch is imported only inside a verb."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from firth import __version__
from firth.errors import InputError
from firth.options import (
    AdaptTask,
    Budget,
    Config,
    Data,
    Debug,
    Device,
    Document,
    DryRun,
    Examples,
    Frozen,
    Json,
    Label,
    Labels,
    MeasureTask,
    Model,
    Objective,
    Out,
    Raw,
    Runs,
    ScoreTask,
    Seed,
    Set,
    Shots,
    Size,
    SkipBad,
    Source,
    Start,
    Task,
    Template,
    Test,
    Text,
    Valid,
    data_settings,
    emit,
    encoder_settings,
    finish,
    merged,
    refuse_task,
    refuse_without_task,
    typed,
    verb,
)

app = typer.Typer(
    name="firth",
    help="Self-supervised learning on your own files: pre-train, adapt, and see whether it pays.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"firth {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Out = None, seed: Seed = None, device: Device = None, config: Config = None, settings: Set = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """The whole story in under two minutes: pre-train, adapt, compare, and the report."""
    with verb(as_json, debug) as show:
        from firth.evaluate.demo import demo as run
        from firth.report.html import write_comparison

        emit(as_json, run(out=out, seed=seed or 0, device=device or "auto", config=config, settings=settings or [],
                          dry_run=dry_run, show=show, report=write_comparison))  # fmt: skip


@app.command()
def check(
    data: Data, text: Text = None, label: Label = None, valid: Valid = None, test: Test = None,
    document: Document = None, skip_bad: SkipBad = False, config: Config = None, settings: Set = None,
    out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Read the data as training would, and name every bad file, row and label with its place."""
    with verb(as_json, debug) as show:
        from firth.evaluate.doctor import check as run

        found = run(data, text, label, valid or [], test or [], document, settings or [], config, out, show)
        emit(as_json, found)
        if found.errors and not skip_bad:
            raise typer.Exit(InputError.exit_code)


@app.command()
def pretrain(
    data: Raw = None, objective: Objective = None, size: Size = None, budget: Budget = None, source: Source = None,
    text: Text = None, document: Document = None, skip_bad: SkipBad = False,
    config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Self-supervised training from raw files."""
    with verb(as_json, debug) as show:
        from firth.train.budget import process_start
        from firth.train.pretrain import pretrain as run

        options = data_settings(text=text, document=document, skip_bad=skip_bad)
        result = run(
            data or [], objective=objective, size=size, budget=budget, source=source, config=config,
            settings=merged(options, settings), out=out, seed=seed, device=device, dry_run=dry_run, show=show,
            started=process_start(),
        )  # fmt: skip
        finish(as_json, result, show)


@app.command()
def adapt(
    model: Model, data: Data, task: AdaptTask = None, start: Start = None, labels: Labels = None,
    frozen: Frozen = False,
    text: Text = None, label: Label = None, valid: Valid = None, test: Test = None, skip_bad: SkipBad = False,
    config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Fine-tune on labelled data; --start random: same shape and tokenizer, weights unused."""
    with verb(as_json, debug) as show:
        from firth.train.adapt import adapt as run
        from firth.train.budget import process_start

        options = data_settings(text=text, label=label, valid=valid, test=test, skip_bad=skip_bad)
        options |= encoder_settings(frozen)
        result = run(
            model, data, task=task, start=start, labels=labels, config=config, settings=merged(options, settings),
            out=out, seed=seed, device=device, dry_run=dry_run, show=show, started=process_start(),
        )  # fmt: skip
        finish(as_json, result, show)


@app.command()
def compare(
    model: Model, data: Data, task: Task = "classify",
    labels: Annotated[str, typer.Option(help="Numbers of labels, validation included: 100,500,all.")] = "200",
    seeds: Annotated[int, typer.Option(help="Seeds for each; fewer than 3 give no verdict.")] = 3,
    arms: Annotated[
        str | None, typer.Option(help="random, pretrained, a start, a baseline; joined by commas.  [default: all]")
    ] = None,
    against: Annotated[list[str] | None, typer.Option(metavar="MODEL", help="A further model (repeatable).")] = None,
    vary: Annotated[
        list[str] | None, typer.Option(metavar="KEY=A,B", help="MODEL is raw data: pre-train once for each value.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="With --vary: of each pre-training, such as 500steps.")] = None,
    control: Annotated[str | None, typer.Option(help="shuffled-labels: nothing may be shown.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that share the trials, and the cores.")] = 1,
    frozen: Frozen = False,
    text: Text = None, label: Label = None, test: Test = None, skip_bad: SkipBad = False,
    config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Does pre-training pay? Random initialisation, this model, others, baselines; seeds, intervals, a verdict."""
    with verb(as_json, debug) as show:
        from firth.evaluate.versus import versus as run
        from firth.report.html import write_comparison

        options = data_settings(text=text, label=label, test=test, skip_bad=skip_bad)
        options |= encoder_settings(frozen)
        found = run(
            model, data, task=task, labels=labels, seeds=seeds, arms=arms, against=against or [], vary=vary or [],
            budget=budget, control=control, config=config, settings=merged(options, settings), out=out, seed=seed or 0,
            device=device, dry_run=dry_run, show=show, report=write_comparison, command=typed(), jobs=jobs,
        )  # fmt: skip
        emit(as_json, found)


@app.command()
def score(
    gold: Annotated[str, typer.Argument(metavar="GOLD", help="The labelled file.")],
    predictions: Annotated[str, typer.Argument(metavar="PREDICTIONS", help="What any tool said of it.")],
    task: ScoreTask = "classify", label: Label = None,
    predicted: Annotated[str | None, typer.Option(help="Name of the column of predictions.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A label that may be predicted, too (repeatable).")
    ] = None,
    config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """The field's exact metric on a prediction file that any tool wrote."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.scoring import score as run

        found = run(gold, predictions, task, label=label, predicted=predicted, classes=classes or (),
                    settings=settings or [])  # fmt: skip
        show.figures(found)
        if out and not dry_run:
            show.keep(found, out)
        emit(as_json, found)


@app.command()
def embed(
    model: Model,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Texts, files, or - for a pipe.")],
    layer: Annotated[int, typer.Option(help="Whose output: 0 the embedding, -1 the last block.")] = -1,
    pooling: Annotated[str, typer.Option(help="mean, first or max.")] = "mean",
    raw: Annotated[bool, typer.Option("--raw", help="Do not scale the vectors to length 1.")] = False,
    text: Text = None, config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None,
    device: Device = None, dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Vectors of texts, as .npy or .parquet, for search, clustering, near-duplicates."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.vectors import embed as run

        found: Any = run(
            model, inputs, out=out or Path("vectors.npy"), layer=layer, pooling=pooling, normalise=not raw, text=text,
            settings=settings or [], device=device or "auto", dry_run=dry_run, show=show,
        )  # fmt: skip
        if dry_run:
            show.note("Nothing was written.")
            found = {"status": "planned", "out": str(out or "vectors.npy"), "width": found.shape[1]}
        emit(as_json, found)


@app.command()
def company(
    model: Model,
    word: Annotated[str, typer.Argument(metavar="WORD", help="The word whose company is looked at.")],
    data: Annotated[
        list[str] | None, typer.Argument(metavar="DATA...", help="Default: what MODEL was trained on.")
    ] = None,
    most: Annotated[int, typer.Option(help="Occurrences that are looked at.")] = 400,
    text: Text = None, config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None,
    device: Device = None, dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """The company a word keeps: its occurrences, grouped by contextual vectors."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.company import company as run
        from firth.report.company_page import page_of, write_company

        found = run(model, word, data or None, count=most, text=text, settings=settings or [], seed=seed or 0,
                    device=device or "auto", show=show)  # fmt: skip
        for number, text in enumerate(found.lines()):
            show.line("" if number else "Company", text)
        if dry_run:
            show.note("Nothing was written.")
        else:
            show.line("Report", str(write_company(found, out or page_of(found.word))))
        emit(as_json, found)


@app.command()
def predict(
    model: Model,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Texts, files, or - for a pipe.")],
    top: Annotated[int, typer.Option(help="How many guesses to print.")] = 5,
    tokens: Annotated[int | None, typer.Option(help="Writing on: so many tokens at most.  [default: 100]")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Writing on: 0 is always the likeliest.  [default: 0.8]")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Writing on: only so many tokens, the likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Writing on: only the likeliest with this share.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Writing on: only with this share of the likeliest.")] = None,
    repetition: Annotated[float | None, typer.Option(help="Writing on: above 1 is against repeating.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Writing on: end before this text (repeatable).")] = None,
    choice: Annotated[list[str] | None, typer.Option(help="Writing on: one of these texts (repeatable).")] = None,
    task: Annotated[
        str | None, typer.Option(help="prompt: a language model labels in words, by examples in its context.")
    ] = None,
    shots: Shots = None, examples: Examples = None, template: Template = None,
    text: Text = None, label: Label = None, config: Config = None, settings: Set = None, out: Out = None,
    seed: Seed = None, device: Device = None, dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Labels, tags, answers, words for [MASK], a text written on; readable on a terminal, JSON lines when piped."""
    with verb(as_json, debug, skips=False) as show:
        prompt: dict[str, Any] = {"shots": shots, "examples": examples, "template": template, "label": label}
        if task is not None:
            from firth.evaluate.prompting import prompted

            refuse_task(task)
            found = prompted(model, inputs, **prompt, classes=choice or (), top=top, text=text, config=config,
                             settings=settings or [], seed=seed, device=device, dry_run=dry_run)  # fmt: skip
            show.predictions(found, out)
            return
        refuse_without_task(prompt)
        from firth.evaluate.predict import predict as run

        found = run(
            model, inputs, top=top, text=text, config=config, settings=settings or [], seed=seed, device=device,
            dry_run=dry_run, pieces=show.live and not (as_json or out), tokens=tokens, temperature=temperature,
            top_k=top_k, top_p=top_p, min_p=min_p, repetition=repetition, stop=tuple(stop or ()),
            choice=tuple(choice or ()),
        )  # fmt: skip
        show.predictions(found, out)


@app.command()
def measure(
    model: Model,
    data: Annotated[
        list[str] | None, typer.Argument(metavar="DATA...", help="What is scored, as the task has it.")
    ] = None,
    task: MeasureTask = "likelihood",
    shots: Shots = None, examples: Examples = None, template: Template = None,
    draws: Annotated[int | None, typer.Option(help="prompt: of the examples, for each number.  [default: 5]")] = None,
    most: Annotated[int | None, typer.Option(help="Score so many items (minimal pairs: of each paradigm).")] = None,
    stride: Annotated[
        int | None, typer.Option(help="likelihood: tokens that a window is moved by.  [default: half of one]")
    ] = None,
    text: Text = None, label: Label = None, config: Config = None, settings: Set = None, out: Out = None,
    seed: Seed = None, device: Device = None, dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """What a language model knows: likelihood of text, minimal pairs, multiple choice, prompts; nothing is learnt."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.measuring import measure as run
        from firth.report.html import write_measured

        found = run(
            model, data or [], task, shots=shots, examples=examples, template=template, draws=draws, most=most,
            stride=stride, text=text, label=label, config=config, settings=settings or [], seed=seed, device=device,
            dry_run=dry_run, show=show,
        )  # fmt: skip
        if out and not dry_run:
            page = out.suffix == ".html"
            show.line("Report", str(write_measured(found, out, typed()))) if page else show.keep(found.as_dict(), out)
        emit(as_json, found)


@app.command()
def export(
    model: Model,
    to: Annotated[str, typer.Option(help="onnx (encoders), gguf (llama.cpp) or hf (transformers).")],
    precision: Annotated[
        str | None, typer.Option(help="gguf: f32 or f16.  [default: f16 where that is exact, else f32]")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="onnx: vectors of steps and texts, no head.")] = False,
    config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """A model for other tools; each export is loaded again and compared before it is called done."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.export import export as run

        done = run(model, to, out=out, precision=precision, vectors=vectors, settings=settings or [], dry_run=dry_run,
                   show=show)  # fmt: skip
        if dry_run:
            show.note("Nothing was written.")
        emit(as_json, done)


@app.command()
def runs(
    names: Runs = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete these runs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    config: Config = None, settings: Set = None, out: Out = None, seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """List, show, compare or delete run folders."""
    with verb(as_json, debug) as show:
        from firth.train.runs import runs as run

        emit(as_json, run(names or [], delete=delete, yes=yes, root=out, dry_run=dry_run, show=show))


def main() -> None:
    """The entry point of the `firth` command and of `python -m firth`."""
    for stream in (sys.stdout, sys.stderr):  # names of files may be no UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
