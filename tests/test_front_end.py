"""The arm over log-mel frames themselves: what it hands to a head, levelled numbers, frames for encoders of waves."""

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.evaluate import arms, front_end
from firth.evaluate.front_end import JOIN, Frames, hearing_frames
from firth.model.sizes import shape_of
from firth.model.sound import embedding_of
from firth.signal import Sample
from firth.signals.speech import Config, Speech
from tests import contract
from tests.recordings import word

BANDS = 8


def samples(count: int = 4) -> list[Sample]:
    waves = [word(("low", "high", "rise", "fall")[i % 4], i) for i in range(count)]
    return [Sample(((wave * 2**15).astype(np.int16),), key=i) for i, wave in enumerate(waves)]


@pytest.fixture
def signal():
    return Speech(Config(mels=BANDS))


def encoder() -> Frames:
    shape = shape_of("frames", f"1x{JOIN * BANDS}", bands=BANDS, heads=1)
    return Frames(shape, embedding_of(shape))


def test_its_steps_are_two_frames_side_by_side(signal):
    batch = signal.stack(samples())
    features = encoder()(batch, layers=True)
    assert features.values.shape == (4, batch["frames"].shape[1] // 2, JOIN * BANDS)
    first = batch["frames"][0, :2].flatten()
    torch.testing.assert_close(features.values[0, 0], first)
    assert len(features.layers) == 1 and torch.equal(features.layers[0], features.values)


def test_each_number_is_levelled_over_the_steps_that_are_there(signal):
    batch, own = signal.stack(samples(6)), encoder()
    own.level(batch)
    features = own(batch)
    steps = features.values[~features.padding]
    torch.testing.assert_close(steps.mean(0), torch.zeros(JOIN * BANDS), atol=1e-4, rtol=0)
    torch.testing.assert_close(steps.std(0), torch.ones(JOIN * BANDS), atol=1e-3, rtol=0)


def test_a_clip_has_the_same_steps_alone_and_in_company(signal):
    own, chosen = encoder(), samples(5)
    own.level(signal.stack(chosen))
    together = own(signal.stack(chosen))
    for row, sample in enumerate(chosen):
        alone = own(signal.stack([sample]))
        steps = alone.values.shape[1]
        torch.testing.assert_close(together.values[row, :steps], alone.values[0], atol=1e-4, rtol=1e-4)
        assert together.padding[row, steps:].all() and not together.padding[row, :steps].any()


def test_nothing_of_it_learns():
    assert not any(parameter.requires_grad for parameter in encoder().parameters())


def test_an_encoder_of_waves_is_held_against_frames_too():
    wave = Speech(Config(front="wave", mels=BANDS))
    heard = hearing_frames(wave)
    assert "frames" in heard.facts.offers and heard.config.rate == wave.config.rate
    mel = Speech(Config(mels=BANDS))
    assert hearing_frames(mel) is mel


def test_text_has_no_frames():
    with pytest.raises(InputError) as caught:
        hearing_frames(contract.SIGNAL)
    assert str(caught.value) == "arm `frames`: the signal `toy` has no frames. Leave it out of --arms."


@pytest.mark.parametrize(
    ("task", "offers", "there"),
    [("transcribe", {"frames", "time"}, True), ("verify", {"wave", "time"}, True), ("classify", {"time"}, False),
     ("tag", {"tokens"}, False)],
)  # fmt: skip
def test_the_arm_is_there_where_a_task_reads_steps_of_sound(task, offers, there):
    assert (front_end.NAME in arms.default(task, frozenset(offers))) == there
    assert arms.title(front_end.NAME) == "Log-mel frames, the same head"


def test_frames_come_in_the_precision_of_the_head():
    shape = shape_of("frames", "1x12", bands=6, heads=1)
    backbone = Frames(shape, embedding_of(shape))
    for parameter in backbone.parameters():
        parameter.data = parameter.data.bfloat16()
    assert backbone({"frames": torch.randn(2, 8, 6)}).values.dtype == torch.bfloat16
