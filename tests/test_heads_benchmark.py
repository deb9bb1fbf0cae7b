"""firth's samples are those of the recipes of transformers: pieces, alignment, windows; both sides of heads.py run."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.data.labelled import open_labelled
from firth.find import find
from firth.recipe import Data
from firth.signals.text import Text
from tests import labelled_files, material
from tests.test_foreign_models import configured, vocabulary

transformers = pytest.importorskip("transformers")
from benchmarks import heads, their_heads  # noqa: E402

WRITE = {
    "classify": material.write_labels,
    "pairs": labelled_files.write_pairs,
    "tag": labelled_files.write_tags,
    "span": labelled_files.write_questions,
}
SETS = {"classify": "sst2", "pairs": "sick", "tag": "upos", "span": "squad"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny BERT with a pooler, and a labelled file of each task."""
    folder = tmp_path_factory.mktemp("heads")
    words = vocabulary()
    torch.manual_seed(0)
    transformers.BertModel(configured("bert", len(words))[0]).save_pretrained(folder / "model")
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "model")
    for task, write in WRITE.items():
        (folder / task).mkdir()
        write(folder / task, 40, name=names(task)[0])
        write(folder / task, 20, seed=7, name=names(task)[1])
    return folder


def names(task: str) -> tuple[str, str]:
    ending = {"tag": "conllu", "span": "json"}.get(task, "tsv")
    return f"train.{ending}", f"test.{ending}"


def both(place, task: str, context: int, stride: int = 6):
    """(firth's samples, its signal; theirs) of the same examples."""
    signal = Text.open(place / "model").but(context=context)
    own = {"stride": stride} if task == "span" else {}
    config = Data(paths=(str(place / task / names(task)[0]),))
    found = open_labelled(config, signal, 0, task=find("tasks", task).Config(**own))
    tokenizer = transformers.AutoTokenizer.from_pretrained(place / "model")
    plan = their_heads.Plan(task, found.classes, context, stride, [], 0, 0, 0, 0, 0, "cpu", None)
    return found.train.samples, signal, their_heads.encoded(plan, tokenizer, found.records["train"])


@pytest.mark.parametrize(
    ("task", "context"), [("classify", 64), ("pairs", 64), ("tag", 64), ("span", 128), ("span", 34)]
)
def test_pieces_and_segments_are_the_same(place, task, context):
    samples, signal, theirs = both(place, task, context)
    assert len(samples) == len(theirs.rows)
    for sample, row in zip(samples, theirs.rows, strict=True):
        batch = signal.stack([sample])
        assert batch["tokens"][0].tolist() == row["input_ids"]
        segments = batch["segments"][0].tolist() if "segments" in batch else [0] * len(row["input_ids"])
        assert segments == row["token_type_ids"]


@pytest.mark.parametrize("task", ["classify", "pairs"])
def test_labels_have_the_same_numbers(place, task):
    samples, _, theirs = both(place, task, 64)
    assert [sample.label for sample in samples] == [row["labels"] for row in theirs.rows]


def test_tags_stand_at_the_same_pieces(place):
    samples, _, theirs = both(place, "tag", 64)
    for sample, row in zip(samples, theirs.rows, strict=True):
        tags = np.full(len(row["input_ids"]), their_heads.NONE)
        tags[sample.targets["first"]] = sample.targets["tags"]
        assert tags.tolist() == row["labels"]


@pytest.mark.parametrize("context", [32, 34, 128])
def test_answers_stand_at_the_same_pieces_of_the_same_windows(place, context):
    samples, _, theirs = both(place, "span", context)
    assert context == 128 or len(samples) > 40
    ours = [(int(one.targets["start"]), int(one.targets["end"])) for one in samples]
    assert ours == [(row["start_positions"], row["end_positions"]) for row in theirs.rows]
    assert any(start for start, _ in ours)


@pytest.mark.parametrize("words", [[None, 0, 0, 1, None], [0, 1], [None]])
def test_the_first_piece_of_each_word(words):
    assert [word for word in their_heads.firsts(words) if word is not None] == sorted({*words} - {None})


# ------------------------------------------------------------------ the whole program


def run(place, monkeypatch, capsys, task: str, work: str) -> list[dict]:
    train, test = (f"{task}/{name}" for name in names(task))
    one = heads.Set(task, train, test, 64, 1, stride=8)
    monkeypatch.setattr(heads, "SMALL", {SETS[task]: one})
    words = ["--data", place, "--model", place / "model", "--seeds", 3, "--test", 10, "--work", place / work, "--json"]
    monkeypatch.setattr(sys, "argv", ["heads.py", *map(str, words)])
    heads.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("task", WRITE)
def test_both_sides_are_trained_compared_and_kept(place, monkeypatch, capsys, task):
    (found,) = run(place, monkeypatch, capsys, task, task)
    assert found["set"] == SETS[task] and found["test_items"] == 10
    assert {len(scores) for scores in found["by_seed"].values()} == {3}
    theirs = "transformers, document" if task == "span" else "transformers"
    assert found["difference"] == pytest.approx(found["means"]["firth"] - found["means"][theirs], abs=1e-6)
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    monkeypatch.setattr(heads, "theirs", None)  # nothing is trained again
    monkeypatch.setattr(heads, "firths", lambda *_: None)
    assert run(place, monkeypatch, capsys, task, task) == [found]


def test_a_line_of_the_table():
    found = {"set": "sick", "side": "transformers", "metric": "accuracy", "labels": 4500, "test_items": 4927,
             "difference": 0.314, "interval": [-0.5, 1.1],
             "means": {"firth": 84.02, "transformers": 83.71}}  # fmt: skip
    wanted = "| sick, transformers | accuracy | 4,500 | 4,927 | 84.0 | 83.7 | +0.31 (-0.50 to +1.10) |"
    assert heads.line(found) == wanted


def test_fewer_samples_than_firth_has_are_refused():
    plan = SimpleNamespace(samples=3, decay=0.0, lr=1e-3, order=[], warmup=0.1)
    with pytest.raises(SystemExit, match="2 samples, 3 of firth"):
        their_heads.fit(plan, None, None, [{}, {}])
