"""Multiple choice: which of the written options is the likeliest after its prompt; see evaluate/multiple_choice.py."""

from firth.evaluate.asked import Asked
from firth.evaluate.judge import Judge
from firth.evaluate.multiple_choice import MultipleChoice, multiple_choice, read_items

TAKES = ("most",)


def measured(judge: Judge, asked: Asked) -> MultipleChoice:
    return multiple_choice(judge.score, read_items(asked.paths)[: asked.most])
