"""The verbs that use a model, or what one said. Each is a thin call; torch is imported only inside a verb."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from firth.options import (
    Config,
    Data,
    Debug,
    Device,
    DryRun,
    Examples,
    InputDocument,
    Inputs,
    Json,
    Label,
    MeasureTask,
    Model,
    NoConfig,
    NoDevice,
    NoSeed,
    NoSet,
    Runs,
    ScoreTask,
    Seed,
    Set,
    Shots,
    SkipBad,
    Template,
    Text,
    app,
    emit,
    example,
    kept_at,
    person,
    refuse_beside,
    refuse_task,
    refuse_without_task,
    typed,
    verb,
)


@app.command(
    short_help="Score any tool's predictions.",
    epilog=example("firth score test.tsv said.jsonl --task classify", "firth score test.conllu said.jsonl --task tag"),
)
def score(
    gold: Annotated[str, typer.Argument(metavar="GOLD", help="The labelled file.")],
    predictions: Annotated[str, typer.Argument(metavar="PREDICTIONS", help="What any tool said of it.")],
    task: ScoreTask = "classify", label: Label = None,
    predicted: Annotated[str | None, typer.Option(help="Name of the column of predictions.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="A label that may be predicted, too (repeatable).")
    ] = None,
    config: NoConfig = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="A file for the figures as JSON.")] = None,
    seed: NoSeed = None, device: NoDevice = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """The field's exact metric on a prediction file that any tool wrote."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.scoring import score as run

        place = kept_at(out, dry_run)
        found = run(gold, predictions, task, label=label, predicted=predicted, classes=classes or (),
                    settings=settings or [])  # fmt: skip
        show.figures(found)
        if place:
            show.keep(found, place)
        emit(as_json, found)


