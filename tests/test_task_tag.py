"""Tag: as many tags as words whatever the words are; its loss against the formula; windows; refusals."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix

from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.evaluate.predict import load
from firth.find import find
from firth.recipe import Data
from firth.signals.text import Text
from firth.task import Example, Where
from tests import contract, labelled_files, runs

tag = find("tasks", "tag")
CLASSES = ("ADJ", "DET", "NOUN", "PUNCT", "VERB")


@pytest.fixture(scope="module")
def signal():
    return Text.open(runs.folder() / "pretrained" / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run that tags the toy language."""
    place = tmp_path_factory.mktemp("tag")
    labelled_files.write_tags(place)
    labelled_files.write_tags(place, 30, seed=5, name="test.conllu")
    options = {"task": "tag", "labels_file": None}
    del options["labels_file"]
    runs.quick_adapt(place / "run", [f"data.test={place / 'test.conllu'}"], place / "tags.conllu", **options)
    return place


@pytest.fixture(scope="module")
def loaded(folder):
    return load(folder / "run")


def example(words, tags, **fields) -> Example:
    return Example("", None, Where("x.conllu", 3, 1), {"words": words, "upos": tags, **fields})


# ------------------------------------------------------------------ the whole way


def test_an_adapted_run_tags_and_says_how_well(folder, loaded):
    result = json.loads((folder / "run" / "run.json").read_text())["result"]
    assert result["score"]["items"] == 30 * 7 and result["score"]["sentences"] == 30
    assert result["score"]["accuracy"] > 0.5
    [said] = loaded.predict(["The old ship meets the tram ."])
    assert said.words == ["The", "old", "ship", "meets", "the", "tram", "."]
    assert len(said.tags) == 7 and set(said.tags) <= set(CLASSES)
    assert all(0 < share <= 1 for share in said.probabilities)


def test_what_it_gets_wrong_is_kept_with_the_word(folder):
    lines = (folder / "run" / "samples" / "wrong.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        assert row["text"].split()[row["place"] - 1] == row["word"] and row["gold"] != row["predicted"]


WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12), max_size=40)


@settings(max_examples=60, deadline=None)
@given(words=WORDS)
def test_as_many_tags_as_words_for_any_words(loaded, words):
    found = tag.tagged(tag.part_of(loaded.objective), loaded.signal, [words])
    assert len(found[0]) == len(words) and all(name in CLASSES for name, _ in found[0])


@pytest.mark.parametrize("words", [[], ["🙂"], ["🙂", "\u200b", "\x00"], ["ship"] * 5000, ["x" * 3000], [""]])
def test_as_many_tags_as_words_at_the_edges(loaded, words):
    [said] = tag.predict(loaded.objective, loaded.signal, [words])
    assert len(said.tags) == len(said.probabilities) == len(words)


def test_tags_do_not_hang_on_the_company_in_a_batch(loaded):
    one = ["The", "old", "ship"]
    alone = tag.tagged(tag.part_of(loaded.objective), loaded.signal, [one])[0]
    among = tag.tagged(tag.part_of(loaded.objective), loaded.signal, [["deep"] * 20, one, ["a"]])[1]
    assert [name for name, _ in alone] == [name for name, _ in among]
    assert [s for _, s in alone] == pytest.approx([s for _, s in among], abs=1e-5)


# ------------------------------------------------------------------ samples


def test_the_first_piece_of_each_word_is_where_its_tag_is(signal):
    words = ["ship", "unheardof", "sail"]
    pieces = signal.encode_words([words])[0]
    alone = [len(signal.encode([word])[0].ids) for word in words]
    assert pieces.begin.tolist() == [0, alone[0], alone[0] + alone[1]]
    config = tag.Config(classes=CLASSES, column="upos")
    [sample] = config.samples([config.example(example(words, ["NOUN", "ADJ", "NOUN"]))], signal)
    assert sample.targets["first"].tolist() == (pieces.begin + 1).tolist()
    assert sample.targets["tags"].tolist() == [2, 0, 2]


def test_encoding_words_equals_transformers(signal):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(runs.folder() / "pretrained" / "model")
    words = ["The", "harbour's", "über-ship", "🙂", "a,b"]
    found = theirs(words, is_split_into_words=True, add_special_tokens=False)
    pieces = signal.encode_words([words])[0]
    assert pieces.ids.tolist() == found["input_ids"]
    assert pieces.begin.tolist() == [found.word_ids().index(i) for i in range(len(words))]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 300))
def test_windows_tag_every_word_once(signal, count):
    words = ["ship", "unheardof"] * count
    pieces = signal.encode_words([words])[0]
    found = tag.windows(Example("t", None, Where("x")), pieces, list(range(len(words))), signal)
    tags = np.concatenate([one.targets["tags"] for one in found])
    assert sorted(tags[tags >= 0].tolist()) == list(range(len(words)))
    assert max(len(one.parts[0]) for one in found) <= signal.config.context - 2
    for one in found:
        inside = one.targets["first"][one.targets["tags"] >= 0]
        assert ((inside >= 1) & (inside <= len(one.parts[0]))).all()


