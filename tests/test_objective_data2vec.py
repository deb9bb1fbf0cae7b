"""data2vec: the loss of a plain formula, a teacher that hears everything and follows, and a sign of collapse."""

import numpy as np
import pytest
import torch

from firth.objectives.data2vec import Config, over_the_clip
from tests import contract, sounds


def built(**settings):
    return contract.build(["data2vec"], **{"data2vec": {"mask_start": 0.2, "mask_span": 3, **settings}})


def test_the_loss_is_that_of_a_plain_formula():
    objective = built(last=2)
    batch = contract.batch_of(objective, sounds.waves(4))
    part = objective.parts["data2vec"]
    with torch.no_grad():
        guess = part.head(objective.backbone(batch).values).numpy()
        plain = {key: value for key, value in batch.items() if key != "hidden"}
        heard = objective.backbone(plain, layers=True)
    error = level = 0.0
    for row, hidden in enumerate(batch["hidden"].numpy()):
        real = ~heard.padding[row].numpy()
        blocks = [layer[row].numpy()[real] for layer in heard.layers[-2:]]
        truth = np.mean([(block - block.mean(0)) / np.sqrt(block.var(0) + 1e-5) for block in blocks], axis=0)
        for step in hidden.nonzero()[0]:
            error += ((guess[row, step] - truth[step]) ** 2).mean()
            level += (truth[step] ** 2).mean()
    loss = objective(batch)
    assert loss.terms["data2vec"].count == batch["hidden"].sum() > 0
    assert loss.terms["data2vec"].sum.item() == pytest.approx(error, rel=1e-8)
    assert loss.metrics["data2vec_of_mean"].sum.item() == pytest.approx(level, rel=1e-8)


def test_the_teacher_begins_as_the_student_and_follows_it_slowly():
    objective = built(momentum=0.75)
    part, weight = objective.parts["data2vec"], objective.backbone.encoder.blocks[0].mlp.inner.weight
    copy = dict(part.teacher.named_buffers())["copies.0.encoder.blocks.0.mlp.inner.weight"]
    assert torch.equal(copy, weight) and not copy.requires_grad
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 1
    part.after_step(0.0)
    torch.testing.assert_close(copy, before + 0.9)  # it hurries at first
    part.teacher.updates.fill_(10**9)
    with torch.no_grad():
        weight += 3.9
    part.after_step(0.0)
    torch.testing.assert_close(copy, before + 1.9)
    part.after_step(1.0)  # at the end of the run nothing moves
    torch.testing.assert_close(copy, before + 1.9)


def test_no_gradient_reaches_the_teacher_and_it_is_kept():
    objective = built()
    batch = contract.batch_of(objective, sounds.waves(3))
    contract.backward(objective, [batch], batch.counts)
    assert not [name for name, _ in objective.named_parameters() if "teacher" in name]
    assert any("teacher.copies.0.embed.positions" in name for name in objective.state_dict())


@pytest.mark.parametrize(("layers", "last", "wanted"), [(2, 0, 1), (2, 2, 2), (2, 1, 1)])
def test_how_many_blocks_are_guessed(layers, last, wanted):
    assert built(last=last).parts["data2vec"].last == wanted


def test_a_clip_is_brought_to_one_scale_over_its_own_steps():
    values = torch.randn(2, 9, 4, dtype=torch.float64) * 3 + 5
    padding = torch.arange(9)[None] >= torch.tensor([[9], [5]])
    found = over_the_clip(values, padding)
    assert (found[1, 5:] == 0).all()
    for row, steps in ((0, 9), (1, 5)):
        torch.testing.assert_close(found[row, :steps], over_the_clip(values[row : row + 1, :steps], None)[0])
        torch.testing.assert_close(found[row, :steps].mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
        torch.testing.assert_close(
            found[row, :steps].var(0, correction=0), torch.ones(4, dtype=torch.float64), atol=1e-4, rtol=0
        )


def test_it_may_collapse_and_says_what_to_do():
    part = built().parts["data2vec"]
    assert part.collapses
    assert Config(momentum=0.5).blamed() == (
        "data2vec.momentum = 0.5 lets the teacher follow too fast",
        "Set data2vec.momentum=0.99.",
    )
    assert Config().blamed() == (
        "the steps may be too large, or begin too suddenly",
        "Set a lower optimizer.lr, or train.warmup=0.1.",
    )
