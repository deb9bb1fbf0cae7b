"""Next frame and masked frames: the loss of a plain formula, exact counts, and pictures of what was drawn again."""

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.functional.picture import COLOURS, GAP, coloured, spectrograms
from firth.functional.random import Draw
from firth.model.sound import covered, joined
from firth.objectives import masked_frames, next_frame
from firth.objectives._steps import slots
from firth.signal import Batch
from tests import contract, sounds
from tests.sounds import BANDS, FRAMES, JOIN

COVERED = {"random_share": 0.0, "keep_share": 0.0}  # as by default


def batch_for(objective, *steps: int):
    """Clips of so many steps, as the objective prepares them."""
    chosen = [sounds.frames(1, seed, size, size)[0] for seed, size in enumerate(steps)]
    return contract.batch_of(objective, chosen), [FRAMES.read(sample) for sample in chosen]


# ------------------------------------------------------------------ bands


def test_bands_are_hidden_from_the_encoder_and_guessed_all_the_same():
    """The loss is over whole frames: that of the same guess against them."""
    objective = contract.build(["masked-frames"], masked_frames={"hide_bands": 0.5} | COVERED)
    batch, clips = batch_for(objective, 12, 9)
    seen, true = batch["frames"], batch["whole"]
    for row, own, clip in zip(seen, true, clips, strict=True):
        np.testing.assert_array_equal(own[: len(clip)], clip)
        hidden = (row != own).any(0)  # bands
        assert hidden.sum() <= BANDS // 2 and (row[:, hidden] == 0).all()
    assert (seen != true).any()
    part, places = objective.parts["masked-frames"], batch["hidden"]
    with torch.no_grad():
        guess = part.head(
            part.encode(Batch({"frames": seen, "hidden": places, "frame_pad": batch["frame_pad"]})).values
        )
    steps = true[:, : guess.shape[1] * JOIN].reshape(2, -1, JOIN * BANDS)
    wanted = (guess - steps).abs().mean(-1)[places].sum()
    assert objective(batch).terms["masked_frames"].sum.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_by_default_every_band_is_heard():
    objective = contract.build(["masked-frames"], masked_frames=COVERED)
    batch, clips = batch_for(objective, 12, 9)
    assert all(np.array_equal(row[: len(clip)], clip) for row, clip in zip(batch["frames"].numpy(), clips, strict=True))


# ------------------------------------------------------------------ next frame


