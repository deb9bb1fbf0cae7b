"""Rates that fall from the heads to the embeddings: the formula, the update, and nothing else where all are alike."""

import copy
import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch import nn
from torch.optim.adamw import adamw

from firth.errors import InputError
from firth.recipe import Optimizer as Settings
from firth.recipe import Recipe, apply_settings, filled
from firth.train.loop import train
from firth.train.optimizer import KINDS, Optimizer, depths, kinds
from firth.train.precision import Weights, trained
from tests import contract
from tests.models import SHAPES, Whole
from tests.plain_muon import PlainMuon
from tests.test_train_optimizer import backward, updated
from tests.test_train_resume import written
from tests.toy import composed, finish, sha, toy_run

LAYERS = 3


def whole(shape: str = "modernbert") -> nn.Module:
    return Whole(SHAPES[shape], "classify").float()


def expected(name: str, decay: float) -> float:
    """The formula, read off the name: d^(L + 1) embeddings, d^(L - l) block l of 0 … L - 1, 1 all else."""
    parts = name.split(".")
    if parts[:2] == ["backbone", "embed"]:
        return decay ** (LAYERS + 1)
    if parts[:3] == ["backbone", "encoder", "blocks"]:
        return decay ** (LAYERS - int(parts[3]))
    return 1.0


# ------------------------------------------------------------------ the formula


@pytest.mark.parametrize("shape", SHAPES)
def test_depths_are_counted_from_the_heads(shape):
    found = depths(whole(shape))
    assert set(found) == set(kinds(whole(shape)))
    assert {found[name] for name in found if name.startswith("backbone.embed.")} == {LAYERS + 1}
    for layer in range(LAYERS):
        own = {found[name] for name in found if name.startswith(f"backbone.encoder.blocks.{layer}.")}
        assert own == {LAYERS - layer}
    assert {found[n] for n in found if n.startswith(("parts.", "backbone.encoder.norm."))} == {0}


def test_a_backbone_without_blocks_has_embeddings_and_the_rest():
    found = depths(composed())
    assert found.pop("backbone.embed.weight") == 1 and set(found.values()) == {0}


def rates(optimizer: Optimizer) -> dict[str, tuple[float, float]]:
    """Name → (factor on the rate, weight decay) of the stretch that each number of the parameter lies in."""
    names = {id(p): name for name, p in optimizer.weights.module.named_parameters()}
    found = {}
    for parameter, begin in zip(optimizer.weights.parameters, optimizer.weights.offsets, strict=True):
        inside = [s for s in optimizer.methods["adamw"].stretches
                  if s.span.start <= begin and begin + parameter.numel() <= s.span.stop]  # fmt: skip
        if inside:
            (stretch,) = inside
            found[names[id(parameter)]] = (stretch.factor, stretch.decay)
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [1.0, 0.9, 0.65])
@pytest.mark.parametrize("slow", [None, 0.1])
def test_every_parameter_gets_the_rate_of_the_formula(shape, decay, slow):
    module = whole(shape)
    settings = Settings(layer_decay=decay, embedding_lr=slow, weight_decay=0.1)
    found, kind = rates(Optimizer(module, settings, torch.float32)), kinds(module)
    assert set(found) == set(kind)
    for name, (factor, weight_decay) in found.items():
        own = slow if slow and kind[name] == "embedding" else 1.0
        assert factor == pytest.approx(own * expected(name, decay), rel=1e-15), name
        assert weight_decay == (0.1 if kind[name] in ("decayed", "matrix") else 0.0), name


@pytest.mark.parametrize("name", contract.methods())
def test_every_method_has_a_rate_for_every_parameter(name):
    objective = contract.build((name,), torch.float32)
    found = rates(Optimizer(objective, Settings(layer_decay=0.5), torch.float32))
    assert set(found) == {n for n, _ in trained(objective)}
    heads = {factor for n, (factor, _) in found.items() if n.startswith("parts.")}
    assert heads <= {1.0}  # an output map that is the embedding has no parameters of its own


