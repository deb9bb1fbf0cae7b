"""Multiple choice and last words: the figures against plain NumPy, and the forms of rows that are read."""

import json
from math import exp, inf

import numpy as np
import pytest

from firth.errors import InputError
from firth.evaluate.multiple_choice import Item, item_of, last_word, multiple_choice, parted, read_items
from firth.functional.choices import Likelihood
from firth.functional.random import hash_bytes
from firth.task import Example, Where
from tests.readers import guessing

ITEMS = [Item(f"Question {n} is", (f"no {n}", "yes", "neither one", "né" * n)[: 2 + n % 3], n % 2) for n in range(90)]


def by_length(prompts, options):
    """Long options are less likely, as with language models; beyond that, the texts decide."""
    return [
        [
            Likelihood(-len(one) * (0.8 + hash_bytes((prompt + one).encode()) / 2.0**66), len(one.split()) + 1)
            for one in some
        ]
        for prompt, some in zip(prompts, options, strict=True)
    ]


def argmax_of(divide) -> float:
    """Accuracy by the first greatest value, as numpy and lm-evaluation-harness take it."""
    right = []
    for one in ITEMS:
        (said,) = by_length([one.prompt], [one.options])
        values = [said[i].nats / divide(said[i], text) for i, text in enumerate(one.choices)]
        right.append(int(np.argmax(values)) == one.answer)
    return float(np.mean(right))


def test_figures_are_those_of_plain_numpy():
    found = multiple_choice(by_length, ITEMS)
    assert found.accuracy.mean == argmax_of(lambda said, text: 1)
    assert found.per_character == argmax_of(lambda said, text: len(text))
    assert found.per_byte == argmax_of(lambda said, text: len(text.encode()))
    assert found.per_token == argmax_of(lambda said, text: said.tokens)
    assert len({found.accuracy.mean, found.per_character, found.per_byte, found.per_token}) > 2
    assert (found.items, found.ties) == (90, 0)
    assert found.chance == pytest.approx(np.mean([1 / len(one.choices) for one in ITEMS]))
    assert json.loads(json.dumps(found.as_dict()))["accuracy"]["mean"] == found.accuracy.mean


def test_ties_are_wrong():
    found = multiple_choice(lambda prompts, options: [[Likelihood(-1.0)] * len(some) for some in options], ITEMS)
    assert found.accuracy.mean == 0 and found.ties == 90
    # nothing parts the options but their length: by characters a tie is only where lengths are equal, too
    assert 0 < found.per_character < 1


def test_the_blank_is_scored_with_the_choice():
    seen = []

    def score(prompts, options):
        seen.extend(zip(prompts, options, strict=True))
        return guessing(prompts, options)

    multiple_choice(score, [Item("Grass is", ("green", "loud"), 0), Item("Grass is ", ("green", "loud"), 0, "")])
    assert seen == [("Grass is", (" green", " loud")), ("Grass is ", ("green", "loud"))]


# ------------------------------------------------------------------ rows


def record(**fields) -> Example:
    return Example("", None, Where("q.jsonl", 3, 1), fields)


