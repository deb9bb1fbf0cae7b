"""Predicting: order, streaming with bounded look-ahead, length batches, fills, inputs of each kind, refusals."""

import io
import shutil
import time
from dataclasses import replace

import pytest
import torch

from firth.errors import InputError
from firth.evaluate import inputs as given
from firth.evaluate import predict as module
from firth.evaluate.inputs import How, texts_of
from firth.evaluate.predict import Loaded, load, predict
from firth.interop.folder import Opened
from firth.tasks import classify
from tests import runs
from tests.models import SHAPES

TEXTS = ["A wonderful film about the tide and the tram.", "A dreadful film.", "", "A stale film about the storm " * 9]


class Counting:
    """A stream of texts that knows how many were taken."""

    def __init__(self, count: int, text="A funny film"):
        self.count, self.taken, self.text = count, 0, text

    def __iter__(self):
        for number in range(self.count):
            self.taken += 1
            yield f"{self.text} {number}"


def echo(batches: list | None = None) -> Loaded:
    """A Loaded whose method answers with number and text."""

    def answer(objective, signal, texts, numbers, top=None):
        if batches is not None:
            batches.append(list(texts))
        return [(number, text, top) for number, text in zip(numbers, texts, strict=True)]

    return Loaded("echo", None, None, (), answer)  # type: ignore[arg-type]


# ------------------------------------------------------------------ streaming


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 500])
def test_answers_come_in_the_order_of_the_texts(count):
    texts = ["x" * (number * 7 % 50) + f" {number}" for number in range(count)]
    assert list(echo().predict(iter(texts))) == [(number + 1, text, None) for number, text in enumerate(texts)]


def test_one_text_may_stand_alone_and_top_is_passed_on():
    assert list(echo().predict("a text", top=3)) == [(1, "a text", 3)]


def test_the_first_answer_comes_after_a_few_texts_and_look_ahead_is_bounded():
    stream = Counting(20_000)
    answers = echo().predict(stream)
    next(answers)
    assert stream.taken == module.FIRST
    most = 0
    for done, _ in enumerate(answers, 2):
        most = max(most, stream.taken - done)
    assert stream.taken == 20_000 and most <= module.AHEAD


def test_texts_of_like_length_share_a_batch():
    batches: list[list[str]] = []
    texts = ["x" * (number * 37 % 100) for number in range(496)]
    assert len(list(echo(batches).predict(texts))) == 496
    assert max(map(len, batches)) == module.BATCH
    spread = [max(map(len, batch)) - min(map(len, batch)) for batch in batches[-4:]]  # of the last 256 texts
    assert max(spread) < 40


def test_ten_thousand_lines_take_seconds():
    loaded = load(runs.adapted())
    began = time.process_time()
    labels = {one.label for one in loaded.predict(Counting(10_000))}
    assert labels <= {"negative", "positive"}
    assert time.process_time() - began < 20  # about 3 s


# ------------------------------------------------------------------ labels


def test_predictions_do_not_depend_on_company():
    loaded = load(runs.adapted())
    together = list(loaded.predict(TEXTS))
    assert [one.text for one in together] == TEXTS
    for text, one in zip(TEXTS, together, strict=True):
        (alone,) = loaded.predict(text)
        assert alone.label == one.label and alone.probability == pytest.approx(one.probability, abs=1e-5)
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_model_folder_alone_predicts_like_its_run(tmp_path):
    shutil.copytree(runs.adapted() / "model", tmp_path / "moved")
    assert list(load(tmp_path / "moved").predict(TEXTS)) == list(load(runs.adapted()).predict(TEXTS))


