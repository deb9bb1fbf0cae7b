"""The update: equal to torch's own on plain parameters, in groups that a newcomer would expect."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from firth.recipe import Optimizer as Settings
from firth.train.optimizer import KINDS, Optimizer, kinds
from tests.plain_muon import PlainMuon
from tests.toy import composed


def backward(module, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter) * 0.01


def updated(module, settings, updates: int = 4) -> Optimizer:
    optimizer = Optimizer(module, settings, torch.float32)
    for seed in range(updates):
        backward(module, seed)
        optimizer.collect(first=True)
        optimizer.step(1.0, optimizer.norm())
    return optimizer


def test_kinds_of_parameters():
    assert kinds(composed()) == {
        "backbone.embed.weight": "embedding",
        "backbone.hidden.weight": "matrix",
        "backbone.hidden.bias": "plain",
        "backbone.norm.weight": "plain",
        "backbone.norm.bias": "plain",
        "parts.nexttoken.head.weight": "decayed",
        "parts.nexttoken.head.bias": "plain",
        "parts.level.head.weight": "decayed",
        "parts.level.head.bias": "plain",
    }


def test_frozen_parameters_are_left_out():
    module = composed()
    module.backbone.requires_grad_(False)
    assert all(name.startswith("parts.") for name in kinds(module))


def reference(module, settings, updates: int = 4) -> None:
    """AdamW of torch and the formula of Muon on the parameters themselves."""
    kind = kinds(module)
    sorted_ = {k: [p for n, p in module.named_parameters() if kind[n] == k] for k in KINDS}
    slow = 1.0 if settings.embedding_lr is None else settings.embedding_lr
    muon = settings.name == "muon"
    decayed = sorted_["decayed"] + ([] if muon else sorted_["matrix"])
    groups = [
        {"params": decayed},
        {"params": sorted_["plain"], "weight_decay": 0.0},
        {"params": sorted_["embedding"], "weight_decay": 0.0, "lr": slow * settings.lr},
    ]
    methods = [torch.optim.AdamW(groups, settings.lr, settings.betas, settings.epsilon, settings.weight_decay)]
    if muon:
        methods.append(PlainMuon([(p, settings.muon_lr) for p in sorted_["matrix"]], module, settings.weight_decay))
    for seed in range(updates):
        backward(module, seed)
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        for method in methods:
            method.step()


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("clip", [0.05, 100.0])
@pytest.mark.parametrize("embedding_lr", [None, 0.1, 0.0])
def test_it_updates_as_torch_and_the_formula_do(name, clip, embedding_lr):
    settings = Settings(name=name, lr=0.01, weight_decay=0.1, clip=clip, embedding_lr=embedding_lr)
    ours, theirs = composed(), composed()
    updated(ours, settings)
    reference(theirs, settings)
    for (label, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=1e-6, msg=lambda text, label=label: f"{label}: {text}")


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_goes_on_bit_by_bit(name):
    settings = Settings(name=name, lr=0.01)
    whole = updated(composed(), settings, updates=5)
    first = updated(composed(), settings, updates=3)
    module = composed()
    second = Optimizer(module, settings, torch.float32)
    second.weights.load(copy.deepcopy(first.weights.state()))
    second.load(first.state())
    for seed in (3, 4):
        backward(module, seed)
        second.collect(first=True)
        second.step(1.0, second.norm())
    assert torch.equal(second.weights.flat, whole.weights.flat)


def test_names_of_the_state():
    names = set(updated(composed(), Settings(name="muon")).state())
    assert names == {"adamw.first", "adamw.second", "adamw.updates", "muon.0"}


def test_plain_parameters_do_not_decay():
    module = composed()
    embedding, head = module.backbone.embed.weight.clone(), module.parts["level"].head.weight.clone()
    optimizer = Optimizer(module, Settings(lr=0.1, weight_decay=0.5), torch.float32)
    optimizer.weights.gradient.zero_()
    optimizer.step(1.0, 0.0)
    assert torch.equal(module.backbone.embed.weight, embedding)
    torch.testing.assert_close(module.parts["level"].head.weight, head * 0.95)


def test_the_schedule_scales_both_methods():
    optimizer = updated(composed(), Settings(name="muon", lr=0.01, muon_lr=0.02), updates=1)
    backward(optimizer.weights.module, 1)
    optimizer.collect(first=True)
    assert optimizer.step(0.5, optimizer.norm()) == 0.005
    assert optimizer.methods["muon"].lr == 0.01


def test_the_learning_rate_has_a_default():
    assert Optimizer(composed(), Settings(), torch.float32).lr == 1e-3


def test_adamw_starts_without_importing_the_compiler():
    """Its import takes 1.7 s, a fiftieth of a run of 90 s."""
    program = """if True:
        import sys
        from tests.toy import finish, toy_run
        finish(toy_run(steps=2))
        assert "torch._dynamo" not in sys.modules
    """
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent.parent).returncode == 0
