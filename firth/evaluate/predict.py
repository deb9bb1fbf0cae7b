"""`firth predict`: what a trained model says about new inputs, streamed: labels, words for [MASK], a text written on.

What a prediction is, is the business of the objective or task whose head lies in the model folder: its file offers
`predict(objective, signal, texts, numbers, top) -> list`, one item per text. A method that writes offers `stream`, too,
which gives the same in pieces as they come, and takes options on writing in place of `top`.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from firth import find
from firth.data.files import FORMATS, expand
from firth.data.readers import read
from firth.data.records import Record
from firth.errors import InputError, did_you_mean
from firth.interop.folder import Opened, open_folder
from firth.model.backbones import backbone_of
from firth.model.layer_sum import LayerSum
from firth.objective import Composed, Objective
from firth.recipe import Model, Recipe, apply_settings
from firth.signal import Signal
from firth.task import TaskConfig
from firth.train import build
from firth.train.adaptation import open_signal, refuse_unfinished

Text = str | Sequence[str]  # one input; of tasks that read several texts, all of them
KINDS = ("tasks", "objectives")  # an adapted task is asked before the objectives it came from
BATCH = 64  # texts that go through the model together
FIRST, AHEAD = 16, 2048  # texts read before the first are answered; it doubles up to the second
CONVERT = "Convert it: iconv -f CP1252 -t UTF-8 OLD > NEW"
LONGEST = 2**20  # characters of a line of a stream; the rest of it is dropped


@dataclass
class Loaded:
    """A model folder, ready to predict. name: of the task or objective; classes: where it tells labels apart."""

    name: str
    objective: Composed
    signal: Signal
    classes: tuple[str, ...]
    answer: Callable[..., list[Any]]  # `predict` of the method's file
    pieces: Callable[..., Iterator[Any]] | None = None  # its `stream`, where it writes

    @property
    def reads(self) -> Callable[[Record], Text] | None:
        """How an input is made of a row of a table; None: from its text alone."""
        config = getattr(self.objective.parts[self.name], "config", None)
        return config.inputs if isinstance(config, TaskConfig) and config.fielded else None

    def predict(self, texts: Text | Iterable[Text], top: int | None = None, **writing) -> Iterator[Any]:
        """One prediction per text, in the order of the texts, while they are still being read.

        A text may be several, where the task takes several: question and document, two sentences, words.
        At most AHEAD texts are held; texts of like length share a batch. top: how many labels or words are named
        (None: the method's own choice). writing: how a text is written on, such as tokens=50, temperature=0.
        Raises InputError for a text that the method cannot answer.
        """
        source = iter([texts] if isinstance(texts, str) else texts)
        options, done, ahead = self.options(top, writing), 0, FIRST
        while chunk := list(islice(source, ahead)):
            yield from self._chunk(chunk, done, options)
            done, ahead = done + len(chunk), min(2 * ahead, AHEAD)

    def stream(self, texts: Iterable[str], **writing) -> Iterator[Any]:
        """Each text, and then what is written to it, piece by piece; only of a method that writes."""
        assert self.pieces is not None
        options = self.options(None, writing)
        for number, text in enumerate(texts, 1):
            yield text
            yield from self.pieces(self.objective, self.signal, [text], numbers=[number], **options)

    def options(self, top: int | None, writing: Mapping[str, Any]) -> dict[str, Any]:
        """What the method is asked for. Raises InputError for writing where it answers otherwise."""
        given = {name: value for name, value in writing.items() if value not in (None, ())}
        if self.pieces is not None:
            return given
        if odd := next((name for name in given if name != "seed"), None):
            what = f"is for a model that writes on; this one answers with {self.name.replace('-', ' ')}"
            raise InputError(f"--{odd.replace('_', '-')}", what, "Leave it out.")
        return {} if top is None else {"top": top}

    def _chunk(self, texts: list[Text], done: int, options: dict[str, Any]) -> list[Any]:
        """Answers in order; the longest batch goes first, so that what does not fit memory shows at once."""
        order = sorted(range(len(texts)), key=lambda i: -length(texts[i]))
        answers: dict[int, Any] = {}
        for begin in range(0, len(order), BATCH):
            places = order[begin : begin + BATCH]
            numbers = [done + place + 1 for place in places]
            found = self.answer(self.objective, self.signal, [texts[i] for i in places], numbers=numbers, **options)
            answers |= zip(places, found, strict=True)
        return [answers[place] for place in range(len(texts))]


def length(text: Text) -> int:
    """In characters; all files of another signal count alike."""
    if isinstance(text, str):
        return len(text)
    return sum(map(length, text)) if isinstance(text, list | tuple) else 1


def load(folder: str | Path, settings: Iterable[str] | Mapping[str, Any] = (), device: str = "auto") -> Loaded:
    """A run folder, or a model folder of firth or of transformers, ready to predict.

    settings: dotted keys of the signal, such as text.context=256, and of the method, such as transcribe.beam=16.
    Raises InputError for a folder without a model, and for a model without a head that predicts.
    """
    refuse_unfinished(folder)
    opened = open_folder(folder)
    name, kind = head_of(opened, folder)
    recipe = Recipe(device=device, signal=opened.signal, model=Model(source=str(folder)))
    recipe = apply_settings(recipe, settings)
    signal, module = open_signal(recipe), find.find(kind, name)
    objective = compose(opened, name, module, signal, recipe.tables.get(name.replace("-", "_"), {}))
    fill(objective, opened, folder)
    objective.eval().to(build.device_of(recipe))
    return Loaded(name, objective, signal, opened.classes, module.predict, getattr(module, "stream", None))


def head_of(opened: Opened, folder) -> tuple[str, str]:
    """(name, kind) of the part that predicts. Raises InputError."""
    for kind in KINDS:
        for name in sorted(opened.parts & set(find.names(kind))):
            if hasattr(find.find(kind, name), "predict"):
                return name, kind
    raise InputError(
        folder, "has no head that predicts", f"Adapt it first: firth adapt {folder} LABELS.tsv --task classify."
    )


def compose(opened: Opened, name: str, module, signal: Signal, table: Mapping[str, Any]) -> Composed:
    """The encoder of the folder with the one part; its Config from what the folder says of it, and then the table."""
    backbone = backbone_of(opened.shape, signal.embed(opened.shape))
    known = {key: value for key, value in opened.facts.items() if key in module.Config.model_fields}
    config = module.Config(**known | dict(table)).fill(signal.facts._replace(classes=tuple(opened.classes)))
    part = find.main_class(module, Objective)(config, backbone)
    weights = opened.state.get(f"parts.{name}.layer_sum.weights")
    part.layer_sum = None if weights is None else LayerSum(len(weights))
    return Composed(backbone, {name: part})


def fill(objective: Composed, opened: Opened, folder) -> None:
    """All weights of the objective from the folder. Raises InputError where one is missing or of another size."""
    own = objective.state_dict()
    for name, tensor in own.items():
        if name not in opened.state or opened.state[name].shape != tensor.shape:
            what = f"has no weights for `{name}`" if name not in opened.state else f"`{name}` has another size"
            raise InputError(folder, what, "Save the model again, or copy its folder as a whole.")
    objective.load_state_dict({name: opened.state[name] for name in own})


def predict(
    model: str | Path,
    inputs: str | Iterable[str] = (),
    top: int | None = None,
    text: str | None = None,
    config: str | Path | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    device: str | None = None,
    dry_run: bool = False,
    pieces: bool = False,
    **writing,
) -> Iterator[Any]:
    """Predictions for texts, for the texts in files, and for the lines of a pipe (`-`), streamed in their order.

    text: name of the text column in tables; tasks that read several have their own. config: nothing here depends on it,
    and on the seed only what is written. dry_run: only the model and the inputs are checked. pieces: what is written
    comes in pieces, as `Loaded.stream` gives them. writing: tokens, temperature, top_k, top_p, min_p, repetition, stop,
    choice. Raises InputError at once for a model or file that cannot be read.
    """
    given = [inputs] if isinstance(inputs, str) else list(inputs)
    if not given:
        raise InputError("INPUT", "is not given", "Give a text in quotes, a file, or - for a pipe.")
    if top is not None and top < 1:
        raise InputError(f"--top {top}", "asks for no guess", "Ask for one or more.")
    for one in given:
        refuse_input(one, empty=True)
    loaded = load(model, settings, device or "auto")
    writes = loaded.pieces is not None
    sources = [inputs_of(loaded.signal, one, text, loaded.reads, empty=writes) for one in given]
    texts = (one for source in sources for one in source)
    how = writing | {"seed": seed}
    loaded.options(top, how)
    if dry_run:
        return iter(())
    return loaded.stream(texts, **how) if pieces and writes else loaded.predict(texts, top, **how)


def inputs_of(
    signal: Signal,
    given: str,
    column: str | None = None,
    reads: Callable[[Record], Any] | None = None,
    empty: bool = False,
) -> Iterable[Any]:
    """What one input stands for: texts, or the files of another signal. Raises InputError at once for what is none."""
    store = build.store_of(type(signal))
    if hasattr(store, "inputs"):
        return store.inputs(given, signal, reads)
    return source_of(given, column, reads, empty)


def source_of(
    given: str,
    column: str | None = None,
    reads: Callable[[Record], Text] | None = None,
    empty: bool = False,
) -> Iterable[Any]:
    """The texts that one input stands for: lines of standard input, texts of a file or folder, or itself.

    reads: makes the input of a row of a table; None: the text column is the input. empty: an empty text is one, too.
    """
    if given == "-":
        return lines(sys.stdin)
    refuse_input(given, empty)
    if not looks_like_a_file(given):
        return [given]
    files = expand([given])
    if reads is None or column is not None:
        return (record.text for record in read(files, text=column, document="line"))
    plain, tables = ([file for file in files if (file.format == "text") is wanted] for wanted in (True, False))
    texts = (record.text for record in read(plain, document="line")) if plain else ()
    return chain(texts, map(reads, read(tables, rows=True)) if tables else ())


def refuse_input(given: str, empty: bool = False) -> None:
    """Raises InputError for what is empty, no UTF-8, or has the form of a file name and is not there."""
    if given == "-" or (empty and not given.strip()):
        return
    if not given.strip():
        raise InputError("INPUT", "is empty", "Give a text in quotes, a file, or - for a pipe.")
    refuse_broken(given, "INPUT")
    looks_like_a_file(given)


def looks_like_a_file(given: str) -> bool:
    """True for what is there. Raises InputError for what has the form of a file name and is not there."""
    if given and len(given) < 1024 and "\n" not in given and is_there(given):
        return True
    path = Path(given) if len(given) < 1024 and not any(sign.isspace() for sign in given) else None
    if path is None or path.suffix.lower() not in {*FORMATS, ".gz", ".zip"} - {""}:
        return False
    near = did_you_mean(path.name, [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else [])
    raise InputError(given, "no such file", f"{near}Put a text in quotes if it is one, with a space in it.")


def is_there(given: str) -> bool:
    """False, too, for a text that is no possible file name."""
    try:
        return Path(given).exists()
    except OSError:
        return False


def lines(stream: IO[str]) -> Iterator[str]:
    """The lines of a stream, each cut at LONGEST characters, never held whole. Raises InputError for no text."""
    if stream is None:
        raise InputError("standard input", "is closed", "Pipe lines into it: firth predict RUN - < lines.txt")
    number = 1
    while line := read_line(stream, number):
        rest = line
        while len(rest) == LONGEST and not rest.endswith("\n"):
            rest = read_line(stream, number)
        refuse_broken(line, f"standard input:{number}")
        yield line.rstrip("\r\n")
        number += 1


def read_line(stream: IO[str], number: int) -> str:
    try:
        return stream.readline(LONGEST)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(f"standard input, near line {number}", f"byte 0x{byte:02X} is not UTF-8", CONVERT) from None


def refuse_broken(text: str, where: str) -> None:
    """Raises InputError for bytes that the system could not read as UTF-8 and handed on as half characters."""
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InputError(where, "is not UTF-8", CONVERT)
