"""One sitting of a run: what is told and written on the way, and what a second sitting takes up."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth import distributed
from firth.errors import InputError, Interrupted, RunError
from firth.functional.random import Draw
from firth.objectives import masked_tokens
from firth.objectives.masked_tokens import Blank
from firth.recipe import Recipe, Train, with_table
from firth.signal import Sample
from firth.train import card, describe, session
from firth.train.budget import Budget, Clock
from firth.train.checkpoint import Checkpoint, Checkpoints
from firth.train.folder import RunFolder
from firth.train.log import Recorded, read_metrics
from firth.train.run import Step
from firth.train.samples import Samples, texts
from tests import contract

RECIPE = with_table(Recipe(train=Train(steps=20)), "masked_tokens", {"vocabulary": 40})


# ------------------------------------------------------------------ numbers as people read them


@given(st.floats(0, 1e12))
def test_a_count_keeps_its_size(number):
    shown = describe.count(number).replace(",", "")
    value, _, unit = shown.partition(" ")
    assert float(value) * {"": 1, "M": 1e6, "G": 1e9}[unit] == pytest.approx(number, rel=0.05, abs=0.5)


@given(st.floats(0, 1e7))
def test_a_duration_keeps_its_length(seconds):
    parts = describe.duration(seconds).split()
    units = {"s": 1, "min": 60, "h": 3600}
    told = sum(float(value) * units[unit] for value, unit in zip(parts[::2], parts[1::2], strict=True))
    assert told == pytest.approx(seconds, rel=0.01, abs=30 if seconds > 120 else 0.5)


@given(st.integers(0, 2**45), st.integers(0, 2**45))
def test_a_larger_size_never_reads_smaller(one, other):
    def read(text: str) -> float:
        value, unit = text.split()
        return float(value) * {"MB": 1e6, "GiB": 2**30}[unit]

    small, large = sorted((one, other))
    assert read(describe.size(small)) <= read(describe.size(large))


@pytest.mark.parametrize(("share", "text"), [(0.2412, "24.1 %"), (1, "100.0 %"), (0, "0.0 %")])
def test_shares(share, text):
    assert describe.percent(share) == text


@pytest.mark.parametrize(("term", "text"), [("masked_tokens", "masked tokens"), ("next-sentence", "next sentence")])
def test_terms_are_words(term, text):
    assert describe.name(term) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("masked_tokens_accuracy", 0.24, "24.0 %"),
        ("masked_tokens_perplexity", 1234.56, "1,234.6"),
        ("masked_tokens", 4.1234, "4.123"),
        ("loss at random initialisation", 9.0, "9.000"),
    ],
)
def test_figures_of_the_card(key, value, text):
    assert card.figure(key, value) == text


def test_two_terms_stand_side_by_side():
    metrics = {"loss": 3.5, "next_sentence": 0.5, "next_sentence_accuracy": 0.75, "masked_tokens": 3.0}
    assert card.describe_metrics(metrics) == "next sentence loss 0.50 · 75.0 % right · masked tokens loss 3.00"


# ------------------------------------------------------------------ samples


class Words:
    """A signal whose windows are sentences of letters."""

    sentences = ("The first one is cut off. The grey ship carries seven old captains home. The rest is cut",)

    def decode(self, ids) -> str:
        return self.sentences[int(ids[0]) % len(self.sentences)]


class Windows:
    lengths = None

    def __len__(self) -> int:
        return 3

    def get(self, indices, draw):
        return [Sample((np.array([index]),), int(index)) for index in indices]


def blanks(seed: int, count: int) -> list[Blank]:
    return masked_tokens.tries(Words(), texts(Words(), Windows(), Draw(seed)), Draw(seed), count)


def test_a_blank_hides_one_longer_word_of_a_whole_sentence():
    found = blanks(0, 2)
    assert len(found) == 2
    for blank in found:
        assert blank.text.count("[MASK]") == 1 and len(blank.truth) >= masked_tokens.LONG
        whole = blank.text.replace("[MASK]", blank.truth)
        assert whole == "The grey ship carries seven old captains home ."


def test_blanks_hang_on_the_seed_alone():
    drawn = {tuple(blanks(seed, 3)) for seed in (1, 1, 2, 3, 4)}
    assert 1 < len(drawn) <= 4


def test_sentences_of_numbers_have_no_blank():
    assert masked_tokens.tries(contract.SIGNAL, iter(["5 6 7 8 9 10 11 12"] * 4), Draw(0), 5) == []


def test_a_blank_reads_as_a_line():
    blank = Blank("the ship [MASK] the tide .", "carries")
    text = masked_tokens.line(blank, [("follows", 0.311), ("meets", 0.2)])
    assert text == "the ship [MASK] the tide . · follows 31 %, meets 20 % · truth: carries"


def guessing(monkeypatch, *guesses: tuple[str, float]) -> None:
    """The same guesses for each blank, without a model."""
    monkeypatch.setattr(
        masked_tokens, "fill_in", lambda objective, signal, texts, top: [[list(guesses)] for _ in texts]
    )


def test_samples_are_written_by_step(tmp_path, monkeypatch):
    guessing(monkeypatch, ("ship", 0.5), ("sea", 0.25))
    made = Samples(RECIPE, Words(), Windows(), tmp_path / "samples", count=2)
    lines = made.write(40, None)
    assert (tmp_path / "samples" / "step-40.txt").read_text().splitlines() == lines
    assert len(lines) == 2 and all("ship 50 %, sea 25 %" in line for line in lines)


def test_an_objective_that_shows_nothing_writes_nothing(tmp_path):
    made = Samples(Recipe(objective=("next-sentence",)), Words(), Windows(), tmp_path / "samples")
    assert made.write(1, None) == [] and not (tmp_path / "samples").exists()


# ------------------------------------------------------------------ the diary


def job_of(steps: int = 20, resumed: int = 0, notes=()) -> SimpleNamespace:
    return SimpleNamespace(steps=steps, resumed=resumed, notes=list(notes), objective=SimpleNamespace(objectives=[]))


def diary_of(path, job, show: Recorded | None = None) -> session.Diary:
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    work = session.Work(RECIPE, Budget("steps", 20), Clock(), show or Recorded(), path)
    work.signal, work.held_out = Words(), Windows()
    diary = session.Diary(work, folder, job)
    diary.samples.module = SimpleNamespace(shown=lambda objective, signal, tries: ["x · truth: y" for _ in tries])
    return diary


def step(index: int, steps: int = 20, evaluation=None, items: int = 100) -> Step:
    return Step(index, steps, 4.0, {"masked_tokens": 4.0}, 1e-3, 0.1, items, 1.0, evaluation=evaluation)


HELD_OUT = {"loss": 3.0, "masked_tokens": 3.0, "masked_tokens_accuracy": 0.1}


def test_each_step_is_a_row_and_tokens_add_up(tmp_path):
    diary = diary_of(tmp_path / "run", job_of())
    for index in range(1, 4):
        diary.write(step(index))
    diary.close()
    rows = read_metrics(diary.folder.metrics)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["tokens"] for row in rows] == [100, 200, 300]
    assert set(rows[0]) == {"step", "loss", "masked_tokens", "lr", "gradient_norm", "seconds", "tokens", "elapsed"}


def test_long_runs_are_logged_about_a_thousand_times(tmp_path):
    diary = diary_of(tmp_path / "run", job_of(steps=5000))
    for index in range(1, 12):
        diary.write(step(index, 5000))
    diary.write(step(5000, 5000))
    diary.close()
    assert [row["step"] for row in read_metrics(diary.folder.metrics)] == [5, 10, 5000]


def test_an_evaluation_has_perplexity_and_samples(tmp_path):
    diary = diary_of(tmp_path / "run", job_of())
    diary.write(step(0, evaluation=HELD_OUT, items=0))
    diary.close()
    [row] = read_metrics(diary.folder.metrics)
    assert row["held_out"] == HELD_OUT | {"masked_tokens_perplexity": pytest.approx(np.exp(3.0))}
    assert (diary.folder.samples / "step-0.txt").exists()
    log = diary.folder.log.read_text()
    assert "step 0 of 20: held-out masked tokens loss 3.00 · 10.0 % right" in log and "truth:" in log


def test_a_second_sitting_takes_up_counts_and_repeats_no_row(tmp_path):
    first = diary_of(tmp_path / "run", job_of())
    for index in range(1, 7):
        first.write(step(index, evaluation=HELD_OUT if index == 4 else None))
    first.close()
    second = diary_of(tmp_path / "run", job_of(resumed=4))
    second.write(step(4, evaluation=HELD_OUT, items=0))
    second.write(step(5))
    second.close()
    rows = read_metrics(second.folder.metrics)
    assert [(row["step"], "held_out" in row) for row in rows] == [
        (1, False), (2, False), (3, False), (4, False), (4, True), (5, False),
    ]  # fmt: skip
    assert rows[-1]["tokens"] == 500 and second.before == rows[4]["elapsed"]


def test_what_was_found_on_the_way_in_is_told_and_logged(tmp_path):
    show = Recorded()
    show.line("Data", "3 documents")
    diary = diary_of(tmp_path / "run", job_of(notes=["step-9 is damaged and was skipped."]), show)
    diary.write(step(1))
    diary.close()
    log = diary.folder.log.read_text()
    assert "Data     3 documents" in log and "step-9 is damaged" in log
    assert show.lines[-1] == "step-9 is damaged and was skipped."


def test_a_resumed_run_is_handed_its_checkpoint_and_what_was_skipped_for_it(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    folder.create(RECIPE, data={"fingerprint": "same"})
    checkpoints = Checkpoints(folder.checkpoints)
    for number in (3, 6):
        checkpoints.save(Checkpoint(number, {"weights.a": torch.ones(2)}))
    checkpoints.path(6).write_bytes(checkpoints.path(6).read_bytes()[:-1])

    def again(work):
        work.corpus, work.facts = SimpleNamespace(fingerprint="same"), {"data": {"fingerprint": "same"}}

    monkeypatch.setattr(session.prepare, "again", again)
    work = session.Work(Recipe(), Budget("steps", 20), Clock(), Recorded(), folder.path)
    session.resume(work, folder)
    assert work.found.step == 3 and work.recipe == folder.recipe
    assert work.show.lines == [f"{folder} is unfinished; going on from step 3."]
    assert [note.startswith(f"{checkpoints.path(6)} is damaged (") for note in work.notes] == [True]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    diary = diary_of(tmp_path / "run", job_of())
    diary.write(step(1, evaluation=HELD_OUT))
    diary.close()
    assert diary.evaluation == HELD_OUT and diary.log is None
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Interrupted("run", "stopped by Ctrl-C", "Go on."), "interrupted"),
        (RunError("run", "the loss is nan", "Lower the rate."), "failed"),
    ],
)
def test_how_a_run_ended_is_in_its_facts(tmp_path, error, status):
    diary = diary_of(tmp_path / "run", job_of())
    diary.write(step(1))
    diary.ended(error)
    diary.close()
    facts = json.loads(diary.folder.facts_path.read_text())
    assert (facts["status"], facts["error"]) == (status, str(error))
    assert str(error) in diary.folder.log.read_text()


def test_a_disk_that_refuses_the_status_hides_no_error(tmp_path, monkeypatch):
    diary = diary_of(tmp_path / "run", job_of())

    def refuse(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(diary.folder, "update", refuse)
    diary.ended(RunError("run", "the disk is full", "Make room."))


# ------------------------------------------------------------------ small rules


@pytest.mark.parametrize(("kind", "refused"), [("seconds", True), ("steps", False), ("tokens", False)])
def test_ranks_cannot_share_a_budget_of_time(monkeypatch, kind, refused):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    if not refused:
        return session.refuse_timed_ranks(Budget(kind, 60))
    with pytest.raises(InputError) as caught:
        session.refuse_timed_ranks(Budget(kind, 60))
    assert str(caught.value) == (
        "--budget 60s: cannot be measured alike on 2 ranks. Give the budget in steps, epochs or tokens."
    )


def test_perplexity_is_for_what_guesses_tokens():
    recipe = with_table(Recipe(objective=("next-sentence", "masked-tokens")), "masked_tokens", {"vocabulary": 40})
    found = session.with_perplexity(recipe, {"loss": 1.0, "next_sentence": 0.5, "masked_tokens": 2.0})
    assert set(found) == {"loss", "next_sentence", "masked_tokens", "masked_tokens_perplexity"}
    assert session.with_perplexity(recipe, {}) == {}


def test_a_dry_run_says_that_nothing_was_written(tmp_path):
    show = Recorded()
    work = session.Work(RECIPE, Budget("steps", 1), Clock(), show, tmp_path, facts={"plan": {"steps": 9}})
    result = session.planned(work, RunFolder(tmp_path / "free"))
    assert (result.status, result.plan) == ("planned", {"steps": 9})
    assert show.lines == [f"Nothing was trained or written; {tmp_path / 'free'} is free for the run."]
