"""Where a model errs, as the pages tell it: of every task, on the page of a run and on that of a comparison."""

import json
import re
import shlex
from contextlib import chdir

import numpy as np
import pytest

from firth.data.labelled import open_labelled
from firth.evaluate import mistakes
from firth.evaluate.arms import Drawn
from firth.evaluate.compare import comparison_of
from firth.evaluate.versus import versus
from firth.find import find
from firth.recipe import Data
from firth.report import comparison_page, html, run_page
from firth.report.html import write_comparison
from tests import labelled_files, runs
from tests.comparisons import HOSTILE
from tests.test_bad_input import firth
from tests.test_report_html import Structure, check

TITLES = {"pretrained": "Pre-trained", "random": "Random initialisation"}
WRITE = {"tag": labelled_files.write_tags, "span": labelled_files.write_questions}


# ------------------------------------------------------------------ mistakes as words


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"text": "a film", "gold": "good", "predicted": "bad"}, ("a film", "good", "bad")),
        ({"text": "a\nb", "gold": 4.5, "predicted": 1.234}, ("a\nb", "4.50", "1.23")),
        ({"text": "who?\nwe", "gold": ["we", "us", "we"], "predicted": ""}, ("who?\nwe", "we | us", "no answer")),
        ({"text": "who?\nwe", "gold": [], "predicted": "we"}, ("who?\nwe", "no answer", "we")),
        (
            {"text": "they ship it", "word": "ship", "place": 2, "gold": "VERB", "predicted": "NOUN"},
            ("they ship it · word 2: ship", "VERB", "NOUN"),
        ),
        ({"text": "x" * 900, "gold": "a", "predicted": "b"}, ("x" * 299 + "…", "a", "b")),
    ],
)
def test_a_mistake_is_told_in_three_texts(mistake, words):
    assert mistakes.told(mistake) == words


def made(*pairs: tuple[str, str]) -> list[dict]:
    return [{"text": text, "gold": "x", "predicted": said} for text, said in pairs]


def test_what_all_seeds_get_wrong_alike():
    one, two = made(("b", "1"), ("a", "1"), ("c", "2")), made(("a", "1"), ("b", "1"), ("c", "3"))
    assert mistakes.in_common([one, two]) == [("b", "x", "1"), ("a", "x", "1")]
    assert mistakes.in_common([one]) == [mistakes.told(row) for row in one]
    assert mistakes.in_common([one, []]) == mistakes.in_common([[]]) == []


# ------------------------------------------------------------------ comparisons of tags and answers


def drawn(folder, task: str) -> Drawn:
    path = WRITE[task](folder, 40)
    config = Data(paths=(str(path),))
    return Drawn(30, 0, open_labelled(config, None, 0, test_share=0.2, task=find("tasks", task).Config()))


def gold(task: str, one):
    return list(one.target[1]) if task == "tag" else one.target[0][0]


def compared(folder, task: str, wrong):
    """Two arms with two seeds; wrong(seed, right answer) is what the main arm says of the first two items."""
    given, trials = drawn(folder, task), []
    for seed in (0, 1):
        right = [gold(task, one) for one in given.test]
        said = [wrong(seed, one) if place < 2 else one for place, one in enumerate(right)]
        trials += [given.trial("pretrained", given.judged(said), 1.0), given.trial("random", given.judged(right), 1.0)]
        given = Drawn(30, 1, given.labelled)
    return given, comparison_of(TITLES, trials, given, {})


def test_words_that_every_seed_tags_wrong_are_named(tmp_path):
    given, found = compared(tmp_path, "tag", lambda seed, tags: ["VERB", "ADJ" if seed else "NOUN", *tags[2:]])
    words, tags = given.test[0].target
    assert found.mistakes("pretrained", 30)[0] == (f"{' '.join(words)} · word 1: {words[0]}", tags[0], "VERB")
    assert len(found.mistakes("pretrained", 30)) == 2 and found.mistakes("random", 30) == []


def test_tags_have_a_confusion_over_words(tmp_path):
    given, found = compared(tmp_path, "tag", lambda seed, tags: ["VERB", *tags[1:]])
    matrix = found.confusion("pretrained", 30)
    assert matrix.sum() == 2 * sum(given.counts) and found.confused == given.labelled.classes
    off = matrix - np.diag(np.diag(matrix))
    assert off.sum() == 4 and off[:, found.confused.index("VERB")].sum() == 4
    assert found.as_dict()["arms"][0]["confusion"] == matrix.tolist()
    assert [one["title"] for one in comparison_page.confusions(found)] == [
        "Pre-trained, 30 labels, all seeds",
        "Random initialisation, 30 labels, all seeds",
    ]