def test_a_classifier_that_transformers_saved_predicts_alike(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(
        vocab_size=223, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        classifier_pooling="cls", id2label={0: "no", 1: "perhaps", 2: "yes"}, pad_token_id=0,
        max_position_embeddings=64, num_labels=3, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = transformers.ModernBertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(runs.adapted() / "model" / name, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        shares = model(**tokenizer(TEXTS[:2], padding=True, return_tensors="pt")).logits.softmax(-1)
    for row, one in zip(shares, load(tmp_path).predict(TEXTS[:2]), strict=True):
        assert one.label == ("no", "perhaps", "yes")[int(row.argmax())]
        assert one.probability == pytest.approx(float(row.max()), abs=1e-4)


# ------------------------------------------------------------------ fills


def test_a_pre_trained_run_fills_blanks_in():
    loaded = load(runs.folder() / "pretrained")
    (one,) = loaded.predict("The wide ship [MASK] the [MASK].", top=3)
    assert loaded.name == "masked-tokens" and loaded.classes == ()
    assert [len(blank) for blank in one.guesses] == [3, 3]
    first, second = (blank[0][0] for blank in one.guesses)
    assert one.filled == f"The wide ship {first} the {second}."
    assert one.guesses[0][0][1] >= one.guesses[0][1][1] > 0


def test_a_text_without_a_blank_is_named_by_its_place_in_the_stream():
    texts = ["a ship [MASK] the tide"] * 40 + ["no blank"] + ["the [MASK]"] * 40
    with pytest.raises(InputError) as caught:
        list(load(runs.folder() / "pretrained").predict(texts))
    assert str(caught.value) == (
        "input 41 `no blank`: there is no [MASK] in it. Write [MASK] where a word shall be guessed."
    )


# ------------------------------------------------------------------ inputs


def test_texts_files_and_pipes_are_inputs(monkeypatch, tmp_path):
    (tmp_path / "two.txt").write_text("A stale film\nA funny film\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("from the pipe\n\nlast"))
    found = predict(runs.adapted(), ["A moving film", str(tmp_path / "two.txt"), "-"])
    assert [one.text for one in found] == ["A moving film", "A stale film", "A funny film", "from the pipe", "", "last"]


def test_a_table_gives_its_text_column():
    texts = [one.text for one in predict(runs.adapted(), str(runs.folder() / "test.tsv"), top=1)]
    assert len(texts) == 40 and all(text.startswith("A ") for text in texts)


def test_a_pipe_is_read_line_by_line_and_a_huge_line_is_cut(monkeypatch):
    monkeypatch.setattr(given, "LONGEST", 10)
    stream = io.StringIO("x" * 35 + "\nshort\r\n" + "y" * 10 + "\n" + "z" * 10)
    assert list(given.lines(stream)) == ["x" * 10, "short", "y" * 10, "z" * 10]


def contents(*typed, **how) -> list:
    return [one.content for one in texts_of(typed, How(**how))]


@pytest.mark.parametrize("text", ["Is it a file.txt", "Wonderful.", "and/or", "x" * 5_000])
def test_a_sentence_is_no_file_name(text):
    assert contents(text) == [text]


def test_dry_run_checks_and_predicts_nothing():
    assert list(predict(runs.adapted(), ["A film"], dry_run=True)) == []


def test_keys_of_the_signal_can_be_set():
    assert load(runs.adapted(), ["text.context=16"]).signal.config.context == 16
    assert load(runs.adapted()).signal.config.context == 32


# ------------------------------------------------------------------ refusals


def test_missing_inputs_and_files(tmp_path, monkeypatch):
    with pytest.raises(InputError) as caught:
        predict(runs.adapted(), [])
    assert str(caught.value) == "INPUT: is not given. Give a text in quotes, a file, or - for a pipe."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.tsv").write_text("text\nx\n")
    with pytest.raises(InputError) as caught:
        predict(runs.adapted(), ["review.tsv"])
    assert str(caught.value) == (
        "review.tsv: no such file. Did you mean `reviews.tsv`? Put a text in quotes if it is one, with a space in it."
    )


def test_a_wrong_text_column_is_refused():
    with pytest.raises(InputError) as caught:
        list(predict(runs.adapted(), [str(runs.folder() / "test.tsv")], text="txet"))
    assert "txet" in str(caught.value) and "text" in caught.value.do


def test_a_model_without_a_head_that_predicts_is_refused(tmp_path):
    from firth.interop.folder import open_folder, save_folder

    source = runs.folder() / "pretrained" / "model"
    opened = open_folder(source)
    state = {name: tensor for name, tensor in opened.state.items() if name.startswith("backbone.")}
    save_folder(tmp_path / "bare", opened.shape, state)
    shutil.copy(source / "tokenizer.json", tmp_path / "bare")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "bare")
    assert str(caught.value) == (
        f"{tmp_path / 'bare'}: has no head that predicts. "
        f"Adapt it first: firth adapt {tmp_path / 'bare'} LABELS.tsv --task classify."
    )


def test_an_unfinished_run_and_a_folder_without_weights_are_refused(tmp_path):
    shutil.copytree(runs.adapted(), tmp_path / "half")
    (tmp_path / "half" / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        load(tmp_path / "half")
    assert str(tmp_path / "half" / "model") in caught.value.where
    shutil.rmtree(tmp_path / "half" / "model")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "half")
    assert str(caught.value) == (
        f"{tmp_path / 'half'}: is a run without a model: it is not finished. Run its command again; it goes on."
    )


def test_a_model_with_a_part_of_its_head_missing_is_refused(tmp_path):
    from firth.interop.tensors import read_file, write_file

    shutil.copytree(runs.adapted() / "model", tmp_path / "model")
    tensors = read_file(tmp_path / "model" / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if name != "classifier.bias"}
    write_file(tmp_path / "model" / "model.safetensors", kept)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "model")
    assert str(caught.value) == (
        f"{tmp_path / 'model'}: has no weights for `parts.classify.classifier.bias`. "
        "Save the model again, or copy its folder as a whole."
    )


# ------------------------------------------------------------------ rows


def test_models_of_one_text_read_the_text_column_and_others_their_own():
    assert load(runs.adapted()).reads is None and load(runs.folder() / "pretrained").reads is None


def test_a_file_of_rows_and_one_of_lines_are_read_by_their_kind(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"first": "x", "second": "y"}\n{"first": "z"}\n')
    (tmp_path / "b.txt").write_text("one line\nanother\n")

    def reads(record):
        return record.fields["first"], record.fields.get("second", "")

    assert contents(str(tmp_path / "a.jsonl"), reads=reads) == [("x", "y"), ("z", "")]
    assert contents(str(tmp_path), reads=reads) == ["one line", "another", ("x", "y"), ("z", "")]
    assert contents(str(tmp_path / "a.jsonl"), column="first", reads=reads) == ["x", "z"]


@pytest.mark.parametrize(("given", "size"), [("abc", 3), (("ab", "cde"), 5), ([], 0), (["🙂"], 1)])
def test_the_length_of_an_input_is_that_of_all_its_texts(given, size):
    assert module.length(given) == size


def test_what_a_folder_says_of_a_method_and_cannot_be(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    opened = Opened(SHAPES["bert"], {}, [], facts={"threshold": 0.3, "best": 4})
    assert module.told(opened, classify, tmp_path) == {"threshold": 0.3}
    with pytest.raises(InputError) as caught:
        module.told(replace(opened, facts={"threshold": 7}), classify, tmp_path)
    assert str(caught.value).replace(str(tmp_path), "M") == (
        "M/config.json: describes no model: threshold: Input should be less than 1. "
        "Copy it again from where the model came from."
    )


# ------------------------------------------------------------------ the column of the run


@pytest.fixture
def noted(tmp_path):
    """A table whose longest texts are not what the model is asked about."""
    rows = "".join(
        f"A good film {number}.,{number} notes by the clerk on where this came from\n" for number in range(3)
    )
    (tmp_path / "mails.csv").write_text(f"said,notes\n{rows}")
    return tmp_path


@pytest.mark.parametrize(
    ("how", "begin"),
    [(How(), "0 notes"), (How(learnt="said"), "A good"), (How(learnt="other"), "0 notes"),
     (How("notes", learnt="said"), "0 notes")],
)  # fmt: skip
def test_a_column_that_is_named_comes_before_that_of_the_run_and_this_before_content(noted, how, begin):
    assert next(texts_of([str(noted / "mails.csv")], how)).content.startswith(begin)


def test_tables_are_read_by_the_column_that_the_run_learnt_from(noted):
    run = noted / "run"
    shutil.copytree(runs.adapted(), run)
    recipe = (run / "config.toml").read_text()
    (run / "config.toml").write_text(recipe.replace("[data]\n", '[data]\ntext = "said"\n', 1))
    asked = [str(noted / "mails.csv"), "A text."]
    assert [one.text for one in predict(run, asked)] == [
        "A good film 0.",
        "A good film 1.",
        "A good film 2.",
        "A text.",
    ]
    assert next(predict(run, asked, text="notes")).text.startswith("0 notes")
    assert next(predict(runs.adapted(), asked)).text.startswith("0 notes")
