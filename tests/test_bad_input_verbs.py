"""What compare, score, embed and company refuse: the whole message, exit code 2, nothing left behind, no traceback."""

import json
import shutil

import pytest

from tests import labelled_files, runs
from tests.test_bad_input import firth, refused

CHECK = "Check the name."
PLACE = "Choose another place with --out."
TASKS = "There is: classify, pairs, span, tag, transcribe, verify."
ARMS = "There is: random, pretrained, co-occurrence, tf-idf, linear, linear-random, neighbours, neighbours-random."
FOLDER = "Give a run folder, or a folder with config.json and model.safetensors."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    runs.copied(folder, "pretrained", "corpus.txt", "reviews.tsv", "test.tsv")
    shutil.copytree(runs.folder() / "pretrained" / "model", folder / "bare")
    labelled_files.write_tags(folder, 20)
    labelled_files.write_faulty(folder)
    _questions(folder)
    (folder / "gold.csv").write_text("id,label\n1,good\n2,bad\n3,good\n")
    (folder / "said.csv").write_text("id,label\n1,good\n2,bad\n3,mixed\n")
    (folder / "short.txt").write_text("good\n")
    (folder / "taken.npy").touch()
    (folder / "rare.txt").write_text("the ship sails\nthe cow sails\n")
    return folder


def _questions(folder):
    """Three questions, all on one paragraph: they stay on one side of a split."""
    context = "The ship carries the barn. The captain carries the fence. The crew carries the clock."
    asked = [
        {"id": word, "question": f"What does the {who} carry?",
         "answers": [{"text": word, "answer_start": context.index(word)}]}
        for who, word in (("ship", "barn"), ("captain", "fence"), ("crew", "clock"))
    ]  # fmt: skip
    tree = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": asked}]}]}
    (folder / "one.json").write_text(json.dumps(tree))


COMPARE = {
    ("reviews.tsv", "--labels", "a few"): "--labels a few: is no list of numbers.\nWrite numbers: --labels 100,500.",
    ("reviews.tsv", "--labels", ""): "--labels : is no list of numbers.\nWrite numbers: --labels 100,500.",
    ("reviews.tsv", "--labels", "2"): "--labels 2: too few for 2 classes.\n"
    "Use at least 4: one of each class to learn from, and one to validate.",
    ("reviews.tsv", "--labels", "10000"): "--labels 10000: only 96 labelled examples are left beside a test part of "
    "24.\nSay `--labels 96` or `--labels all`, or give `--test FILE`.",
    ("reviews.tsv", "--labels", "110"): "--labels 110: only 96 labelled examples are left beside a test part of "
    "24.\nSay `--labels 96` or `--labels all`, or give `--test FILE`.",
    ("reviews.tsv", "--labels", "121", "--test", "test.tsv"): "--labels 121: only 120 labelled examples are left "
    "beside a test part of 40.\nSay `--labels 120` or `--labels all`.",
    ("reviews.tsv", "--seeds", "0"): "seeds = 0: nothing would be trained.\nUse at least 3 for a verdict.",
    ("reviews.tsv", "--task", "tags"): f"--task tags: no such task.\nDid you mean `tag`? {TASKS}",
    ("reviews.tsv", "--task", "prompt"): "--task prompt: learns nothing: its examples stand in the prompt.\n"
    "Label with it: firth predict MODEL INPUT --task prompt; adapt to one of "
    "classify, pairs, span, tag, transcribe, verify.",
    ("reviews.tsv", "--arms", "pretraind,random"): "arm `pretraind`: no such arm.\n"
    f"Did you mean `pretrained`? {ARMS}",
    ("reviews.tsv", "--arms", "random,tf-idf"): "--arms random,tf-idf: leaves out `pretrained`, which the verdict is "
    "about.\nAdd it: --arms pretrained,random,tf-idf",
    ("reviews.tsv", "--arms", "pretrained"): "--arms pretrained: has nothing to hold it against.\n"
    "Add an arm, as in --arms random,pretrained.",
    ("reviews.tsv", "--arms", "pretrained,logistic-tagger"): f"arm `logistic-tagger`: no such arm.\n{ARMS}",
    ("reviews.tsv", "--control", "none"): "--control none: no such control.\nThere is: shuffled-labels.",
    ("reviews.tsv", "--vary", "x"): "--vary x: names no two values.\n"
    "Write --vary masked_tokens.mask_rate=0.15,0.3.",
    ("reviews.tsv", "--vary", "size=1x32,2x32"): "--vary: needs a budget for each pre-training.\n"
    "Add one such as --budget 500steps.",
    ("reviews.tsv", "--against", "nowhere"): f"nowhere: no such folder.\n{FOLDER}",
    ("reviews.tsv", "--test", "reviews.tsv"): "--test reviews.tsv: is the training data, too: nothing is left to "
    "learn from.\nGive --test a file of its own, or leave it out: the validation part is then scored.",
    ("revews.tsv",): f"revews.tsv: no such file or folder.\nDid you mean `reviews.tsv`? {CHECK}",
    ("corpus.txt",): "corpus.txt:1:1: this text has no label.\n"
    "Put the texts of each class into a folder with its name, or give a table with a column of labels.",
    ("tags.conllu", "--task", "tag", "--set", "tag.column=ner"): "tags.conllu: has no column `ner`.\n"
    "Name it: --set tag.column=NAME can be `text`, `upos`, `words`, `xpos`.",
    ("one.json", "--task", "span", "--labels", "3"): "one.json: leaves nothing to test on.\n"
    "Give a test file: --test FILE.",
    ("reviews.tsv", "--out", "pretrained"): "pretrained: exists and holds no comparison.\nChoose another --out.",
    ("reviews.tsv", "--out", "corpus.txt"): f"corpus.txt: is a file, not a folder.\n{PLACE}",
    ("reviews.tsv", "--out", "corpus.txt/x"): f"corpus.txt/x: lies inside a file, not a folder.\n{PLACE}",
    ("reviews.tsv", "--set", "train.step=3"): "--set: `train.step` is no key.\nDid you mean `train.steps`?",
    ("reviews.tsv", "--set", "train.steps"): "--set train.steps: has no `=`.\n"
    "Write key=value, as in --set train.batch=32.",
    ("reviews.tsv", "--config", "few.toml"): "few.toml: cannot be read (No such file or directory).\n"
    "Check the name after --config.",
}  # fmt: skip


