"""`firth predict --task prompt`: labels in words, by no, one or a few examples; and what it refuses."""

import pytest

from firth.evaluate.inputs import Query
from firth.evaluate.judge import open_judge
from firth.evaluate.prompting import prompted
from firth.tasks.prompt import Config, parse, prompt
from tests import runs
from tests.test_bad_input import firth, refused
from tests.test_verbs import done, strict

TEMPLATE = "Review: {text}\\nSentiment: {label}"
SHOT = ["--shots", "2", "--examples", "reviews.tsv", "--template", TEMPLATE]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompted")
    (folder / "writer").symlink_to(runs.writer())
    (folder / "pretrained").symlink_to(runs.folder() / "pretrained")
    for name in ("reviews.tsv", "test.tsv"):
        (folder / name).symlink_to(runs.folder() / name)
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def lines(text: str) -> list[dict]:
    return [strict(line) for line in text.splitlines()]


def test_inputs_are_labelled_after_examples():
    one, two = lines(done("predict", "writer", "A wonderful film.", "A dreadful film.", "--task", "prompt", *SHOT))
    assert {one["label"], two["label"]} <= {"negative", "positive"}
    assert set(one["probabilities"]) == {"negative", "positive"} and sum(
        one["probabilities"].values()
    ) == pytest.approx(1)


def test_without_examples_the_labels_are_named():
    words = ("--task", "prompt", "--choice", "good", "--choice", "bad", "--template", TEMPLATE)
    (one,) = lines(done("predict", "writer", "A wonderful film.", *words))
    assert set(one["probabilities"]) == {"good", "bad"}


def test_the_label_is_the_likeliest_option_of_that_very_prompt():
    judge, config = open_judge(runs.writer(), (), "cpu"), Config(template=TEMPLATE, classes=("good", "bad"))
    (answer,) = prompted(Query("writer", "A film."), template=TEMPLATE, classes=("good", "bad"))
    one = answer.said
    from firth.task import Example, Where

    text = prompt(config, parse(config.template), [], Example("A film.", None, Where("x")))
    ((good, bad),) = judge.score([text], [[" good", " bad"]])
    assert one.label == ("good" if good.nats > bad.nats else "bad")


def test_files_and_pipes_are_read_as_they_come():
    assert len(lines(done("predict", "writer", "test.tsv", "--task", "prompt", *SHOT))) == 40
    found = lines(done("predict", "writer", "-", "--task", "prompt", *SHOT, input="one\ntwo\n"))
    assert [one["text"] for one in found] == ["one", "two"]


def test_a_seed_draws_the_examples():
    asked = ("predict", "writer", "test.tsv", "--task", "prompt", *SHOT)
    one, two, other = (done(*asked, "--seed", seed) for seed in ("1", "1", "5"))
    assert one == two != other


def test_a_model_of_masked_tokens_is_asked_by_what_it_would_fill_in():
    words = ("--choice", "good", "--choice", "bad", "--template", "{text} It is {label}.")
    (one,) = lines(done("predict", "pretrained", "A film.", "--task", "prompt", *words))
    assert one["label"] in ("good", "bad")


REFUSED = {
    ("--task", "prompt"): "--task prompt: nothing says what the labels are.\n"
    "Name labelled files, --examples labels.tsv, or the labels: --choice good --choice bad.",
    ("--task", "prompt", "--shots", "2"): "--shots 2: there are no examples.\n"
    "Name labelled files that they are drawn from: --examples labels.tsv.",
    ("--task", "prompt", "--shots", "0,4", "--examples", "reviews.tsv"): "--shots 0,4: asks for several prompts of "
    "each input.\nChoose one number. firth measure MODEL LABELLED --task prompt --shots 0,4 shows accuracy against "
    "their number.",
    ("--task", "prompt", "--shots", "90", "--examples", "reviews.tsv"): "input `A film.`: its prompt of 90 shots has",
    ("--task", "classify"): "--task classify: is nothing to be chosen: a model answers with what it has learnt.\n"
    "Leave it out; --task prompt asks a language model by examples.",
    ("--task", "prompt", "--tokens", "9"): "--tokens: changes nothing beside --task prompt.\nLeave it out.",
    ("--shots", "2"): "--shots: belongs to a prompt.\nAdd --task prompt, or leave it out.",
    ("--task", "prompt", "--template", "no field", "--choice", "a", "--choice", "b"): "prompt.template: `no field` has "
    "no field {label}.\nPut {label} where the answer belongs: Review: {text}\\nSentiment: {label}",
    ("--task", "prompt", "--choice", "a", "--choice", "a"): "--task prompt: nothing says what the labels are.\n"
    "Name labelled files, --examples labels.tsv, or the labels: --choice good --choice bad.",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_predict_refuses(place, monkeypatch, words):
    told = refused(place, monkeypatch, ["predict", "writer", "A film.", *words])
    assert told == REFUSED[words] or (REFUSED[words].endswith("has") and told.startswith(REFUSED[words]))


def test_a_dry_run_checks_and_says_nothing():
    assert done("predict", "writer", "A film.", "--task", "prompt", *SHOT, "--dry-run") == ""
    assert firth("predict", "nowhere", "A film.", "--task", "prompt", *SHOT, "--dry-run").exit_code == 2
