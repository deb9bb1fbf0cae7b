"""Minimal pairs: reading BLiMP's form, and figures of scorers that are known to be right, wrong, tied or guessing."""

import gzip
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from firth.errors import InputError
from firth.evaluate.minimal_pairs import FIELDS, Pair, minimal_pairs, read_pairs, summary
from firth.functional.choices import Likelihood
from tests.readers import guessing


def row(paradigm: str, number: int, term: str = "agreement") -> dict:
    good, bad = (f"The cats {paradigm} {verb} {number}." for verb in ("sleep", "sleeps"))
    return {"sentence_good": good, "sentence_bad": bad, "field": "morphology", "linguistics_term": term,
            "UID": paradigm, "pairID": str(number)}  # fmt: skip


def lines(paradigm: str, count: int = 10, term: str = "agreement") -> str:
    return "".join(json.dumps(row(paradigm, n, term)) + "\n" for n in range(count))


@pytest.fixture
def blimp(tmp_path):
    """Three paradigms of two phenomena, as BLiMP packs them, with a file that is no data beside them."""
    path = tmp_path / "blimp.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("blimp/README.md", "What these are.\n")
        archive.writestr("blimp/verb_1.jsonl", lines("verb_1"))
        archive.writestr("blimp/verb_2.jsonl", lines("verb_2", 20))
        archive.writestr("blimp/island.jsonl", lines("island", 5, "island_effects"))
    return path


def preferring(right):
    """A scorer under which the sentence that `right` names is the likelier one."""

    def score(prompts, options):
        assert set(prompts) == {""}
        return [[Likelihood(-1.0 - (one != right(pair)), len(one)) for one in pair] for pair in options]

    return score


def tied(prompts, options):
    return [[Likelihood(-1.0, 3)] * 2 for _ in options]


# ------------------------------------------------------------------ figures


def test_the_right_sentence_is_the_likelier(blimp):
    found = minimal_pairs(preferring(lambda pair: pair[0]), blimp)
    assert (found.average, found.pairs, found.ties) == (1.0, 35, 0)
    assert found.paradigms == {"island": 1.0, "verb_1": 1.0, "verb_2": 1.0}
    assert found.phenomena == {"island_effects": 1.0, "agreement": 1.0}
    assert minimal_pairs(preferring(lambda pair: pair[1]), blimp).average == 0


def test_ties_are_wrong(blimp):
    found = minimal_pairs(tied, blimp)
    assert (found.average, found.ties) == (0.0, 35)


def test_two_equal_sentences_are_wrong_whatever_rounding_says(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"sentence_good": "Same.", "sentence_bad": "Same."}) + "\n" + lines("verb", 1))
    found = minimal_pairs(lambda prompts, options: [[Likelihood(-1.0), Likelihood(-1.0000001)] for _ in options], path)
    assert found.ties == 1 and found.paradigms == {"p": 0.0, "verb": 1.0}


def test_averages_are_over_paradigms_and_not_over_pairs():
    pairs = [Pair("a", "b", "one", "x")] * 8 + [Pair("a", "b", "two", "x")] * 2 + [Pair("a", "b", "three", "y")] * 2
    right = np.array([True] * 8 + [False, True] + [False] * 2)
    found = summary(pairs, right, np.zeros(12, bool))
    assert found.paradigms == {"one": 1.0, "two": 0.5, "three": 0.0}
    assert found.phenomena == {"x": 0.75, "y": 0.0}
    assert found.average == 0.5 and found.interval.mean == 9 / 12


def test_guessing_is_at_one_half(blimp, tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text(lines("verb", 1500))
    found = minimal_pairs(guessing, path)
    assert abs(found.average - 0.5) < 0.05 and found.interval.low < 0.5 < found.interval.high


def test_some_of_each_paradigm(blimp):
    found = minimal_pairs(guessing, blimp, most=7)
    assert found.pairs == 7 + 7 + 5


def test_it_is_told_as_json_and_as_lines(blimp):
    found = minimal_pairs(preferring(lambda pair: pair["verb_2" in pair[0]]), blimp)
    tree = json.loads(json.dumps(found.as_dict()))
    assert tree["paradigms"] == {"island": 1.0, "verb_1": 1.0, "verb_2": 0.0}
    assert found.lines() == [
        "66.7 % of 35 pairs in 3 paradigms · 0 ties, counted as wrong",
        "island effects               100.0 %",
        "agreement                    50.0 %",
    ]


# ------------------------------------------------------------------ reading


def test_zip_folder_and_file_hold_the_same_pairs(blimp, tmp_path):
    folder = tmp_path / "folder"
    with zipfile.ZipFile(blimp) as archive:
        archive.extractall(folder)
    packed = tmp_path / "verb_1.jsonl.gz"
    packed.write_bytes(gzip.compress(lines("verb_1").encode()))
    assert read_pairs(blimp) == read_pairs(folder) == read_pairs([str(blimp)])
    assert read_pairs(packed) == [pair for pair in read_pairs(blimp) if pair.paradigm == "verb_1"]


def test_without_names_the_file_stands_for_the_paradigm(tmp_path):
    path = tmp_path / "agreement.tsv"
    path.write_text("sentence_good\tsentence_bad\nHe sleeps.\tHe sleep.\n")
    assert read_pairs(path) == [Pair("He sleeps.", "He sleep.", "agreement", "agreement")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"sentence_good": "A."}', "p.jsonl:2:1: has no `sentence_bad`"),
        ('{"sentence_good": " ", "sentence_bad": "A."}', "p.jsonl:2:1: has an empty `sentence_good`"),
        ('{"sentence_good": 3, "sentence_bad": "A."}', "p.jsonl:2:1: has an empty `sentence_good`"),
        ("{", "p.jsonl:2:2: is no valid JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_a_row_that_is_no_pair_is_told_at_its_place(text, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text(lines("verb", 1) + text + "\n")
    with pytest.raises(InputError) as caught:
        read_pairs("p.jsonl")
    do = (
        FIELDS if "JSON" not in what else "Write one JSON object a line; --skip-bad leaves out the lines that are none."
    )
    assert str(caught.value) == f"{what}. {do}"


def test_plain_text_holds_no_pairs(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("A sentence.\n")
    with pytest.raises(InputError) as caught:
        minimal_pairs(guessing, path)
    assert str(caught.value) == f"{path}: holds no minimal pairs. {FIELDS}"


@pytest.mark.slow
def test_blimp_is_read_whole():
    path = Path(os.environ.get("FIRTH_DATA", "data")) / "text" / "blimp" / "blimp.zip"
    if not path.exists():
        pytest.skip("FIRTH_DATA names no folder with text/blimp")
    found = minimal_pairs(preferring(lambda pair: pair[0]), path)
    assert (found.pairs, len(found.paradigms), len(found.phenomena)) == (67_000, 67, 13)
    same = {"passive_1": 0.998, "principle_A_case_2": 0.995}  # equal sentences: 2 and 5 of 1,000
    assert found.ties == 7 and found.paradigms == {name: same.get(name, 1.0) for name in found.paradigms}
    assert abs(minimal_pairs(guessing, path).average - 0.5) < 0.01
