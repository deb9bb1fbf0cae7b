"""`score` on files in every form: figures equal the references'."""

import gzip
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from firth.evaluate.scoring import score
from tests.test_functional_answers import near, scores

LABELS = ["negative", "neutral", "positive"]


def write(folder, name, content):
    """Text as it is, a list as JSON lines, anything else as JSON."""
    if isinstance(content, list):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    elif not isinstance(content, str):
        content = json.dumps(content)
    (folder / name).write_text(content, "utf-8")
    return folder / name


def files(tmp_path, gold, said):
    """(name, content) twice → two paths."""
    return write(tmp_path, *gold), write(tmp_path, *said)


def drawn(count, seed=0):
    source = random.Random(seed)
    gold = [source.choice(LABELS) for _ in range(count)]
    return gold, [label if source.random() < 0.7 else source.choice(LABELS) for label in gold]


def check_classes(found, gold, said):
    assert found["items"] == len(gold)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(gold, said))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(gold, said, average="macro"))
    assert found["matthews"] == pytest.approx(reference.matthews_corrcoef(gold, said))
    assert found["confusion"] == reference.confusion_matrix(gold, said, labels=found["classes"]).tolist()


TABLE = ("gold.tsv", "text\tlabel\n" + "".join(f"film {i}\t{label}\n" for i, label in enumerate(drawn(200)[0])))
FORMS = {
    "lines.txt": "\n".join(drawn(200)[1]) + "\n",
    "table.csv": "label\n" + "\n".join(drawn(200)[1]) + "\n",
    "bare.tsv": "\n".join(drawn(200)[1]) + "\n",
    "named.tsv": "label\tprediction\n" + "".join(f"neutral\t{label}\n" for label in drawn(200)[1]),
    "twice.csv": "label,prediction,prediction_label\n"  # the answer of a model beside that of one before it
    + "".join(f"neutral,neutral,{label}\n" for label in drawn(200)[1]),
    "rows.jsonl": [{"text": f"film {i}", "label": label, "probability": 0.9} for i, label in enumerate(drawn(200)[1])],
    "rows.json": [{"text": f"Film  {i}", "label": label} for i, label in enumerate(drawn(200)[1])],
}


@pytest.mark.parametrize("task", ["classify", "pairs"])
@pytest.mark.parametrize("name", FORMS)
def test_classes(tmp_path, name, task):
    found = score(*files(tmp_path, TABLE, (name, FORMS[name])), task)
    check_classes(found, *drawn(200))
    assert (found["task"], found["classes"]) == (task, LABELS)
    assert ("calibration_error" in found) == (name == "rows.jsonl")


def test_calibration(tmp_path):
    gold, said = drawn(200)
    found = score(*files(tmp_path, TABLE, ("rows.jsonl", FORMS["rows.jsonl"])), "classify")
    assert found["calibration_error"] == pytest.approx(
        abs(0.9 - np.mean([a == b for a, b in zip(gold, said, strict=True)]))
    )


def test_rows_go_together_by_id(tmp_path):
    gold, said = drawn(100)
    order = random.Random(1).sample(range(100), 100)
    true = [{"id": i, "text": f"film {i}", "label": label} for i, label in enumerate(gold)]
    table = "id,label\n" + "".join(f"{i},{said[i]}\n" for i in order)
    check_classes(score(*files(tmp_path, ("gold.jsonl", true), ("said.csv", table)), "classify"), gold, said)


def test_numbers_as_labels_and_a_column_of_another_name(tmp_path):
    gold = [{"text": "a", "stars": 1.0}, {"text": "b", "stars": 5}, {"text": "c", "stars": "5"}]
    found = score(*files(tmp_path, ("gold.jsonl", gold), ("said.txt", "1\n5\n1\n")), "classify", label="stars")
    assert (found["accuracy"], found["classes"]) == (pytest.approx(2 / 3), ["1", "5"])


def test_a_class_that_the_gold_file_happens_not_to_hold(tmp_path):
    pair = ("gold.txt", "a\nb\n"), ("said.txt", "a\nc\n")
    found = score(*files(tmp_path, *pair), "classify", classes=["c"])
    assert (found["accuracy"], found["classes"]) == (0.5, ["a", "b", "c"])


