"""Prompt: accuracy against the number of examples in the prompt; see evaluate/fewshot.py."""

from collections.abc import Sequence

from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.evaluate.asked import Asked
from firth.evaluate.fewshot import DRAWS, SHOTS, FewShot, fewshot
from firth.evaluate.judge import Judge
from firth.recipe import Data, config_of
from firth.task import Example, key_of
from firth.tasks.prompt import Config

TAKES = ("text", "label", "shots", "examples", "draws", "most")
HALF = 0.5  # of the rows is scored, where examples come from the same file


def measured(judge: Judge, asked: Asked) -> FewShot:
    """Raises InputError for rows without labels, and for examples that do not fit the context or are too few."""
    config, learnt, test = rows(asked)
    write = judge.writer(longest(judge, config)) if judge.writer else None
    return fewshot(judge.score, learnt, test, config, asked.shots or SHOTS, asked.draws or DRAWS, asked.seed,
                   judge.fits, write)  # fmt: skip


def longest(judge: Judge, config: Config) -> int:
    """Tokens of the longest answer, and one for what comes after it."""
    return max((judge.length(f" {config.word(name)}") for name in config.classes), default=0) + 1


def rows(asked: Asked) -> tuple[Config, list[Example], list[Example]]:
    """The settings with the classes, what examples are drawn from, and what is scored: two files, or halves of one.

    A text in both is left out of the examples.
    """
    config = config_of(asked.recipe, "tasks", "prompt")
    given = {"text": asked.text, "label": asked.label}
    data = (Data(paths=asked.examples, test=asked.paths, **given) if asked.examples
            else Data(paths=asked.paths, **given))  # fmt: skip
    found = open_labelled(data, None, asked.seed, test_share=0.0 if asked.examples else HALF, task=config)
    learnt = [*found.records["train"], *found.records["valid"]]
    return found.task, learnt, some(found.records["test"], asked.most)  # type: ignore[return-value]


def some(examples: Sequence[Example], most: int | None) -> list[Example]:
    """At most so many, chosen by their content."""
    if not examples:
        raise InputError("DATA", "leaves nothing to score", "Give more labelled rows.")
    chosen = sorted(examples, key=key_of)[:most]
    kept = {id(one) for one in chosen}
    return [one for one in examples if id(one) in kept]
