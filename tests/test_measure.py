"""`firth measure`: every measure over runs of both kinds and a foreign folder, its windows, its page, its refusals."""

import json
import math
from contextlib import chdir

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import firth as package
from firth.evaluate.judge import open_judge
from firth.evaluate.measures.likelihood import likelihoods, ratio, windows
from firth.evaluate.measuring import measure
from firth.find import names
from tests import labelled_files, llamas, material, runs
from tests.test_bad_input import firth, refused
from tests.test_verbs import done, strict

TEXTS = ["The deep ship meets the tide. " * 12, "A cow.", "The old clock passes the loud tram."]
ASKED = {  # what is typed after `measure MODEL`
    "likelihood": ["held-out.txt"],
    "last-word": ["held-out.txt", "--most", "9"],
    "minimal-pairs": ["blimp.zip", "--most", "5"],
    "multiple-choice": ["choices.jsonl"],
    "prompt": ["test.tsv", "--examples", "reviews.tsv", "--shots", "0,1,2", "--draws", "2", "--most", "20"],
}
FIGURES = {
    "likelihood": {"bits_per_byte", "perplexity", "word_perplexity", "bytes"},
    "last-word": {"accuracy", "perplexity", "items"},
    "minimal-pairs": {"average", "phenomena", "paradigms", "ties"},
    "multiple-choice": {"accuracy", "per_character", "chance", "ties"},
    "prompt": {"shots", "arms", "majority", "random", "commonest"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    for name in ("writer", "pretrained", "adapted"):
        (folder / name).symlink_to({"writer": runs.writer, "adapted": runs.adapted}.get(
            name, lambda: runs.folder() / "pretrained")())  # fmt: skip
    for name in ("reviews.tsv", "test.tsv"):
        (folder / name).symlink_to(runs.folder() / name)
    (folder / "held-out.txt").write_text("\n\n".join(material.documents(12, seed=9, sentences=3)))
    labelled_files.write_minimal_pairs(folder, 8)
    labelled_files.write_choices(folder)
    llamas.write_llama(folder / "foreign", llamas.byte_level(), max_position_embeddings=256)
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


# ------------------------------------------------------------------ what it finds


def test_every_measure_is_asked_for_here():
    assert {*ASKED, "in-context"} == set(names("evaluate/measures"))


@pytest.mark.parametrize("task", ASKED)
@pytest.mark.parametrize("model", ["writer", "pretrained", "foreign"])
def test_a_measure_of_a_model(model, task, place):
    if (model, task) == ("pretrained", "prompt"):
        pytest.skip("its context holds no prompt")
    short = ["--set", "text.context=64"] if model == "pretrained" else []
    told = strict(done("measure", model, *ASKED[task], "--task", task, *short, "--json"))
    assert told["task"] == task and told["kind"] == "measure" and FIGURES[task] <= set(told)
    assert told["by"] == ("pseudo-log-likelihood" if model == "pretrained" else "likelihood")


def test_what_it_prints_begins_with_the_model_and_the_result():
    told = done("measure", "writer", "blimp.zip", "--task", "minimal-pairs").splitlines()
    assert told[0] == "Model    Llama-shaped, 2 layers × 32, context 384"
    assert told[1].startswith("Result   ") and "% of 16 pairs in 2 paradigms" in told[1]


def test_a_model_that_writes_is_counted_by_what_it_writes_too():
    told = strict(done("measure", "writer", *ASKED["prompt"], "--task", "prompt", "--json"))
    assert set(told["arms"]) == {"raw", "per-token", "per-byte", "calibrated", "written"} and told["shots"] == [0, 1, 2]
    assert told["items"] == 20 and told["random"] == 0.5


def test_examples_may_be_half_of_the_same_file():
    told = strict(
        done("measure", "writer", "reviews.tsv", "--task", "prompt", "--shots", "1", "--draws", "2", "--json")
    )
    assert 40 <= told["items"] <= 80


def test_functions_never_met_are_asked_for_by_name(tmp_path):
    from firth.train.pretrain import pretrain

    settings = ["text.tokenizer=characters", "text.context=240", "train.batch=4", "data.held_out=0.1"]
    pretrain("synthetic:icl:episodes=100", "next-token", "1x32", "4steps", tmp_path / "icl", settings=settings)
    words = ("synthetic:icl", "--task", "in-context", "--shots", "0,2", "--most", "12", "--json")
    told = strict(done("measure", str(tmp_path / "icl"), *words))
    assert set(told["curves"]) == {"trained", "new-members", "new-families"} and told["questions"] == 12


def test_the_same_from_python(place):
    found = package.measure("writer", "blimp.zip", "minimal-pairs", most=5)
    assert found.found.pairs == 10 and found.as_dict()["average"] == found.found.average


def test_a_seed_draws_other_examples_and_the_same_seed_the_same():
    words = ("measure", "writer", *ASKED["prompt"], "--task", "prompt", "--json")
    one, two, other = (strict(done(*words, "--seed", seed))["arms"]["raw"] for seed in ("1", "1", "2"))
    assert one == two and one[0] == other[0]  # without examples there is nothing to draw


# ------------------------------------------------------------------ likelihood


@given(size=st.integers(1, 90), first=st.integers(0, 2), room=st.integers(3, 40), share=st.floats(0.01, 1))
def test_windows_count_every_token_once_with_enough_before_it(size, first, room, share):
    stride = max(1, int(share * (room - first)))
    found = list(windows(size, first, room, stride))
    counted = [place for one in found for place in range(one.first, one.end)]
    assert counted == list(range(first, size))
    for number, one in enumerate(found):
        assert one.end - one.begin <= room and one.begin <= max(0, one.first - (first > 0))
        assert number == 0 or one.first - one.begin >= min(one.first, room - stride)


@torch.inference_mode()
def by_transformers(text: str, context: int, stride: int) -> float:
    """Nats of a text, every token guessed by itself from the window that it belongs to."""
    transformers = pytest.importorskip("transformers")
    folder = runs.writer() / "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    nats, end = 0.0, min(len(ids), context + 1)
    done_ = 1
    while done_ < len(ids):
        begin = max(0, end - context - 1)
        logs = model(torch.tensor([ids[begin:end]])).logits[0].log_softmax(-1)
        nats += sum(logs[place - 1 - begin, ids[place]].item() for place in range(done_, end))
        done_, end = end, min(len(ids), end + stride)
    return nats


@pytest.mark.parametrize("stride", [5, 16, 32])
def test_bits_per_byte_are_those_of_transformers(stride):
    judge = open_judge(runs.writer(), ["text.context=32"], "cpu")
    found = likelihoods(judge, TEXTS, stride)
    nats = sum(by_transformers(text, 32, stride) for text in TEXTS)
    size = sum(len(text.encode()) for text in TEXTS)
    assert found.bits_per_byte.mean == pytest.approx(-nats / math.log(2) / size, rel=1e-4)
    assert found.word_perplexity == pytest.approx(math.exp(-nats / sum(len(t.split()) for t in TEXTS)), rel=1e-3)
    assert found.bytes == size and found.texts == 3 and found.tokens > 3


def test_the_interval_is_that_of_resampled_texts():
    source = np.random.default_rng(0)
    sizes = source.integers(50, 500, 400).astype(float)
    sums = sizes * source.normal(2.0, 0.3, 400)
    found = ratio(sums, sizes)
    places = source.integers(0, 400, (2000, 400))
    drawn = sums[places].sum(1) / sizes[places].sum(1)
    assert found.mean == pytest.approx(sums.sum() / sizes.sum())
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * drawn.std(), rel=0.06)


def test_the_first_words_of_a_foreign_model_are_guessed_from_an_end_token():
    judge = open_judge("foreign", (), "cpu")
    assert judge.lead == (judge.signal.sep_id,) and judge.room == judge.signal.config.context + 1


# ------------------------------------------------------------------ what is kept


def test_the_figures_and_the_page_are_kept_where_they_are_asked_for(tmp_path):
    done("measure", "writer", "blimp.zip", "--task", "minimal-pairs", "--out", str(tmp_path / "pairs.json"))
    kept = json.loads((tmp_path / "pairs.json").read_text())
    assert kept["task"] == "minimal-pairs" and set(kept["phenomena"]) == {"verb", "word"}


PICTURES = {"prompt": "Accuracy against examples in the prompt", "minimal-pairs": "Minimal pairs by phenomenon"}


@pytest.mark.parametrize("task", ASKED)
def test_a_page_shows_the_result_and_a_picture(task, tmp_path):
    done("measure", "writer", *ASKED[task], "--task", task, "--out", str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text()
    assert PICTURES.get(task, task.replace("-", " ")) in text and "firth" in text
    assert ("<svg" in text.split("Pictures")[-1]) == (task in PICTURES)


# ------------------------------------------------------------------ refusals

TASKS = "There is: in-context, last-word, likelihood, minimal-pairs, multiple-choice, prompt."
REFUSED = {
    ("writer", "held-out.txt", "--task", "minimal-pair"): "--task minimal-pair: is nothing that is measured without "
    f"learning.\nDid you mean `minimal-pairs`? {TASKS}",
    ("writer", "held-out.txt", "--shots", "4"): "--shots: says nothing to the task likelihood.\nLeave it out.",
    ("writer", "held-out.txt", "--stride", "0"): "--stride 0: must be 1 or more.\nLeave it out for the usual value.",
    ("writer", "held-out.txt", "--stride", "500"): "--stride 500: leaves out text between windows of 384 tokens.\n"
    "Lower it.",
    ("writer",): "DATA: is not given.\nName what is scored: firth measure MODEL DATA --task likelihood.",
    ("writer", "test.tsv", "--task", "prompt", "--shots", "few"): "--shots few: is no list of numbers.\n"
    "Write numbers: --shots 0,1,4,16.",
    ("writer", "held-out.txt", "--task", "in-context"): "held-out.txt: has no questions about functions never met.\n"
    "Say synthetic:icl, which makes them.",
    ("adapted", "held-out.txt"): "adapted: answers with classify, and says nothing of how likely texts are.\n"
    "Give the run that it was adapted from.",
    ("nowhere", "held-out.txt"): "nowhere: no such folder.\n"
    "Give a run folder, or a folder with config.json and model.safetensors.",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_measure_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["measure", *words]) == REFUSED[words]


def test_examples_that_do_not_fit_are_refused_and_not_cut(place, monkeypatch):
    told = refused(place, monkeypatch, ["measure", "writer", "test.tsv", "--task", "prompt", "--shots", "16",
                                        "--examples", "reviews.tsv"])  # fmt: skip
    assert told.startswith("test.tsv:") and "its prompt of 16 shots has" in told
    assert told.endswith("the context of the model 384.\nUse fewer shots, shorter examples, or a model with a longer "
                         "context.")  # fmt: skip


def test_a_dry_run_opens_the_model_and_scores_nothing(place):
    told = strict(done("measure", "writer", "held-out.txt", "--dry-run", "--json"))
    assert told["status"] == "planned" and "bits_per_byte" not in told
    with chdir(place):
        assert firth("measure", "nowhere", "held-out.txt", "--dry-run").exit_code == 2
    assert measure("writer", "held-out.txt", dry_run=True).found is None
