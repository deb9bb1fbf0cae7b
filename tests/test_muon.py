"""Orthogonal momentum: beside torch's own Muon, beside the singular values, and with several maps in one matrix."""

import pytest
import torch
from torch import nn

from firth.model.attention import Joined
from firth.recipe import Optimizer as Settings
from firth.train.muon import Matrix, Muon, orthogonal, rows_of
from tests.plain_muon import quintic

SIZES = [(8, 8), (24, 8), (8, 24), (1, 8), (8, 1)]


def drawn(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
def test_singular_values_come_near_one(size):
    made = orthogonal(drawn(3, *size))
    values = torch.linalg.svdvals(made)
    assert values.max() < 1.3 and values.median() > 0.6


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_quintic(size):
    given = drawn(2, *size)
    for one, made in zip(given, orthogonal(given), strict=True):
        torch.testing.assert_close(made.double(), torch.from_numpy(quintic(one.double().numpy())), rtol=1e-3, atol=1e-4)


def test_nothing_stays_nothing():
    assert torch.equal(orthogonal(torch.zeros(2, 4, 3)), torch.zeros(2, 4, 3))


@pytest.mark.parametrize("size", SIZES[:3])
def test_it_updates_as_torch_does_within_bf16(size):
    weight = drawn(*size)
    theirs = nn.Parameter(weight.clone())
    ours, gradient = weight.clone(), torch.zeros(size)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1)
    muon = Muon([Matrix(ours, gradient)], Settings(name="muon", weight_decay=0.1))
    for seed in range(1, 6):
        gradient.copy_(drawn(*size, seed=seed))
        theirs.grad = gradient.clone()
        reference.step()
        muon.step(0.02)
    moved, expected = ours - weight, theirs.detach() - weight
    assert (moved - expected).norm() < 0.03 * expected.norm()


def test_maps_in_one_matrix_are_updated_as_if_they_had_their_own():
    rows, gradient = (6, 2, 2), drawn(10, 5)
    whole = torch.zeros(10, 5)
    Muon([Matrix(whole, gradient, rows=rows)], Settings()).step(0.1)
    alone = [torch.zeros(n, 5) for n in rows]
    for one, own in zip(alone, gradient.split(rows), strict=True):
        Muon([Matrix(one, own.clone())], Settings()).step(0.1)
    torch.testing.assert_close(whole, torch.cat(alone))


def test_a_module_says_which_matrices_hold_several_maps():
    module = nn.ModuleList([Joined(4, (4, 2, 2), bias=False), nn.Linear(4, 4)])
    assert rows_of(module) == {id(module[0].weight): (4, 2, 2)}
