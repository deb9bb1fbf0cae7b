"""predict and embed through the command line: tables in and out, documents, what is skipped, what dry runs leave."""

import csv
import json

import numpy as np
import pytest

from firth.errors import InputError
from firth.evaluate.inputs import document_of
from firth.evaluate.predict import load, predict
from firth.recipe import Recipe, to_toml
from firth.signal import Signal
from tests import runs
from tests.test_bad_input import firth, listing
from tests.test_verbs import done, strict

GAPS = "id,body,label\n7,A funny film,positive\n8,,negative\n9,A stale film,negative\n"
ALREADY = "is there already.\nChoose another name, or remove it first.\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("using")
    runs.copied(folder, "pretrained", "adapted", "corpus.txt", "reviews.tsv")
    (folder / "gaps.csv").write_text(GAPS)
    (folder / "many").mkdir()
    for number in range(20):
        (folder / "many" / f"{number:02}.txt").write_text(f"A funny film.\nNumber {number}, a moving one.\n")
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def lines(text: str) -> list[dict]:
    return [strict(line) for line in text.splitlines()]


def table(path) -> list[dict]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------ what cannot be read


def test_an_empty_cell_ends_predict_and_says_how_to_go_on(place):
    found = firth("predict", "adapted", "gaps.csv", "--text", "body", "--out", "no.jsonl")
    assert found.exit_code == 2 and not (place / "no.jsonl").exists()
    assert found.stderr.startswith("gaps.csv:3:1: `body` is empty.") and "--skip-bad" in found.stderr


def test_with_skip_bad_the_rest_is_answered_in_order():
    found = firth("predict", "adapted", "gaps.csv", "--text", "body", "--skip-bad")
    first, bad, last = lines(found.stdout)
    assert (first["text"], first["where"], last["text"]) == ("A funny film", "gaps.csv:2", "A stale film")
    assert bad == {"row": 2, "error": "`body` is empty", "where": "gaps.csv:3"}
    assert found.exit_code == 0 and found.stderr.startswith("1 input could not be read or answered")


def test_a_text_that_the_method_cannot_answer_is_skipped_too():
    texts = ["the [MASK] film", "no blank", "a [MASK] film"]
    found = list(predict("pretrained", texts, skip_bad=True))
    assert [getattr(one, "text", None) for one in found] == [texts[0], None, texts[2]]
    assert isinstance(found[1], InputError) and found[1].where == "input 2 `no blank`"
    alone = list(predict("pretrained", texts[0]))
    assert alone[0].filled == found[0].filled


def test_embed_keeps_the_place_of_what_it_skips(place):
    told = done("embed", "pretrained", "gaps.csv", "--text", "body", "--skip-bad", "--out", "gaps.npy")
    vectors = np.load("gaps.npy")
    assert np.isnan(vectors).any(1).tolist() == [False, True, False]
    assert "gaps.csv:3:1: `body` is empty. It is left out." in told
    assert "2 vectors of 32 numbers" in told and told.endswith("· 1 input could not be read\n")


def test_parquet_leaves_out_the_row_and_says_where_the_others_are(place):
    parquet = pytest.importorskip("pyarrow.parquet")
    done("embed", "pretrained", "gaps.csv", "--text", "body", "--skip-bad", "--out", "gaps.parquet")
    found = parquet.read_table("gaps.parquet").to_pydict()
    assert found["id"] == [0, 2] and found["where"] == ["gaps.csv:2", "gaps.csv:4"]
    assert found["text"] == ["A funny film", "A stale film"]


# ------------------------------------------------------------------ tables out


def test_a_table_comes_back_with_its_columns_and_the_answer(place):
    done("predict", "adapted", "gaps.csv", "--text", "body", "--skip-bad", "--out", "said.csv")
    rows = table(place / "said.csv")
    assert list(rows[0]) == ["id", "body", "label", "prediction", "probability", "error"]
    assert [(row["id"], row["body"]) for row in rows] == [("7", "A funny film"), ("8", ""), ("9", "A stale film")]
    assert rows[0]["prediction"] in ("positive", "negative") and 0.5 <= float(rows[0]["probability"]) <= 1
    assert (rows[1]["prediction"], rows[1]["error"]) == ("", "`body` is empty")