def test_answers_that_every_seed_gets_wrong_are_named_with_their_question(tmp_path):
    given, found = compared(tmp_path, "span", lambda seed, answer: "")
    one = given.test[0]
    assert found.mistakes("pretrained", 30)[0] == (mistakes.shortened(one.text), one.target[0][0], "no answer")
    assert found.confused == () and comparison_page.confusions(found) == []
    text = write_comparison(found, tmp_path / "report.html").read_text()
    check(text)
    assert "Wrong with every seed" in text and "predicted no answer" in text


# ------------------------------------------------------------------ the page of an adapted run


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    place = tmp_path_factory.mktemp("tagged")
    labelled_files.write_tags(place, 60)
    runs.quick_adapt(place / "run", ["train.steps=1"], place / "tags.conllu", task="tag", start="random")
    return place


def test_an_adapted_run_begins_with_its_score():
    content = run_page.content(runs.adapted())
    score = json.loads((runs.adapted() / "run.json").read_text())["result"]["score"]
    start = f"Test accuracy {100 * score['accuracy']:.1f} % · macro F1 {score['macro_f1']:.3f} · Matthews"
    assert content["verdict"].startswith(start)
    assert re.search(r" · 40 items · step \d+ of 40 kept$", content["verdict"])


def test_a_run_shows_what_it_gets_wrong(tagged):
    content = run_page.content(tagged / "run")
    rows = [json.loads(line) for line in (tagged / "run" / "samples" / "wrong.jsonl").read_text().splitlines()]
    assert len(content["mistakes"]) == run_page.MISTAKES < len(rows)
    assert content["mistakes"][0] == (*mistakes.told(rows[0]), f"{100 * rows[0]['probability']:.0f} %")
    assert content["confusions"][0]["classes"] == ["ADJ", "DET", "NOUN", "PUNCT", "VERB"]
    shown = check(html.write_run(tagged / "run", tagged / "report.html").read_text())
    assert "What it is surest of, and wrong" in "".join(shown.text)


def test_hostile_mistakes_are_text(tagged, tmp_path):
    row = {"text": HOSTILE, "gold": [HOSTILE], "predicted": HOSTILE, "probability": 0.5}
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "wrong.jsonl").write_text(json.dumps(row) + '\n{"text": "torn')
    text = html.write_run(tmp_path).read_text()
    assert check(text).tags.count("q") == 1 and HOSTILE in "".join(Structure(text).text)


def test_many_classes_have_no_matrix_on_the_page_of_a_run():
    result = {"score": {"confusion": np.eye(21).tolist(), "classes": [str(i) for i in range(21)]}}
    assert run_page.confusions(result) == []


def test_the_command_of_an_adapted_run_repeats_it(tagged):
    with chdir(tagged):
        command = run_page.content(tagged / "run")["command"]
        done = firth(*shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
    kept = [json.loads((tagged / name / "run.json").read_text())["result"] for name in ("run", "run-again")]
    assert kept[0]["score"] == kept[1]["score"] and {one["start"] for one in kept} == {"random"}


def test_a_comparison_shows_the_command_that_was_typed(tagged, monkeypatch):
    words = ["compare", "model", "a file.tsv", "--labels", "20"]
    monkeypatch.setattr("sys.argv", ["firth", *words])
    asked = {}
    monkeypatch.setattr("firth.evaluate.versus.versus", lambda *args, **options: asked.update(options) or {})
    assert firth(*words).exit_code == 0
    assert asked["command"] == "firth compare model 'a file.tsv' --labels 20"


def test_the_typed_command_stands_on_the_page(tmp_path):
    found = versus(
        runs.folder() / "pretrained", runs.folder() / "reviews.tsv", labels="20", seeds=1, arms="tf-idf,pretrained",
        settings=["train.steps=2"], out=tmp_path / "c", report=write_comparison, command="firth compare this",
    )  # fmt: skip
    assert found.facts["command"] == "firth compare this"
    assert "<code>firth compare this</code>" in (tmp_path / "c" / "report.html").read_text()
