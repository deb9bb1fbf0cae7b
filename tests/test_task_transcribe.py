"""Transcribe: units from transcripts, the loss, hearing what is said alone and in company, where each unit stands."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import InputError
from firth.find import find
from firth.functional import ctc, edits
from firth.functional.random import Draw
from firth.signal import Facts
from firth.task import Example, Where
from tests import tones

transcribe = find("tasks", "transcribe")
CLASSES = tuple(sorted(tones.LETTERS))


def config(**own):
    return transcribe.Config(**{"units": "characters", "dropout": 0.0, "classes": CLASSES, **own})


def examples(count: int = 24, seed: int = 0) -> list[Example]:
    return [config().example(tones.example(name)) for name in tones.names(count, seed)]


@pytest.fixture(scope="module")
def learnt():
    """A model that has learnt to read tones."""
    objective = tones.composed("transcribe", transcribe.Transcribe, config())
    losses = tones.learn(objective, examples(48), steps=120)
    assert losses[-1] < 0.2 * losses[0]
    return objective.eval()


# ------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("own", "transcript", "units"),
    [
        ({}, "  it  is ", ("i", "t", " ", "i", "s")),
        ({"units": "phones"}, "IH0 T", ("IH0", "T")),
        ({"units": "phones"}, '["IH0", "T"]', ("IH0", "T")),
        ({"units": "phones", "stress": False}, "AH0 L AY1 3", ("AH", "L", "AY", "3")),
        ({"units": "characters"}, "über", ("ü", "b", "e", "r")),
    ],
)
def test_a_transcript_is_cut_into_units_and_written_again(own, transcript, units):
    made = config(**own)
    assert made.cut(transcript) == units
    assert made.cut(made.written(units)) == units


@given(st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=5))
def test_cutting_and_writing_are_inverse(words):
    for own in (config(), config(units="phones")):
        said = own.cut(" ".join(words))
        assert own.written(said) == " ".join(words) and own.cut(own.written(said)) == said


@pytest.mark.parametrize(("label", "units"), [("it is", "characters"), ('["IH0", "T"]', "phones")])
def test_the_transcripts_say_which_units_they_have(label, units):
    rows = [Example("x.wav", label, Where("t.tsv", 2))]
    found = transcribe.Config().look(rows)
    assert found.units == units
    assert transcribe.Config(units="phones").look(rows).units == "phones"


def test_units_are_learnt_from_the_training_part():
    rows = [config().example(Example("x", text, Where("t"))) for text in ("ab", "b c")]
    assert config(classes=()).names(rows) == (" ", "a", "b", "c")
    known = config(classes=("a", "b"))
    [sample, other] = known.samples([tones.example("ab@ann")._replace(target=("a", "b")),
                                     tones.example("ca@ann")._replace(target=("c", "a"))], tones.SIGNAL)  # fmt: skip
    assert sample.targets["transcript"].tolist() == [1, 2] and sample.label is None
    assert other.targets["transcript"].tolist() == [1]  # what no training example has cannot be learnt


def test_refusals_say_where_what_and_what_to_do():
    with pytest.raises(InputError) as caught:
        config().example(Example("x.wav", "  ", Where("t.tsv", 7, 3)))
    assert str(caught.value) == ("t.tsv:7:3: has an empty transcript. Leave it out, or --skip-bad leaves it out.")
    with pytest.raises(InputError) as caught:
        tones.composed("transcribe", transcribe.Transcribe, config(classes=()))
    assert str(caught.value) == (
        "task `transcribe`: there are no transcripts to learn units from. "
        "Give clips with a column of transcripts: --label."
    )


# ------------------------------------------------------------------ the loss


def batch_of(rows, objective):
    own = objective.objectives[0].config
    return own.prepare(tones.SIGNAL.stack(own.samples(rows, tones.SIGNAL)), Draw(0))


def test_the_loss_is_torchs_clip_by_clip_over_all_units():
    objective, rows = tones.composed("transcribe", transcribe.Transcribe, config()).double(), examples(5)
    batch, part = batch_of(rows, objective), objective.parts["transcribe"]
    loss = objective(batch)
    expected = 0.0
    for row in rows:
        single = batch_of([row], objective)
        shares = part.logits(part.encode(single)).log_softmax(-1)  # (1, T, V)
        units = single["transcript"]
        expected += torch.nn.functional.ctc_loss(
            shares.transpose(0, 1), units, [shares.shape[1]], [units.shape[1]], reduction="sum"
        ).item()
    assert loss.terms["transcribe"].sum.item() == pytest.approx(expected, rel=1e-9)
    assert loss.terms["transcribe"].count == batch.counts["transcribe"] == sum(len(row.target) for row in rows)


def test_a_clip_too_short_for_its_transcript_is_told_and_costs_nothing():
    objective = tones.composed("transcribe", transcribe.Transcribe, config())
    short = tones.example("a@ann")._replace(target=tuple("abcdeabcdeabcde"))
    loss = objective(batch_of([short], objective))
    assert loss.terms["transcribe"].sum.item() == 0
    assert loss.metrics["transcribe_too_short"] == (1, 1)


def test_where_nothing_is_learnt_the_share_of_right_units_is_shown(learnt):
    with torch.no_grad():
        shown = learnt(batch_of(examples(6, seed=5), learnt)).metrics["transcribe_accuracy"]
    assert 0.7 < float(shown.sum) / shown.count <= 1
    assert "transcribe_accuracy" not in learnt(batch_of(examples(2), learnt)).metrics


def test_a_hidden_layer_stands_before_the_last_map():
    plain, deeper = (tones.composed("transcribe", transcribe.Transcribe, config(hidden=n)) for n in (0, 20))
    assert len(plain.parts["transcribe"].hidden) == 0
    assert deeper.parts["transcribe"].classifier.weight.shape == (len(CLASSES) + 1, 20)
    assert deeper.parts["transcribe"].facts["hidden"] == 20


# ------------------------------------------------------------------ hearing


def test_it_hears_what_is_said_in_new_clips(learnt):
    names = tones.names(12, seed=9)
    found = transcribe.predict(learnt, tones.SIGNAL, names)
    heard = edits.error_rate([tones.said_in(name) for name in names], [one.transcript for one in found])
    assert heard < 0.25
    assert all(0 < one.probability <= 1 and one.others == [] and one.text == name
               for one, name in zip(found, names, strict=True))  # fmt: skip


def test_hearing_does_not_hang_on_the_company_in_a_batch(learnt):
    names = tones.names(6, seed=4, most=9)
    together = transcribe.predict(learnt, tones.SIGNAL, names)
    alone = [transcribe.predict(learnt, tones.SIGNAL, [name])[0] for name in names]
    assert [one.transcript for one in together] == [one.transcript for one in alone]
    assert [one.probability for one in together] == pytest.approx([one.probability for one in alone], rel=1e-4)


def test_a_beam_names_several_transcripts_the_likeliest_first(learnt):
    part = learnt.parts["transcribe"]
    names = tones.names(4, seed=3)
    greedy = transcribe.predict(learnt, tones.SIGNAL, names)
    part.config = config(beam=8)
    try:
        wide = transcribe.predict(learnt, tones.SIGNAL, names, top=3)
    finally:
        part.config = config()
    assert all(len(one.others) == 2 and one.transcript not in one.others for one in wide)
    assert sum(one.transcript == other.transcript for one, other in zip(greedy, wide, strict=True)) >= 3


def test_the_score_counts_words_and_characters(learnt):
    rows = examples(10, seed=2)
    outcome = transcribe.evaluate(learnt, tones.SIGNAL, rows)
    figures = outcome.figures
    assert list(figures)[:4] == ["items", "word_accuracy", "wer", "cer"] and figures["items"] == 10
    assert outcome.right.sum() / outcome.counts.sum() == pytest.approx(figures["word_accuracy"]) == 1 - figures["wer"]
    assert figures["substitutions"] + figures["deletions"] + figures["insertions"] == round(
        figures["wer"] * figures["units"]
    )
    assert outcome.counts.tolist() == config().counts(rows).tolist()


def test_phones_are_counted_by_themselves():
    own = config(units="phones")
    rows = [own.example(Example("x", text, Where("t"))) for text in ("AH S T", "S")]
    found = transcribe.judged(own, rows, ["AH T", "S S"])
    assert found.figures["per"] == 0.5 and found.figures["phone_accuracy"] == 0.5 and "wer" not in found.figures
    assert found.right.tolist() == [2, 0] and found.counts.tolist() == [3, 1]
    assert found.wrong[0] == {"text": "x", "gold": "AH S T", "predicted": "AH T", "errors": "1 error"}
    assert own.metric == "phone_accuracy" and config().metric == "word_accuracy"


def test_a_control_deals_transcripts_out_anew():
    rows = examples(9)
    dealt = config().shuffled(rows, 0)
    assert sorted(one.target for one in dealt) == sorted(one.target for one in rows)
    assert [one.text for one in dealt] == [one.text for one in rows]
    assert [one.target for one in dealt] != [one.target for one in rows]


# ------------------------------------------------------------------ where units stand


def test_forced_alignment_finds_the_tones(learnt):
    rows = [config().example(tones.example(f"abc@ann#{i}")) for i in range(5)]
    for row, heard in zip(rows, transcribe.places(learnt, tones.SIGNAL, rows), strict=True):
        loudest = tones.frames(row.text)[:, :6].argmax(1)
        assert [one.unit for one in heard] == ["a", "b", "c"]
        for one in heard:
            near = set(loudest[max(0, one.begin - 1) : one.end + 1].tolist())
            assert tones.LETTERS.index(one.unit) in near


def test_what_cannot_be_aligned_is_left_out(learnt):
    short = tones.example("a@ann")._replace(target=tuple("abcdeabcdeabcde"))
    strange = tones.example("a@ann")._replace(target=("?",))
    assert transcribe.places(learnt, tones.SIGNAL, [short, strange]) == [[], []]


def test_the_classes_are_those_of_the_data_and_the_blank_is_none_of_them():
    made = transcribe.Config().fill(Facts(frozenset(), classes=("a", "b")))
    objective = tones.composed("transcribe", transcribe.Transcribe, made)
    assert objective.parts["transcribe"].classifier.out_features == 3 and ctc.BLANK == 0
    assert np.isfinite(tones.frames("ab@ann")).all()