def test_the_loss_is_the_mean_of_minus_log_p_over_words():
    objective = contract.build(["tag"], dropout=0.0)
    batch = contract.batch_of(objective, contract.samples(5))
    part = objective.parts["tag"]
    values = part.encode(batch).values
    nats, right, seen = 0.0, 0, 0
    for b in range(5):
        for step, gold in zip(batch["first"][b].tolist(), batch["tags"][b].tolist(), strict=True):
            if gold >= 0:
                logits = part.classifier(part.pool(values[b, step]))
                nats -= torch.log_softmax(logits, -1)[gold].item()
                right, seen = right + (logits.argmax().item() == gold), seen + 1
    loss = objective(batch)
    assert loss.terms["tag"].sum.item() == pytest.approx(nats, rel=1e-9)
    assert loss.terms["tag"].count == seen == batch.counts["tag"]
    assert loss.metrics["tag_accuracy"].sum.item() == right


def test_score_counts_words_and_spans():
    gold = [["B-PER", "I-PER", "O"], ["B-LOC"]]
    said = [["B-PER", "O", "O"], ["B-LOC"]]
    assert tag.score(gold, said) == {"items": 4, "sentences": 2, "accuracy": 0.75, "span_f1": 0.5}
    assert "span_f1" not in tag.score([["NOUN"]], [["VERB"]])


def test_a_thousand_tagged_files_have_the_accuracy_of_scikit_learn():
    source = np.random.default_rng(0)
    for _ in range(1000):
        gold = [source.choice(CLASSES, source.integers(1, 9)).tolist() for _ in range(source.integers(1, 5))]
        said = [[str(source.choice(CLASSES)) if source.random() < 0.3 else one for one in tags] for tags in gold]
        flat = [[one for tags in part for one in tags] for part in (gold, said)]
        assert tag.score(gold, said)["accuracy"] == pytest.approx(accuracy_score(*flat))
        words = [tuple(map(str, range(len(tags)))) for tags in gold]
        examples = [Example("t", None, Where("x"), target=both) for both in zip(words, gold, strict=True)]
        found = tag.judged(tag.Config(classes=CLASSES), examples, said)
        assert found.right.sum() / found.counts.sum() == pytest.approx(accuracy_score(*flat))
        assert found.figures["confusion"] == confusion_matrix(*flat, labels=CLASSES).tolist()
        assert len(found.wrong) == found.counts.sum() - found.right.sum()


# ------------------------------------------------------------------ refusals


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do(signal):
    config = tag.Config(column="upos")
    assert refusal(lambda: config.example(example(["a", "b"], ["X"]))) == (
        "x.conllu:3:1: 2 words and 1 tag. Give each word one tag."
    )
    assert refusal(lambda: config.example(example([], []))) == (
        "x.conllu:3:1: has no words. Leave it out; --skip-bad leaves out such rows."
    )
    assert refusal(lambda: tag.Config(column="ner").look([example(["a"], ["X"])])) == (
        "x.conllu: has no column `ner`. Name it: --set tag.column=NAME can be `upos`, `words`."
    )
    known = tag.Config(column="upos", classes=("X", "Y"))
    strange = known.example(example(["a", "b"], ["X", "Z"]))
    assert refusal(lambda: known.samples([strange], signal)) == (
        "x.conllu:3:1: word 2, `b`: the tag `Z` is in no training example. There is: X, Y."
    )


def test_one_tag_only_is_refused():
    with pytest.raises(InputError) as caught:
        tag.Tag(tag.Config(classes=("X",)), contract.build(["tag"]).backbone)
    assert str(caught.value) == (
        "task `tag`: there is one tag only, `X`: nothing to tell apart. Give words with at least two tags."
    )


def test_unknown_tags_in_the_test_part_are_named(tmp_path, signal):
    train = labelled_files.write_tags(tmp_path)
    test = tmp_path / "test.conllu"
    test.write_text(labelled_files.conllu([[("a", "DET"), ("ship", "BOAT")]]))
    config = Data(paths=(str(train),), test=(str(test),))
    message = refusal(lambda: open_labelled(config, signal, 0, task=tag.Config()))
    assert "the tag `BOAT` is in no training example" in message and message.startswith(f"{test}:1:1: word 2, `ship`")


def test_jsonl_with_lists_and_with_strings(tmp_path, signal):
    rows = [{"tokens": ["a", "ship"], "ner_tags": ["O", "B-X"]}, {"tokens": "the barn", "ner_tags": "O B-Y"}] * 4
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps({**row, "n": i}) + "\n" for i, row in enumerate(rows)))
    found = open_labelled(Data(paths=(str(path),), duplicates="keep"), signal, 0, task=tag.Config())
    assert found.task.column == "ner_tags" and found.classes == ("B-X", "B-Y", "O")