@pytest.mark.parametrize("words", COMPARE, ids=" ".join)
def test_compare_refuses(place, monkeypatch, words):
    few = [] if "--labels" in words else ["--labels", "20"]
    assert refused(place, monkeypatch, ["compare", "pretrained", *words, *few]) == COMPARE[words]


def test_compare_refuses_a_model_that_is_not_there(place, monkeypatch):
    assert refused(place, monkeypatch, ["compare", "nowhere", "reviews.tsv"]) == f"nowhere: no such folder.\n{FOLDER}"


DRY = [("--arms", "pretrained,foo"), ("--against", "nowhere"), ("--out", "corpus.txt"), ("--labels", "110")]


@pytest.mark.parametrize("words", DRY, ids=" ".join)
def test_a_dry_run_of_compare_refuses_what_the_run_would(place, monkeypatch, words):
    few = [] if "--labels" in words else ["--labels", "20"]
    asked = ["compare", "pretrained", "reviews.tsv", *words, *few]
    told = refused(place, monkeypatch, [*asked, "--dry-run"])
    assert told == refused(place, monkeypatch, asked)


SCORE = {
    ("gold.csv", "short.txt"): "short.txt: 1 prediction for the 3 rows of gold.csv.\n"
    "Give one prediction per row, in the order of gold.csv, or give both a column `id`.",
    ("gold.csv", "said.csv"): "said.csv:4:1: the label `mixed` is not in gold.csv.\n"
    "There is: `bad`, `good`. If `mixed` may be predicted: --classes mixed",
    ("gold.csv", "said.csv", "--task", "tags"): "--task tags: has no score.\n"
    "Did you mean `tag`? There is: classify, pairs, prompt, tag, span, transcribe, verify.",
    ("gold.csv", "said.csv", "--label", "labl"): "gold.csv: has no column `labl`.\n"
    "Did you mean `label`? --label can be `id`, `label`.",
    ("gold.csv", "said.csv", "--predicted", "guess"): "said.csv: has no column `guess`.\n"
    "--predicted can be `id`, `label`.",
    ("gold.csv", "sad.csv"): f"sad.csv: no such file or folder.\nDid you mean `said.csv`? {CHECK}",
    ("gld.csv", "said.csv"): f"gld.csv: no such file or folder.\nDid you mean `gold.csv`? {CHECK}",
    ("gold.csv", "gold.csv", "--out", "no/x"): "--out no/x: lies in a folder that does not exist.\n"
    "Make it: mkdir -p no",
    ("gold.csv", "gold.csv", "--out", "gold.csv"): "--out gold.csv: is there already.\n"
    "Choose another name, or remove it first.",
    ("gold.csv", "gold.csv", "--seed", "0"): "--seed: changes nothing here.\nLeave it out.",
    ("gold.csv", "gold.csv", "--config", "no.toml"): "--config: changes nothing here.\nLeave it out.",
}  # fmt: skip


@pytest.mark.parametrize("words", SCORE, ids=" ".join)
def test_score_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["score", *words]) == SCORE[words]


def test_the_repair_that_score_names_is_one(place, monkeypatch):
    monkeypatch.chdir(place)
    assert firth("score", "gold.csv", "said.csv", "--classes", "mixed").exit_code == 0


