"""Scorers that stand in for a language model: one that reads the examples of synthetic:icl, one that guesses."""

from firth.functional.choices import Likelihood
from firth.functional.random import hash_bytes


def noise(*parts: str) -> float:
    """A number in [0, 1) that hangs on the texts alone."""
    return hash_bytes("\0".join(parts).encode()) / 2.0**64


def guessing(prompts, options):
    """Likelihoods that have nothing to do with the prompt's examples."""
    return [
        [Likelihood(-1 - noise(prompt, option), len(option)) for option in some]
        for prompt, some in zip(prompts, options, strict=True)
    ]


def reading(prompts, options):
    """Likelihoods of one who knows the trained families, reads the examples, and guesses where they say nothing."""
    return [
        [Likelihood(fit(prompt, option) - noise(prompt, option) / 100, len(option)) for option in some]
        for prompt, some in zip(prompts, options, strict=True)
    ]


def fit(prompt: str, option: str) -> float:
    """How well the option goes with the examples of the prompt, at most 0."""
    *lines, query = prompt.split("\n")
    pairs = [tuple(line.split(">")) for line in lines]
    query = query.removesuffix(">")
    for way in (slots, letters, rows):
        found = way(pairs, query, option)
        if found is not None:
            return found
    return 0.0


def slots(pairs, query, option):
    """Each letter comes from one place, or is always the same, two at most; None where that cannot be."""
    if not pairs:
        return None
    able = [{p for p in range(4) if all(given[p] == made[s] for given, made in pairs)} for s in range(4)]
    fixed = [len({made[s] for _, made in pairs}) == 1 for s in range(4)]
    if sum(not places for places in able) > 2 or not all(p or f for p, f in zip(able, fixed, strict=True)):
        return None
    possible = [{query[p] for p in able[s]} or {pairs[0][1][s]} for s in range(4)]
    return float(sum(letter in some for letter, some in zip(option, possible, strict=True)) - 4)


def letters(pairs, query, option):
    """Every letter stands for one other letter; None where that cannot be."""
    code: dict[str, str] = {}
    for given, made in pairs:
        if any(code.setdefault(a, b) != b for a, b in zip(given, made, strict=True)):
            return None
    if len(set(code.values())) < len(code):
        return None
    taken = {made: given for given, made in code.items()}
    wrong = [code.get(a, b) != b or taken.get(b, a) != a for a, b in zip(query, option, strict=True)]
    return -float(sum(wrong))


def rows(pairs, query, option):
    """The table says it, or at least says whose value it is."""
    table = dict(pairs)
    return -float(table.get(query, option) != option) - float(option in table.values() and query not in table)
