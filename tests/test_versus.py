"""`firth compare`: resumable trial by trial, several models, the control, varied pre-training, refusals."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from firth.data.labelled import encoded, open_labelled, shuffled
from firth.errors import InputError
from firth.evaluate import compare as core
from firth.evaluate.comparison import Comparison, Point, Trial
from firth.evaluate.kept import Kept
from firth.evaluate.versus import combinations, differing, merged, name_of, numbers_of, untaken, versus
from firth.find import find
from firth.recipe import Data, load_toml
from firth.report.html import write_comparison
from firth.signals.text import Text
from firth.train.folder import RunFolder
from tests import labelled_files, runs

TAB = "\t"
FEW = {"train.steps": 4, "train.batch": 4, "train.evaluate_every": 2, "train.precision": "fp32"}


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.fixture(scope="module")
def signal():
    return Text.open(runs.folder() / "pretrained" / "model")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("versus")


def compared(place, name, task="classify", data="reviews.tsv", **options):
    given = {"labels": "20", "seeds": 2, "settings": FEW, "out": place / name, "report": write_comparison, **options}
    return versus(runs.folder() / "pretrained", runs.folder() / data, task, **given)


# ------------------------------------------------------------------ the whole way


def test_trials_are_kept_and_not_done_again(place, monkeypatch):
    first = compared(place, "one", arms="random,pretrained,tf-idf")
    kept = sorted(path.name for path in (place / "one" / "trials").iterdir())
    assert kept == sorted(f"{arm}-20-{seed}.json" for arm in ("random", "pretrained", "tf-idf") for seed in (0, 1))
    assert (place / "one" / "report.html").exists() and (place / "one" / "comparison.json").exists()
    (place / "one" / "trials" / "tf-idf-20-1.json").unlink()
    done = []
    monkeypatch.setattr(core.ways.Neural, "__call__", lambda self, drawn: done.append("neural"))
    again = compared(place, "one", arms="random,pretrained,tf-idf")
    assert not done
    for arm in ("random", "pretrained", "tf-idf"):
        assert again.accuracy(arm, 20) == first.accuracy(arm, 20)
    assert again.as_dict()["arms"][0]["by_seed"] == first.as_dict()["arms"][0]["by_seed"]


def test_more_seeds_and_labels_go_on_in_the_same_folder_other_settings_do_not(place):
    compared(place, "two", arms="tf-idf,pretrained")
    more = compared(place, "two", arms="tf-idf,pretrained", labels="20,40", seeds=3)
    assert more.budgets == [20, 40] and more.seeds == [0, 1, 2]
    message = refusal(lambda: compared(place, "two", arms="tf-idf,pretrained", settings=FEW | {"train.steps": 5}))
    assert message == (
        f"{place / 'two'}: holds a comparison with another settings. "
        f"Choose another --out, or delete it: rm -r {place / 'two'}"
    )


@pytest.mark.parametrize("changed", ["labels", "weights"])
def test_trials_of_other_content_under_the_same_names_are_not_taken(place, tmp_path, changed):
    labels, model = tmp_path / "labels.tsv", tmp_path / "model"
    labels.write_text((runs.folder() / "reviews.tsv").read_text())
    shutil.copytree(runs.folder() / "pretrained" / "model", model)
    given = {"labels": "20", "seeds": 1, "settings": FEW, "out": tmp_path / "out", "arms": "tf-idf,pretrained"}
    versus(model, labels, **given)
    if changed == "labels":
        head, *rows = labels.read_text().splitlines()
        swapped = {"positive": "negative", "negative": "positive"}
        rows = [f"{row.rsplit(TAB, 1)[0]}{TAB}{swapped[row.rsplit(TAB, 1)[1]]}" for row in rows]
        labels.write_text("\n".join([head, *rows, ""]))
    else:
        state = load_file(model / "model.safetensors")
        save_file({name: one * 1.5 for name, one in state.items()}, model / "model.safetensors", {"format": "pt"})
    what = "content" if changed == "labels" else "weights"
    assert f"holds a comparison with another {what}. Choose" in refusal(lambda: versus(model, labels, **given))


def test_all_labels_are_as_many_as_there_are(place):
    found = compared(place, "all", arms="tf-idf,pretrained", labels="20,96,all", seeds=1)
    assert found.budgets == [20, 96] and len(found.trials) == 4  # 120 examples less the fifth that is the test part
    assert (place / "all" / "trials" / "pretrained-96-0.json").exists()
    assert numbers_of("all,50, 20") == [20, 50, None] and numbers_of("all") == [None]
    assert numbers_of(40) == [40] and numbers_of([40, "all", 20]) == [20, 40, None] and numbers_of(None) is None


def test_no_labels_are_not_all_labels():
    assert numbers_of(0) == [0] and numbers_of([0, None]) == [0, None]  # 0 is refused where labels are drawn
    assert numbers_of([None, 5]) == [5, None]


def test_a_budget_that_is_set_wins_over_the_steps_of_a_config(tmp_path):
    (tmp_path / "c.toml").write_text('verb = "adapt"\n[train]\nsteps = 500\nevaluate_every = 25\nbatch = 8\n')
    kept = merged(load_toml(tmp_path / "c.toml"), {"optimizer.lr": 1e-4})
    assert (kept["train.steps"], kept["train.batch"], kept["optimizer.lr"]) == (500, 8, 1e-4)
    anew = merged(load_toml(tmp_path / "c.toml"), {"train.budget": "5epochs"})
    assert anew["train.budget"] == "5epochs" and anew["train.batch"] == 8
    assert not {"train.steps", "train.evaluate_every"} & set(anew)


CONFIG = """verb = "adapt"
objective = ["tag"]
[data]
paths = ["a.tsv"]
label = "kind"
test = ["b.tsv"]
[train]
steps = 5
[classify]
class_weights = "balanced"
"""


def test_what_a_config_says_that_is_not_taken_is_told(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG)
    show = runs.Told()
    with pytest.raises(InputError, match="no such file"):  # the note comes before the data is read
        versus(runs.folder() / "pretrained", tmp_path / "none.tsv", config=tmp_path / "c.toml", test="c.tsv",
               out=tmp_path / "out", dry_run=True, show=show)  # fmt: skip
    assert show.notes == [
        f"Of {tmp_path / 'c.toml'}, compare takes how is trained and fine-tuned (`train`, `optimizer`, `model`), and "
        "not data.label, the table `classify`, objective: say them as options or with --set."
    ]


def test_nothing_is_told_of_a_config_that_is_taken_whole(tmp_path):
    (tmp_path / "c.toml").write_text('verb = "adapt"\n[train]\nsteps = 5\n[model]\nfrozen = true\n')
    assert untaken(load_toml(tmp_path / "c.toml"), "classify", ()) == []


def test_another_model_is_an_arm_with_its_own_tokenizer(place):
    transformers = pytest.importorskip("transformers")
    assert transformers
    found = compared(place, "three", arms="random,pretrained", against=[runs.adapted()])
    assert list(found.titles) == ["random", "pretrained", "adapted"]
    assert found.titles["adapted"] == "adapted" and len(found.trials) == 6


def test_a_gpt_is_an_arm_on_the_same_labels_and_names_say_the_shapes(place):
    found = compared(place, "shapes", arms="random,pretrained,tf-idf", against=[runs.writer()])
    assert found.titles == {
        "random": "Random initialisation (ModernBERT)", "pretrained": "Pre-trained (ModernBERT)",
        "tf-idf": "TF-IDF + logistic regression", "writer": "writer (Llama)",
    }  # fmt: skip
    assert {one.arm for one in found.trials} == set(found.titles) and len(found.of("writer", 20)) == 2
    assert found.facts["models"]["writer"].startswith("Llama-shaped, 2 layers × 32")
    page = (place / "shapes" / "report.html").read_text()
    assert page.count("writer (Llama)") > 3 and "Models of other shapes come with their own tokenizer" in page


def test_a_gpt_may_be_what_the_verdict_is_about(place):
    found = versus(runs.writer(), runs.folder() / "reviews.tsv", labels="20", seeds=1, arms="random,pretrained",
                   settings=FEW, out=place / "gpt", against=[runs.folder() / "pretrained"])  # fmt: skip
    assert found.titles["pretrained"] == "Pre-trained (Llama)"
    assert found.titles["pretrained-2"] == "pretrained-2 (ModernBERT)"


@pytest.mark.parametrize(
    ("task", "write", "metric", "baselines"),
    [("tag", labelled_files.write_tags, "accuracy", ["most-frequent-tag", "logistic-tagger"]),
     ("pairs", labelled_files.write_pairs, "accuracy", ["tf-idf", "word-overlap"]),
     ("span", labelled_files.write_questions, "f1", ["word-overlap"])],
)  # fmt: skip
def test_every_task_is_compared_with_its_baselines(place, task, write, metric, baselines):
    path = write(place)
    found = versus(runs.folder() / "pretrained", path, task, "30", 3, settings=FEW | {"text.context": 64},
                   out=place / task, report=write_comparison)  # fmt: skip
    assert found.metric == metric
    assert list(found.titles) == ["random", "co-occurrence", "pretrained", *baselines]
    told = json.loads((place / task / "comparison.json").read_text())
    assert told["metric"] == metric and all(0 <= one["accuracy"] <= 1 for one in told["arms"])
    assert found.verdict and "seeds are too few" not in found.verdict
    page = (place / task / "report.html").read_text()
    assert ("F1" if metric == "f1" else metric) in page


def test_varied_pre_training_makes_a_run_for_each_choice(place):
    found = versus(
        runs.folder() / "corpus.txt", runs.folder() / "reviews.tsv", labels="20", seeds=2, arms="pretrained",
        vary=["masked_tokens.mask_rate=0.15,0.4", "size=1x32", "text.vocabulary=300"], budget="4steps",
        out=place / "vary",
        settings=FEW | {"data.test": ()},
    )  # fmt: skip
    assert found.titles == {"pretrained": "mask_rate=0.15", "mask_rate=0.4": "mask_rate=0.4"}
    assert sorted(path.name for path in (place / "vary" / "runs").iterdir()) == ["mask_rate=0.15", "mask_rate=0.4"]
    shapes = [RunFolder(path).recipe.model for path in (place / "vary" / "runs").iterdir()]
    assert {(one.layers, one.width) for one in shapes} == {(1, 32)}


def test_a_dry_run_writes_nothing(place):
    plan = compared(place, "dry", dry_run=True)
    assert plan["trials of each arm"] == 2 and plan["labels"] == [20] and not (place / "dry").exists()
    assert compared(place, "dry", dry_run=True, labels=None)["labels"] == ["all"]  # of 96, which are fewer than 200
    choices = ["masked_tokens.mask_rate=0.15,0.4"]
    plan = compared(place, "dry", dry_run=True, labels=None, vary=choices, budget="4steps", arms="pretrained")
    assert plan["labels"] == ["200, or all where there are fewer"] and plan["trials of each arm"] == 2


# ------------------------------------------------------------------ the control


def test_shuffled_labels_stand_elsewhere_and_the_test_part_stays(signal):
    task = find("tasks", "classify").Config()
    config = Data(paths=(str(runs.folder() / "reviews.tsv"),))
    before = open_labelled(config, signal, 0, test_share=0.2, task=task)
    after = shuffled(before, signal, 0)
    labels = [[record.label for record in one.records["train"]] for one in (before, after)]
    assert labels[0] != labels[1] and sorted(labels[0]) == sorted(labels[1])
    assert after.records["test"] == before.records["test"]
    assert [s.label for s in after.train.samples] == [after.classes.index(label) for label in labels[1]]
    same = np.mean([a == b for a, b in zip(*labels, strict=True)])
    assert 0.2 < same < 0.8


def test_shuffled_tags_and_answers_keep_their_form(tmp_path, signal):
    tag, span = find("tasks", "tag"), find("tasks", "span")
    tags = open_labelled(Data(paths=(str(labelled_files.write_tags(tmp_path)),)), signal, 0, task=tag.Config())
    dealt = shuffled(tags, signal, 0).records["train"]
    assert [len(one.target[1]) for one in dealt] == [len(one.target[0]) for one in dealt]
    assert sorted(t for one in dealt for t in one.target[1]) == sorted(
        t for one in tags.records["train"] for t in one.target[1]
    )
    asked = open_labelled(Data(paths=(str(labelled_files.write_questions(tmp_path)),)), signal, 0, task=span.Config())
    for one in shuffled(asked, signal, 0).records["train"]:
        text, start = one.target[0]
        assert one.parts[1][start : start + len(text)] == text and text


def test_encoding_again_changes_the_sources_alone(signal):
    config = Data(paths=(str(runs.folder() / "reviews.tsv"),))
    before = open_labelled(config, signal, 0, task=find("tasks", "classify").Config())
    after = encoded(before, signal)
    assert after.records == before.records
    assert all((a.parts[0] == b.parts[0]).all() for a, b in zip(after.train.samples, before.train.samples, strict=True))


# ------------------------------------------------------------------ pieces


def test_a_metric_over_words_weighs_sentences_by_their_length():
    trial = Trial("a", 1, 0, [["X"], ["X"] * 3], right=np.array([1.0, 1.0]))
    found = Comparison({"a": "A"}, (), [], [trial], "a", (), count=np.array([1.0, 3.0]))
    assert found.score(trial) == pytest.approx(0.5)
    assert found.items(trial).mean() == pytest.approx(0.5)


def test_trials_come_back_as_they_were(tmp_path):
    kept = Kept(tmp_path / "c", {"task": "x"})
    classed = Trial("a", 10, 1, np.array([1, 0]), (Point(0, 0.7, 0.5),), 1.5, opening=0.69)
    other = Trial("b", 10, 1, ["x", ""], (), 0.5, np.array([0.25, 1.0]))
    for trial in (classed, other):
        kept.put(trial)
    back = kept.get("a", 10, 1)
    assert back.predicted.tolist() == [1, 0] and back.curve == classed.curve and back.right is None
    assert back.opening == 0.69 and kept.get("b", 10, 1).opening is None
    back = kept.get("b", 10, 1)
    assert back.predicted == ["x", ""] and back.right.tolist() == [0.25, 1.0] and back.seconds == 0.5
    assert kept.get("b", 10, 2) is None and Kept(None, {}).get("a", 10, 1) is None


def test_choices_are_all_combinations():
    found = combinations(["masked_tokens.mask_rate=0.15,0.3", "objective=masked-tokens,next-sentence+masked-tokens"])
    assert len(found) == 4 and found[0] == {"masked_tokens.mask_rate": "0.15", "objective": "masked-tokens"}
    assert name_of(found[3]) == "mask_rate=0.3 objective=next-sentence+masked-tokens"
    assert combinations([]) == []
    sized = combinations(["size=4x256", "masked_tokens.mask_rate=0.15,0.3"])
    assert sized[1] == {"size": "4x256", "masked_tokens.mask_rate": "0.3"}
    assert [name_of(differing(one, sized)) for one in sized] == ["mask_rate=0.15", "mask_rate=0.3"]


def test_refusals_say_where_what_and_what_to_do(place, tmp_path):
    assert refusal(lambda: numbers_of("a few")) == (
        "--labels a few: is no list of numbers. Write numbers: --labels 100,500."
    )
    assert refusal(lambda: combinations(["x"])) == (
        "--vary x: names no two values. Write --vary masked_tokens.mask_rate=0.15,0.3."
    )
    assert refusal(lambda: combinations(["a=1", "b=2"])) == (
        "--vary a=1 b=2: names no two values. Write --vary masked_tokens.mask_rate=0.15,0.3."
    )
    assert refusal(lambda: combinations(["x=" + ",".join(map(str, range(13)))])) == (
        "--vary: makes 13 pre-trainings. Vary less at a time: at most 12."
    )
    assert refusal(lambda: compared(place, "x", vary=["a=1,2"])) == (
        "--vary: needs a budget for each pre-training. Add one such as --budget 500steps."
    )
    assert refusal(lambda: compared(place, "x", control="none")) == (
        "--control none: no such control. There is: shuffled-labels."
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    assert refusal(lambda: Kept(tmp_path / "other", {})) == (
        f"{tmp_path / 'other'}: exists and holds no comparison. Choose another --out."
    )
