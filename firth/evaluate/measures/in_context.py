"""In context: functions that training never met, shown by examples; see evaluate/in_context.py and synthetic:icl."""

from firth.data.synthetic import MARK
from firth.data.synthetic._families import LENGTH
from firth.errors import InputError
from firth.evaluate.asked import Asked
from firth.evaluate.in_context import COUNT, SHOTS, InContext, in_context
from firth.evaluate.judge import Judge

TAKES = ("shots", "most")
NAME = f"{MARK}icl"


def measured(judge: Judge, asked: Asked) -> InContext:
    """Raises InputError for other data than that which the questions are made by."""
    if any(path.split(":")[:2] != NAME.split(":") for path in asked.paths):
        raise InputError(asked.paths[0], "has no questions about functions never met", f"Say {NAME}, which makes them.")
    write = judge.writer(LENGTH + 1) if judge.writer else None
    return in_context(judge.score, asked.most or COUNT, asked.seed, asked.shots or SHOTS, write=write)