@app.command(
    short_help="Vectors of texts or files.",
    epilog=example("firth embed runs/raw-masked-tokens raw/ --out vectors.npy",
                   "firth embed runs/raw-masked-tokens mails.csv --text body --out mails.parquet --skip-bad"),
)  # fmt: skip
def embed(
    model: Model, inputs: Inputs,
    layer: Annotated[int, typer.Option(help="The layer that is taken: 0 the embedding, -1 the last block.")] = -1,
    pooling: Annotated[str, typer.Option(help="How the vectors of its steps become one: mean, first or max.")] = "mean",
    raw: Annotated[bool, typer.Option("--raw", help="Do not scale the vectors to length 1.")] = False,
    text: Text = None, document: InputDocument = None, skip_bad: SkipBad = False,
    config: NoConfig = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="The file, .npy or .parquet.  [default: vectors.npy]")] = None,
    seed: NoSeed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Vectors of texts or files, as .npy or .parquet, for search or clustering."""
    with verb(as_json, debug) as show:
        from firth.evaluate.vectors import embed as run

        found: Any = run(
            model, inputs, out=out or Path("vectors.npy"), layer=layer, pooling=pooling, normalise=not raw, text=text,
            document=document, skip_bad=skip_bad, settings=settings or [], device=device or "auto", dry_run=dry_run,
            show=show,
        )  # fmt: skip
        if dry_run:
            show.note("Nothing was written.")
            found = {"status": "planned", "out": str(out or "vectors.npy"), "width": found.shape[1]}
        emit(as_json, found)


@app.command(
    short_help="Units of sound, without labels.",
    epilog=example("firth units runs/voices-masked-frames clips.jsonl --label word --speaker speaker",
                   "firth units runs/voices-masked-frames voices/ --out units.txt"),
)  # fmt: skip
def units(
    model: Model, data: Data,
    number: Annotated[int, typer.Option("--units", help="Kinds of sound that are looked for.")] = 100,
    layer: Annotated[
        int | None, typer.Option(help="The layer that is taken: 0 the embedding.  [default: the middle]")
    ] = None,
    label: Label = None,
    speaker: Annotated[str | None, typer.Option(help="Name of the column of speakers.")] = None,
    aligner: Annotated[
        str | None,
        typer.Option("--align", metavar="MODEL", help="A run of transcribe: its phones are held against the units."),
    ] = None,
    most: Annotated[int, typer.Option(help="Clips that are looked at.")] = 1000,
    config: NoConfig = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="A file of the units: .txt, else JSON lines.")] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """What an encoder of sound found without labels: units of sound, and who sounds alike.

    With --out, a file of units that a language model can be trained on.
    """
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.units import units as run

        found = run(model, data, count=number, layer=layer, label=label, speaker=speaker, aligner=aligner, most=most,
                    seed=seed or 0, settings=settings or [], device=device or "auto", out=out,
                    dry_run=dry_run, show=show)  # fmt: skip
        if dry_run:
            show.note("Nothing was written.")
        emit(as_json, found)


@app.command(
    short_help="The company a word keeps.",
    epilog=example("firth company runs/raw-masked-tokens ship",
                   "firth company runs/raw-masked-tokens ship raw/ --out ship.html"),
)  # fmt: skip
def company(
    model: Model,
    word: Annotated[str, typer.Argument(metavar="WORD", help="The word whose company is looked at.")],
    data: Annotated[
        list[str] | None, typer.Argument(metavar="DATA...", help="Default: what MODEL was trained on.")
    ] = None,
    most: Annotated[int, typer.Option(help="Occurrences that are looked at.")] = 400,
    text: Text = None, config: NoConfig = None, settings: Set = None,
    out: Annotated[
        Path | None, typer.Option(help="The page, or a folder for page and numbers.  [default: company-WORD.html]")
    ] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """The company a word keeps: its occurrences, grouped by their vectors in context."""
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.company import company as run
        from firth.report.company_page import free_page, page_of, write_company

        place = free_page(out or page_of(word.strip()))
        found = run(model, word, data or None, count=most, text=text, settings=settings or [], seed=seed or 0,
                    device=device or "auto", show=show)  # fmt: skip
        for number, text in enumerate(found.lines()):
            show.line("" if number else "Company", text)
        if dry_run:
            show.note("Nothing was written.")
        else:
            show.line("Report", str(write_company(found, place)))
        emit(as_json, found)


@app.command(
    short_help="Labels, tags, answers, text.",
    epilog=example('firth predict runs/labels-classify "a wonderful film"',
                   "firth predict runs/labels-classify mails.csv --out said.csv --skip-bad",
                   'firth predict runs/raw-next-token "The old ship" --tokens 50'),
)  # fmt: skip
def predict(
    model: Model, inputs: Inputs,
    top: Annotated[
        int | None, typer.Option(help="Guesses that are printed; not of a model that writes on.  [default: 5]")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="Writing on: so many tokens at most.  [default: 100]")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Writing on: 0 is always the likeliest.  [default: 0.8]")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Writing on: only so many tokens, the likeliest.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Writing on: only the likeliest with this share.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Writing on: only with this share of the likeliest.")] = None,
    repetition: Annotated[float | None, typer.Option(help="Writing on: above 1 is against repeating.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Writing on: end before this text (repeatable).")] = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="Writing on: one of these texts; prompt: a class (repeatable).")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Only prompt; otherwise the model answers with what it learnt.")
    ] = None,
    shots: Shots = None, examples: Examples = None, template: Template = None,
    text: Text = None, label: Label = None, document: InputDocument = None, skip_bad: SkipBad = False,
    config: Annotated[Path | None, typer.Option(help="prompt: a recipe in TOML, whose table `prompt` is read.")] = None,
    settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="A file for the answers: .jsonl, .csv or .tsv.")] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Labels, tags, answers, transcripts, words for [MASK], or a text written on.

    On a terminal for people, when piped as JSON lines. "Writing on" is what a model of next tokens does.
    """
    with verb(as_json, debug) as show:
        from firth.evaluate.answer_files import check_out
        from firth.evaluate.inputs import Query

        place = check_out(out) if out else None
        prompt: dict[str, Any] = {"shots": shots, "examples": examples, "template": template, "label": label}
        writing: dict[str, Any] = {
            "tokens": tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
            "repetition": repetition, "stop": tuple(stop or ()),
        }  # fmt: skip
        query = Query(model, inputs, top, text, settings or [], seed, device, document, skip_bad, dry_run, guesses=5)
        if task is not None:
            from firth.evaluate.prompting import prompted

            refuse_task(task)
            refuse_beside("--task prompt", writing)
            found = prompted(query, **prompt, classes=choice or (), config=config)
        else:
            from firth.evaluate.predict import answers_to

            refuse_without_task(prompt | {"config": config})
            pieces = show.live and not (as_json or out)
            found = answers_to(query, pieces, **writing, choice=tuple(choice or ()))
        if not dry_run:
            show.predictions(found, place, skip_bad)
        elif out:
            show.note("Nothing was written.")


