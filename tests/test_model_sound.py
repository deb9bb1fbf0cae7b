"""Front ends of sound: the length rule, padding that changes nothing, masks, and where they begin."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from firth.errors import InputError
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.shape import SoundShape
from firth.model.sizes import READS, shape_of
from firth.model.sound import apart, joined, lengths_of, step_padding
from firth.model.waveform import Convolutions, Positions, over_own_steps
from tests.models import shaken

SHAPES = {name: shape_of(name, "2x32", bands=6, dropout=0.0) for name in READS if READS[name] in ("wave", "frames")}
LAYER = SoundShape(widths=(32,) * 7, norm="layer", bias=True)
SHAPES["large"] = shape_of("wav2vec2", "2x32", dropout=0.0).model_copy(
    update={"sound": LAYER, "norm_placement": "pre", "embed_norm": False, "first_norm": True}
)
LENGTHS = {"wave": (4000, 2611, 400, 399), "frames": (24, 13, 2, 1)}


def key_of(shape) -> str:
    return "frames" if shape.sound.bands else "wave"


def batch_of(shape, lengths=None) -> dict[str, torch.Tensor]:
    """Noise, zeros behind each clip."""
    key = key_of(shape)
    sizes = torch.tensor(lengths or LENGTHS[key])
    noise = torch.randn(len(sizes), int(sizes.max()), *((6,) if key == "frames" else ()), dtype=torch.float64,
                        generator=torch.Generator().manual_seed(4))  # fmt: skip
    pad = torch.arange(noise.shape[1]) >= sizes[:, None]
    noise[pad] = 0
    return {key: noise, **({{"frames": "frame_pad", "wave": "pad"}[key]: pad} if pad.any() else {})}


def made(name: str):
    return shaken(backbone_of(SHAPES[name]), SHAPES[name]).double()


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_a_clip_gives_the_same_alone_and_in_a_batch(name):
    backbone = made(name)
    together = batch_of(SHAPES[name])
    features = backbone(together)
    for row, length in enumerate(LENGTHS[key_of(SHAPES[name])][:3]):
        sound = together[key_of(SHAPES[name])][row : row + 1, :length]
        alone = backbone({key_of(SHAPES[name]): sound})
        steps = alone.values.shape[1]
        assert (~features.padding[row]).sum() == steps
        torch.testing.assert_close(features.values[row, :steps], alone.values[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(features.pooled[row], alone.pooled[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(name):
    backbone, batch = made(name), batch_of(SHAPES[name])
    before = backbone(batch)
    key, pad = key_of(SHAPES[name]), batch.get("pad", batch.get("frame_pad"))
    other = {**batch, key: batch[key].masked_fill(pad[..., None] if key == "frames" else pad, 3.0)}
    after = backbone(other)
    torch.testing.assert_close(after.values[~before.padding], before.values[~before.padding], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_a_clip_shorter_than_a_step_is_one_step_of_padding(name):
    short = {"wave": (399,), "frames": (1,)}[key_of(SHAPES[name])]
    features = made(name)(batch_of(SHAPES[name], short))
    assert features.values.shape[:2] == (1, 1) and features.padding.tolist() == [[True]]
    assert features.values.isfinite().all() and features.pooled.abs().max() == 0


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_the_padding_has_as_many_steps_as_the_features(name):
    for longest in (1, 2, 3, 399, 400, 401, 719, 720, 1040):
        if key_of(SHAPES[name]) == "frames" and longest > 3:
            continue
        batch = batch_of(SHAPES[name], (longest, 1))
        features = made(name)(batch)
        assert features.padding.shape == features.values.shape[:2]


def test_full_rows_have_no_padding():
    for shape in SHAPES.values():
        size = {"wave": 720, "frames": 6}[key_of(shape)]
        batch = batch_of(shape, (size, size))
        assert step_padding(batch, shape.sound) is None and lengths_of(batch).tolist() == [size, size]


@torch.no_grad()
def test_a_causal_encoder_of_frames_sees_no_later_frame():
    backbone, batch = made("causal-frames"), batch_of(SHAPES["causal-frames"], (24, 24))
    before = backbone(batch).values
    changed = {"frames": batch["frames"].clone()}
    changed["frames"][:, 14:] += 1.0  # of step 7 on
    after = backbone(changed).values
    assert torch.equal(before[:, :7], after[:, :7]) and not torch.equal(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("name", ["frames", "wav2vec2"])
@torch.no_grad()
def test_hidden_steps_show_nothing_of_the_sound(name):
    backbone, shape = made(name), SHAPES[name]
    size = {"wave": 4000, "frames": 24}[key_of(shape)]
    batch = batch_of(shape, (size,))
    steps = backbone(batch).values.shape[1]
    hidden = torch.ones(1, steps, dtype=torch.bool)
    one = backbone({**batch, "hidden": hidden}).values
    other = backbone({key_of(shape): -batch[key_of(shape)], "hidden": hidden}).values
    assert torch.equal(one, other)
    hidden[0, 3] = False
    assert not torch.equal(backbone({**batch, "hidden": hidden}).values, one)


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_silence_is_finite_alone_and_beside_sound(name):
    backbone, batch = made(name), batch_of(SHAPES[name])
    key = key_of(SHAPES[name])
    batch[key][1:] = 0
    assert backbone(batch).values.isfinite().all()
    assert backbone({key: torch.zeros_like(batch[key])}).values.isfinite().all()


def test_frames_are_joined_and_taken_apart():
    frames = torch.arange(2 * 7 * 3).reshape(2, 7, 3)
    steps = joined(frames, 2)
    assert steps.shape == (2, 3, 6) and steps[0, 1].tolist() == list(range(6, 12))
    assert torch.equal(apart(steps, 3), frames[:, :6])
    assert joined(frames[:, :1], 4).shape == (2, 1, 12)


def test_the_norm_over_own_steps_is_torchs_where_all_are_real():
    norm = torch.nn.LayerNorm(5).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 5, 9, dtype=torch.float64)
    expected = F.group_norm(x, 5, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(over_own_steps(x, torch.tensor([9, 9, 9]), norm), expected)
    part = over_own_steps(x, torch.tensor([9, 4, 9]), norm)
    torch.testing.assert_close(part[1:2, :, :4], F.group_norm(x[1:2, :, :4], 5, norm.weight, norm.bias, norm.eps))


def test_convolutions_begin_at_a_size_that_lasts():
    """The deviation neither dies out nor grows over seven convolutions, in fp32 at any width."""
    for width in (32, 512):
        convolutions = Convolutions(SoundShape(widths=(width,) * 7))
        initialise(convolutions, SHAPES["frames"], 0)
        out = convolutions(torch.randn(2, 8000))
        assert 0.05 < out.std() < 5


def test_positions_begin_with_lengths_of_their_directions():
    """The effective weight is the direction as drawn: of deviation 2 / sqrt(kernel × width)."""
    shape = shape_of("wav2vec2", "1x64")
    positions = Positions(shape, shape.sound)
    initialise(positions, shape, 0)
    weight = positions.conv.weight
    torch.testing.assert_close(weight, positions.conv.parametrizations.weight.original1, rtol=1e-5, atol=1e-7)
    assert weight.std().item() == pytest.approx(0.88 * 2 / (128 * 64) ** 0.5, rel=0.1)  # 0.88: cut at two deviations


@pytest.mark.parametrize("name", SHAPES)
def test_a_seed_decides_where_an_encoder_begins(name):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(states.__len__())
        backbone = backbone_of(SHAPES[name])
        initialise(backbone, SHAPES[name], seed)
        states.append(backbone.state_dict())
    one, same, other = states
    assert all(torch.equal(tensor, same[key]) for key, tensor in one.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_sizes_of_sound():
    base, large = shape_of("wav2vec2", "base"), shape_of("hubert", "large")
    assert base.sound.widths == (512,) * 7 and (base.sound.field, base.sound.stride) == (400, 320)
    assert (base.heads, base.intermediate, base.sound.position_groups) == (12, 3072, 16)
    assert large.sound.widths == (512,) * 7
    assert shape_of("wav2vec2", "tiny").sound.widths == (96,) * 7
    frames = shape_of("frames", "mini", bands=80)
    assert (frames.sound.bands, frames.sound.join, frames.sound.field, frames.sound.stride) == (80, 2, 2, 2)


def test_the_parameters_of_wav2vec2_base():
    """95 M without the quantiser (arXiv 2006.11477, table 9 counts 95 M)."""
    with torch.device("meta"):
        count = sum(p.numel() for p in backbone_of(shape_of("wav2vec2", "base")).parameters())
    assert 94e6 < count < 95e6


def test_frames_without_bands_are_refused():
    with pytest.raises(InputError) as raised:
        shape_of("frames", "tiny")
    assert str(raised.value) == (
        "model.shape `frames`: reads log-mel frames, and the data has none. Give sound, or choose another model.shape."
    )


def test_convolutions_that_do_not_match_are_refused():
    with pytest.raises(ValidationError, match="as many widths as kernels and strides"):
        SoundShape(widths=(8, 8))
