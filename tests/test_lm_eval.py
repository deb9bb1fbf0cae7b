"""lm-evaluation-harness on the exported folder, with tasks over the same files: the same figures as firth gives."""

import json
import os
import re
from pathlib import Path

import pytest

from firth.evaluate.export import export
from firth.evaluate.measuring import measure
from tests import labelled_files, material, runs
from tests.house import ROOT

pytestmark = pytest.mark.slow

CHOICES = """\
task: firth_choices
dataset_path: json
dataset_kwargs: {data_files: {test: choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """\
task: firth_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]
"""


def page_task() -> str:
    """The task that docs/measure.md shows."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "measure.md").read_text(), re.M | re.S)
    return block


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness")
    export(runs.writer(), "hf", out=folder / "exported")
    labelled_files.write_minimal_pairs(folder, 60)
    labelled_files.write_choices(folder, 60)
    rows = [labelled_files.minimal_pair(name, source) for source, name in pairs(60)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    long = [{"text": text} for text in material.documents(5, seed=7, sentences=60)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    for name, text in {"pairs": page_task(), "choices": CHOICES, "rolling": ROLLING}.items():
        absolute = re.sub(r"test: (\w+\.jsonl)", lambda found: f"test: {folder / found[1]}", text)
        (folder / f"firth_{name}.yaml").write_text(absolute)
    return folder


def pairs(count: int):
    import random

    source = random.Random(3)
    return [(source, name) for _ in range(count) for name in ("verb_form", "word_order")]


def by_harness(place: Path, task: str, **model) -> dict[str, float]:
    """What lm-eval says of the exported folder, by the name of the metric."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    os.environ.setdefault("HF_DATASETS_CACHE", str(place / "cache"))
    judge = HFLM(pretrained=str(place / "exported"), device="cpu", dtype="float32", batch_size=8, **model)
    found = lm_eval.simple_evaluate(
        judge, tasks=[f"firth_{task}"], task_manager=TaskManager(include_path=str(place)), bootstrap_iters=0
    )
    return {key.partition(",")[0]: value for key, value in found["results"][f"firth_{task}"].items()}


def test_minimal_pairs_are_those_of_the_harness(place):
    theirs = by_harness(place, "pairs", add_bos_token=True)
    ours = measure(place / "exported", place / "pairs.jsonl", "minimal-pairs", device="cpu").found
    assert ours.ties == 0 and ours.interval.mean == pytest.approx(theirs["acc"], abs=1e-12)
    assert 0.05 < ours.interval.mean < 0.999


def test_multiple_choice_is_that_of_the_harness(place):
    theirs = by_harness(place, "choices", add_bos_token=True)
    ours = measure(place / "exported", place / "choices.jsonl", "multiple-choice", device="cpu").found
    assert ours.ties == 0 and ours.accuracy.mean == pytest.approx(theirs["acc"], abs=1e-12)
    assert ours.per_character == pytest.approx(theirs["acc_norm"], abs=1e-12)


def test_bits_per_byte_are_those_of_the_harness(place):
    theirs = by_harness(place, "rolling", add_bos_token=False, max_length=384)
    ours = measure(place / "exported", place / "texts.jsonl", stride=384, device="cpu").found
    assert ours.tokens > 384 * ours.texts  # windows there are
    assert ours.bits_per_byte.mean == pytest.approx(theirs["bits_per_byte"], rel=1e-5)
    assert ours.word_perplexity == pytest.approx(theirs["word_perplexity"], rel=1e-4)
