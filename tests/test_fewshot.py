"""Accuracy against shots: known scorers give known curves, draws widen intervals, baselines are what they say."""

import json

import numpy as np
import pytest

from firth.errors import InputError
from firth.evaluate.fewshot import SHOTS, WAYS, fewshot
from firth.functional.choices import Likelihood
from firth.functional.random import hash_bytes
from firth.task import Example, Where
from firth.tasks import prompt
from firth.tasks.prompt import Room
from tests.readers import guessing
from tests.test_task_prompt import CLASSES, REVIEW, config, said


def rows(count: int, first: int, share: float = 0.5) -> list[Example]:
    """Film reviews; which are positive, content decides."""
    found = []
    for n in range(first, first + count):
        label = CLASSES[int(hash_bytes(f"{n}".encode()) / 2.0**64 < share)]
        text = f"film {n} {'good' if label == 'positive' else 'bad'}"
        found.append(Example(text, label, Where("r.tsv", n + 2), {"text": text, "label": label}))
    return found


LEARNT, TEST = rows(200, 0), rows(120, 1000)


def knowing(prompts, options):
    """Sees the word that decides."""
    good = [prompt.rpartition("Review:")[2].partition("\n")[0].endswith("good") for prompt in prompts]
    return [[Likelihood(-1.0 - (("positive" in one) != yes)) for one in some]
            for yes, some in zip(good, options, strict=True)]  # fmt: skip


def needy(prompts, options):
    """As knowing, with as many shots as the review has letters in its number: 3 or 4; guesses with fewer."""
    found, alternative = knowing(prompts, options), guessing(prompts, options)
    return [a if text.count("Review:") > 4 else b for text, a, b in zip(prompts, found, alternative, strict=True)]


def last(prompts, options):
    """Says the label of the last shot again."""
    return [[Likelihood(-1.0 - (one.strip() not in text.rpartition("\n\n")[0].rpartition("Sentiment:")[2]))
             for one in some] for text, some in zip(prompts, options, strict=True)]  # fmt: skip


def test_who_knows_is_always_right_and_who_guesses_is_at_chance():
    found = fewshot(knowing, LEARNT, TEST, config())
    assert all(one.mean == 1 for way in ("raw", "per-token", "per-byte") for one in found.arms[way])
    guessed = fewshot(guessing, LEARNT, TEST, config())
    for way in WAYS:
        assert all(abs(one.mean - 0.5) < 0.14 for one in guessed.arms[way])
    assert guessed.random == 0.5 and guessed.items == 120 and guessed.draws == 5
    share = np.mean([one.label == "positive" for one in LEARNT])
    common = "positive" if share > 0.5 else "negative"
    assert guessed.majority == pytest.approx(np.mean([one.label == common for one in TEST]))


def test_the_curve_rises_where_shots_help():
    found = fewshot(needy, LEARNT, TEST, config(), shots=(0, 4, 16))
    low, four, many = (one.mean for one in found.arms["raw"])
    assert low < 0.65 and four == many == 1
    assert found.commonest[2] == pytest.approx(max(np.mean([one.label == c for one in TEST]) for c in CLASSES))


def test_draws_widen_the_interval():
    """A model that says the last label again is right by the draw: every draw is near one half, in turn above it."""
    found = fewshot(last, LEARNT, TEST, config(), shots=(0, 4), draws=6)
    zero, four = found.arms["raw"]
    assert zero.mean == 0 and zero.seeds == 1  # ties without shots
    assert four.seeds == 6 and found.commonest[1] == 1
    assert four.low < 0.5 < four.high and four.high - four.low > 0


def test_the_same_seed_gives_the_same_shots_for_every_model():
    seen = []

    def spy(prompts, options):
        seen.append(tuple(prompts))
        return guessing(prompts, options)

    fewshot(spy, LEARNT, TEST[:3], config(), shots=(4,), draws=2, seed=3)
    fewshot(spy, LEARNT[::-1], TEST[:3], config(), shots=(4,), draws=2, seed=3)
    assert seen[:2] == seen[2:] and seen[0] != seen[1]
    assert all(text.count("Review:") == 5 for each in seen for text in each)


def test_writing_is_counted_beside_choosing():
    def write(prompts):
        return [" positive\n" if "good" in text.rpartition("Review:")[2] else " bad\n" for text in prompts]

    found = fewshot(knowing, LEARNT, TEST, config(words={"negative": "bad"}), shots=(0,), write=write)
    assert [one.mean for one in found.arms["written"]] == [1.0]
    wrong = fewshot(knowing, LEARNT, TEST, config(), shots=(0,), write=write).arms["written"][0].mean
    assert wrong == pytest.approx(np.mean([one.label == "positive" for one in TEST]))


def test_it_is_told_as_json_and_as_lines():
    found = fewshot(knowing, LEARNT, TEST, config(normalise="per-byte"))
    tree = json.loads(json.dumps(found.as_dict()))
    assert tree["shots"] == list(SHOTS) and list(tree["arms"]) == list(WAYS)
    assert tree["arms"]["raw"][0]["mean"] == 1 and tree["way"] == "per-byte"
    lines = found.lines()
    assert lines[0] == "accuracy on 120 items, 5 draws of the examples, 95 %; options by per-byte"
    assert lines[1].startswith("   0 shots  100.0 % (96.9 % to 100.0 %) · raw 100.0 % · per-token")
    assert lines[-1] == f"majority   {100 * found.majority:.1f} % · random 50.0 %" and len(lines) == 6


# ------------------------------------------------------------------ refusals


def test_shots_that_do_not_fit_are_refused_before_anything_is_scored():
    asked = []

    def score(prompts, options):
        asked.extend(prompts)
        return guessing(prompts, options)

    room = Room(lambda text: len(text.split()), 60)
    message = said(fewshot, score, LEARNT, TEST, config(), shots=(0, 4, 16), room=room)
    chosen = prompt.drawn(LEARNT, config(shots=16), 0, 0)
    size = room.length(prompt.prompt(config(), prompt.parse(REVIEW), chosen, TEST[0])) + 1
    assert message == (
        f"r.tsv:1002: its prompt of 16 shots has {size} tokens, the context of the model 60. "
        "Use fewer shots, shorter examples, or a model with a longer context."
    )
    assert asked == []
    fewshot(score, LEARNT, TEST[:5], config(), shots=(0, 4), room=room)


def test_nothing_to_measure_is_told():
    assert said(fewshot, guessing, LEARNT, [], config()) == (
        "prompt: there is no test item. Give labelled rows to score on: --test FILE."
    )
    assert said(fewshot, guessing, LEARNT, TEST, config(classes=("positive",))) == (
        "prompt: there is nothing to tell apart: fewer than two classes. "
        "Give labelled examples of at least two labels; --label names the column."
    )
    with pytest.raises(InputError, match="there are 1 labelled examples of"):
        fewshot(guessing, [LEARNT[0], next(one for one in LEARNT if one.label != LEARNT[0].label)], TEST, config())
