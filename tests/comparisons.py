"""Comparisons made up for tests: arms with a known accuracy and a known curve."""

from types import SimpleNamespace

import numpy as np

from firth.evaluate.comparison import Comparison, Point, Trial

TITLES = {
    "random": "Random initialisation",
    "co-occurrence": "Co-occurrence start alone",
    "pretrained": "Pre-trained",
    "tf-idf": "TF-IDF + logistic regression",
}
RATES = {"random": 0.60, "co-occurrence": 0.66, "pretrained": 0.75, "tf-idf": 0.62}
HOSTILE = "<script>alert('x')</script> & <img src=http://example.org/x.png onerror=alert(1)>"


def trial(arm: str, labels: int, seed: int, gold: np.ndarray, rate: float | None = None) -> Trial:
    """Items are harder or easier for all arms alike; curves fall from ln 2."""
    rate = RATES[arm] if rate is None else rate
    source = np.random.default_rng([seed, labels, sorted(TITLES).index(arm)])
    hard = np.random.default_rng(99).random(len(gold)) * 0.3 - 0.15
    right = source.random(len(gold)) < rate + hard + 0.02 * source.normal()
    predicted = np.where(right, gold, 1 - gold)
    curve = (
        ()
        if arm == "tf-idf"
        else tuple(Point(s, 0.69 - (rate - 0.5) * s / 100, 0.5 + s / 500) for s in range(0, 101, 10))
    )
    return Trial(arm, labels, seed, predicted, curve, seconds=1.5, opening=0.7 - rate / 10 if curve else None)


def comparison(
    seeds=3, budgets=(200,), items=400, rates=None, inputs=None, arms=tuple(TITLES), facts=None
) -> Comparison:
    gold = np.arange(items) % 2
    trials = [
        trial(arm, labels, seed, gold, (rates or RATES).get(arm))
        for arm in arms
        for labels in budgets
        for seed in range(seeds)
    ]
    titles = {arm: title for arm, title in TITLES.items() if arm in arms}
    texts = inputs if inputs is not None else [f"review number {i}" for i in range(items)]
    return Comparison(titles, ("negative", "positive"), gold, trials, inputs=texts, facts=facts or {})


def step(index: int, steps: int = 100, loss: float = 5.0, items: int = 2048, seconds: float = 0.1):
    """What train.run.Step shows, without torch."""
    return SimpleNamespace(index=index, steps=steps, loss=loss, items=items, seconds=seconds, evaluation=None)
