"""What a model says, part by part: the same figures however often a measure was ended, and nothing asked twice."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import InputError
from firth.evaluate import parts
from firth.evaluate.judge import Judge
from firth.evaluate.parts import Parts, beside, cut, watched
from firth.functional.choices import Likelihood
from firth.train.log import Recorded
from tests import labelled_files, runs
from tests.test_bad_input import firth, refused
from tests.test_verbs import done, strict


class Counted(Recorded):
    """Keeps how far things were."""

    def __init__(self):
        super().__init__()
        self.counts: list[tuple] = []

    def count(self, key, done, whole, begun=0):
        self.counts.append((done, whole, begun))


class Asked:
    """A judge that says the length of what it is asked, and breaks down after so many questions."""

    def __init__(self, patience: int = 10**9):
        self.sizes: list[int] = []
        self.patience = patience
        self.judge = Judge("a model", "likelihood", None, self.score, self.sums, (), 9, lambda tokens: self.write)

    def heard(self, questions) -> None:
        if sum(self.sizes) + len(questions) > self.patience:
            raise KeyboardInterrupt
        self.sizes.append(len(questions))

    def score(self, prompts, options):
        self.heard(prompts)
        return [[Likelihood(-len(prompt + one) / 3, len(one), one < "m") for one in some]
                for prompt, some in zip(prompts, options, strict=True)]  # fmt: skip

    def sums(self, rows, begins):
        self.heard(rows)
        return [
            Likelihood(-float(row[begin:].sum()), len(row) - begin) for row, begin in zip(rows, begins, strict=True)
        ]

    def write(self, prompts):
        self.heard(prompts)
        return [prompt.upper() for prompt in prompts]


PROMPTS = [f"number {n % 7}" for n in range(30)]
OPTIONS = [[" a", " zebra"][: 1 + n % 2] for n in range(30)]
ROWS = [np.arange(1, 3 + n % 9, dtype=np.int32) for n in range(30)]


def all_of(judge: Judge) -> tuple:
    return judge.score(PROMPTS, OPTIONS), judge.sums(ROWS, [1] * len(ROWS)), judge.writer(5)(PROMPTS)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(parts, "QUESTIONS", 4)


# ------------------------------------------------------------------ parts


@given(st.lists(st.integers(0, 3 * parts.CHARACTERS), max_size=40))
def test_stretches_are_whole_and_bounded(sizes):
    found = list(cut(sizes))
    assert [place for one in found for place in range(one.start, one.stop)] == list(range(len(sizes)))
    for one in found:
        assert one.stop - one.start == 1 or sum(sizes[one]) <= parts.CHARACTERS
        assert 1 <= one.stop - one.start <= parts.QUESTIONS


def test_a_judge_that_is_asked_in_parts_says_the_same(small):
    asked = Asked()
    assert all_of(watched(asked.judge, Parts())) == all_of(asked.judge)
    assert max(asked.sizes[:24]) == 4 and sum(asked.sizes) == 6 * 30
    assert watched(Judge("", "", None, asked.score, asked.sums, (), 9), Parts()).writer is None


def test_it_is_shown_how_far_it_is(small):
    show = Counted()
    watched(Asked().judge, Parts(show=show)).sums(ROWS[:9], [1] * 9)
    assert show.counts == [(0, 9, 0), (4, 9, 0), (8, 9, 0), (9, 9, 0)]


# ------------------------------------------------------------------ kept


def test_what_was_ended_goes_on_where_it_was_and_asks_nothing_twice(small, tmp_path):
    path, whole = tmp_path / "kept", all_of(Asked().judge)
    for patience in (6, 35, 50):  # in the first kind of question, in the second, in the third
        asked = Asked(patience)
        with pytest.raises(KeyboardInterrupt):
            all_of(watched(asked.judge, Parts(path, {"model": "x"})))
    show, last = Counted(), Asked()
    assert all_of(watched(last.judge, Parts(path, {"model": "x"}, show))) == whole
    assert sum(last.sizes) == 90 - 4 - 34 - 50 and show.counts[0] == (0, 30, 30)
    again = Asked(0)
    assert all_of(watched(again.judge, Parts(path, {"model": "x"}))) == whole


def test_numbers_come_back_bit_for_bit(tmp_path):
    said = [Likelihood(-1 / 3, 2, True), Likelihood(float("-inf"), 1, False), Likelihood(-1e-300, 9, False)]
    judge = Judge("", "", None, lambda prompts, options: [said], None, (), 9)
    for _ in range(2):
        assert watched(judge, Parts(tmp_path / "kept")).score(["p"], [["a", "b", "c"]]) == [said]


def test_a_torn_line_is_asked_again_and_no_other(small, tmp_path):
    path = tmp_path / "kept"
    whole = all_of(watched(Asked().judge, Parts(path)))
    os.truncate(path, path.stat().st_size - 5)
    for left in (2, 0):  # the last part is torn; once it is asked again, all is there
        asked = Asked()
        assert all_of(watched(asked.judge, Parts(path))) == whole
        assert sum(asked.sizes) == left


def test_equal_questions_stand_in_several_parts(small):
    found = watched(Asked().judge, Parts()).score(["same"] * 12, [["a"]] * 12)
    assert len(found) == 12 and len({one[0] for one in found}) == 1


def test_parts_of_another_model_are_refused(tmp_path):
    path = tmp_path / "kept"
    watched(Asked().judge, Parts(path, {"model": "x", "weights": "1"})).sums(ROWS, [1] * len(ROWS))
    with pytest.raises(InputError) as caught:
        Parts(path, {"model": "x", "weights": "2"})
    assert str(caught.value) == (
        f"{path}: holds parts of a measure with another weights. Choose another --out, or delete it: rm {path}"
    )


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "kept"
    path.write_text("{}\n")
    with pytest.raises(InputError) as caught:
        Parts(path)
    assert str(caught.value) == f"{path}: holds no parts of a measure. Delete it: rm {path}"


def test_they_are_gone_once_the_result_is_written(tmp_path):
    out = tmp_path / "found.json"
    with pytest.raises(KeyboardInterrupt), beside(out) as path:
        path.write_text("kept")
        raise KeyboardInterrupt
    assert path == tmp_path / ".found.json.parts" and path.read_text() == "kept"
    with beside(out):
        pass
    assert not path.exists()
    for nothing in (None, tmp_path):
        with beside(nothing) as path:
            assert path is None


# ------------------------------------------------------------------ the verb


def test_a_measure_that_was_ended_goes_on(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files, model = labelled_files.write_minimal_pairs(tmp_path, 8), str(runs.writer())
    words = ("measure", model, str(files), "--task", "minimal-pairs")
    whole, real = strict(done(*words, "--json")), parts.Parts.keep

    def keep(self, name, found):
        real(self, name, found)
        if len(self.known) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "keep", keep)
        assert firth(*words, "--out", "pairs.json").exit_code == 130
    rows = parts.read(tmp_path / ".pairs.json.parts")
    assert len(rows) == 3 and not (tmp_path / "pairs.json").exists()
    other = refused(tmp_path, monkeypatch, [*words, "--set", "text.context=64", "--out", "pairs.json"])
    assert other.startswith(".pairs.json.parts: holds parts of a measure with another settings.")
    done(*words, "--out", "pairs.json")
    kept = json.loads((tmp_path / "pairs.json").read_text())
    assert {key: kept[key] for key in ("average", "paradigms", "ties")} == {
        key: whole[key] for key in ("average", "paradigms", "ties")
    }
    assert not (tmp_path / ".pairs.json.parts").exists()
