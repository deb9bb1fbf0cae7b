"""compare, score, embed, company through the command line: what they print, what they write, and nothing besides."""

import json
import shutil
import warnings
from textwrap import indent

import numpy as np
import pytest
from typer.testing import CliRunner

from firth.cli import app
from tests import runs
from tests.test_bad_input import firth, listing

FEW = [
    word for key in ("steps=4", "batch=4", "evaluate_every=2", "precision=fp32") for word in ("--set", f"train.{key}")
]
COMPARE = ["compare", "pretrained", "reviews.tsv", "--labels", "20", "--seeds", "2", *FEW]
ARMS = ["--arms", "random,pretrained,tf-idf"]
ODD = "odd [bold] ä;'& name"
GOLD = "id,label\n1,good\n2,bad\n3,good\n4,bad\n"
FIGURES = """\
task                 classify
gold                 gold.csv
predictions          said.txt
items                4
accuracy             75.00 %
macro f1             73.33 %
matthews             0.577
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pre-trained run and an adapted one, text, labels; what `adapted` says of test.tsv."""
    folder = tmp_path_factory.mktemp("verbs")
    runs.copied(folder, "pretrained", "adapted", "corpus.txt", "reviews.tsv", "test.tsv")
    shutil.copytree(runs.folder() / "pretrained", folder / ODD / "run")
    shutil.copy(runs.folder() / "reviews.tsv", folder / ODD / f"{ODD}.tsv")
    (folder / "gold.csv").write_text(GOLD)
    (folder / "said.txt").write_text("good\nbad\nbad\nbad\n")
    return folder


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def done(*words, **options) -> str:
    """What stands on stdout."""
    found = CliRunner().invoke(app, list(map(str, words)), **options)
    assert found.exit_code == 0, found.output
    return found.stdout


def strict(text: str):
    """One JSON value and nothing else; NaN is no JSON."""

    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    return json.loads(text, parse_constant=refuse)


# ------------------------------------------------------------------ compare


def test_compare_prints_trials_and_verdict_and_writes_trials_numbers_and_report(place):
    lines = done(*COMPARE, *ARMS, "--out", "one").splitlines()
    assert sum(line.startswith("Trial    ") for line in lines) == 6
    (verdict,) = (line for line in lines if line.startswith("Verdict"))
    assert verdict.startswith("Verdict  No verdict: 2 seeds are too few, 3 are needed; measured ")
    assert lines[-1] == "Report   one/report.html"
    trials = [f"trials/{arm}-20-{seed}.json" for arm in ("pretrained", "random", "tf-idf") for seed in (0, 1)]
    assert listing(place / "one") == sorted(["asked.json", "comparison.json", "report.html", "trials", *trials])
    assert strict((place / "one" / "comparison.json").read_text())["verdict"] == verdict.removeprefix("Verdict  ")


def test_compare_goes_on_with_what_is_missing(place):
    done(*COMPARE, *ARMS, "--out", "two")
    before = {path.name: path.stat().st_mtime_ns for path in (place / "two" / "trials").iterdir()}
    (place / "two" / "trials" / "random-20-1.json").unlink()
    found = strict(done(*COMPARE, *ARMS, "--out", "two", "--seeds", "3", "--json"))
    after = {path.name: path.stat().st_mtime_ns for path in (place / "two" / "trials").iterdir()}
    assert found["seeds"] == [0, 1, 2] and len(after) == 9
    again = {name for name in before if after[name] != before[name]}
    assert again == {"random-20-1.json"}


def test_compare_writes_below_runs_by_itself(place):
    assert "Report   runs/reviews-classify-compare/report.html" in done(*COMPARE, "--arms", "pretrained,tf-idf")
    assert not (place / "reviews-classify-compare").exists()


def test_compare_as_json_is_one_object_and_the_rest_is_on_stderr(place):
    found = firth(*COMPARE, *ARMS, "--out", "json", "--json")
    told = strict(found.stdout)
    assert (told["kind"], told["metric"], told["budgets"]) == ("comparison", "accuracy", [20])
    assert [one["arm"] for one in told["arms"]] == ["random", "pretrained", "tf-idf"]
    assert "Trial    Random initialisation · 20 labels · seed 0" in found.stderr and "Report" in found.stderr


def test_the_control_stands_in_a_folder_of_its_own(place):
    found = firth(*COMPARE, "--arms", "pretrained,tf-idf", "--control", "shuffled-labels", "--out", "c", "--json")
    told, note = strict(found.stdout), "A control: labels are dealt out anew"
    assert "pays" not in told["verdict"] and told["facts"]["subject"].endswith(" · shuffled-labels")
    assert note in found.stderr and note in (place / "c" / "report.html").read_text()
    found = firth(*COMPARE, "--arms", "pretrained,tf-idf", "--out", "c")
    assert (found.exit_code, found.stderr) == (
        2,
        "c: holds a comparison with another control.\nChoose another --out, or delete it: rm -r c\n",
    )


