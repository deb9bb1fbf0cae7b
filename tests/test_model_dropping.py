"""Dropout from few random bits: the same law as torch's, seeded, exact in its gradient."""

import math

import pytest
import torch

from firth.model.dropping import drop, keep_mask


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_share_is_dropped_and_the_rest_scaled(share, dtype):
    torch.manual_seed(0)
    found = drop(torch.ones(400_001, dtype=dtype), share, True)
    zeros = int((found == 0).sum())
    assert abs(zeros / len(found) - share) < 4 * math.sqrt(share * (1 - share) / len(found))
    kept = found[found != 0].double()
    torch.testing.assert_close(
        kept, torch.full_like(kept, 1 / (1 - share)), rtol=5e-3 if dtype.itemsize == 2 else 2e-4, atol=0
    )


def test_neighbours_are_independent():
    torch.manual_seed(1)
    kept = (keep_mask(torch.empty(4_000, 100), 0.3) != 0).double().flatten()
    for lag in (1, 2, 3, 4, 100):
        both = (kept[:-lag] * kept[lag:]).mean().item()
        assert abs(both - 0.49) < 4 * math.sqrt(0.49 * 0.51 / len(kept))


def test_the_gradient_is_dropped_alike():
    torch.manual_seed(2)
    values = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    found = drop(values, 0.4, True)
    found.sum().backward()
    torch.testing.assert_close(values.grad * values.detach(), found.detach())


def test_one_seed_the_same_numbers():
    masks = [torch.manual_seed(3) and keep_mask(torch.empty(5, 3), 0.5) for _ in range(2)]
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], keep_mask(torch.empty(5, 3), 0.5))


@pytest.mark.parametrize(("share", "training"), [(0.3, False), (0.0, True)])
def test_nothing_happens_where_nothing_is_dropped(share, training):
    values = torch.randn(4)
    assert drop(values, share, training) is values


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0, 2), (2, 3, 5)])
def test_any_shape(shape):
    assert drop(torch.ones(shape), 0.5, True).shape == shape
