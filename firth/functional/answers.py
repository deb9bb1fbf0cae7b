"""Exact match and F1 of answers as SQuAD's own evaluation scripts compute them, v1.1 and v2.0.

arXiv 1606.05250, section 6.1 (exact match, F1 over words, the best of the gold answers); arXiv 1806.03822 (questions
without an answer: only the empty answer is right). The two scripts part where a text is empty once it is normalised:
v1.1 gives F1 0 even to two empty texts; v2.0 gives 1 to two and 0 to one, and leaves out gold answers that are empty.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as in the scripts


class Score(NamedTuple):
    """Of one answer, or the mean of many; shares in [0, 1]."""

    exact: float
    f1: float


def normalize(text: str) -> str:
    """Lower case, without punctuation, then without articles, single blanks between words."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(prediction: str, gold: str) -> float:
    """1.0 where both are the same once normalised."""
    return float(normalize(prediction) == normalize(gold))


def f1(prediction: str, gold: str, version: int = 1) -> float:
    """Harmonic mean of precision and recall over the words that both share, each as often as both have it."""
    said, true = normalize(prediction).split(), normalize(gold).split()
    if version == 2 and not (said and true):
        return float(said == true)
    common = (Counter(said) & Counter(true)).total()
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(true)
    return 2 * precision * recall / (precision + recall)


def best(prediction: str, golds: Sequence[str], version: int = 1) -> Score:
    """The highest exact match and the highest F1 over the gold answers; none of them means that there is no answer."""
    if version == 2:
        golds = [gold for gold in golds if normalize(gold)]
    golds = golds or [""]
    return Score(max(exact(prediction, gold) for gold in golds), max(f1(prediction, gold, version) for gold in golds))


def score(golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str], version: int = 1) -> dict[str, Any]:
    """Gold answers and predictions by id -> {"items", "exact", "f1"}, and for v2.0 the same of the two kinds.

    A question without prediction counts 0 (the script for v2.0 leaves it out of the mean instead).
    v2.0: "has_answer" and "no_answer" hold {"items", "exact", "f1"} where there are such questions.
    """
    scores = {id: best(predictions[id], gold, version) if id in predictions else Score(0.0, 0.0)
              for id, gold in golds.items()}  # fmt: skip
    found = mean(list(scores.values()))
    if version == 2:
        answered = {id for id, gold in golds.items() if gold}
        kinds = {"has_answer": answered, "no_answer": golds.keys() - answered}
        found |= {kind: mean([scores[id] for id in golds if id in ids]) for kind, ids in kinds.items() if ids}
    return found


def mean(scores: Sequence[Score]) -> dict[str, Any]:
    """{"items", "exact", "f1"}: 0 where there is nothing."""
    count = max(len(scores), 1)
    return {"items": len(scores), "exact": sum(one.exact for one in scores) / count,
            "f1": sum(one.f1 for one in scores) / count}  # fmt: skip