def test_a_dry_run_of_compare_names_arms_and_test_items_and_writes_nothing(place):
    before = listing(place)
    text = done(*COMPARE, "--dry-run")
    for line in ("labels: 20", "seeds: 2", "out: runs/reviews-classify-compare", "trials of each arm: 2",
                 "arms: Random initialisation, Co-occurrence start alone, Pre-trained, TF-IDF + logistic regression",
                 "test items: 24"):  # fmt: skip
        assert f"Plan     {line}\n" in text
    assert text.endswith("Nothing was trained or written.\n")
    assert strict(done(*COMPARE, "--dry-run", "--json"))["test items"] == 24
    assert listing(place) == before


def test_a_dry_run_of_varied_pre_training_names_the_choices(place):
    words = ["compare", "corpus.txt", "reviews.tsv", "--vary", "masked_tokens.mask_rate=0.15,0.3"]
    text = done(*words, "--vary", "objective=masked-tokens,next-sentence+masked-tokens", "--budget", "5steps",
                "--dry-run")  # fmt: skip
    assert "Plan     pre-trainings: mask_rate=0.15 objective=masked-tokens, " in text
    assert "mask_rate=0.3 objective=next-sentence+masked-tokens\n" in text


def test_a_model_folder_called_like_an_arm_is_an_arm_of_its_own(place):
    words = [*COMPARE, "--arms", "random,pretrained", "--against", "pretrained", "--against", f"{ODD}/run"]
    told = strict(done(*words, "--dry-run", "--json"))
    assert told["arms"] == ["Random initialisation", "Pre-trained", "pretrained-2", "run"]


def test_a_config_gives_steps_and_the_command_line_wins(place):
    (place / "few.toml").write_text("[train]\nsteps = 3\nbatch = 4\nevaluate_every = 3\n")
    words = ["compare", "pretrained", "reviews.tsv", "--labels", "20", "--seeds", "1", "--arms", "random,pretrained"]
    told = strict(done(*words, "--config", "few.toml", "--set", "train.batch=8", "--out", "config", "--json"))
    assert (told["facts"]["settings"]["steps"], told["facts"]["settings"]["batch"]) == (3, 8)


def test_compare_takes_names_with_odd_characters(place):
    words = ["compare", f"{ODD}/run", f"{ODD}/{ODD}.tsv", "--labels", "20", "--seeds", "1", *FEW]
    text = done(*words, "--arms", "random,pretrained", "--out", f"{ODD}/out")
    assert text.splitlines()[-1] == f"Report   {ODD}/out/report.html"
    page = (place / ODD / "out" / "report.html").read_text()
    assert "odd [bold] ä;&#39;&amp; name" in page


# ------------------------------------------------------------------ score


def test_score_prints_every_figure():
    assert done("score", "gold.csv", "said.txt") == indent(FIGURES, " " * 9)


def test_score_counts_what_predict_wrote_as_the_run_did(place):
    done("predict", "adapted", "test.tsv", "--out", "said.jsonl")
    told = strict(done("score", "test.tsv", "said.jsonl", "--task", "classify", "--json"))
    kept = json.loads((place / "adapted" / "run.json").read_text())["result"]["score"]
    for name in ("items", "accuracy", "macro_f1", "matthews", "confusion", "classes"):
        assert told[name] == kept[name], name
    assert told["calibration_error"] == pytest.approx(kept["calibration_error"], abs=1e-4)


def test_score_as_json_and_into_a_file(place):
    found = firth("score", "gold.csv", "said.txt", "--json", "--out", "figures.json")
    told = strict(found.stdout)
    assert told["accuracy"] == 0.75 and told["confusion"] == [[2, 0], [1, 1]] and told["classes"] == ["bad", "good"]
    assert strict((place / "figures.json").read_text()) == told
    assert "Saved    figures.json" in found.stderr


def test_a_dry_run_of_score_writes_nothing(place):
    before = listing(place)
    assert "75.00 %" in done("score", "gold.csv", "said.txt", "--out", "no.json", "--dry-run")
    assert listing(place) == before


def test_score_takes_named_columns_and_further_classes(place):
    (place / "said.csv").write_text("id,guess,other\n1,good,x\n2,mixed,y\n3,good,x\n4,bad,y\n")
    words = ["score", "gold.csv", "said.csv", "--label", "label", "--predicted", "guess"]
    told = strict(done(*words, "--classes", "mixed", "--classes", "unheard of", "--json"))
    assert told["accuracy"] == 0.75 and told["classes"] == ["bad", "good", "mixed"]


def test_score_of_names_with_odd_characters(place):
    shutil.copy(place / "gold.csv", place / ODD / f"{ODD}.csv")
    assert f"gold                 {ODD}/{ODD}.csv\n" in done("score", f"{ODD}/{ODD}.csv", "said.txt")


# ------------------------------------------------------------------ embed