def test_many_labels(tmp_path):
    source = np.random.default_rng(0)
    true, said = source.random((50, 3)) < 0.4, source.random((50, 3)) < 0.4
    names = [[[LABELS[k] for k in np.flatnonzero(row)] for row in part] for part in (true, said)]
    pair = [(f"{name}.jsonl", [{"text": str(i), "labels": one} for i, one in enumerate(part)])
            for name, part in zip(("gold", "said"), names, strict=True)]  # fmt: skip
    found = score(*files(tmp_path, *pair), "classify")
    assert found["micro_f1"] == pytest.approx(reference.f1_score(true, said, average="micro"))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(true, said, average="macro"))
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(true, said))
    assert found["decision_accuracy"] == pytest.approx(1 - reference.hamming_loss(true, said))


@pytest.mark.parametrize("options", [{}, {"numbers": True}])
def test_correlations(tmp_path, options):
    source = np.random.default_rng(0)
    gold = source.integers(10, 50, 80) / 10
    said = gold + source.normal(size=80)
    table = "premise\thypothesis\tscore\n" + "".join(f"one {i}\ttwo {i}\t{value}\n" for i, value in enumerate(gold))
    rows = [{"text": f"one {i} | two {i}", "number": value} for i, value in enumerate(said.tolist())]
    found = score(*files(tmp_path, ("gold.tsv", table), ("said.jsonl", rows)), "pairs", label="score", **options)
    assert found["pearson"] == pytest.approx(stats.pearsonr(gold, said).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(gold, said).statistic)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(gold - said).mean())


def test_whole_numbers_are_classes_unless_said_otherwise(tmp_path):
    pair = ("gold.txt", "1\n2\n3\n3\n"), ("said.txt", "1\n2\n3\n2\n")
    assert score(*files(tmp_path, *pair), "pairs")["accuracy"] == 0.75
    assert score(*files(tmp_path, *pair), "pairs", numbers=True)["pearson"] > 0.8


CONLL = ("gold.conll", "Peter B-PER\nNoone I-PER\nsings O\n\nin O\nRome B-LOC\n")


def test_entities(tmp_path):
    said = ("said.conll", "Peter B-PER\nNoone I-PER\nsings B-LOC\n\nin O\nRome I-LOC\n")
    found = score(*files(tmp_path, CONLL, said), "tag")
    assert (found["items"], found["sentences"], found["accuracy"]) == (5, 2, 0.6)
    assert (found["span_precision"], found["span_recall"], found["spans"]) == (pytest.approx(2 / 3), 1.0, 2)
    assert found["types"]["PER"]["f1"] == 1.0


@pytest.mark.parametrize("form", ["conll", "jsonl", "words", "txt", "conllu"])
def test_parts_of_speech(tmp_path, form):
    gold = [(["They", "sing"], ["PRON", "VERB"]), (["birds"], ["NOUN"]), (["Oh", "no", "!"], ["INTJ", "INTJ", "PUNCT"])]
    said = [["PRON", "NOUN"], ["PROPN"], ["INTJ", "INTJ", "PUNCT"]]
    true = "\n".join("".join(universal(n, *one) for n, one in enumerate(zip(*pair, strict=True), 1)) for pair in gold)
    pairs = [(words, tags) for (words, _), tags in zip(gold, said, strict=True)]
    content = {
        "conll": "\n".join("".join(f"{w}\t{t}\n" for w, t in zip(*pair, strict=True)) for pair in pairs),
        "jsonl": [{"tags": tags} for tags in said],
        "words": [{"text": " ".join(words), "words": words, "tags": tags} for words, tags in pairs],
        "txt": "".join(" ".join(tags) + "\n" for tags in said),
        "conllu": "\n".join(
            "".join(universal(n, *one) for n, one in enumerate(zip(*pair, strict=True), 1)) for pair in pairs
        ),
    }[form]
    name = "said." + form.replace("words", "jsonl")
    found = score(*files(tmp_path, ("gold.conllu", true), (name, content)), "tag")
    flat = [[tag for tags in part for tag in tags] for part in ([tags for _, tags in gold], said)]
    check_classes(found, *flat)
    assert "span_f1" not in found


