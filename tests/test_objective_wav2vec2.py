"""wav2vec 2.0: the loss and its gradient equal to transformers', given weights, masks and negatives; what is drawn."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers.models.wav2vec2 import modeling_wav2vec2

from firth.errors import InputError
from firth.functional.random import Draw
from firth.interop.folder import open_folder, save_folder
from firth.model.backbones import backbone_of
from firth.model.quantiser import Quantiser, perplexity
from firth.objective import Composed
from firth.objectives.wav2vec2 import Config, Wav2Vec2, slowed
from firth.signal import Batch
from tests import contract, sounds
from tests.test_interop_sound import LARGE, SMALL, shake

BOOKS = {"groups": 2, "codes": 7, "code_width": 12, "guess_width": 10, "negatives": 6}
THEIRS = {"num_codevector_groups": 2, "num_codevectors_per_group": 7, "codevector_dim": 12, "proj_codevector_dim": 10}
OFF = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}


def pair(tmp_path, **own):
    """Their model, and ours with its weights; nothing drops out."""
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(**SMALL, **THEIRS, **OFF, **own)
    theirs = shake(transformers.Wav2Vec2ForPreTraining(config))
    theirs.save_pretrained(tmp_path)
    opened = open_folder(tmp_path)
    assert not opened.unused and opened.parts == {"wav2vec2"}
    backbone = backbone_of(opened.shape.model_copy(update={"dropout": 0.0}))
    part = Wav2Vec2(
        Config(**BOOKS, noise=False, mask_start=0.1, mask_span=4, encoder_gradient=1.0).fit(opened.shape), backbone
    )
    ours = Composed(backbone, {"wav2vec2": part})
    missing, left = ours.load_state_dict(opened.state, strict=False)
    assert missing == ["parts.wav2vec2.softness"] and not left
    return ours, theirs


def prepared(ours, rows: int = 3, samples: int = 1000, lengths=None) -> Batch:
    wave = torch.randn(rows, samples, generator=torch.Generator().manual_seed(8))
    batch = Batch(wave=wave, key=torch.arange(rows))
    if lengths:
        batch["pad"] = torch.arange(samples)[None] >= torch.tensor(lengths)[:, None]
        batch["wave"] = wave.masked_fill(batch["pad"], 0)
    return ours.configs[0].prepare(batch, Draw(1))


def for_transformers(batch: Batch) -> dict[str, torch.Tensor]:
    """The same masks and negatives, as places in the whole batch, at every step."""
    hidden, rows = batch["hidden"], len(batch["hidden"])
    found = torch.zeros(*hidden.shape, batch["others"].shape[2], dtype=torch.int64)
    for row in range(rows):
        slots = batch["chosen"][row][batch["chosen"][row] >= 0]
        found[row, slots] = slots[batch["others"][row, : len(slots)]] + row * hidden.shape[1]
    mask = {} if "pad" not in batch else {"attention_mask": (~batch["pad"]).long()}
    return {"input_values": batch["wave"], "mask_time_indices": hidden, "sampled_negative_indices": found, **mask}


def both(ours, theirs, batch):
    loss, result = ours(batch), theirs(**for_transformers(batch))
    contrast, unused = (loss.terms[name].sum for name in ("wav2vec2", "diversity"))
    return contrast, unused, result


@pytest.mark.parametrize("form", [{}, LARGE], ids=["base", "large"])
def test_the_loss_is_that_of_transformers(form, tmp_path):
    ours, theirs = pair(tmp_path, **form)
    batch = prepared(ours.eval())
    with torch.no_grad():
        contrast, unused, result = both(ours, theirs.eval(), batch)
    count = batch.counts["wav2vec2"]
    assert count == batch["hidden"].sum() > 20
    assert (contrast / count).item() == pytest.approx(result.contrastive_loss.item() / count, abs=1e-4)
    assert (unused / count).item() == pytest.approx(0.1 * result.diversity_loss.item() / count, abs=1e-4)
    assert ((contrast + unused) / count).item() == pytest.approx(result.loss.item() / count, abs=1e-4)
    used = ours(batch).metrics["wav2vec2_codes"].sum / count
    assert used.item() == pytest.approx(result.codevector_perplexity.item(), rel=1e-5)


def test_the_loss_of_a_padded_batch_is_that_of_transformers(tmp_path):
    ours, theirs = pair(tmp_path, **LARGE)
    batch = prepared(ours.eval(), lengths=(1000, 700, 420))
    with torch.no_grad():
        contrast, unused, result = both(ours, theirs.eval(), batch)
    assert (contrast + unused).item() == pytest.approx(result.loss.item(), rel=1e-5)


def test_gradients_in_training_are_those_of_transformers(tmp_path, monkeypatch):
    """Theirs without its noise: the straight-through gradient of the softmax at the same temperature."""

    def quiet(logits, tau, hard):
        soft = (logits / tau).softmax(-1)
        return torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0) - soft.detach() + soft

    monkeypatch.setattr(modeling_wav2vec2.nn.functional, "gumbel_softmax", quiet)
    ours, theirs = pair(tmp_path)
    batch = prepared(ours.train())
    contrast, unused, result = both(ours, theirs.train(), batch)
    (contrast + unused).backward()
    result.loss.backward()
    assert (contrast + unused).item() == pytest.approx(result.loss.item(), rel=1e-5)
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    pairs = {
        "parts.wav2vec2.quantiser.scores.weight": "quantizer.weight_proj.weight",
        "parts.wav2vec2.quantiser.codes": "quantizer.codevectors",
        "parts.wav2vec2.guess.weight": "project_hid.weight",
        "parts.wav2vec2.truth.bias": "project_q.bias",
        "backbone.embed.mask": "wav2vec2.masked_spec_embed",
        "backbone.embed.convolutions.layers.0.weight": "wav2vec2.feature_extractor.conv_layers.0.conv.weight",
        "backbone.embed.positions.conv.parametrizations.weight.original1": (
            "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"
        ),
        "backbone.encoder.blocks.0.mlp.outer.weight": "wav2vec2.encoder.layers.0.feed_forward.output_dense.weight",
    }
    for one, other in pairs.items():
        scale = wanted[other].abs().max()
        assert scale > 0
        torch.testing.assert_close(found[one] / scale, wanted[other] / scale, rtol=0, atol=1e-4)


def heard(objective, seed: int = 0) -> Batch:
    """Three prepared clips, in single precision."""
    batch = contract.batch_of(objective, sounds.waves(3, seed, shortest=20))
    plain = {key: value.float() if value.is_floating_point() else value for key, value in batch.items()}
    return Batch(plain, counts=batch.counts)


@torch.no_grad()
def test_what_is_saved_is_a_model_for_pre_training_there(tmp_path):
    ours = contract.build(["wav2vec2"], torch.float32).eval()
    ours.meet(lambda: heard(ours))
    save_folder(tmp_path, ours.backbone.shape, ours.state_dict())
    theirs, told = transformers.AutoModelForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == "Wav2Vec2ForPreTraining"
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    scores = ours.parts["wav2vec2"].quantiser.scores
    assert scores.bias.abs().max() > 0.1 and torch.equal(theirs.quantizer.weight_proj.bias, scores.bias)
    assert torch.equal(theirs.quantizer.weight_proj.weight, scores.weight)
    batch = heard(ours)
    alone = Batch({key: value[:1] for key, value in batch.items()}, counts=batch.counts)
    length = int((~alone["pad"]).sum()) if "pad" in alone else alone["wave"].shape[1]
    sound = alone["wave"][:, :length]
    torch.testing.assert_close(
        ours.backbone({"wave": sound}).values, theirs.eval().wav2vec2(sound).last_hidden_state, rtol=0, atol=1e-4
    )


# ------------------------------------------------------------------ what is drawn


def many(**settings):
    config = contract.config_of("wav2vec2", **settings)
    return sounds.batch(sounds.WAVE, sounds.waves(12, longest=40), config)


def test_negatives_are_other_hidden_steps_of_the_same_row():
    batch = many()
    for chosen, others, hidden in zip(batch["chosen"], batch["others"], batch["hidden"], strict=True):
        count = int((chosen >= 0).sum())
        assert chosen[:count].tolist() == hidden.nonzero()[:, 0].tolist()
        own = torch.arange(count)[:, None]
        assert (others[:count] != own).all() and (others[:count] < count).all() and (others[:count] >= 0).all()


def test_negatives_are_drawn_evenly():
    config = Config(negatives=4000)
    drawn = config.others(np.array([5]), np.array([3], np.uint64), 5, Draw(0))[0]
    for own in range(5):
        often = np.bincount(drawn[own], minlength=5)
        assert often[own] == 0 and often.sum() == 4000
        assert ((np.delete(often, own) - 1000) ** 2 / 1000).sum() < 20  # chi-square, 3 degrees of freedom, p < 0.0002


def test_a_single_hidden_step_has_nothing_to_be_told_from():
    config = contract.config_of("wav2vec2", mask_span=1, mask_start=0.01)
    batch = sounds.batch(sounds.WAVE, sounds.waves(4), config)
    assert not batch["hidden"].any() and batch.counts == {"wav2vec2": 0, "diversity": 0}


def test_equal_codes_are_no_negatives():
    """With one code in all there is nothing to be told from: the loss is 0 and not log of the number of negatives."""
    objective = contract.build(["wav2vec2"])
    with torch.no_grad():
        part = objective.parts["wav2vec2"]
        part.quantiser.scores.weight.zero_()
        part.quantiser.scores.bias[0] = 5
    loss = objective(contract.batch_of(objective, sounds.waves(3)))
    assert loss.terms["wav2vec2"].sum.item() == 0


def convolutions_gradient(factor: float) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Of the convolutions, and of the map behind them."""
    ours = contract.build(["wav2vec2"], **{"wav2vec2": {"encoder_gradient": factor}})
    batch = contract.batch_of(ours, sounds.waves(3))
    sum(term.sum for term in ours(batch).terms.values()).backward()
    embed = ours.backbone.embed
    return [one.grad for one in embed.convolutions.parameters()], embed.map.weight.grad


