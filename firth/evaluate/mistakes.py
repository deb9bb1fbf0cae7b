"""Mistakes as people read them: what an arm of a comparison gets wrong with every seed alike."""

from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 300  # characters of an input that are shown
NOTHING = "no answer"


def told(mistake: Mapping[str, Any]) -> tuple[str, str, str]:
    """(input, gold, predicted) of one of an Outcome's `wrong`; of a tag with its word, of answers all gold ones."""
    gold, text = mistake["gold"], shortened(str(mistake["text"]))
    golds = list(dict.fromkeys(gold)) if isinstance(gold, list) else [gold]
    word = f" · word {mistake['place']}: {mistake['word']}" if "word" in mistake else ""
    return text + word, " | ".join(map(written, golds)) or NOTHING, written(mistake["predicted"])


def written(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value) or NOTHING


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def in_common(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[str, str, str]]:
    """Of the mistakes of each seed those that all of them make, in the order of the first."""
    first, *others = [list(map(told, wrong)) for wrong in seeds]
    common = set(first).intersection(*others)
    return [one for one in dict.fromkeys(first) if one in common]
