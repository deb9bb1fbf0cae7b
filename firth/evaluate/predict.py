"""`firth predict`: what a trained model says about new inputs, streamed: labels, words for [MASK], a text written on.

What a prediction is, is the business of the objective or task whose head lies in the model folder: its file offers
`predict(objective, signal, texts, numbers, top) -> list`, one item per text. A method that writes offers `stream`, too,
which gives the same in pieces as they come, and takes options on writing in place of `top`; asked for no text, it only
refuses options that cannot be.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from firth import find
from firth.data.config import listed
from firth.data.given import Given
from firth.data.records import Record
from firth.errors import InputError
from firth.evaluate.answers import Answered, answered, each
from firth.evaluate.inputs import How, Query, column_of, document_of, inputs_of, refuse_input
from firth.interop.folder import Opened, describing, model_folder, open_folder
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

    def predict(
        self, texts: Text | Iterable[Text], top: int | None = None, skip_bad: bool = False, **writing
    ) -> Iterator[Any]:
        """One prediction per text, in the order of the texts, while they are still being read.

        A text may be several, where the task takes several: question and document, two sentences, words.
        At most AHEAD texts are held; texts of like length share a batch. top: how many labels or words are named
        (None: the method's own choice). writing: how a text is written on, such as tokens=50, temperature=0.
        Raises InputError for a text that the method cannot answer; with skip_bad it stands in place of the answer.
        """
        source = iter([texts] if isinstance(texts, str) else texts)
        options, done, ahead = self.options(top, writing), 0, FIRST
        while chunk := list(islice(source, ahead)):
            yield from self._chunk(chunk, done, options, skip_bad)
            done, ahead = done + len(chunk), min(2 * ahead, AHEAD)

    def stream(self, texts: Iterable[str], begin: int = 1, **writing) -> Iterator[Any]:
        """Each text, and then what is written to it, piece by piece; only of a method that writes. begin: the place of
        the first text, on which its luck depends."""
        assert self.pieces is not None
        options = self.options(None, writing)
        for number, text in enumerate(texts, begin):
            yield text
            yield from self.pieces(self.objective, self.signal, [text], numbers=[number], **options)

    def options(self, top: int | None, writing: Mapping[str, Any]) -> dict[str, Any]:
        """What the method is asked for. Raises InputError for an option that cannot be, for writing where it answers
        otherwise, and for `top` where it writes."""
        given = {name: value for name, value in writing.items() if value not in (None, ())}
        if self.pieces is not None:
            if top is not None:
                what = "is how many guesses are named; this model writes on, and what it writes is one"
                raise InputError(f"--top {top}", what, "Leave it out.")
            list(self.pieces(self.objective, self.signal, [], **given))  # of no text: says what cannot be
            return given
        if odd := next((name for name in given if name != "seed"), None):
            what = f"is for a model that writes on; this one answers with {self.name.replace('-', ' ')}"
            raise InputError(f"--{odd.replace('_', '-')}", what, "Leave it out.")
        return {} if top is None else {"top": top}

    def _chunk(self, texts: list[Text], done: int, options: dict[str, Any], skip_bad: bool = False) -> list[Any]:
        """Answers in order; the longest batch goes first, so that what does not fit memory shows at once."""
        order = sorted(range(len(texts)), key=lambda i: -length(texts[i]))
        answers: dict[int, Any] = {}
        for begin in range(0, len(order), BATCH):
            places = order[begin : begin + BATCH]

            def ask(some: Sequence[int]) -> list[Any]:
                numbers, those = [done + place + 1 for place in some], [texts[place] for place in some]
                return self.answer(self.objective, self.signal, those, numbers=numbers, **options)

            answers |= zip(places, each(ask, places) if skip_bad else ask(places), strict=True)
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
    signal = signal.of_texts() if kind == "tasks" else signal
    known = {**told(opened, module, folder), **recipe.tables.get(name.replace("-", "_"), {})}
    objective = compose(opened, name, module, signal, known)
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


def told(opened: Opened, module, folder) -> dict[str, Any]:
    """What the folder says of a method. Raises InputError where its Config cannot be so."""
    known = {key: value for key, value in opened.facts.items() if key in module.Config.model_fields}
    with describing(model_folder(folder) / "config.json"):
        module.Config(**known)
    return known


def compose(opened: Opened, name: str, module, signal: Signal, known: Mapping[str, Any]) -> Composed:
    """The encoder of the folder with the one part; known: fields of its Config."""
    backbone = backbone_of(opened.shape, signal.embed(opened.shape))
    config = module.Config(**known).fill(signal.facts._replace(classes=tuple(opened.classes)))
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
    settings: Iterable[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    device: str | None = None,
    document: str | None = None,
    skip_bad: bool = False,
    dry_run: bool = False,
    **writing,
) -> Iterator[Any]:
    """Predictions for texts, for the texts in files, and for the lines of a pipe (`-`), streamed in their order.

    text: name of the text column in tables; None: that of the run, else by content; tasks that read several have their
    own. seed: only what is written depends on it. document: what one input from plain text is, file, block or line;
    None: as the run learnt, else as training would take it, but a single file by lines. skip_bad: an InputError stands
    for what cannot be read or answered. dry_run: only the model and the inputs are checked. writing: tokens,
    temperature, top_k, top_p, min_p, repetition, stop, choice. Raises InputError at once for a model or file that
    cannot be read.
    """
    query = Query(model, inputs, top, text, settings, seed, device, document, skip_bad, dry_run)
    return (one.said for one in answers_to(query, **writing))


def answers_to(query: Query, pieces: bool = False, **writing) -> Iterator[Any]:
    """As `predict`, each answer with the place and the row that its input came from. pieces: what is written comes in
    pieces, as `Loaded.stream` gives them."""
    given = listed(query.inputs)
    if not given:
        raise InputError("INPUT", "is not given", "Give a text in quotes, a file, or - for a pipe.")
    if query.top is not None and query.top < 1:
        raise InputError(f"--top {query.top}", "asks for no guess", "Ask for one or more.")
    for one in given:
        refuse_input(one, empty=True)
    loaded = load(query.model, query.settings, query.device or "auto")
    writes, document = loaded.pieces is not None, document_of(query.model, query.document, loaded.signal)
    how = How(query.text, loaded.reads, writes, document, query.skip_bad, column_of(query.model))
    found = inputs_of(loaded.signal, given, how)
    options, top = writing | {"seed": query.seed}, query.top if writes else query.named
    loaded.options(top, options)
    if query.dry_run:
        return iter(())
    if pieces and writes:
        return streamed(loaded, found, options)
    return answered(found, lambda texts: loaded.predict(texts, top, query.skip_bad, **options))


def streamed(loaded: Loaded, given: Iterable[Given], options: Mapping[str, Any]) -> Iterator[Any]:
    """Each text and what is written to it, in pieces; what cannot be read stands in its place."""
    done = 0
    for number, one in enumerate(given, 1):
        if isinstance(one.content, InputError):
            yield Answered(one.content, one.where, one.row, number)
        else:
            done += 1
            yield from loaded.stream([one.content], done, **options)
