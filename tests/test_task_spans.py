"""Spans hidden while an encoder learns a task: drawn by key, as many as asked for, and never where nothing learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.find import find
from firth.functional.random import Draw
from firth.signal import Batch
from firth.tasks._spans import heard
from tests import contract, sounds


def prepared(name: str, samples=None, draw: Draw = Draw(1), **settings):  # noqa: B008
    """The part, and its batch."""
    objective = contract.build([name], **{name: settings})
    chosen = samples or contract.samples(6, shortest=40, longest=60, of=name)
    return objective.parts[name], contract.batch_of(objective, chosen, draw)


def test_they_are_on_where_transcripts_are_learnt_and_off_for_speakers():
    assert find("tasks", "transcribe").Config().hide_share == 0.05
    assert find("tasks", "verify").Config().hide_share == 0
    part, batch = prepared("verify")
    assert "spans" not in batch and "bands" not in batch and heard(part, batch).keys() == batch.keys()
    assert "spans" not in prepared("verify", hide_share=0.5)[1]  # of a text: there is no sound to hide


def test_a_share_of_the_steps_is_hidden_by_key():
    name = "transcribe"
    samples = contract.samples(100, shortest=50, longest=60, of=name)
    part, batch = prepared(name, samples, hide_share=0.2, hide_span=5)
    steps = part.config.steps(batch)
    assert batch["spans"].sum() / steps.sum() == pytest.approx(0.18, abs=0.03)  # runs overlap
    alone = prepared(name, samples[3:5], hide_share=0.2, hide_span=5)[1]["spans"]
    assert torch.equal(batch["spans"][3:5, : alone.shape[1]], alone)
    assert not torch.equal(batch["spans"], prepared(name, samples, Draw(1, 1), hide_share=0.2, hide_span=5)[1]["spans"])


def test_only_an_encoder_that_learns_misses_them():
    part, batch = prepared("transcribe", hide_share=0.5)
    learning = part.encode(batch).values
    part.eval()
    part.backbone.eval()
    asked = part.encode(batch).values
    whole = part.encode(
        Batch({key: value for key, value in batch.items() if key != "spans"}, counts=batch.counts)
    ).values
    assert torch.equal(asked, whole) and not torch.allclose(learning, asked)
    part.train()
    part.backbone.frozen = True
    assert heard(part, batch) is batch


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_the_mask_vector_learns_from_them(share):
    part, batch = prepared("transcribe", hide_share=share)
    torch.nn.init.normal_(part.classifier.weight)
    sum(term.sum for term in part(batch).terms.values()).backward()
    gradient = part.backbone.embed.mask.grad
    assert (gradient is not None and bool(gradient.any())) == bool(share)


def test_bands_are_hidden_throughout_a_clip():
    config = find("tasks", "transcribe").Config(hide_share=0.0, hide_bands=0.5)
    batch = config.prepare(sounds.FRAMES.stack(sounds.frames(20)), Draw(1))
    learns = SimpleNamespace(training=True, backbone=SimpleNamespace(frozen=False))
    found = heard(learns, batch)["frames"]
    for row, own, (begin, width) in zip(found, batch["frames"], batch["bands"].tolist(), strict=True):
        assert width <= sounds.BANDS // 2 and (row[:, begin : begin + width] == 0).all()
        kept = np.delete(np.arange(sounds.BANDS), range(begin, begin + width))
        assert torch.equal(row[:, kept], own[:, kept])
    assert batch["bands"][:, 1].max() > 0


def test_counts_and_gold_do_not_hang_on_them():
    _, plain = prepared("transcribe", hide_share=0.0)
    _, spans = prepared("transcribe", hide_share=0.4)
    assert plain.counts == spans.counts and torch.equal(plain["transcript"], spans["transcript"])
