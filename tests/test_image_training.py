"""What training over pictures promises: labels are never read, nets fall into blocks, micro-batches are refused."""

import numpy as np
import pytest
import torch

from firth import find
from firth.data.array_shard import ArrayShard, ArrayWriter
from firth.data.arrays import ArrayRows
from firth.data.sampler import Batches
from firth.errors import InputError
from firth.functional.random import Draw
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.sizes import shape_of
from firth.objective import Composed, Objective, collate
from firth.recipe import Optimizer, Recipe, filled
from firth.signal import Sample
from firth.signals.image import Config, Image
from firth.train import build
from firth.train.loop import train
from firth.train.measure import items
from firth.train.optimizer import depths, groups_of, kinds
from firth.train.run import Run
from tests.picture_files import digits

SIGNAL = Image(Config(size=8))


@pytest.fixture
def shard(tmp_path) -> ArrayShard:
    writer = ArrayWriter(tmp_path, "uint8", (3, 8, 8))
    for number, (picture, label) in enumerate(zip(digits()[0][:40], digits()[1][:40], strict=True)):
        writer.append(np.stack([picture] * 3), number + 1, f"{number}.png", str(label))
    writer.close()
    return ArrayShard(tmp_path)


def composed(kind: str, name: str, shape: str = "resnet", size: str = "2x16", **settings) -> Composed:
    form = shape_of(shape, size, **SIGNAL.sizes)
    backbone = backbone_of(form, SIGNAL.embed(form))
    module = find.find(kind, name)
    objective = Composed(backbone, {name: find.main_class(module, Objective)(module.Config(**settings), backbone)})
    initialise(objective, form, 0)
    objective.begun()
    return objective


def batches(source, objective: Composed, batch: int = 16, micro_batch: int | None = None) -> Batches:
    return Batches(source, SIGNAL, objective.configs, 0, batch, micro_batch)


def recipe(steps: int = 3, **tables) -> Recipe:
    train_ = {"steps": steps, "precision": "fp32", "batch": 16, "threads": 1}
    return filled(Recipe(signal="image", objective=("simclr",)), train=train_, optimizer={"lr": 1e-2}, **tables)


# ------------------------------------------------------------------ labels


def test_labels_beside_the_pictures_change_nothing(shard):
    """Equal weights whether the samples carry them or not."""
    weights = []
    for labelled in (True, False):
        objective = composed("objectives", "simclr")
        rows = ArrayRows(shard, np.arange(40), labelled=labelled)
        losses = [step.loss for step in train(Run(objective, batches(rows, objective), recipe()))]
        weights.append((losses, objective.state_dict()))
    (before, one), (after, two) = weights
    assert before == after and all(torch.equal(one[name], two[name]) for name in one)


def test_samples_come_with_the_class_of_their_folder(shard):
    batch = next(iter(batches(ArrayRows(shard, np.arange(40)), composed("objectives", "simclr")).step(0)))
    names = [shard.classes[label] for label in batch["label"].tolist()]
    shown = {np.stack([one] * 3).tobytes(): str(label) for one, label in zip(*digits(), strict=True)}
    assert names == [shown[one.numpy().tobytes()] for one in batch["pixels"]]


def test_an_epoch_sees_every_picture_once(shard):
    rows = ArrayRows(shard, np.arange(40))
    source = batches(rows, composed("objectives", "simclr"), batch=10)
    seen = [one.numpy().tobytes() for step in range(4) for batch in source.step(step) for one in batch["pixels"]]
    assert len(set(seen)) == len({rows.get(np.array([n]))[0].parts[0].tobytes() for n in range(40)})


def test_a_batch_counts_pictures(shard):
    objective = composed("objectives", "simclr")
    batch = batches(ArrayRows(shard, np.arange(40)), objective).step(0)[0]
    assert items(batch) == 16 and batch["pixels"].dtype == torch.uint8


# ------------------------------------------------------------------ nets in the optimizer


def test_parameters_of_a_net_fall_into_what_decays_and_what_does_not():
    found = kinds(composed("objectives", "simclr"))
    assert {found[name] for name in found if "convolution.weight" in name} == {"decayed"}
    assert {found[name] for name in found if ".normalization." in name} == {"plain"}


def test_layer_decay_counts_blocks_from_the_top():
    found = depths(composed("tasks", "classify", classes=("a", "b")))
    assert found["parts.classify.classifier.weight"] == 0
    assert found["backbone.encoder.blocks.1.layer.0.convolution.weight"] == 1
    assert found["backbone.encoder.blocks.0.layer.0.convolution.weight"] == 2
    assert found["backbone.embed.convolution.weight"] == 3


@pytest.mark.parametrize("shape", ["resnet", "vit"])
def test_groups_hold_every_parameter_once(shape):
    objective = composed("tasks", "classify", shape, "2x32", classes=("a", "b"))
    groups = groups_of(objective, Optimizer(layer_decay=0.8))
    together = [id(p) for group in groups.values() for p in group]
    assert sorted(together) == sorted(id(p) for p in objective.parameters())


def test_blocks_at_the_top_are_drawn_anew_with_all_that_stands_on_them():
    names = build.top(composed("tasks", "classify", classes=("a", "b")), 1)
    assert all(name.startswith(("backbone.encoder.blocks.1.", "parts.")) for name in names)
    assert "backbone.encoder.blocks.1.layer.1.normalization.running_mean" in names


# ------------------------------------------------------------------ batch norm and micro-batches


def labelled(shard) -> ArrayRows:
    return ArrayRows(shard, np.arange(40))


@pytest.mark.parametrize(
    "kind", [("objectives", "simclr", {}), ("tasks", "classify", {"classes": tuple("0123456789")})]
)
def test_micro_batches_are_refused_over_a_batch_norm_that_learns(shard, kind):
    objective = composed(*kind[:2], **kind[2])
    with pytest.raises(InputError) as raised:
        next(train(Run(objective, batches(labelled(shard), objective, 16, 8), recipe())))
    assert str(raised.value) == (
        f"train.micro_batch: `{kind[1]}` compares the samples of a batch with each other, and 2 micro-batches would "
        "each be compared within themselves only: a different, easier task. Leave train.micro_batch out, and lower "
        "train.batch if memory does not suffice."
    )


@pytest.mark.parametrize("shape", ["resnet", "vit"])
def test_micro_batches_are_exact_where_no_sample_sees_another(shard, shape):
    """A frozen net, or one without batch norm: the same weights however a step is cut."""
    found = []
    for micro_batch in (None, 4):
        objective = composed("tasks", "classify", shape, "1x16", classes=tuple("0123456789"), dropout=0.0)
        if shape == "resnet":
            objective.backbone.freeze()
        chosen = filled(recipe(), train={"precision": "fp64"})
        list(train(Run(objective, batches(labelled(shard), objective, 16, micro_batch), chosen)))
        found.append(objective.state_dict())
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-5, atol=1e-7)


def test_running_statistics_go_on_from_where_a_state_was_kept(shard):
    objective = composed("objectives", "simclr")
    list(train(Run(objective, batches(labelled(shard), objective), recipe())))
    state = objective.state_dict()
    assert not torch.equal(state["backbone.embed.normalization.running_mean"], torch.zeros(8))
    other = composed("objectives", "simclr")
    other.load_state_dict(state)
    batch = collate([Sample((np.stack([digits()[0][0]] * 3),), key=1)], [], SIGNAL, Draw(0))
    one, two = (model.eval().encode(batch).pooled for model in (objective, other))
    assert torch.equal(one, two)