def test_score_counts_the_table_as_the_json_lines():
    done("predict", "adapted", "reviews.tsv", "--out", "all.tsv")
    done("predict", "adapted", "reviews.tsv", "--out", "all.jsonl")
    one, two = (strict(done("score", "reviews.tsv", f"all.{kind}", "--json")) for kind in ("tsv", "jsonl"))
    assert one["accuracy"] == two["accuracy"] < 1 and one["confusion"] == two["confusion"]


# ------------------------------------------------------------------ documents


def test_many_files_are_one_input_each_and_named():
    found = lines(done("predict", "adapted", "many"))
    assert [one["where"] for one in found] == [f"many/{number:02}.txt" for number in range(20)]
    assert found[3]["text"] == "A funny film.\nNumber 3, a moving one."
    assert len(lines(done("predict", "adapted", "many", "--document", "line"))) == 40


def test_one_file_is_read_by_lines_and_a_typed_text_has_no_place():
    found = lines(done("predict", "adapted", "many/00.txt", "A film"))
    assert [one.get("where") for one in found] == ["many/00.txt:1", "many/00.txt:2", None]


@pytest.mark.parametrize("document", ["auto", "file", "block", "line"])
def test_a_run_says_what_it_learnt_from(tmp_path, document):
    (tmp_path / "config.toml").write_text(to_toml(Recipe(data={"document": document})))
    signal = load(runs.adapted()).signal
    assert document_of(tmp_path, None, signal) == document
    assert document_of(tmp_path, "line", signal) == "line" and document_of(tmp_path / "none", None, signal) == "auto"


def test_documents_are_of_texts_only():
    class Pictures(Signal):
        name, store = "image", "arrays"

    with pytest.raises(InputError) as caught:
        document_of("runs/photos", "file", object.__new__(Pictures))
    assert str(caught.value) == "--document file: is for texts, and runs/photos is of image. Leave it out."


# ------------------------------------------------------------------ nothing is lost

DRY = {
    "predict": ["adapted", "reviews.tsv", "--out", "x.jsonl"],
    "embed": ["adapted", "reviews.tsv", "--out", "x.npy"],
    "score": ["reviews.tsv", "reviews.tsv", "--out", "x.json"],
    "check": ["reviews.tsv", "--out", "x.json"],
    "measure": ["pretrained", "corpus.txt", "--out", "x.json"],
    "company": ["pretrained", "ship", "corpus.txt", "--most", "20", "--out", "x.html"],
}


@pytest.mark.parametrize("verb", DRY)
def test_a_dry_run_writes_nothing_and_refuses_what_the_run_would(place, verb):
    before = listing(place)
    assert firth(verb, *DRY[verb], "--dry-run").exit_code == 0 and listing(place) == before
    out = place / DRY[verb][-1]
    out.write_text("precious")
    for dry in ([], ["--dry-run"]):
        found = firth(verb, *DRY[verb], *dry)
        assert (found.exit_code, found.stderr) == (2, f"--out {out.name}: {ALREADY}")
    assert out.read_text() == "precious"
    out.unlink()


def test_the_labels_themselves_are_not_overwritten(place):
    assert firth("check", "gaps.csv", "--out", "gaps.csv").exit_code == 2
    assert (place / "gaps.csv").read_text() == GAPS


def test_a_page_in_a_folder_is_not_replaced(place):
    (place / "kept").mkdir()
    (place / "kept" / "company.json").write_text("{}")
    found = firth("company", "pretrained", "ship", "corpus.txt", "--most", "20", "--out", "kept")
    assert (found.exit_code, found.stderr) == (2, f"--out kept/company.json: {ALREADY}")
    assert json.loads((place / "kept" / "company.json").read_text()) == {}


def test_units_refuse_before_anything_is_opened(place):
    (place / "units.txt").write_text("u1 u2\n")
    found = firth("units", "nowhere", "clips", "--out", "units.txt", "--dry-run")
    assert (found.exit_code, found.stderr) == (2, f"--out units.txt: {ALREADY}")
