"""SQuAD v2.0 from end to end: questions without an answer are learnt from, answered with nothing, and scored so."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.evaluate.predict import load
from firth.evaluate.scoring import score
from firth.find import find
from firth.task import Example, Where
from tests import labelled_files, runs
from tests.test_bad_input import firth

span = find("tasks", "span")


def with_gaps(path, every: int = 3):
    """The same file with each third question asking for what its paragraph does not say."""
    tree = json.loads(path.read_text())
    for number, paragraph in enumerate(tree["data"][0]["paragraphs"]):
        for item in paragraph["qas"]:
            if number % every == 0:
                item |= {"question": "What does the comet carry?", "answers": [], "is_impossible": True}
            else:
                item["is_impossible"] = False
    path.write_text(json.dumps(tree | {"version": "v2.0"}))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaps")
    with_gaps(labelled_files.write_questions(folder, 45))
    with_gaps(labelled_files.write_questions(folder, 18, seed=3, name="test.json"))
    settings = ["text.context=64", "train.steps=20", f"data.test={folder / 'test.json'}"]
    for name, threshold in (("run", 0.0), ("never", 1e6), ("always", -1e6)):
        own = [*settings, f"span.threshold={threshold}"]
        runs.quick_adapt(folder / name, own, folder / "questions.json", task="span")
    return folder


def kept(folder) -> dict:
    return json.loads((folder / "run.json").read_text())["result"]["score"]


def predicted(place, name: str) -> dict:
    """What `predict` and `score` make of the test file with the model of a run."""
    out = place / f"{name}.jsonl"
    out.unlink(missing_ok=True)
    assert firth("predict", place / name, place / "test.json", "--out", out).exit_code == 0
    return score(place / "test.json", out, "span")


@pytest.mark.parametrize("name", ["run", "never", "always"])
def test_the_score_of_the_file_is_that_of_the_run(place, name):
    found = predicted(place, name)
    assert found["version"] == "2.0" and found["items"] == 18 and found["no_answer"]["items"] == 6
    assert found["exact"] == pytest.approx(kept(place / name)["exact_match"])
    assert found["f1"] == pytest.approx(kept(place / name)["f1"])


def test_the_threshold_decides_who_says_nothing(place):
    never, always = predicted(place, "never"), predicted(place, "always")
    assert never["no_answer"]["f1"] == 1 and never["has_answer"]["f1"] == 0
    assert always["no_answer"]["f1"] == 0
    assert all(one.answer for one in load(place / "always").predict([("What?", "The ship carries the barn.")]))


def test_no_answer_is_a_candidate_among_others_with_its_place_and_share(place):
    document = "The ship carries the barn."
    (one,) = load(place / "run").predict([("What does the comet carry?", document)], top=500)
    empty = [candidate for candidate in one.best if not candidate.text]
    assert len(empty) == 1 and (empty[0].begin, empty[0].end, empty[0].score) == (0, 0, 0.0)
    assert sum(candidate.probability for candidate in one.best) == pytest.approx(1)
    assert all(document[a.begin : a.end] == a.text for a in one.best)


def test_candidates_fall_in_score_and_share_as_their_scores_say(place):
    (one,) = load(place / "run").predict([("What does the ship carry?", "The ship carries the barn.")], top=20)
    scores = [candidate.score for candidate in one.best]
    assert scores == sorted(scores, reverse=True) and len(scores) > 5
    for candidate in one.best:
        share = math.exp(candidate.score - one.best[0].score) * one.best[0].probability
        assert candidate.probability == pytest.approx(share)


def test_the_terminal_says_no_answer(place):
    found = firth("predict", place / "never", "What?\tThe ship carries the barn.")
    assert json.loads(found.stdout)["answer"] == ""


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_the_figures_of_both_kinds_make_the_figure_of_all(answered, data):
    config = span.Config()
    examples = [Example("q\nThe ship carries it", None, Where("x"), target=[("ship", 4)] * one) for one in answered]
    said = data.draw(st.lists(st.sampled_from(["", "ship", "the ship carries"]), min_size=len(answered),
                              max_size=len(answered)))  # fmt: skip
    outcome = span.judged(config, examples, said)
    worth = {True: {"": 0.0, "ship": 1.0, "the ship carries": 2 / 3}, False: {"": 1.0}}
    want = [worth[answer].get(one, 0.0) for one, answer in zip(said, answered, strict=True)]
    assert outcome.right.tolist() == pytest.approx(want)
    assert outcome.figures["f1"] == pytest.approx(sum(want) / len(want))
