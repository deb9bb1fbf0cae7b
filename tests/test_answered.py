"""Samples go through a model in batches of like length, the longest first, and what comes out is in their order."""

import numpy as np
import pytest
import torch

from firth.signal import TOGETHER, Sample, answered
from tests.contract import SIGNAL


def samples(lengths) -> list[Sample]:
    return [Sample((np.full(length, 5 + i % 30, np.int32),), key=i) for i, length in enumerate(lengths)]


def test_answers_stand_in_the_order_of_the_samples():
    lengths = np.random.default_rng(0).integers(1, 20, 3 * TOGETHER + 7).tolist()
    said = answered(lambda batch: batch["key"].tolist(), SIGNAL, samples(lengths))
    assert said == list(range(len(lengths)))


def test_the_longest_go_first_and_batches_are_even():
    seen: list[tuple[int, int]] = []

    def run(batch) -> list[int]:
        seen.append(tuple(batch["tokens"].shape))
        return [0] * len(batch["tokens"])

    answered(run, SIGNAL, samples(range(1, 2 * TOGETHER + 3)))
    rows, steps = zip(*seen, strict=True)
    assert rows == (TOGETHER, TOGETHER, 2)
    assert steps == tuple(sorted(steps, reverse=True)) and steps[0] == 2 * TOGETHER + 2 + 2


def test_no_samples_ask_nothing():
    assert answered(lambda batch: pytest.fail("asked"), SIGNAL, []) == []


def test_a_row_too_few_is_an_error():
    with pytest.raises(ValueError):
        answered(lambda batch: torch.zeros(1), SIGNAL, samples([3, 4]))