@app.command(
    short_help="What a language model knows.",
    epilog=example("firth measure runs/raw-next-token raw/",
                   "firth measure runs/raw-next-token blimp.zip --task minimal-pairs --out pairs.html"),
)  # fmt: skip
def measure(
    model: Model,
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA...", help="What is scored: texts, pairs, choices or labelled rows, by the task."),
    ] = None,
    task: MeasureTask = "likelihood",
    shots: Annotated[
        str | None, typer.Option(help="prompt: how many examples stand in it; one number or several: 0,1,4,16.")
    ] = None,
    examples: Examples = None, template: Template = None,
    draws: Annotated[
        int | None, typer.Option(help="prompt: how often examples are drawn, for each number.  [default: 5]")
    ] = None,
    most: Annotated[int | None, typer.Option(help="Score so many items (minimal pairs: of each paradigm).")] = None,
    stride: Annotated[
        int | None, typer.Option(help="likelihood: tokens that a window is moved by.  [default: half of one]")
    ] = None,
    text: Text = None, label: Label = None, config: Config = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="A file for the figures: .json, or .html with pictures.")] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """What a language model knows without learning: likelihood, minimal pairs, prompts.

    With --out, the same command goes on where it was ended.
    """
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.measuring import measure as run
        from firth.evaluate.parts import beside
        from firth.report.html import write_measured

        place = kept_at(out, dry_run)
        with beside(place) as kept:
            found = run(
                model, data or [], task, shots=shots, examples=examples, template=template, draws=draws, most=most,
                stride=stride, text=text, label=label, config=config, settings=settings or [], seed=seed,
                device=device, dry_run=dry_run, show=show, kept=kept,
            )  # fmt: skip
            if place and place.suffix == ".html":
                show.line("Report", str(write_measured(found, place, typed())))
            elif place:
                show.keep(found.as_dict(), place)
        emit(as_json, found)


@app.command(
    short_help="For ONNX, llama.cpp, transformers.",
    epilog=example("firth export runs/labels-classify --to onnx", "firth export runs/raw-next-token --to gguf"),
)
def export(
    model: Model,
    to: Annotated[str, typer.Option(help="onnx (encoders), gguf (llama.cpp) or hf (transformers).")],
    precision: Annotated[
        str | None, typer.Option(help="gguf: f32 or f16.  [default: f16 where that is exact, else f32]")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="onnx: vectors of steps and texts, no head.")] = False,
    config: NoConfig = None, settings: Set = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder, of gguf the file.  [default: named after MODEL, here]")
    ] = None,
    seed: NoSeed = None, device: NoDevice = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """A model for other tools: ONNX, GGUF or a clean Hugging Face folder.

    Each export is loaded again and compared with the model before it is called done.
    """
    with verb(as_json, debug, skips=False) as show:
        from firth.evaluate.export import export as run

        done = run(model, to, out=out, precision=precision, vectors=vectors, settings=settings or [], dry_run=dry_run,
                   show=show)  # fmt: skip
        if dry_run:
            show.note("Nothing was written.")
        emit(as_json, done)


@app.command(
    short_help="A model behind HTTP.",
    epilog=example("firth serve runs/raw-next-token",
                   "firth serve runs/raw-next-token --port 9000 --out requests.jsonl"),
)  # fmt: skip
def serve(
    model: Model,
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="Where it listens; others reach only what is named here.")] = "127.0.0.1",
    config: NoConfig = None, settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="A file that a JSON line is added to for each request.")] = None,
    seed: Seed = None, device: Device = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """A model behind HTTP on this machine: /v1/completions and /v1/embeddings.

    As clients of OpenAI's API ask for them.
    """
    with verb(as_json, debug, skips=False) as show:
        from firth.serving.server import serve as run

        found = run(model, host, port, settings=settings or [], seed=seed, device=device or "auto", out=out,
                    dry_run=dry_run, show=show, ready=partial(emit, as_json), debug=debug)  # fmt: skip
        if dry_run:
            show.note("Nothing was served.")
            emit(as_json, found)


@app.command(
    short_help="List, compare, delete runs.",
    epilog=example("firth runs", "firth runs reviews", "firth runs reviews reviews-2", "firth runs --delete reviews-2"),
)
def runs(
    names: Runs = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete these runs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="What was read and decoded for runs, and kept: its size and age.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--in", metavar="FOLDER", help="The folder that holds the runs.  [default: runs]")
    ] = None,
    out: Annotated[Path | None, typer.Option(hidden=True, help="As --in.")] = None,
    config: NoConfig = None, settings: NoSet = None, seed: NoSeed = None, device: NoDevice = None,
    dry_run: DryRun = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """List, show, compare or delete run folders, or what is kept of their data.

    Without a name: all; with one: its facts; with several: which settings differ, and the results.
    """
    with verb(as_json, debug) as show:
        from firth.train.runs import runs as run

        ask = partial(typer.confirm, err=True) if person() else None
        found = run(names or [], delete=delete, yes=yes, root=folder or out, dry_run=dry_run, show=show, ask=ask,
                    cache=cache)  # fmt: skip
        emit(as_json, found)
