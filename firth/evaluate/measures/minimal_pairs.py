"""Minimal pairs: is the grammatical sentence the likelier one? BLiMP's files; see evaluate/minimal_pairs.py."""

from firth.evaluate.asked import Asked
from firth.evaluate.judge import Judge
from firth.evaluate.minimal_pairs import MinimalPairs, minimal_pairs

TAKES = ("most",)


def measured(judge: Judge, asked: Asked) -> MinimalPairs:
    return minimal_pairs(judge.score, asked.paths, asked.most)
