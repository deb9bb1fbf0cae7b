"""Master weights: what the module computes with is rounded, what is kept and given back is not."""

import pytest
import torch
from torch import nn

from firth.train.precision import DTYPES, Weights, choose, has_fast_bf16, trained
from tests.toy import composed


def weights_of(module, dtype):
    return Weights(module, [[p for _, p in trained(module)]], dtype)


@pytest.mark.parametrize("name", DTYPES)
def test_names_of_precisions(name):
    assert choose(name) == DTYPES[name]


def test_auto_is_bf16_only_where_it_is_faster():
    fast = has_fast_bf16(torch.device("cpu"))
    assert choose("auto") == (torch.bfloat16 if fast else torch.float32)
    assert choose("auto", "meta") == torch.float32


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_taking_and_giving_back_changes_no_bit(dtype):
    module = composed()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = weights_of(module, dtype)
    assert all(p.dtype == dtype for p in module.parameters())
    weights.release()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_parameters_are_the_rounded_masters():
    module = composed()
    weights = weights_of(module, torch.bfloat16)
    weights.flat.add_(0.1234567)
    weights.publish()
    for parameter, master in zip(weights.parameters, weights.masters, strict=True):
        assert torch.equal(parameter.detach(), master.bfloat16())
    assert weights.state()["backbone.hidden.weight"].dtype == torch.float32


def test_gradients_are_added_up_in_full_precision():
    module = nn.Linear(1, 1, bias=False)
    weights = weights_of(module, torch.bfloat16)
    for number in range(3):
        module.weight.grad = torch.tensor([[1.0 if number == 0 else 0.001]]).bfloat16()
        weights.collect(first=number == 0)
    exact = 1 + 2 * float(torch.tensor(0.001).bfloat16())
    assert weights.gradients[0].item() == pytest.approx(exact, rel=1e-6)
    assert module.weight.grad is None


def test_a_parameter_without_gradient_counts_as_zero():
    module = nn.Linear(2, 2)
    weights = weights_of(module, torch.float32)
    weights.gradient.fill_(7)
    module.weight.grad = torch.ones(2, 2)
    weights.collect(first=True)
    assert [g.sum().item() for g in weights.gradients] == [4, 0]


def test_state_can_be_loaded_and_frozen_weights_keep_their_digits():
    module, other = composed(seed=1), composed(seed=2)
    for p in (*module.backbone.parameters(), *other.backbone.parameters()):
        p.requires_grad_(False)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = weights_of(other, torch.bfloat16)
    weights.load(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in weights.state().items())
    weights.release()
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())


def test_a_frozen_weight_that_the_method_moves_is_kept_as_moved():
    """Averaged teachers have no gradient and change all the same."""
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    weights = weights_of(module, torch.bfloat16)
    module.bias.data.fill_(3.0)
    weights.release()
    assert module.bias.tolist() == [3.0, 3.0]


def test_shared_parameters_are_one():
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    module[1].weight = module[0].weight
    weights = weights_of(module, torch.bfloat16)
    weights.flat.add_(1)
    state = weights.state()
    assert torch.equal(state["0.weight"], state["1.weight"])
    weights.release()
    assert module[1].weight is module[0].weight
