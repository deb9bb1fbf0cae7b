"""What `score` refuses, word for word: where, what, what to do."""

import pytest

from firth.errors import InputError
from firth.evaluate.scoring import score
from tests.test_scoring import CONLL, files, squad, write


def message(tmp_path, gold, said, task="classify", **options):
    with pytest.raises(InputError) as caught:
        score(*files(tmp_path, gold, said), task, **options)
    return str(caught.value).replace(f"{tmp_path}/", "")


GOLD = ("gold.csv", "id,label\n1,good\n2,bad\n3,good\n")
SPAN = ("gold.json", squad())
LIST = "Did you mean `good`? There is: `bad`, `good`."
MESSAGES = {
    "unequal": (
        ("gold.txt", "a\nb\n"),
        ("said.txt", "a\n"),
        "classify",
        "said.txt: 1 prediction for the 2 rows of gold.txt. "
        "Give one prediction per row, in the order of gold.txt, or give both a column `id`.",
    ),
    "stranger": (
        GOLD,
        ("said.csv", "id,label\n1,Good\n2,bad\n3,bad\n"),
        "classify",
        f"said.csv:2:1: the label `Good` is not in gold.csv. {LIST} If `Good` may be predicted: --classes Good",
    ),
    "unknown id": (
        GOLD,
        ("said.csv", "id,label\n1,good\n12,bad\n3,bad\n"),
        "classify",
        "said.csv:3:1: the id `12` is not in gold.csv. Did you mean `2`? "
        "Score predictions for this gold file, or take out the others.",
    ),
    "missing id": (
        GOLD,
        ("said.csv", "id,label\n1,good\n"),
        "classify",
        "said.csv: 2 of 3 ids have no prediction: `2`, `3`. "
        "Predict them, too; what is not known is wrong, not left out.",
    ),
    "id twice": (
        GOLD,
        ("said.csv", "id,label\n1,good\n1,bad\n3,bad\n"),
        "classify",
        "said.csv:3:1: the id `1` is there twice. Keep one row of each id.",
    ),
    "another text": (
        ("gold.jsonl", [{"text": "a film", "label": "x"}, {"text": "a book", "label": "y"}]),
        ("said.jsonl", [{"text": "a film", "label": "x"}, {"text": "a play", "label": "y"}]),
        "classify",
        "said.jsonl:2:1: `text` is not that of gold.jsonl:2:1. "
        "Keep the predictions in the order of the gold file, or give both a column `id`.",
    ),
    "empty label": (
        GOLD,
        ("said.jsonl", [{"id": "1", "label": "good"}, {"id": 2, "label": None}, {"id": 3, "label": "bad"}]),
        "classify",
        "said.jsonl:2:1: `label` is empty. Fill it in; what is not known is wrong, not left out.",
    ),
    "no number": (
        ("gold.txt", "1.5\n2\n"),
        ("said.txt", "1,5\n2\n"),
        "pairs",
        "said.txt:1:1: `label` is `1,5`, no number. Write a number, with a point, not a comma.",
    ),
    "no column": (
        ("gold.jsonl", [{"one": "a b", "two": "c d"}]),
        ("said.txt", "a\n"),
        "classify",
        "gold.jsonl: no column looks like a label. Name it: --label can be `one`, `two`.",
    ),
    "empty": (
        ("gold.txt", "a\n"),
        ("said.jsonl", ""),
        "classify",
        "said.jsonl: is empty. Give a file with one answer a row.",
    ),
    "words and tags": (
        CONLL,
        ("said.txt", "B-PER I-PER\nO B-LOC\n"),
        "tag",
        "said.txt:1:1: 3 words and 2 tags. Give each word one tag.",
    ),
    "gold words and tags": (
        ("gold.jsonl", [{"words": ["a", "b"], "tags": ["X"]}]),
        ("said.txt", "X X\n"),
        "tag",
        "gold.jsonl:1:1: 2 words and 1 tag. Give each word one tag.",
    ),
    "tags only": (
        ("gold.txt", "X Y\n"),
        ("said.txt", "X\n"),
        "tag",
        "said.txt:1:1: 1 tag where gold.txt:1:1 has 2. Give each word one tag.",
    ),
    "other words": (
        CONLL,
        ("said.conll", "Peter B-PER\nNone I-PER\nsings O\n\nin O\nRome B-LOC\n"),
        "tag",
        "said.conll:1:1: word 2 is `None`, and `Noone` in gold.conll:1:1. "
        "Score predictions for the same words, in the same order.",
    ),
    "unknown tag": (
        CONLL,
        ("said.txt", "B-PER I-PER O\nO B-LOCK\n"),
        "tag",
        "said.txt:2:1: the tag `B-LOCK` is not in gold.conll. Did you mean `B-LOC`? There is: `B-LOC`, `B-PER`, "
        "`E-LOC`, `E-PER`, `I-LOC`, `I-PER`, `O`, `S-LOC`, `S-PER`. If `B-LOCK` may be predicted: --classes B-LOCK",
    ),
    "no list": (
        CONLL,
        ("said.jsonl", [{"tags": 3}, {"tags": 4}]),
        "tag",
        'said.jsonl:1:1: `tags` is no list of tags. Write tags as a list: ["A", "B"].',
    ),
    "unknown question": (
        SPAN,
        ("said.json", {"q1": "France", "q22": "region"}),
        "span",
        "said.json: the id `q22` is not in gold.json. Did you mean `q2`? "
        "Score predictions for this gold file, or take out the others.",
    ),
    "no text": (
        SPAN,
        ("said.json", {"q1": 3}),
        "span",
        "said.json: the answer of `q1` is no text. "
        'Write {"ID": "ANSWER", …}, or one object a line: {"id": "ID", "answer": "ANSWER"}.',
    ),
    "no row of text": (
        SPAN,
        ("said.jsonl", [{"id": "q1", "answer": 3}]),
        "span",
        "said.jsonl:1:1: `answer` is no text. Write the answer as a string; empty for no answer.",
    ),
    "array": (
        SPAN,
        ("said.json", '["France"]'),
        "span",
        "said.json: is JSON, but no object of answers by id. "
        'Write {"ID": "ANSWER", …}, or one object a line: {"id": "ID", "answer": "ANSWER"}.',
    ),
    "torn": (
        SPAN,
        ("said.json", '{"q1": }'),
        "span",
        "said.json:1:8: is no valid JSON: Expecting value. "
        'Write {"ID": "ANSWER", …}, or one object a line: {"id": "ID", "answer": "ANSWER"}.',
    ),
    "nothing": (
        SPAN,
        ("said.json", "{}"),
        "span",
        "said.json: holds no answers. "
        'Write {"ID": "ANSWER", …}, or one object a line: {"id": "ID", "answer": "ANSWER"}.',
    ),
    "no gold answers": (
        ("gold.jsonl", [{"id": "q1", "question": "Who?"}]),
        ("said.json", {"q1": "Rome"}),
        "span",
        'gold.jsonl:1:1: has no `answers`. Give SQuAD JSON, or rows with "id" and "answers": [{"text": "…"}].',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_message(tmp_path, name):
    gold, said, task, want = MESSAGES[name]
    assert message(tmp_path, gold, said, task) == want


def test_columns_that_are_not_there(tmp_path):
    said = ("said.csv", "id,label\n1,good\n2,bad\n3,bad\n")
    assert message(tmp_path, GOLD, said, label="labl") == (
        "gold.csv: has no column `labl`. Did you mean `label`? --label can be `id`, `label`."
    )
    assert message(tmp_path, GOLD, said, predicted="guess") == (
        "said.csv: has no column `guess`. --predicted can be `id`, `label`."
    )


def test_two_columns_that_could_be_labels(tmp_path):
    gold = ("gold.csv", "tone,place\n" + "good,here\nbad,there\n" * 8)
    assert message(tmp_path, gold, ("said.txt", "good\nbad\n" * 8)) == (
        "gold.csv: `tone` and `place` look like labels. Name it: --label can be `tone`, `place`."
    )


def test_an_unknown_task(tmp_path):
    assert message(tmp_path, GOLD, GOLD, "tags") == (
        "--task tags: has no score. Did you mean `tag`? "
        "There is: classify, pairs, prompt, tag, span, transcribe, verify."
    )


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError) as caught:
        score(write(tmp_path, *GOLD), tmp_path / "gone.csv", "classify")
    assert caught.value.what == "no such file or folder"