def test_next_frame_is_the_mean_distance_to_what_comes_some_steps_later():
    objective = contract.build(["next-frame"], **{"next_frame": {"ahead": 2}})
    batch, clips = batch_for(objective, 9, 5, 2)
    part = objective.parts["next-frame"]
    error = copying = count = 0.0
    for clip in clips:
        steps = clip[: len(clip) // JOIN * JOIN].reshape(-1, JOIN * BANDS)
        frames = torch.from_numpy(clip)[None]
        with torch.no_grad():
            guess = part.head(objective.backbone({"frames": frames}).values)[0].numpy()
        for now in range(len(steps) - 2):
            error += np.abs(guess[now] - steps[now + 2]).mean()
            copying += np.abs(steps[now] - steps[now + 2]).mean()
            count += 1
    loss = objective(batch)
    assert loss.terms["next_frame"].count == batch.counts["next_frame"] == count == 7 + 3
    assert loss.terms["next_frame"].sum.item() == pytest.approx(error, rel=1e-6)
    assert loss.metrics["next_frame_copying"].sum.item() == pytest.approx(copying, rel=1e-6)


@pytest.mark.parametrize("steps", [(1,), (3,), (3, 2)])
def test_clips_too_short_to_guess_count_for_nothing(steps):
    objective = contract.build(["next-frame"])
    batch, _ = batch_for(objective, *steps)
    assert batch.counts == {"next_frame": 0} and objective(batch).terms["next_frame"].sum == 0


def test_a_model_that_knows_a_tone_beats_copying():
    """Bands that swing: what comes next can be computed, and is not what is there now."""
    objective = contract.build(["next-frame"], torch.float32)
    time = np.arange(60)[:, None] * np.linspace(0.4, 0.9, BANDS)
    wave = (2**12 * np.sin(time)).astype(np.int16).flatten()
    sample = sounds.Sample((wave,), key=1)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(60):
        loss = objective(contract.batch_of(objective, [sample]))
        optimizer.zero_grad()
        (loss.terms["next_frame"].sum / loss.terms["next_frame"].count).backward()
        optimizer.step()
    assert loss.terms["next_frame"].sum < 0.5 * loss.metrics["next_frame_copying"].sum


# ------------------------------------------------------------------ masked frames


def test_masked_frames_are_the_mean_distance_at_the_hidden_steps():
    objective = contract.build(["masked-frames"])
    batch, clips = batch_for(objective, 12, 20, 7)
    part = objective.parts["masked-frames"]
    with torch.no_grad():
        guess = part.head(objective.backbone(batch).values).numpy()
    error = level = 0.0
    for row, clip in enumerate(clips):
        steps = clip[: len(clip) // JOIN * JOIN].reshape(-1, JOIN * BANDS)
        for step in batch["hidden"][row].nonzero()[:, 0].tolist():
            error += np.abs(guess[row, step] - steps[step]).mean()
            level += np.abs(steps[step]).mean()
    loss = objective(batch)
    assert loss.terms["masked_frames"].count == batch["hidden"].sum() > 0
    assert loss.terms["masked_frames"].sum.item() == pytest.approx(error, rel=1e-6)
    assert loss.metrics["masked_frames_of_mean"].sum.item() == pytest.approx(level, rel=1e-6)


def test_runs_are_hidden_within_the_clip_and_differ_by_epoch():
    config = contract.config_of("masked-frames", mask_span=3)
    chosen = sounds.frames(6, longest=30)
    one, same, other = (sounds.batch(FRAMES, chosen, config, Draw(3, epoch))["hidden"] for epoch in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    steps = [len(FRAMES.read(sample)) // JOIN for sample in chosen]
    assert not (one & (torch.arange(one.shape[1]) >= torch.tensor(steps)[:, None])).any()
    assert one.any(1).all() and not one.all(1).any()


def test_what_another_objective_hid_stays_hidden_and_no_more_is():
    config = contract.config_of("masked-frames")
    plain = FRAMES.stack(sounds.frames(3))
    steps = plain["frames"].shape[1] // JOIN
    plain["hidden"] = torch.rand(3, steps, generator=torch.Generator().manual_seed(0)) < 0.3
    batch = config.prepare(plain, Draw(0))
    assert torch.equal(batch["hidden"], plain["hidden"]) and batch.counts["masked_frames"] == plain["hidden"].sum()


def fates(random: float, keep: float, count: int = 40):
    """A prepared batch of `count` clips, and the same clips with nothing changed."""
    config = contract.config_of("masked-frames", mask_span=3, random_share=random, keep_share=keep)
    chosen = sounds.frames(count, longest=60)
    return sounds.batch(FRAMES, chosen, config, Draw(3)), FRAMES.stack(chosen)


def test_of_ten_runs_one_is_kept_one_exchanged_and_the_rest_covered():
    batch, plain = fates(0.1, 0.1)
    hidden, shown = batch["hidden"], batch["shown"]
    assert not (shown & ~hidden).any() and torch.equal(batch["whole"], plain["frames"])
    changed = (joined(batch["frames"], JOIN) != joined(plain["frames"], JOIN)).any(-1)
    assert not (changed & ~shown).any()
    asked = hidden.sum()
    assert 0.04 < (shown & ~changed).sum() / asked < 0.18 and 0.04 < changed.sum() / asked < 0.18
    assert batch.counts["masked_frames"] == asked


def test_a_run_has_one_fate_and_what_is_exchanged_was_heard_elsewhere_in_the_clip():
    batch, plain = fates(0.5, 0.2)
    true, seen = joined(plain["frames"], JOIN), joined(batch["frames"], JOIN)
    changed = (true != seen).any(-1)
    assert changed.any()
    for row, step in changed.nonzero().tolist():
        assert any(torch.equal(seen[row, step], one) for one in true[row])
    inner = batch["hidden"][:, 1:] & batch["hidden"][:, :-1]
    assert torch.equal(batch["shown"][:, 1:][inner], batch["shown"][:, :-1][inner])


def test_shares_of_nothing_leave_the_batch_as_it_was_and_a_share_of_all_covers_nothing():
    batch, plain = fates(0.0, 0.0)
    assert "shown" not in batch and torch.equal(batch["frames"], plain["frames"])
    batch, plain = fates(0.0, 1.0)
    assert torch.equal(batch["shown"], batch["hidden"]) and torch.equal(batch["frames"], plain["frames"])


def test_the_encoder_sees_the_mask_where_a_step_is_covered_and_the_frames_where_it_is_shown():
    objective = contract.build(["masked-frames"])
    batch, _ = batch_for(objective, 12, 20, 7)
    batch["shown"] = batch["hidden"] & (torch.arange(batch["hidden"].shape[1]) % 2 == 0)
    embed = objective.backbone.embed
    found, bare = embed.mapped(batch), embed.map(embed.local(batch))
    unseen = batch["hidden"] & ~batch["shown"]
    assert (found[unseen] == embed.mask).all() and torch.equal(found[~unseen], bare[~unseen])


def test_shares_beyond_one_are_refused():
    with pytest.raises(InputError) as caught:
        contract.config_of("masked-frames", random_share=0.7, keep_share=0.4)
    assert str(caught.value) == (
        "masked_frames: random_share 0.7 + keep_share 0.4 is more than 1. "
        "The rest of the hidden runs becomes the mask vector."
    )


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_sounds_are_drawn_again_where_they_were_hidden(keep):
    objective = contract.build(["masked-frames"], torch.float32, masked_frames=COVERED | {"keep_share": keep})
    batch, clips = batch_for(objective, 12, 20)
    for row, (clip, hidden) in enumerate(zip(clips, batch["hidden"], strict=True)):
        true, seen, drawn = masked_frames.redrawn(objective, batch)[row]
        gone = hidden[: len(true) // JOIN].repeat_interleave(JOIN)
        np.testing.assert_array_equal(true.numpy(), clip[: len(true)])
        bare = covered(batch)[row, : len(true) // JOIN].repeat_interleave(JOIN)
        assert seen[bare].isnan().all() and torch.equal(seen[~gone], true[~gone])
        assert torch.equal(drawn[~gone], true[~gone]) and (drawn[gone] != true[gone]).any()
    assert objective.training


def test_pictures_show_three_strips_for_each_sound():
    objective = contract.build(["masked-frames"], torch.float32)
    config = objective.parts["masked-frames"].config
    tries = masked_frames.tries(FRAMES, iter(sounds.frames(6)), Draw(0), config, count=2)
    ((name, picture),) = masked_frames.pictured(objective, tries, 40).items()
    longest = max(2 * (len(FRAMES.read(one)) // JOIN) for one in sounds.frames(6)[:2])
    assert name == "frames-40" and picture.dtype == np.uint8
    assert picture.shape == (6 * (2 * BANDS + GAP), 2 * longest, 3)


def test_colours_go_from_dark_to_bright_and_what_is_missing_is_paper():
    found = coloured(np.array([-9.0, 0.0, 1.0, 9.0, np.nan]), 0.0, 1.0)
    assert found[0].tolist() == found[1].tolist() == COLOURS[0].tolist()
    assert found[2].tolist() == found[3].tolist() == COLOURS[-1].tolist()
    assert found[4].tolist() == [255, 255, 255]
    brightness = coloured(np.linspace(0, 1, 50), 0, 1).astype(int) @ [299, 587, 114]
    assert (np.diff(brightness) > 0).all()


def test_low_bands_are_below():
    picture = spectrograms([np.array([[0.0, 1.0]])], scale=1)
    assert picture[0, 0].sum() > picture[1, 0].sum()


def test_the_names_of_the_objectives():
    assert next_frame.Config.shape == "causal-frames" and masked_frames.Config.shape == "frames"


@pytest.mark.parametrize("name", ["masked-frames", "hubert", "data2vec", "wav2vec2"])
def test_the_vectors_of_the_hidden_steps_are_enough(name):
    """The last block computes these alone; the loss is the same as if it computed all."""
    objective = contract.build([name])
    batch = contract.batch_of(objective, contract.samples(5, of=name))
    whole = Batch({key: value for key, value in batch.items() if key != "keep"}, counts=batch.counts)
    assert batch["keep"].shape[1] < objective.backbone(whole).values.shape[1]
    few, all_of_them = contract.sums(objective, batch), contract.sums(objective, whole)
    assert few == pytest.approx(all_of_them, rel=1e-10)


def test_slots_are_the_hidden_steps_in_order():
    hidden = torch.tensor([[True, False, True, True], [False, False, False, True], [False] * 4])
    assert slots(hidden).tolist() == [[0, 2, 3], [3, -1, -1], [-1, -1, -1]]
    assert slots(hidden[2:]).tolist() == [[-1]]