def test_the_convolutions_learn_from_a_tenth_of_the_gradient():
    """Section 4.2 of the paper; everything behind them learns from all of it."""
    (whole, behind), (part, same) = convolutions_gradient(1.0), convolutions_gradient(0.1)
    for one, other in zip(whole, part, strict=True):
        torch.testing.assert_close(other, 0.1 * one)
    torch.testing.assert_close(same, behind)
    assert Config().encoder_gradient == 0.1


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.7, 1.0])
def test_a_slowed_value_is_the_value(factor):
    values = torch.randn(50, requires_grad=True)
    found = slowed(values, factor)
    assert torch.equal(found, values)
    if factor:
        found.sum().backward()
        torch.testing.assert_close(values.grad, torch.full((50,), factor))


# ------------------------------------------------------------------ the quantiser


def test_the_code_of_each_book_is_that_of_the_highest_score():
    quantiser = Quantiser(5, 2, 4, 6)
    torch.nn.init.normal_(quantiser.codes)
    values = torch.randn(3, 7, 5)
    found = quantiser.eval()(values, 1.0, noise=True)
    scores = quantiser.scores(values).view(3, 7, 2, 4)
    assert torch.equal(found.chosen, scores.argmax(-1))
    books = quantiser.codes.view(2, 4, 3)
    for book in range(2):
        torch.testing.assert_close(found.values[..., 3 * book : 3 * book + 3], books[book][found.chosen[..., book]])
    trained = quantiser.train()(values, 0.7, noise=False)
    torch.testing.assert_close(trained.values, found.values)
    torch.testing.assert_close(trained.shares, scores.softmax(-1))


