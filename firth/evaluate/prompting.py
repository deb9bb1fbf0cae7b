"""`firth predict --task prompt`: a language model labels inputs in words, after examples in its context."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from firth.data.config import listed
from firth.data.given import Given
from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.evaluate.answers import Answered, answered, each
from firth.evaluate.inputs import How, Query, document_of, inputs_of, refuse_input
from firth.evaluate.judge import Judge, open_judge
from firth.evaluate.measuring import numbers, recipe_of, signal_keys
from firth.evaluate.predict import AHEAD
from firth.recipe import Data, config_of
from firth.task import Example, Where
from firth.tasks import prompt
from firth.tasks.prompt import Config

SEVERAL = "firth measure MODEL LABELLED --task prompt --shots {} shows accuracy against their number."


def prompted(
    query: Query,
    shots: str | int | None = None,
    examples: str | Path | Iterable[str | Path] | None = None,
    template: str | None = None,
    classes: Iterable[str] = (),
    label: str | None = None,
    config: str | Path | None = None,
) -> Iterator[Answered]:
    """The label of each input, in order, streamed, with its place; shares of the scores over the classes.

    shots: how many examples, drawn from the labelled files `examples`, stand in the prompt; None: prompt.shots.
    classes: what may be said, where there are no examples; else their labels are. template: of one example, with
    {label}. Raises InputError at once for what cannot be, and for an input whose prompt does not fit when it comes.
    """
    given = listed(query.inputs)
    for one in given or [""]:
        refuse_input(one)
    recipe = recipe_of(config, query.settings, template, query.seed)
    config_ = with_shots(config_of(recipe, "tasks", "prompt"), shots)
    chosen, config_ = examples_of(config_, listed(examples or ()), tuple(classes), query.text, label, recipe.seed)
    prompt.options(config_, prompt.parse(config_.template))
    judge = open_judge(query.model, signal_keys(recipe), query.device or recipe.device)
    document = document_of(query.model, query.document, judge.signal)
    found = inputs_of(judge.signal, given, How(query.text, document=document, skip_bad=query.skip_bad))
    if query.dry_run:
        return iter(())
    rows = (one._replace(content=example_of(one)) for one in found)
    return answered(rows, lambda examples: answers(judge, config_, chosen, examples, query.named, query.skip_bad))


def example_of(given: Given) -> Any:
    """What a prompt is made of: a text, and the whole row where there is one."""
    if isinstance(given.content, InputError):
        return given.content
    where = Where(given.where or f"input `{given.content[:40]}`")
    return Example(given.content, None, where, given.row)


def answers(
    judge: Judge, config: Config, shots: list[Example], rows: Iterator[Example], top: int | None, skip_bad: bool = False
) -> Iterator[Any]:
    """One Prediction for each row, while they are still being read."""

    def ask(some: Sequence[Example]) -> list[Any]:
        return prompt.predict(judge.score, config, shots, some, judge.fits, top)

    while chunk := list(islice(rows, AHEAD)):
        yield from each(ask, chunk) if skip_bad else ask(chunk)


def with_shots(config: Config, shots: str | int | None) -> Config:
    """Raises InputError for several numbers: each input has one prompt."""
    if shots is None:
        return config
    found = numbers(str(shots)) or ()
    if len(found) > 1:
        raise InputError(f"--shots {shots}", "asks for several prompts of each input",
                         f"Choose one number. {SEVERAL.format(shots)}")  # fmt: skip
    return config.model_copy(update={"shots": found[0]})


def examples_of(
    config: Config, files: tuple[str, ...], classes: tuple[str, ...], text: str | None, label: str | None,
    seed: int,
) -> tuple[list[Example], Config]:  # fmt: skip
    """The examples of the prompt, and the settings with the classes. Raises InputError where nothing names these."""
    if not files:
        refuse_unknown(config, classes)
        return [], config.model_copy(update={"classes": classes})
    found = open_labelled(Data(paths=files, text=text, label=label), None, seed, task=config)
    known: Any = found.task
    return prompt.drawn([*found.records["train"], *found.records["valid"]], known, seed), known


def refuse_unknown(config: Config, classes: tuple[str, ...]) -> None:
    """Raises InputError for examples out of nowhere, and for nothing to choose from."""
    if config.shots:
        do = "Name labelled files that they are drawn from: --examples labels.tsv."
        raise InputError(f"--shots {config.shots}", "there are no examples", do)
    if len(set(classes)) < 2:
        do = "Name labelled files, --examples labels.tsv, or the labels: --choice good --choice bad."
        raise InputError("--task prompt", "nothing says what the labels are", do)