EMBED = {
    ("reviews.tsv", "--pooling", "men"): "--pooling men: no such pooling.\n"
    "Did you mean `mean`? There is: mean, first, max.",
    ("reviews.tsv", "--layer", "9"): "layer 9: pretrained has layers 0 (the embedding) to 2.\n"
    "Choose one of them; -1 is layer 2.",
    ("reviews.tsv", "--out", "x.txt"): "--out x.txt: vectors are kept as .npy or .parquet.\nSay --out vectors.npy.",
    ("reviews.tsv", "--out", "taken.npy"): "--out taken.npy: is there already.\n"
    "Choose another name, or remove it first.",
    ("reviews.tsv", "--out", "no/x.npy"): "--out no/x.npy: lies in a folder that does not exist.\nMake it: mkdir -p no",
    ("revews.tsv",): "revews.tsv: no such file.\n"
    "Did you mean `reviews.tsv`? Put a text in quotes if it is one, with a space in it.",
    (" ",): "INPUT: is empty.\nGive a text in quotes, a file, or - for a pipe.",
    ("reviews.tsv", "--text", "body"): "reviews.tsv: has no column `body`.\n--text can be `text`, `label`.",
    ("a text", "--device", "gpu"): "--device gpu: is not available here.\nUse --device auto or cpu.",
}


@pytest.mark.parametrize("words", EMBED, ids=" ".join)
def test_embed_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["embed", "pretrained", *words]) == EMBED[words]


def test_embed_leaves_nothing_behind_where_the_input_breaks_off(place, monkeypatch):
    told = refused(place, monkeypatch, ["embed", "pretrained", "mixed.tsv"])
    assert "two encodings are mixed" in told


COMPANY = {
    ("pretrained", "shup", "corpus.txt"): "`shup` in corpus.txt: the word is not there.\n"
    "Did you mean `shop`? Choose a word that is, or give other DATA.",
    ("pretrained", "ship", "rare.txt"): "`ship` in rare.txt: seen 1 times, in 1 different sentences; 10 are needed.\n"
    "Choose a more frequent word, or give more DATA.",
    ("pretrained", "the ship", "corpus.txt"): "WORD: `the ship` is more than one word.\n"
    "Give one word: firth company MODEL bank",
    ("pretrained", "", "corpus.txt"): "WORD: is empty.\nGive one word: firth company MODEL bank",
    ("pretrained", "ship", "corpus.txt", "--most", "3"): "--most 3: too few to group: 10 are needed.\n"
    "Leave it out for 400.",
    ("pretrained", "ship", "corps.txt"): f"corps.txt: no such file or folder.\nDid you mean `corpus.txt`? {CHECK}",
    ("bare", "ship"): "bare: is no run of firth, which would know the text it was trained on.\n"
    "Give the text to look in: firth company bare WORD DATA",
    ("nowhere", "ship", "corpus.txt"): f"nowhere: no such folder.\n{FOLDER}",
    ("pretrained", "ship", "corpus.txt", "--out", "no/x.html"): "--out no/x.html: lies in a folder that does not "
    "exist.\nMake it: mkdir -p no",
    ("pretrained", "ship", "corpus.txt", "--out", "rare.txt"): "--out rare.txt: is there already.\n"
    "Choose another name, or remove it first.",
}


@pytest.mark.parametrize("words", COMPANY, ids=" ".join)
def test_company_refuses(place, monkeypatch, words):
    assert refused(place, monkeypatch, ["company", *words]) == COMPANY[words]


MISSING = ["compare", "score gold.csv", "embed pretrained", "company pretrained",
           "compare pretrained x.tsv --seeds many"]  # fmt: skip


@pytest.mark.parametrize("words", MISSING)
def test_a_word_that_is_missing_exits_2_with_the_usage(place, monkeypatch, words):
    monkeypatch.chdir(place)
    done = firth(*words.split())
    assert done.exit_code == 2 and done.stderr.startswith("Usage: ") and "Traceback" not in done.output


@pytest.mark.parametrize("words", ["score nul.txt said.csv", "company pretrained ship nul.txt"])
def test_no_repair_is_named_that_the_verb_does_not_know(place, monkeypatch, words):
    (place / "nul.txt").write_bytes(b"some words\x00 here\n" * 9)
    told = refused(place, monkeypatch, words.split())
    assert "nul.txt" in told and "--skip-bad" not in told and told.endswith(".")


def test_verbs_that_can_skip_say_so(place, monkeypatch):
    (place / "gap.tsv").write_text("text\tlabel\n" + "a film\tgood\nno film\tbad\n" * 9 + "\tbad\n")
    told = refused(place, monkeypatch, ["compare", "pretrained", "gap.tsv", "--labels", "8"])
    assert told.startswith("gap.tsv:20:1: `text` is empty.") and told.endswith("--skip-bad leaves out such rows.")