def test_frozen_layers_still_count():
    module = whole()
    module.backbone.embed.requires_grad_(False)
    module.backbone.encoder.blocks[0].requires_grad_(False)
    module.backbone.encoder.blocks[2].requires_grad_(False)
    found = rates(Optimizer(module, Settings(layer_decay=0.5), torch.float32))
    middle = {factor for n, (factor, _) in found.items() if n.startswith("backbone.encoder.blocks.1.")}
    assert middle == {0.25} and not any(n.startswith("backbone.encoder.blocks.2.") for n in found)


# ------------------------------------------------------------------ the update


def reference(module: nn.Module, settings: Settings, updates: int = 4) -> None:
    """AdamW of torch and the formula of Muon, a group for each parameter with the rate of the formula."""
    kind, muon = kinds(module), settings.name == "muon"
    groups, hidden = [], []
    for name, parameter in module.named_parameters():
        factor = expected(name, settings.layer_decay)
        if muon and kind[name] == "matrix":
            hidden.append((parameter, settings.muon_lr * factor))
            continue
        decay = settings.weight_decay if kind[name] in ("decayed", "matrix") else 0.0
        groups.append({"params": [parameter], "lr": settings.lr * factor, "weight_decay": decay})
    methods = [torch.optim.AdamW(groups, settings.lr, settings.betas, settings.epsilon)]
    if muon:
        methods.append(PlainMuon(hidden, module, settings.weight_decay))
    for seed in range(updates):
        backward(module, seed)
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        for method in methods:
            method.step()


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("shape", ["bert", "modernbert"])
@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_it_updates_as_torch_does_with_a_group_for_each_parameter(name, shape, decay):
    settings = Settings(name=name, lr=0.01, weight_decay=0.1, clip=100.0, layer_decay=decay)
    ours, theirs = whole(shape), whole(shape)
    updated(ours, settings)
    reference(theirs, settings)
    for (label, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=1e-6, msg=lambda text, label=label: f"{label}: {text}")


def three_stretches(module: nn.Module, settings: Settings, updates: int) -> torch.Tensor:
    """AdamW without any layers: embeddings, what does not decay, what does, each updated as one. The flat weights."""
    kind = kinds(module)
    weights = Weights(module, [[p for n, p in trained(module) if kind[n] == k] for k in KINDS], torch.float32)
    embedding, plain, decayed, matrix = weights.spans
    first, second = torch.zeros_like(weights.flat), torch.zeros_like(weights.flat)
    slow = 1.0 if settings.embedding_lr is None else settings.embedding_lr
    spans = [(embedding, 0.0, slow), (plain, 0.0, 1.0),
             (slice(decayed.start, matrix.stop), settings.weight_decay, 1.0)]  # fmt: skip
    for step in range(updates):
        backward(module, step)
        weights.collect(first=True)
        for span, decay, factor in spans:
            adamw(
                [weights.flat[span]], [weights.gradient[span]], [first[span]], [second[span]], [],
                [torch.tensor(float(step))], fused=True, lr=factor * settings.lr, beta1=settings.betas[0],
                beta2=settings.betas[1], eps=settings.epsilon, weight_decay=decay, amsgrad=False, maximize=False,
            )  # fmt: skip
    return weights.flat


@pytest.mark.parametrize("shape", ["bert", "modernbert"])
@pytest.mark.parametrize("slow", [None, 0.1])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_without_decay_the_weights_are_what_they_were_bit_by_bit(shape, slow, weight_decay):
    settings = Settings(lr=0.01, weight_decay=weight_decay, clip=0, embedding_lr=slow, layer_decay=1.0)
    before = three_stretches(whole(shape), settings, 5)
    with torch.no_grad():
        now = updated(whole(shape), settings, 5).weights.flat
    assert torch.equal(before, now)


def test_without_decay_there_are_three_updates_and_with_it_a_few_for_each_layer():
    module = whole()
    assert len(Optimizer(module, Settings(), torch.float32).methods["adamw"].stretches) == 3
    many = Optimizer(whole(), Settings(layer_decay=0.9), torch.float32).methods["adamw"].stretches
    assert len(many) <= 3 * (LAYERS + 2)
    assert [s.span.start for s in many[1:]] == [s.span.stop for s in many[:-1]] and many[0].span.start == 0


