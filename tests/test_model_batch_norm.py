"""Batch norm equals torch's on one process; over two ranks it is held to one in tests/test_distributed.py."""

import pytest
import torch
from torch import nn

from firth.model.batch_norm import BatchNorm, nothing_remembered, statistics_of_the_batch

SIZES = [(6, 4), (5, 4, 3, 2), (2, 4)]


def pair(width: int = 4) -> tuple[BatchNorm, nn.Module]:
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    ours, theirs = BatchNorm(width), nn.SyncBatchNorm(width)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(width))
        ours.bias.copy_(torch.randn(width))
        theirs.weight.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
    return ours.double(), theirs.double()


def reference(theirs: nn.Module, x: torch.Tensor) -> torch.Tensor:
    kind = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d}[x.dim()](theirs.num_features).double()
    kind.load_state_dict(theirs.state_dict())
    out = kind.train(theirs.training)(x)
    theirs.load_state_dict(kind.state_dict())
    return out


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("by_sums", [False, True], ids=["kernel", "sums"])
def test_values_gradients_and_running_statistics_are_torchs(size, by_sums, monkeypatch):
    """The way over ranks, on one: its sums are the identity there."""
    monkeypatch.setattr("firth.model.batch_norm.world", lambda: 2 if by_sums else 1)
    ours, theirs = pair()
    for step in range(3):
        x = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).requires_grad_()
        y = x.detach().clone().requires_grad_()
        one, two = ours(x), reference(theirs, y)
        one.square().sum().add(one.sin().sum()).backward()
        two.square().sum().add(two.sin().sum()).backward()
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_variance, theirs.running_var)
    x = torch.randn(size, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x), reference(theirs.eval(), x))


def test_low_precision_parameters_live_beside_exact_statistics():
    ours = BatchNorm(4)
    for parameter in ours.parameters():
        parameter.data = parameter.data.bfloat16()
    x = torch.randn(64, 4, 2, 2)
    out = ours(x.bfloat16())
    out.sum().backward()
    assert out.dtype == torch.bfloat16 and ours.weight.grad.dtype == torch.bfloat16
    assert ours.running_mean.dtype == torch.float32
    torch.testing.assert_close(out.float(), BatchNorm(4)(x), atol=0.03, rtol=0.03)


def test_exact_input_updates_statistics_of_lower_precision():
    ours = BatchNorm(4)
    for parameter in ours.parameters():
        parameter.data = parameter.data.double()
    x = torch.randn(64, 4, dtype=torch.float64)
    assert ours(x).dtype == torch.float64
    torch.testing.assert_close(ours.running_mean, 0.1 * x.mean(0).float())


def test_one_row_is_no_error():
    """Its variance is zero: what is left is the shift."""
    ours = BatchNorm(3)
    assert (ours(torch.randn(1, 3)) == ours.bias).all()
    assert ours.running_variance.isfinite().all()


def test_without_scale_and_shift_there_is_nothing_to_learn():
    plain = BatchNorm(3, affine=False)
    assert list(plain.parameters()) == []
    x = plain(torch.randn(50, 3))
    torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.var(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_statistics_of_the_batch_are_taken_and_forgotten_again():
    ours, _ = pair()
    ours.running_mean.fill_(3.0)
    x = torch.randn(50, 4, dtype=torch.float64) * 5 + 1
    block = nn.Sequential(ours, nn.Dropout(0.5)).eval()
    with statistics_of_the_batch(block):
        out = block(x)
    expected = (x - x.mean(0)) / (x.var(0, correction=0) + ours.epsilon).sqrt() * ours.weight + ours.bias
    torch.testing.assert_close(out, expected)
    assert ours.running_mean.tolist() == [3.0] * 4 and ours.running_variance.tolist() == [1.0] * 4
    assert not any(module.training for module in block.modules())
    with pytest.raises(ZeroDivisionError), statistics_of_the_batch(block.train()):
        raise ZeroDivisionError
    assert ours.training and block[1].training and ours.remembers


@pytest.mark.parametrize("by_sums", [False, True], ids=["kernel", "sums"])
def test_what_is_not_remembered_changes_nothing_but_what_is_learnt(by_sums, monkeypatch):
    """Two passes before one gradient, the second aside: values and gradients as ever, statistics of the first alone."""
    monkeypatch.setattr("firth.model.batch_norm.world", lambda: 2 if by_sums else 1)
    (ours, _), (plain, _), (once, _) = pair(), pair(), pair()
    first, second = (torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    with nothing_remembered(nn.Sequential(ours)):
        aside = ours(second)
    (ours(first).sin().sum() + aside.square().sum()).backward()
    (plain(first).sin().sum() + plain(second).square().sum()).backward()
    once(first)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad)
    torch.testing.assert_close(ours.running_mean, once.running_mean)
    torch.testing.assert_close(ours.running_variance, once.running_variance)


def test_norms_remember_again_also_after_an_error_and_inside_each_other():
    ours, _ = pair()
    with nothing_remembered(ours):
        with pytest.raises(ZeroDivisionError), nothing_remembered(ours):
            raise ZeroDivisionError
        ours(torch.randn(9, 4, dtype=torch.float64))
    assert (ours.running_mean == 0).all() and ours.remembers
    with nothing_remembered(ours.eval()):
        out = ours(torch.zeros(2, 4, dtype=torch.float64))
    assert (out == ours.bias).all()