def test_embed_writes_a_vector_for_each_text(place):
    text = done("embed", "pretrained", "reviews.tsv", "--out", "whole.npy")
    vectors = np.load("whole.npy", mmap_mode="r")
    assert vectors.shape == (120, 32) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert text.startswith("Model    ") and "layer 2 of 2 × 32, mean" in text
    assert "Saved    120 vectors of 32 numbers · " in text and text.endswith("· whole.npy\n")


def test_embed_takes_layer_pooling_and_raw_lengths(place):
    texts = ["The wide ship meets the tide.", "the tram"]
    first, last = (np.load(embedded(place, *texts, "--layer", str(layer), "--raw")) for layer in (0, -1))
    assert np.abs(first - last).max() > 1e-3
    assert not np.allclose(np.linalg.norm(last, axis=1), 1, atol=1e-3)
    greatest = np.load(embedded(place, *texts, "--pooling", "max", "--raw"))
    assert (greatest >= last - 1e-6).all()


def embedded(place, *words):
    path = place / "some.npy"
    path.unlink(missing_ok=True)
    done("embed", "pretrained", *words, "--out", path)
    return path


def test_embed_reads_a_pipe_and_writes_parquet_with_the_texts(place):
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = ["The ship; it's [MASK] & ä", "", "the 🙂 tram"]
    done("embed", f"{ODD}/run", "-", "--out", f"{ODD}/{ODD}.parquet", input="\n".join(lines) + "\n")
    table = parquet.read_table(place / ODD / f"{ODD}.parquet")
    assert table.column_names == ["id", "text", "where", "vector"]
    assert table["text"].to_pylist() == lines and table["id"].to_pylist() == [0, 1, 2]


def test_embed_as_json_is_one_object(place):
    found = firth("embed", "pretrained", "the tram", "--out", "one.npy", "--json")
    told = strict(found.stdout)
    assert (told["out"], told["texts"], told["width"], told["layer"]) == ("one.npy", 1, 32, 2)
    assert "Saved    1 vectors" in found.stderr


def test_a_dry_run_of_embed_writes_nothing(place):
    before = listing(place)
    assert done("embed", "pretrained", "reviews.tsv", "--dry-run").endswith("Nothing was written.\n")
    told = strict(done("embed", "pretrained", "reviews.tsv", "--dry-run", "--json"))
    assert told == {"status": "planned", "out": "vectors.npy", "width": 32}
    assert listing(place) == before


# ------------------------------------------------------------------ company


def test_company_prints_the_groups_and_writes_the_page(place):
    lines = done("company", "pretrained", "ship", "corpus.txt", "--most", "60").splitlines()
    assert lines[0].startswith("Data     ") and lines[0].endswith("occurrences of `ship`; 60 are looked at")
    assert lines[1].startswith("Company  `ship` keeps ")
    assert lines[2].startswith("         60 of ") and lines[2].endswith("occurrences, layer 2 of 2")
    assert all(line.startswith("         group ") for line in lines[3:-1]) and len(lines) > 5
    assert lines[-1] == "Report   company-ship.html" and "“ship”" in (place / "company-ship.html").read_text()


def test_company_looks_into_what_the_run_was_trained_on(place):
    told = strict(done("company", "pretrained", "ship", "--most", "40", "--out", "own.html", "--json"))
    assert told["data"] == [str(runs.folder() / "corpus.txt")] and len(told["occurrences"]) == 40
    adapted = strict(done("company", "adapted", "ship", "--most", "40", "--out", "x.html", "--dry-run", "--json"))
    assert adapted["data"] == told["data"]


def test_company_into_a_folder_writes_page_and_numbers(place):
    (place / "kept").mkdir()
    assert "Report   kept/company.html" in done("company", "pretrained", "ship", "--most", "40", "--out", "kept")
    assert listing(place / "kept") == ["company.html", "company.json"]
    assert strict((place / "kept" / "company.json").read_text())["word"] == "ship"


def test_a_dry_run_of_company_writes_nothing(place):
    before = listing(place)
    assert done("company", "pretrained", "tram", "--most", "40", "--dry-run").endswith("Nothing was written.\n")
    assert listing(place) == before


@pytest.mark.parametrize(("word", "page"), [("and/or", "company-and_or.html"), ("Öl-Fass", "company-Öl-Fass.html"),
                                            ("[b]x[/b]", "company-_b_x_b_.html")])  # fmt: skip
def test_the_page_of_any_word_has_a_name(place, word, page):
    lines = [f"The {noun} {word} the {other} meet." for noun in ("ship", "cow", "tram", "moon")
             for other in ("tide", "barn", "clock", "crew", "sail")]  # fmt: skip
    (place / "odd.txt").write_text("\n".join(lines) + "\n")
    assert f"Report   {page}" in done("company", "pretrained", word, "odd.txt")
    assert (place / page).exists()


def test_equal_sentences_make_one_group_without_a_warning(place):
    (place / "same.txt").write_text("".join(f"The ( ship meets 42 number {i}.\n" for i in range(12)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = firth("company", "pretrained", "42", "same.txt", "--most", "10", "--set", "text.context=8")
    assert found.exit_code == 0 and "Warning" not in found.output, found.output