@pytest.mark.parametrize("spread", [3.0, 0.1])
def test_scores_of_numbers_of_variance_one_begin_as_far_apart_as_is_said(spread):
    part = contract.build(["wav2vec2"], **{"wav2vec2": {"codes": 200, "score_spread": spread}}).parts["wav2vec2"]
    scores = part.quantiser.scores
    found = scores(torch.randn(500, scores.in_features, dtype=torch.float64))
    assert found.std().item() == pytest.approx(0.88 * spread, rel=0.05)  # of a cut normal


# ------------------------------------------------------------------ what it meets before the first step


@torch.no_grad()
def scores_of(objective, batch: Batch) -> torch.Tensor:
    """(N, G V): of all steps that are no padding, by the plain formula."""
    embed, scores = objective.backbone.embed, objective.parts["wav2vec2"].quantiser.scores
    rows = []
    for wave, pad in zip(batch["wave"], batch["pad"], strict=True):  # each clip alone
        rows.append(embed.local({"wave": wave[~pad][None]})[0])
    return torch.cat(rows) @ scores.weight.T + scores.bias


@pytest.mark.parametrize("spread", [3.0, 0.5])
def test_scores_are_centred_on_what_is_heard_and_as_far_apart_as_is_said(spread):
    ours = contract.build(["wav2vec2"], **{"wav2vec2": {"score_spread": spread}})
    batch = contract.batch_of(ours, sounds.waves(5))
    before = scores_of(ours, batch)
    assert before.mean(0).abs().max() > 0.3 * before.std()  # a mean of its own for each code, far from that of others
    ours.meet(lambda: batch)
    found = scores_of(ours, batch)
    assert found.mean(0).abs().max() < 1e-6 * spread
    assert found.square().mean().sqrt().item() == pytest.approx(spread, rel=1e-6)
    ours.meet(lambda: batch)
    torch.testing.assert_close(scores_of(ours, batch), found)


def test_a_quantiser_that_has_learnt_elsewhere_stays_as_it_is():
    ours = contract.build(["wav2vec2"])
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    ours.meet(lambda: pytest.fail("nobody wants a batch"), ["parts.wav2vec2.quantiser.codes", "backbone.embed.mask"])
    contract.build(["hubert"]).meet(lambda: pytest.fail("nobody wants a batch"))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("values", [torch.zeros(0, 5), torch.ones(4, 5), torch.ones(1, 5)])