def universal(number, word, tag):
    return f"{number}\t{word}\t_\t{tag}\tX{tag}\t_\t_\t_\t_\t_\n"


def test_another_column_of_tags(tmp_path):
    true = universal(1, "They", "PRON")
    said = [{"tags": ["XPRON"]}]
    assert score(*files(tmp_path, ("gold.conllu", true), ("said.jsonl", said)), "tag", label="xpos")["accuracy"] == 1.0


def test_the_text_of_a_sentence_may_be_written_otherwise(tmp_path):
    """`# text` has the blanks of the original; a tagger's own text has blanks between words."""
    true = "# text = don't\n" + universal(1, "do", "AUX") + universal(2, "n't", "PART")
    said = [{"text": "do n't", "words": ["do", "n't"], "tags": ["AUX", "PART"]}]
    assert score(*files(tmp_path, ("gold.conllu", true), ("said.jsonl", said)), "tag")["accuracy"] == 1.0


def test_tags_of_known_kin_may_be_predicted(tmp_path):
    """I-LOC where only B-LOC was seen, and any UPOS among UPOS."""
    score(*files(tmp_path, CONLL, ("said.txt", "I-LOC S-PER O\nO E-LOC\n")), "tag")
    score(*files(tmp_path, ("g.conllu", universal(1, "They", "PRON")), ("said.txt", "SYM\n")), "tag")


DOCUMENT = "Normandy is a region in the north of France."
QUESTIONS = [
    ("q1", "Where is it?", [("France", 37), ("north of France", 28)]),
    ("q2", "What?", [("a region", 12)]),
    ("q3", "Who?", []),
]


def squad(questions=QUESTIONS[:2]):
    qas = [{"id": id, "question": text, "is_impossible": not found,
            "answers": [{"text": answer, "answer_start": start} for answer, start in found]}
           for id, text, found in questions]  # fmt: skip
    return {"data": [{"title": "Normandy", "paragraphs": [{"context": DOCUMENT, "qas": qas}]}]}


ANSWERED = {
    "said.json": {"q1": "the France", "q2": "big region"},
    "rows.jsonl": [{"id": "q2", "answer": "big region"}, {"id": "q1", "answer": "the France"}],
    "text.jsonl": [{"id": "q1", "text": "the France"}, {"id": "q2", "text": "big region"}],
    "lines.json": [{"id": "q1", "answer": "the France"}, {"id": "q2", "answer": "big region"}],
    "order.jsonl": [{"text": "Where is it?", "answer": "the France"}, {"text": "What?", "answer": "big region"}],
    "lines.txt": "the France\nbig region\n",
}


@pytest.mark.parametrize("name", ANSWERED)
def test_answers(tmp_path, name):
    found = score(*files(tmp_path, ("gold.json", squad()), (name, ANSWERED[name])), "span")
    assert (found["items"], found["exact"], found["f1"]) == (2, 0.5, pytest.approx((1 + 2 / 3) / 2))
    assert (found["version"], found["missing"]) == ("1.1", [])


def test_missing_answers_count_nothing_and_are_named(tmp_path):
    found = score(*files(tmp_path, ("gold.json", squad()), ("said.json", {"q2": "region"})), "span")
    assert (found["exact"], found["f1"], found["missing"]) == (0.5, 0.5, ["q1"])


def test_questions_without_answer(tmp_path):
    found = score(
        *files(tmp_path, ("gold.json", squad(QUESTIONS)), ("s.json", {"q1": "France", "q2": "", "q3": None})), "span"
    )
    assert (found["version"], found["exact"]) == ("2.0", pytest.approx(2 / 3))
    assert found["has_answer"] == {"items": 2, "exact": 0.5, "f1": 0.5}
    assert found["no_answer"] == {"items": 1, "exact": 1.0, "f1": 1.0}


