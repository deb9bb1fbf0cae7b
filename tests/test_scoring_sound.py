"""`firth score` of transcripts and of trials: the figures of jiwer and scikit-learn from files, and its refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from firth.errors import InputError
from firth.evaluate.scoring import score
from tests.test_functional_edits import pairs


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_file_of_transcripts_has_the_rates_of_jiwer(tmp_path):
    jiwer = pytest.importorskip("jiwer")
    found = pairs(300)
    gold = lines(tmp_path / "gold.jsonl", [{"audio": f"{i}.wav", "text": one} for i, (one, _) in enumerate(found)])
    said = lines(tmp_path / "said.jsonl", [{"text": f"{i}.wav", "transcript": two} for i, (_, two) in enumerate(found)])
    figures = score(gold, said, "transcribe")
    golds, saids = ([" ".join(one.split()) for one in side] for side in zip(*found, strict=True))
    assert figures["wer"] == pytest.approx(jiwer.wer(golds, saids))
    assert figures["cer"] == pytest.approx(jiwer.cer(golds, saids))
    assert figures["items"] == 300 and figures["word_accuracy"] == 1 - figures["wer"]
    theirs = jiwer.process_words(golds, saids)
    errors = figures["substitutions"] + figures["deletions"] + figures["insertions"]
    assert errors == theirs.substitutions + theirs.deletions + theirs.insertions


def test_phones_may_be_lists_and_stress_may_be_dropped(tmp_path):
    gold = lines(tmp_path / "gold.jsonl", [{"id": 1, "phones": ["AH0", "T"]}, {"id": 2, "phones": ["S"]}])
    said = lines(tmp_path / "said.jsonl", [{"id": 2, "transcript": "S"}, {"id": 1, "transcript": "AH1 T D"}])
    assert score(gold, said, "transcribe")["per"] == pytest.approx(2 / 3)
    assert score(gold, said, "transcribe", settings=["transcribe.stress=false"])["per"] == pytest.approx(1 / 3)


def test_plain_lines_are_transcripts_and_one_may_be_empty(tmp_path):
    gold = table(tmp_path / "gold.tsv", [{"transcript": "the ship"}, {"transcript": "a sea"}])
    said = lines(tmp_path / "said.jsonl", [{"transcript": "the ship"}, {"transcript": ""}])
    figures = score(gold, said, "transcribe")
    assert figures["wer"] == 0.5 and figures["deletions"] == 2
    plain = tmp_path / "said.txt"
    plain.write_text("the ship\na see\n")
    assert score(gold, plain, "transcribe")["wer"] == 0.25


def test_a_string_of_phones_is_cut_where_one_says_so(tmp_path):
    gold = table(tmp_path / "gold.tsv", [{"phones": "AH S"}])
    said = table(tmp_path / "said.tsv", [{"phones": "AH T"}])
    assert score(gold, said, "transcribe", settings=["transcribe.units=phones"])["per"] == 0.5


def trials(count: int = 200, seed: int = 0) -> tuple[list[dict], list[dict]]:
    source = np.random.default_rng(seed)
    same = source.random(count) < 0.4
    scores = source.normal(same * 1.0, 1.0)
    gold = [{"first": f"{i}a.wav", "second": f"{i}b.wav", "label": int(one)} for i, one in enumerate(same)]
    return gold, [{"text": f"{i}a.wav | {i}b.wav", "score": float(one)} for i, one in enumerate(scores)]


def test_a_file_of_trials_has_the_equal_error_rate(tmp_path):
    gold, said = trials()
    figures = score(table(tmp_path / "gold.tsv", gold), lines(tmp_path / "said.jsonl", said), "verify")
    false, true, _ = roc_curve([row["label"] for row in gold], [row["score"] for row in said], drop_intermediate=False)
    nearest = np.argmin(np.abs(false + true - 1))
    assert figures["eer"] == pytest.approx((false[nearest] + 1 - true[nearest]) / 2, abs=0.01)
    assert figures["items"] == 200 and figures["same"] + figures["different"] == 200


@pytest.mark.parametrize("words", [("same", "different"), ("target", "nontarget"), ("True", "False"), ("yes", "no")])
def test_kinds_of_trials_have_several_names(tmp_path, words):
    gold = table(tmp_path / "gold.tsv", [{"label": words[0]}, {"label": words[1]}, {"label": words[0]}])
    said = lines(tmp_path / "said.jsonl", [{"score": 0.9}, {"score": 0.1}, {"score": 0.5}])
    assert score(gold, said, "verify")["eer"] == 0


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do(tmp_path):
    one = table(tmp_path / "one.tsv", [{"label": "1"}, {"label": "1"}])
    gold = table(tmp_path / "gold.tsv", [{"label": "1"}, {"label": "perhaps"}])
    both = table(tmp_path / "both.tsv", [{"label": "1"}, {"label": "0"}])
    said = lines(tmp_path / "said.jsonl", [{"score": 0.9}, {"score": 0.1}])
    odd = lines(tmp_path / "odd.jsonl", [{"score": 0.9}, {"score": "high"}])
    assert refusal(lambda: score(one, said, "verify")) == (
        f"{one}: all 2 trials are same ones. Give trials of both kinds."
    )
    assert refusal(lambda: score(gold, said, "verify")) == (
        f"{gold}:3:1: `label` is `perhaps`, neither same nor different. Write 1 or 0."
    )
    assert refusal(lambda: score(both, odd, "verify")) == (
        f"{odd}:2:1: `score` is `high`, no score. Write a number, the higher the more alike the two clips are."
    )
    transcripts = table(tmp_path / "t.tsv", [{"transcript": "a b", "n": 1}, {"transcript": "", "n": 2}])
    assert refusal(lambda: score(transcripts, transcripts, "transcribe")) == (
        f"{transcripts}:3:1: `transcript` is empty. Fill it in; what is not known is wrong, not left out."
    )