@pytest.mark.parametrize(
    ("fields", "item"),
    [
        ({"prompt": "A", "choices": ["b", "c"], "answer": 1}, Item("A", ("b", "c"), 1)),
        ({"question": "A", "options": ["b", "c"], "label": "0"}, Item("A", ("b", "c"), 0)),
        ({"Query": "A", "Choices": ["b", "c"], "Gold": "c"}, Item("A", ("b", "c"), 1)),
        ({"stem": "A", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answer": "B"}, Item("A", ("b", "c"), 1)),
        ({"stem": "A", "choices": {"text": ["b", "c"], "label": [1, 2]}, "answerKey": "1"}, Item("A", ("b", "c"), 0)),
        ({"stem": "A", "choices": {"text": ["b", "c"], "label": ["1", "2"]}, "answer": 2}, Item("A", ("b", "c"), 1)),
        ({"prompt": "A ", "choices": ["b", "c"], "answer": "a"}, Item("A ", ("b", "c"), 0, "")),
        ({"prompt": "A", "choices": [" b", " c"], "answer": 0}, Item("A", (" b", " c"), 0, "")),
        ({"prompt": "", "choices": ["b", "c"], "answer": 0}, Item("", ("b", "c"), 0, "")),
        ({"prompt": "A", "choices": ["1", "0"], "answer": "0"}, Item("A", ("1", "0"), 1)),  # as a text
        ({"prompt": "A", "choices": [2, 3], "answer": 1}, Item("A", ("2", "3"), 1)),
    ],
)  # fmt: skip
def test_rows_of_many_forms(fields, item):
    assert item_of(record(**fields)) == item


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"choices": ["b", "c"], "answer": 1}, "has no prompt"),
        ({"prompt": "A", "answer": 1}, "has no list of two choices"),
        ({"prompt": "A", "choices": ["b"], "answer": 0}, "has no list of two choices"),
        ({"prompt": "A", "choices": "bc", "answer": 0}, "has no list of two choices"),
        ({"prompt": "A", "choices": ["b", "c"]}, "has no answer"),
    ],
)
def test_rows_that_are_none(fields, what):
    with pytest.raises(InputError) as caught:
        item_of(record(**fields))
    assert str(caught.value) == (
        f'q.jsonl:3:1: {what}. Write rows like {{"prompt": "Grass is", "choices": [" green", " loud"], "answer": 0}}.'
    )


@pytest.mark.parametrize("answer", [2, "C", "green", "-1", True])
def test_an_answer_that_is_none_of_the_choices(answer):
    fields = {"prompt": "A", "choices": ["b", "c"], "answer": answer}
    with pytest.raises(InputError) as caught:
        item_of(record(**fields))
    assert str(caught.value) == (
        f"q.jsonl:3:1: the answer `{answer}` is none of 2 choices. Say 0 to 1, A to B, or one of `b`, `c`."
    )


def test_files_of_items(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"prompt": f"Is it {n}?", "choices": ["yes", "no"], "answer": n % 2} for n in range(5)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert read_items(path) == read_items([path]) == [Item(f"Is it {n}?", ("yes", "no"), n % 2) for n in range(5)]
    assert read_items(path, delimiter="\n")[0].options == ("\nyes", "\nno")


# ------------------------------------------------------------------ last words


def test_the_last_word_is_right_where_the_model_would_write_it():
    texts = ["the cat sat on the mat", "the dog ate", "a  house\n"]
    seen = {}

    def score(prompts, options):
        seen.update(zip(prompts, options, strict=True))
        return [[Likelihood(-2.0 * len(prompt.split()), 1, prompt.startswith("the"))] for prompt in prompts]

    found = last_word(score, texts)
    assert seen == {"the cat sat on the": [" mat"], "the dog": [" ate"], "a": ["  house"]}
    assert found.accuracy.mean == 2 / 3 and found.items == 3
    assert found.perplexity == pytest.approx(exp(2 * (5 + 2 + 1) / 3))
    assert json.loads(json.dumps(found.as_dict()))["items"] == 3


def test_a_word_that_cannot_be_has_no_perplexity():
    assert last_word(lambda prompts, options: [[Likelihood(-1e6)] for _ in prompts], ["a b"]).perplexity == inf


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a b", ("a", " b")), ("a b.\n", ("a", " b.")), ("a\n\nb c ", ("a\n\nb", " c")), (" a b", (" a", " b"))],
)
def test_texts_are_parted_before_their_last_word(text, parts):
    assert parted(text) == parts


@pytest.mark.parametrize("text", ["word", "", "  word "])
def test_a_text_of_one_word_is_refused(text):
    with pytest.raises(InputError) as caught:
        last_word(guessing, ["two words", text])
    assert str(caught.value) == ("text 2: has no word before its last. Give texts of two words or more, one a line.")


@pytest.mark.parametrize(("measure", "where"), [(multiple_choice, "multiple choice"), (last_word, "last word")])
def test_nothing_to_score_is_told(measure, where):
    with pytest.raises(InputError) as caught:
        measure(guessing, [])
    assert str(caught.value) == f"{where}: there is nothing to score. Give at least one item."