@pytest.mark.parametrize("version", [1, 2])
def test_a_thousand_questions_in_files_equal_the_rule(tmp_path, version):
    """A gold file and a prediction file, some predictions of other words, empty, or of other case and marks."""
    source = random.Random(version)
    texts = [drawn_answer(source) for _ in range(1000)]
    gold = {f"q{n}": [text, drawn_answer(source)][: source.randint(1, 2)] for n, text in enumerate(texts)}
    if version == 2:
        gold |= {f"q{n}": [] for n in range(0, 1000, 3)}
    qas = [{"id": id, "question": "What?", "is_impossible": not found,
            "answers": [{"text": text, "answer_start": DOCUMENT_2.index(text)} for text in found]}
           for id, found in gold.items()]  # fmt: skip
    tree = {"data": [{"title": "x", "paragraphs": [{"context": DOCUMENT_2, "qas": qas}]}]}
    said = {id: source.choice(["", drawn_answer(source), near(source, (found or [""])[0])])
            for id, found in gold.items()}  # fmt: skip
    found = score(*files(tmp_path, ("gold.json", tree), ("said.json", said)), "span")
    each = [scores(said[id], answers or [""], version) for id, answers in gold.items()]
    assert (found["items"], found["version"]) == (1000, f"{version}.{2 - version}")
    assert found["exact"] == pytest.approx(np.mean([exact for exact, _ in each]))
    assert found["f1"] == pytest.approx(np.mean([f1 for _, f1 in each]))


DOCUMENT_2 = "The cat sat on a mat. Zoë's U.S. Army (an old one) bought 1,000 cats - the best - for $5."


def drawn_answer(source):
    """A stretch of whole words."""
    words = DOCUMENT_2.split()
    begin = source.randrange(len(words))
    return " ".join(words[begin : begin + source.randint(1, 4)])


def test_gold_answers_in_rows(tmp_path):
    gold = [{"id": 1, "answers": ["Rome"]}, {"id": 2, "answers": {"text": ["a cat", "cats"], "answer_start": [0, 1]}}]
    assert score(*files(tmp_path, ("gold.jsonl", gold), ("said.json", {"1": "rome", "2": "Cat"})), "span")["exact"] == 1


REAL = Path(os.environ.get("FIRTH_DATA", "")) / "text"
real = pytest.mark.skipif(not os.environ.get("FIRTH_DATA") or not REAL.exists(), reason="FIRTH_DATA holds no text/")


@pytest.mark.slow
@real
def test_the_gold_answers_of_squad_are_all_right(tmp_path):
    gold = REAL / "squad" / "dev-v1.1.json.gz"
    articles = json.loads(gzip.decompress(gold.read_bytes()))["data"]
    qas = [item for article in articles for paragraph in article["paragraphs"] for item in paragraph["qas"]]
    said = write(tmp_path, "said.json", {item["id"]: item["answers"][0]["text"] for item in qas})
    found = score(gold, said, "span")
    assert (found["items"], found["exact"], found["f1"], found["missing"]) == (10570, 1.0, 1.0, [])


@pytest.mark.slow
@real
def test_the_treebank_against_itself():
    path = REAL / "ud_ewt" / "test.conllu.gz"
    found = score(path, path, "tag")
    assert (found["items"], found["sentences"], found["accuracy"]) == (25094, 2077, 1.0)


# ------------------------------------------------------------------ prompts


def test_written_answers_match_exactly_and_need_be_no_label(tmp_path):
    gold, said = tmp_path / "gold.tsv", tmp_path / "said.jsonl"
    gold.write_text("text\tlabel\na\tpositive\nb\tnegative\nc\tpositive\nd\tnegative\n")
    written = ["positive ", "Negative", "", "negative"]
    said.write_text("".join(json.dumps({"text": t, "label": w}) + "\n" for t, w in zip("abcd", written, strict=True)))
    found = score(gold, said, "prompt")
    assert (found["items"], found["accuracy"], found["labels"]) == (4, 0.5, 0.5)
    assert score(gold, said, "prompt", classes=["Negative"])["labels"] == 0.75