def test_vectors_that_do_not_differ_decide_nothing(values):
    quantiser = Quantiser(5, 2, 4, 6)
    before = quantiser.scores.weight.clone()
    quantiser.suit(values)
    assert torch.equal(quantiser.scores.weight, before)


def test_frames_are_met_as_they_are():
    """Log-mel frames side by side, which no layer changes."""
    ours = contract.build(["wav2vec2.frames"])
    batch = contract.batch_of(ours, sounds.frames(4, shortest=9, longest=9))
    ours.meet(lambda: batch)
    part = ours.parts["wav2vec2"]
    seen = batch["frames"][:, : 9 * sounds.JOIN].double().reshape(-1, sounds.JOIN * sounds.BANDS)
    mean = seen.mean(0)
    torch.testing.assert_close(part.quantiser.scores.bias.detach(), -part.quantiser.scores.weight.detach() @ mean)


def test_noise_draws_codes_by_their_scores():
    """The largest of scores with Gumbel noise is a draw from the softmax (Jang et al. 2016, section 2.1)."""
    torch.manual_seed(0)
    quantiser = Quantiser(3, 1, 4, 2).train()
    values = torch.randn(1, 1, 3).expand(1, 20_000, 3)
    found = quantiser(values, 2.0, noise=True)
    often = torch.bincount(found.chosen.flatten(), minlength=4) / 20_000
    torch.testing.assert_close(often, found.shares[0, 0, 0], atol=0.015, rtol=0)


def test_perplexity_counts_codes_in_use():
    shares = torch.tensor([[0.25] * 4, [0.5, 0.5, 0, 0], [1.0, 0, 0, 0]])
    torch.testing.assert_close(perplexity(shares), torch.tensor([4.0, 2.0, 1.0]))
    shares.requires_grad_()
    perplexity(shares).sum().backward()
    assert shares.grad.isfinite().all()


def test_diversity_is_least_when_all_codes_are_used_alike():
    part = contract.build(["wav2vec2"]).parts["wav2vec2"]
    alike = torch.full((5, 2, 6), 1 / 6, dtype=torch.float64)
    one = F.one_hot(torch.zeros(5, 2, dtype=torch.int64), 6).double()
    assert part.in_use(alike).item() == pytest.approx(12) and part.in_use(one).item() == pytest.approx(2)


def test_the_temperature_falls_by_a_factor_in_every_update():
    """1.99 after 1,000 updates, however long the run is to be: arXiv 2006.11477, section 4.2."""
    part = contract.build(["wav2vec2"], torch.float32).parts["wav2vec2"]
    for number in range(1000):
        part.after_step(number / 1000)
    assert part.softness.item() == pytest.approx(2 * 0.999995**1000, rel=1e-4) and "softness" in part.state_dict()


@pytest.mark.parametrize(("first", "last", "seen"), [(2.0, 0.5, [1.0, 0.5, 0.5]), (0.2, 0.5, [0.2, 0.2, 0.2])])
def test_the_temperature_falls_to_its_end_and_no_farther(first, last, seen):
    own = {"softness": first, "softness_end": last, "softness_factor": 0.5}
    part = contract.build(["wav2vec2"], **{"wav2vec2": own}).parts["wav2vec2"]
    found = []
    for _ in seen:
        part.after_step(0.0)
        found.append(part.softness.item())
    assert found == pytest.approx(seen)


def test_guessing_evenly_costs_the_logarithm():
    """A guess without direction costs ln(1 + negatives), less what equal codes take away."""
    objective = contract.build(["wav2vec2"], torch.float32, **{"wav2vec2": {"codes": 64, "negatives": 20}})
    batch = contract.batch_of(objective, sounds.waves(6, shortest=40, longest=60))
    with torch.no_grad():
        objective.parts["wav2vec2"].guess.weight.zero_()
    mean = objective(batch).terms["wav2vec2"].sum / batch.counts["wav2vec2"]
    assert mean.item() == pytest.approx(math.log(21), rel=0.05)


def test_books_must_divide_the_width():
    with pytest.raises(InputError) as raised:
        Config(groups=3, code_width=256)
    assert str(raised.value) == (
        "wav2vec2.code_width = 256: does not divide among 3 code books. Set it to a multiple of 3."
    )


@pytest.mark.parametrize(("used", "said"), [(3.0, True), (12.0, True), (20.0, False), (300.0, False)])
def test_collapsed_code_books_are_named(used, said):
    found = Config().ailing({"wav2vec2_codes": used, "wav2vec2": 1.0})
    assert bool(found) == said
    if said:
        assert found[0].what == f"the code books collapse: the perplexity of their 640 codes is {used:.1f}"
        assert found[0].do == "Raise wav2vec2.diversity (now 0.1), or lower optimizer.lr."
    assert Config().ailing({"loss": 1.0}) == []