def test_muon_takes_the_factors_too():
    optimizer = updated(whole(), Settings(name="muon", lr=0.01, muon_lr=0.02, layer_decay=0.5), updates=1)
    backward(optimizer.weights.module, 1)
    optimizer.collect(first=True)
    assert optimizer.step(0.5, optimizer.norm()) == 0.005
    muon = optimizer.methods["muon"]
    assert muon.lr == 0.01
    assert sorted({group.factor for group in muon.groups}) == [0.125, 0.25, 0.5]


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_goes_on_bit_by_bit(name):
    settings = Settings(name=name, lr=0.01, layer_decay=0.7)
    one = updated(whole(), settings, updates=5)
    first = updated(whole(), settings, updates=3)
    module = whole()
    second = Optimizer(module, settings, torch.float32)
    second.weights.load(copy.deepcopy(first.weights.state()))
    second.load(first.state())
    for seed in (3, 4):
        backward(module, seed)
        second.collect(first=True)
        second.step(1.0, second.norm())
    assert torch.equal(second.weights.flat, one.weights.flat)


def decayed(folder=None, frozen: bool = False, **settings):
    """A toy run with layer decay, or with a backbone that does not learn."""
    run = toy_run(folder, dropout=0.2, precision="bf16", **settings)
    run.objective.backbone.requires_grad_(not frozen)
    run.recipe = filled(run.recipe, optimizer={"layer_decay": 0.6})
    return run


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("after", [1, 7])
def test_a_run_that_was_left_goes_on_bit_by_bit(tmp_path, frozen, after):
    for step in train(decayed(tmp_path, frozen)):
        if step.index == after:
            break
    again, uninterrupted = decayed(tmp_path, frozen), decayed(frozen=frozen)
    finish(again)
    finish(uninterrupted)
    assert again.resumed == after // 3 * 3
    assert sha(again) == sha(uninterrupted)


def slowly(folder: str, result: str, frozen: bool) -> None:
    """In a process of its own, with a checkpoint at every step."""
    torch.set_num_threads(1)
    run = decayed(folder, frozen, steps=20, checkpoint_every=1, evaluate_every=10)
    run.batches.seconds = 0.02
    finish(run)
    with open(result, "w", encoding="utf-8") as file:
        file.write(sha(run))


def one_life(context, folder, frozen: bool, killed: bool) -> None:
    """Train in a fresh process; kill -9 it some steps after its first checkpoint."""
    process = context.Process(target=slowly, args=(str(folder), str(folder / "result"), frozen))
    process.start()
    while killed and not written(folder) and process.is_alive():
        time.sleep(0.002)
    if killed:
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    process.join(120)
    assert process.exitcode == (-signal.SIGKILL if killed else 0)


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_9_and_going_on(tmp_path, frozen):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "safetensors.torch", "pydantic", "pytest"])
    one_life(context, tmp_path, frozen, killed=True)
    assert written(tmp_path) and not (tmp_path / "result").exists()
    one_life(context, tmp_path, frozen, killed=False)
    run = decayed(frozen=frozen, steps=20, checkpoint_every=1, evaluate_every=10)
    finish(run)
    assert (tmp_path / "result").read_text() == sha(run)


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize("value", ["0", "1.1", "-0.5", "nan", "none"])
def test_what_is_no_factor_is_refused(value):
    with pytest.raises(InputError) as caught:
        apply_settings(Recipe(), [f"optimizer.layer_decay={value}"])
    assert str(caught.value) == (
        f"--set: `optimizer.layer_decay` cannot be `{value}`. `optimizer.layer_decay` is of type float, > 0, ≤ 1."
    )


def test_the_default_changes_nothing():
    assert Recipe().optimizer.layer_decay == 1.0
    assert apply_settings(Recipe(), ["optimizer.layer_decay=0.9"]).optimizer.layer_decay == 0.9
