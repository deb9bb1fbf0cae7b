"""The losses over views equal the formulas of their papers, in plain NumPy; how views are drawn, signs of collapse."""

import math

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.functional import augment
from firth.functional.random import Draw
from firth.model.sizes import shape_of
from firth.objectives import _projector, _views, barlow_twins, byol, dino, mae, moco, simclr, vicreg
from tests import contract, pictures

NAMES = ["simclr", "byol", "vicreg", "barlow-twins", "moco", "dino", "mae"]
EXACT = 1e-5


def vectors(count: int = 6, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def units(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x)


# ------------------------------------------------------------------ formulas


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_papers(temperature):
    """Section 2.1: views 2k - 1 and 2k are of one picture."""
    first, second = vectors(seed=1), vectors(seed=2)
    views = units(np.stack([first, second], 1).reshape(12, 5))
    likeness = views @ views.T / temperature
    losses, right = [], 0
    for i in range(12):
        j = i + 1 if i % 2 == 0 else i - 1
        others = [likeness[i, k] for k in range(12) if k != i]
        losses.append(-math.log(math.exp(likeness[i, j]) / sum(math.exp(value) for value in others)))
        right += likeness[i, j] == max(others)
    nats, found = simclr.nt_xent(tensor(np.concatenate([first, second])), torch.arange(6), temperature)
    assert nats.item() == pytest.approx(sum(losses), abs=EXACT)
    assert found.item() == right


def test_nt_xent_of_one_picture_is_zero():
    """There is nothing else to be mistaken for."""
    nats, found = simclr.nt_xent(tensor(vectors(2)), torch.tensor([5]), 0.2)
    assert nats.item() == 0 and found.item() == 2


def test_a_copy_of_a_picture_is_no_stranger_to_nt_xent():
    """Pictures 1 and 2 are one: views of the one are left out where views of the other are looked for."""
    first, second = vectors(3, seed=1), vectors(3, seed=2)
    views = units(np.stack([first, second], 1).reshape(6, 5))
    powers, expected = np.exp(views @ views.T / 0.2), 0.0
    for i in range(6):
        strangers = [k for k in range(6) if (k < 2) != (i < 2)]
        expected -= math.log(powers[i, i ^ 1] / (powers[i, i ^ 1] + powers[i, strangers].sum()))
    nats, _ = simclr.nt_xent(tensor(np.concatenate([first, second])), torch.tensor([4, 7, 7]), 0.2)
    assert nats.item() == pytest.approx(expected, abs=EXACT)


def test_byols_distance_is_the_papers():
    predicted, wanted = vectors(8, seed=1), vectors(8, seed=2)
    q, z = units(predicted), units(wanted)
    expected = sum(((q[i] - z[(i + 4) % 8]) ** 2).sum() for i in range(8))
    assert byol.regression(tensor(predicted), tensor(wanted)).item() == pytest.approx(expected, abs=EXACT)


def test_vicreg_is_the_papers():
    """Equations 1 to 6."""
    first, second = vectors(9, 4, 1), 0.3 * vectors(9, 4, 2)
    missing = [np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() for z in (first, second)]
    covariances = [np.cov(z.T) for z in (first, second)]
    shared = [sum(c[i, j] ** 2 for i in range(4) for j in range(4) if i != j) / 4 for c in covariances]
    distance = ((first - second) ** 2).mean()
    got = [part.item() for part in vicreg.terms_of(tensor(first), tensor(second))]
    assert got == pytest.approx([distance, sum(missing), sum(shared)], abs=EXACT)


def test_barlow_twins_is_the_papers():
    """Equations 1 and 2; a batch norm has 1e-5 beside the variance."""
    first, second = vectors(9, 4, 1), vectors(9, 4, 2)
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (first, second))
    matrix = np.array([[(a[:, i] * b[:, j]).mean() for j in range(4)] for i in range(4)])
    alike = sum((1 - matrix[i, i]) ** 2 for i in range(4))
    unlike = sum(matrix[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
    got = [part.item() for part in barlow_twins.correlations(tensor(first), tensor(second))]
    assert got == pytest.approx([alike, unlike], abs=EXACT)


@pytest.mark.parametrize("owners", [[90, 91, 92, 93, 94, 95], [2, 91, 0, 2, 94, 95]], ids=["of others", "of its own"])
def test_mocos_loss_is_the_papers(owners):
    """Equation 1: one positive; the other keys of the batch and the queue, but for vectors of the same picture."""
    queries, keys, queue = units(vectors(4, seed=1)), units(vectors(6, seed=2)), units(vectors(6, seed=3))
    pictures, begin = [8, 9, 0, 1, 2, 2], 2  # six on two ranks, the last two alike; this rank has the last four
    values, whose = np.concatenate([keys, queue]), np.array([*pictures, *owners])
    expected, right = 0.0, 0
    for row, query in enumerate(queries, begin):
        own, strangers = values[row] @ query / 0.2, values[whose != whose[row]] @ query / 0.2
        expected -= math.log(math.exp(own) / (math.exp(own) + np.exp(strangers).sum()))
        right += own >= strangers.max()
    asked = moco.Vectors(tensor(queries), torch.tensor(pictures[begin:]))
    among = moco.Vectors(tensor(values), torch.from_numpy(whose))
    nats, found = moco.found(asked, torch.arange(begin, 6), among, 0.2)
    assert nats.item() == pytest.approx(expected, abs=EXACT) and found.item() == right


def test_a_query_learns_nothing_of_old_vectors_of_its_own_picture():
    queries, own = tensor(units(vectors(1, seed=1))).requires_grad_(), torch.tensor([0])
    for whose in ([3, 4, 3], [3, 4]):
        values = tensor(units(vectors(len(whose), seed=2)))
        nats, _ = moco.found(
            moco.Vectors(queries, torch.tensor([3])), own, moco.Vectors(values, torch.tensor(whose)), 1
        )
        gradient = torch.autograd.grad(nats, queries)[0]
        expected = (values[:2].T @ ((values[:2] @ queries[0]).softmax(0) - torch.tensor([1.0, 0.0]))).detach()
        torch.testing.assert_close(gradient[0], expected)


def test_dinos_loss_is_the_papers():
    """Algorithm 1, with every pair of a large view and another."""
    logits, others = vectors(2 * 3, 7, 1).reshape(2, 3, 7), vectors(5 * 3, 7, 2).reshape(5, 3, 7)
    shares, logs = softmax(logits / 0.04), np.log(softmax(others / 0.1))
    pairs = [-(shares[i] * logs[j]).sum() for i in range(2) for j in range(5) if i != j]
    got = dino.across(tensor(shares), tensor(logs)).item()
    assert got == pytest.approx(np.sum(pairs) / len(pairs), abs=EXACT)


@pytest.mark.parametrize("normalise", [True, False])
def test_maes_loss_is_the_papers(normalise):
    """Mean square error over the pixels of the patches left out, each normalised by its own mean and variance."""
    objective = contract.build(["mae"], mae={"normalise": normalise})
    part = objective.parts["mae"]
    batch = contract.batch_of(objective, contract.samples(3, of="mae"))
    pictures, drawn = (x.detach().numpy() for x in part.drawn(batch))
    expected = 0.0
    for row in range(3):
        for patch in batch["masked"][row].tolist():
            down, right = divmod(patch, 4)  # 4 × 4 patches of 2 × 2 pixels
            there = pictures[row, :, 2 * down : 2 * down + 2, 2 * right : 2 * right + 2].astype(np.float64)
            there = there.transpose(1, 2, 0).reshape(-1)
            if normalise:
                there = (there - there.mean()) / np.sqrt(there.var(ddof=1) + 1e-6)
            expected += ((drawn[row, patch] - there) ** 2).mean()
    loss = objective(batch).terms["mae"]
    assert loss.sum.item() == pytest.approx(expected, rel=EXACT)
    assert loss.count == 3 * 12


def test_mae_does_not_normalise_patches_of_one_number():
    shape = shape_of("vit", "1x32", image=11, channels=1)  # 11 divides by 1 alone; such a patch has no variance
    assert mae.Config(normalise=False).fit(shape).patch == 1
    with pytest.raises(InputError) as caught:
        mae.Config().fit(shape)
    assert str(caught.value) == (
        "mae.normalise = true: a patch is one number here, which has no variance. "
        "Set mae.normalise=false, or image.size to an even number."
    )


@pytest.fixture(scope="module")
def theirs():
    """transformers' MAE, tiny, for pictures of 8 × 8 pixels in patches of 2 × 2."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    given = {"image_size": 8, "patch_size": 2, "norm_pix_loss": True, "decoder_intermediate_size": 16}
    return transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**sizes, **decoder, **given)).double()


def test_maes_patches_and_loss_are_those_of_transformers(theirs):
    """On what their model draws of the patches that it left out."""
    part = contract.build(["mae"]).parts["mae"]
    pictures = torch.rand(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    said, patches = theirs(pictures), mae.patches_of(pictures, 2)
    torch.testing.assert_close(patches, theirs.patchify(pictures))
    error = (said.logits - part.wanted(patches)).square().mean(-1)
    assert ((error * said.mask).sum() / said.mask.sum()).item() == pytest.approx(said.loss.item(), rel=1e-6)


# ------------------------------------------------------------------ looking, signs of collapse, settings


@pytest.mark.parametrize("name", NAMES)
def test_looking_at_held_out_pictures_changes_nothing(name):
    objective = contract.build([name]).eval()
    before = contract.buffers(objective)
    batch = contract.batch_of(objective, contract.samples(4, of=name))
    first, second = objective(batch), objective(batch)
    assert all(first.terms[key].sum.item() == second.terms[key].sum.item() for key in first.terms)
    torch.testing.assert_close(contract.buffers(objective), before, rtol=0, atol=0)


def test_a_shape_with_batch_norm_compares_the_samples_of_a_batch():
    assert contract.build(["dino"], shape="resnet").compares_samples
    assert not contract.build(["dino"], shape="vit").compares_samples
    assert not contract.build(["mae"]).compares_samples


def test_spread_is_one_for_vectors_everywhere_and_zero_for_one():
    everywhere = _projector.spread(torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)))
    assert everywhere.sum.item() / everywhere.count == pytest.approx(1, abs=0.01)
    assert _projector.spread(torch.ones(10, 16)).sum.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_keeps_how_views_were_drawn(name):
    """What nobody set is filled in from the preset, and filling in changes nothing."""
    config = contract.config_of(name)
    assert None not in [getattr(config, field) for field in ("crop", "grey", "blur", "solarise", "cut", "degrees")]
    assert config.policies == contract.main_class(name).Config().policies
    assert config.fill(pictures.SIGNAL.facts).fit(contract.form_of(name)) == config


def test_settings_change_how_views_are_drawn():
    policy = contract.config_of("simclr", augment="documents", crop=0.5, colour=2.0, blur=0.0, degrees=3.0).policy
    preset = augment.PRESETS["documents"]
    assert policy == preset._replace(
        crop=(0.5, 1.0), brightness=0.8, contrast=0.8, saturation=0.4, hue=0.1, blur=0.0, degrees=3.0
    )
    assert contract.config_of("simclr", colour=0.0).policy.hue == 0


def test_byols_views_are_those_of_its_table():
    """Table 6 of the paper: blurred always and seldom; a fifth of the second inverted where bright."""
    first, second = contract.config_of("byol").policies
    assert (first.blur, second.blur) == pytest.approx((1.0, 0.1))
    assert (first.solarise, second.solarise) == (0.0, 0.2)
    assert contract.config_of("byol", augment="microscopy").policies[1].solarise == 0


def test_dino_draws_large_and_small_views():
    policies = contract.config_of("dino", local=3).policies
    assert [policy.crop for policy in policies] == [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 3
    batch = contract.batch_of(contract.build(["dino"], dino={"local": 3}), contract.samples(2, of="dino"))
    assert batch["views"].shape == (2, 5, len(augment.NAMES))


@pytest.mark.parametrize(
    ("side", "asked", "local", "crops"),
    [
        (64, {}, 0, [(0.2, 1.0)] * 2),  # those of the preset
        (64, {"crop": 0.3}, 0, [(0.3, 1.0)] * 2),
        (64, {"local": 1}, 1, [(0.4, 1.0)] * 2 + [(0.05, 0.4)]),
        (96, {}, 4, [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 4),
        (96, {"local": 0}, 0, [(0.2, 1.0)] * 2),
        (96, {"local": 1, "crop": 0.1, "divide": 0.3}, 1, [(0.3, 1.0)] * 2 + [(0.1, 0.3)]),
    ],
)
def test_dino_has_small_views_where_they_show_something_or_a_person_wants_them(side, asked, local, crops):
    shape = shape_of("resnet", "tiny", image=side, channels=3)
    config = dino.Config(**asked).fill(pictures.SIGNAL.facts).fit(shape)
    assert config.local == local and [policy.crop for policy in config.policies] == crops
    assert config.fit(shape) == config and dino.Config(**config.model_dump()) == config


@pytest.mark.parametrize(
    ("side", "patch", "size"),
    [(8, 1, 8), (28, 1, 16), (32, 4, 16), (64, 1, 32), (96, 8, 48), (30, 3, 18), (224, 16, 112)],
)
def test_a_small_view_has_half_the_side_and_sixteen_pixels(side, patch, size):
    assert _views.side_of_views(side, dino.SMALL, patch) == size


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "barlow-twins", "moco", "dino"])
@pytest.mark.parametrize(
    ("shape", "asked", "wanted"), [("resnet", None, 0.5), ("vit", None, 1.0), ("resnet", 0.7, 0.7)]
)
def test_views_have_half_the_resolution_where_the_net_is_a_resnet_and_nobody_says(name, shape, asked, wanted):
    config = contract.module_of(name).Config(**({"resolution": asked} if asked else {}))
    fitting = config.fill(pictures.SIGNAL.facts).fit(shape_of(shape, "tiny", image=32, channels=3))
    assert fitting.resolution == wanted


@pytest.mark.parametrize(("share", "side"), [(0.5, 20), (1.0, 40), (0.1, 16)])
def test_the_encoder_is_shown_views_of_that_resolution(share, side):
    objective = contract.build(["simclr"], simclr={"resolution": share})
    part, seen = objective.objectives[0], []
    part.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0]["pixels"].shape))
    drawn = augment.draw_views(Draw(0), np.arange(3, dtype=np.uint64), "views", part.config.policies)
    batch = {"pixels": torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8), "views": drawn}
    part.twins(batch)
    assert seen == [(6, 3, side, side)] and part.pictures(batch).shape == (6, 3, side, side)


def test_mae_leaves_out_as_many_patches_as_it_says():
    objective = contract.build(["mae"], mae={"mask_rate": 0.6})
    batch = contract.batch_of(objective, contract.samples(50, of="mae"), Draw(3))
    both = torch.cat([batch["visible"], batch["masked"]], 1).sort(1).values
    assert batch["visible"].shape == (50, 6) and (both == torch.arange(16)).all()
    share = torch.zeros(16).index_add(0, batch["masked"].flatten(), torch.ones(500)) / 50
    assert share.min() > 0.35 and share.max() < 0.85


@pytest.mark.parametrize("name", NAMES[:6])
def test_where_vectors_collapse_settings_are_blamed(name):
    cause, repair = contract.config_of(name).blamed()
    assert cause and repair.endswith(".")
    assert "temperature" in contract.config_of("simclr", temperature=100.0).blamed()[0]
    assert "predictor" in contract.config_of("byol", predictor=False).blamed()[0]
    assert "momentum" not in cause + repair and "momentum = 0.5" in contract.config_of("byol", momentum=0.5).blamed()[0]
    assert "variance" in contract.config_of("vicreg", variance=0.0).blamed()[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_compared_is_one_vector_a_picture(name):
    objective = contract.build([name]).eval()
    part, home = objective.parts[name], contract.kit_of(name)
    features = part.encode(home.signal.stack(home.samples(3)))
    assert features.pooled.shape == (3, objective.backbone.shape.width)
    compared = part.compared(features)
    assert compared is None if name == "mae" else compared.shape[0] == 3
    patches = features.values[:, 1:].mean(1)
    torch.testing.assert_close(part.watched(features), patches if name == "mae" else features.pooled)
