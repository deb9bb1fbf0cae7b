"""The loop over objectives of views: they learn, go on bit by bit with teacher and queue, and compute in bf16."""

import pytest
import torch

from firth.data.sampler import Batches
from firth.data.source import ListSource
from firth.errors import InputError
from firth.recipe import Optimizer, Recipe, Train
from firth.train.checkpoint import digest
from firth.train.loop import train
from firth.train.run import Run
from tests import contract

NAMES = ["simclr", "byol", "vicreg", "barlow-twins", "moco", "dino", "mae"]
TAUGHT = ["byol", "moco", "dino"]  # those with a teacher
SMALL = {"hidden": 32, "out": 16, "queue": 32, "prototypes": 24, "bottleneck": 16, "local": 2, "decoder_width": 32}


def run_of(
    name: str, folder=None, steps: int = 6, precision: str = "fp32", micro: int | None = None, lr=1e-3, shape=""
) -> Run:
    fields = contract.main_class(name).Config.model_fields
    own = {key: value for key, value in SMALL.items() if key in fields}
    objective = contract.build([name], torch.float32, shape, **{name.replace("-", "_"): own})
    kit = contract.kit_of(name)
    batches = Batches(ListSource(kit.samples(48)), kit.signal, objective.configs, 3, batch=16, micro_batch=micro)
    settings = Train(steps=steps, precision=precision, batch=16, checkpoint_every=2)
    return Run(objective, batches, Recipe(objective=(name,), optimizer=Optimizer(lr=lr), train=settings), folder)


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp32") for name in NAMES), *((name, "bf16") for name in (*TAUGHT, "mae"))]
)
def test_going_on_is_bit_equal(name, precision, tmp_path):
    """Teachers, queues, centres and running statistics are in the checkpoint."""
    whole = run_of(name, precision=precision)
    losses = [step.loss for step in train(whole)]
    for step in train(run_of(name, tmp_path, precision=precision)):
        if step.index == 3:
            break
    again = run_of(name, tmp_path, precision=precision)
    rest = [step.loss for step in train(again) if step.items]
    assert again.resumed == 2 and rest == losses[2:]
    assert digest(again.state_dict()) == digest(whole.state_dict())


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "barlow-twins"])
def test_the_loss_falls(name):
    """In 30 steps over 48 pictures. What a queue or a teacher asks for changes on the way: there it need not."""
    losses = [step.loss for step in train(run_of(name, steps=30, lr=3e-3))]
    assert sum(losses[-6:]) < sum(losses[:6])


@pytest.mark.parametrize("name", TAUGHT)
def test_a_teacher_lags_behind_its_student(name):
    run = run_of(name, steps=4)
    for _ in train(run):
        pass
    pairs = list(run.objective.parts[name].teacher._pairs(everything=False))
    assert any((own != theirs).any() for own, theirs in pairs if own.is_floating_point())
    assert all(own.dtype == torch.float32 for own, _ in pairs if own.is_floating_point())


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "barlow-twins", "moco"])
def test_micro_batches_are_refused_where_samples_are_compared(name):
    with pytest.raises(InputError) as caught:
        next(train(run_of(name, micro=4)))
    assert str(caught.value) == (
        f"train.micro_batch: `{name}` compares the samples of a batch with each other, and 4 micro-batches would each "
        "be compared within themselves only: a different, easier task. "
        "Leave train.micro_batch out, and lower train.batch if memory does not suffice."
    )


@pytest.mark.parametrize("name", ["dino", "mae"])
def test_micro_batches_are_the_batch_where_they_are_not(name):
    """On a shape without batch norm, up to rounding."""
    whole, parts = run_of(name, steps=3, shape="vit"), run_of(name, steps=3, micro=4, shape="vit")
    for one, two in zip(train(whole), train(parts), strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-4)
        assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)


def test_mae_is_refused_where_there_are_no_patches():
    with pytest.raises(InputError) as caught:
        contract.build(["mae"], shape="resnet")
    assert str(caught.value) == (
        "objective `mae`: hides patches, and the shape resnet has none. Leave model.shape out, or set model.shape=vit."
    )
