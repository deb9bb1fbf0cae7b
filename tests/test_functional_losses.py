"""The loss head's arithmetic, against PyTorch in double precision."""

import pytest
import torch
import torch.nn.functional as F

from firth.functional import losses
from firth.functional.losses import IGNORE, count_right, cross_entropy_sum, linear_cross_entropy_sum


def example(rows=37, classes=211, dtype=torch.float64, seed=0):
    source = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(rows, classes, generator=source)).to(dtype)
    return logits, torch.randint(0, classes, (rows,), generator=source)


@pytest.mark.parametrize(
    ("dtype", "loss_tolerance", "gradient_tolerance"),
    [(torch.float64, 1e-12, 1e-12), (torch.float32, 1e-6, 1e-6), (torch.bfloat16, 1e-6, 4e-3)],
)
def test_equals_the_reference_in_every_precision(dtype, loss_tolerance, gradient_tolerance, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 1000)  # several pieces, the last one short
    logits, targets = example(dtype=dtype)
    logits.requires_grad_()
    exact = logits.detach().double().requires_grad_()
    ours, right = cross_entropy_sum(logits, targets)
    reference = F.cross_entropy(exact, targets, reduction="sum")
    (ours / 7).backward()
    (reference / 7).backward()
    assert ours.item() == pytest.approx(reference.item(), rel=loss_tolerance)
    assert logits.grad.dtype == dtype
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=gradient_tolerance, atol=gradient_tolerance / 100)
    assert right.item() == (exact.argmax(-1) == targets).sum().item()


def test_ignored_items_count_for_nothing():
    logits, targets = example()
    some = targets.clone()
    some[::3] = IGNORE
    logits.requires_grad_()
    ours, right = cross_entropy_sum(logits, some)
    real = some != IGNORE
    assert ours.item() == pytest.approx(F.cross_entropy(logits[real], targets[real], reduction="sum").item(), rel=1e-12)
    assert right.item() == (logits[real].argmax(-1) == targets[real]).sum().item()
    ours.backward()
    assert (logits.grad[~real] == 0).all() and (logits.grad[real] != 0).any()


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_to_predict_gives_zero_and_a_gradient(rows):
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    values = torch.ones(rows, 4, dtype=torch.float64)
    ours, right = cross_entropy_sum(values @ weight.T, torch.full((rows,), IGNORE))
    ours.backward()
    assert ours.item() == 0 and right.item() == 0
    assert weight.grad is not None and (weight.grad == 0).all()


def test_gradcheck():
    logits, targets = example(rows=4, classes=6)
    targets[1] = IGNORE
    assert torch.autograd.gradcheck(lambda x: cross_entropy_sum(x, targets)[0], logits.requires_grad_())


def test_huge_logits_do_not_overflow():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e30, 0.0, 0.0]], requires_grad=True)
    ours, _ = cross_entropy_sum(logits, torch.tensor([0, 1]))
    ours.backward()
    assert ours.item() == pytest.approx(0.6931472) and torch.isfinite(logits.grad).all()


def test_backward_may_be_asked_for_twice():
    logits, targets = example()
    ours, _ = cross_entropy_sum(logits.requires_grad_(), targets)
    first = torch.autograd.grad(ours, logits, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, logits)[0], first, rtol=0, atol=0)


def test_of_equal_logits_the_first_is_the_guess():
    logits = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    assert count_right(logits, torch.tensor([0, 1, 2])).item() == 1
    assert count_right(logits, torch.tensor([0, 0, 1])).item() == 3


def test_no_gradient_is_asked_of_evaluation():
    logits, targets = example()
    with torch.inference_mode():
        ours, _ = cross_entropy_sum(logits, targets)
    assert ours.item() == pytest.approx(F.cross_entropy(logits, targets, reduction="sum").item())


@pytest.mark.parametrize("classes", [7, 3000])
@pytest.mark.parametrize("items", [0, 1, 5, 1500])
def test_the_loss_of_a_map_is_that_of_its_logits(items, classes):
    noise = torch.Generator().manual_seed(items)
    values = torch.randn(items, 6, dtype=torch.float64, generator=noise, requires_grad=True)
    rows = torch.randn(classes, 6, dtype=torch.float64, generator=noise, requires_grad=True)
    targets = torch.randint(0, classes, (items,), generator=noise)
    wanted, right = cross_entropy_sum(values @ rows.T, targets)
    found, hits = linear_cross_entropy_sum(values, rows, targets)
    torch.testing.assert_close(found, wanted)
    assert int(hits) == int(right)
    both = ((0.3 * loss) for loss in (found, wanted))
    one, two = (torch.autograd.grad(loss, (values, rows)) for loss in both)
    torch.testing.assert_close(one, two)


def test_the_loss_of_a_map_in_bf16_is_near_that_in_fp32():
    noise = torch.Generator().manual_seed(0)
    values, rows = (torch.randn(size, 64, generator=noise) * 0.3 for size in (500, 900))
    targets = torch.randint(0, 900, (500,), generator=noise)
    exact = [one.requires_grad_() for one in (values, rows)]
    half = [one.detach().bfloat16().requires_grad_() for one in exact]
    wanted, found = (linear_cross_entropy_sum(*pair, targets)[0] for pair in (exact, half))
    assert found.dtype == torch.float32 and found.item() == pytest.approx(wanted.item(), rel=2e-3)
    wanted.backward(), found.backward()
    assert half[1].grad.dtype == torch.bfloat16
    torch.testing.assert_close(half[1].grad.float(), exact[1].grad, rtol=0.1, atol=0.05)


def test_without_a_gradient_none_is_made():
    values, rows = torch.randn(4, 3), torch.randn(5, 3)
    with torch.no_grad():
        loss, _ = linear_cross_entropy_sum(values.requires_grad_(), rows, torch.arange(4))
    assert not loss.requires_grad
    only = linear_cross_entropy_sum(values.detach(), rows.requires_grad_(), torch.arange(4))[0]
    only.backward()
    assert rows.grad is not None
