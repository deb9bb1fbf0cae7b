"""The loop: exact accumulation, the order of saving and evaluating, early stopping, clear ends."""

import math
from pathlib import Path

import pytest
import torch

from firth.errors import InputError, RunError
from firth.objective import Loss, total
from firth.train import loop
from firth.train.loop import step_seed, totals, train
from firth.train.run import Run
from tests.toy import Comparing, Level, NextToken, ToyBatches, composed, finish, recipe, sha, toy_run, weights


def test_steps_say_what_was_done():
    steps = finish(toy_run(steps=4, evaluate_every=2))
    assert [step.index for step in steps] == [1, 2, 3, 4]
    assert {step.steps for step in steps} == {4}
    assert [step.evaluation is not None for step in steps] == [False, True, False, True]
    assert all(step.items == 8 * 5 and step.seconds > 0 and step.gradient_norm > 0 for step in steps)
    assert set(steps[0].metrics) == {"guess", "guess_accuracy", "level"}
    assert steps[0].loss == pytest.approx(0.1 * steps[0].metrics["guess"] + 0.1 * steps[0].metrics["level"])
    assert set(steps[1].evaluation) == {"loss", "guess", "guess_accuracy", "level"}


def test_it_learns():
    steps = finish(toy_run(steps=150, lr=0.05, evaluate_every=None))
    assert steps[-1].metrics["guess"] < 0.6 * steps[0].metrics["guess"]
    assert steps[-1].evaluation["guess_accuracy"] > 0.7


def test_the_schedule_reaches_the_optimizer():
    rates = [step.lr for step in finish(toy_run(steps=20, lr=0.02, valid=False))]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == 0.02 and rates[-1] == pytest.approx(0.02 / 6)


@pytest.mark.parametrize("micro", [1, 3, 4])
def test_accumulation_is_exact_in_double_precision(micro):
    """Micro-batches hold different numbers of asked tokens, and the two terms have different counts."""
    whole, parts = toy_run(precision="fp64", clip=0), toy_run(precision="fp64", clip=0, micro=micro)
    a, b = finish(whole), finish(parts)
    assert [x.loss for x in a] == pytest.approx([x.loss for x in b], rel=1e-12)
    assert [x.gradient_norm for x in a] == pytest.approx([x.gradient_norm for x in b], rel=1e-12)
    other = weights(parts)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-6, atol=1e-7)


def test_the_gradient_is_that_of_the_means(monkeypatch):
    run = toy_run(steps=1, precision="fp64", clip=0, valid=False, micro=3)
    module = composed().double()
    (batch,) = ToyBatches().step(0)
    total(module(batch), {k: float(v) for k, v in batch.counts.items()}, module.weights).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    assert finish(run)[0].gradient_norm == pytest.approx(norm.item(), rel=1e-12)


def test_counts_are_totalled_before_any_forward(monkeypatch):
    batches = ToyBatches(micro=3).step(0)
    expected = {"items": 40, "level": 8, "guess": sum(b.counts["guess"] for b in batches)}
    assert totals(batches) == expected
    order = []
    monkeypatch.setattr(loop, "totals", lambda b: order.append("totals") or totals(b))
    run = toy_run(steps=1, micro=3, valid=False)
    run.objective.register_forward_pre_hook(lambda *_: order.append("forward"))
    finish(run)
    assert order == ["totals", "forward", "forward", "forward"]


def test_a_term_that_nothing_is_counted_for_changes_nothing():
    run = toy_run(steps=2, valid=False)
    run.batches.rows = lambda keys, rows=run.batches.rows: without_asked(rows(keys))
    steps = finish(run)
    assert all("guess" not in step.metrics and math.isfinite(step.loss) for step in steps)


def without_asked(batch):
    batch["asked"] = torch.zeros_like(batch["asked"])
    batch.counts["guess"] = 0
    return batch


def test_saving_comes_before_evaluating(tmp_path, monkeypatch):
    run = toy_run(tmp_path, steps=6, checkpoint_every=2, evaluate_every=2)
    seen = []
    monkeypatch.setattr(loop, "_evaluate", lambda *_: seen.append(run.checkpoints.steps()[-1]) or {"loss": 1.0})
    assert [step.index for step in train(run) if step.evaluation] == [2, 4, 6]
    assert seen == [2, 4, 6]


def test_an_evaluation_that_fails_loses_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    run = toy_run(tmp_path, steps=6)
    monkeypatch.setattr(loop, "measure", fail)
    with pytest.raises(MemoryError):
        finish(run)
    assert run.checkpoints.steps()[-1] == 3


def test_step_zero_is_evaluated_when_asked():
    run = toy_run(steps=2)
    run.evaluate_first = True
    first, *rest = finish(run)
    assert (first.index, first.items, first.loss) == (0, 0, first.evaluation["loss"])
    assert [step.index for step in rest] == [1, 2]


def test_evaluating_does_not_change_the_run():
    runs = [toy_run(steps=5, dropout=0.3, evaluate_every=every) for every in (1, None)]
    for run in runs:
        finish(run)
    assert sha(runs[0]) == sha(runs[1])
    assert runs[0].objective.training


def test_dropout_depends_on_seed_step_and_rank_only():
    assert len({step_seed(seed, step, rank) for seed in (0, 1) for step in (0, 1) for rank in (0, 1)}) == 8
    assert step_seed(0, 5, 0) == step_seed(0, 5, 0) >= 0


def test_after_step_is_called_and_buffers_are_trained_state():
    run = toy_run(steps=3, valid=False)
    finish(run)
    assert run.state_dict()["parts.level.updates"] == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_model_ends_in_full_precision(precision):
    run = toy_run(steps=3, precision=precision)
    during = [{k: v.dtype for k, v in run.state_dict().items()} for _ in train(run)]
    assert during[0]["backbone.hidden.weight"] == torch.float32
    assert run.objective.backbone.hidden.weight.dtype == torch.float32
    digits = run.objective.backbone.hidden.weight
    assert not torch.equal(digits, digits.bfloat16().float())


def test_a_caller_who_stops_early_has_the_weights_so_far():
    run = toy_run(steps=9, precision="bf16")
    steps = train(run)
    next(steps)
    state = run.state_dict()
    steps.close()
    assert all(torch.equal(tensor, state[name]) for name, tensor in run.objective.state_dict().items())


def test_patience_ends_the_run_with_the_best_weights(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.9])
    run = toy_run(tmp_path, steps=100, evaluate_every=1, patience=2)
    run.score = lambda evaluation: next(scores)
    seen = {step.index: weights(run) for step in train(run)}
    assert sorted(seen) == [1, 2, 3, 4]
    assert all(torch.equal(tensor, seen[2][name]) for name, tensor in run.state_dict().items())


def test_default_score_is_the_held_out_loss():
    from firth.train.run import lower_loss

    assert lower_loss({"loss": 1.0}) > lower_loss({"loss": 2.0})


def test_accumulation_is_refused_where_samples_are_compared():
    run = Run(composed(classes=(Comparing,)), ToyBatches(micro=4), recipe(), valid=None)
    with pytest.raises(InputError) as error:
        finish(run)
    assert str(error.value) == (
        "train.micro_batch: `comparing` compares the samples of a batch with each other, and 2 micro-batches would "
        "each be compared within themselves only: a different, easier task. "
        "Leave train.micro_batch out, and lower train.batch if memory does not suffice."
    )


class Sick(Level):
    """Gives a loss, or a gradient, that is no number from its sixth update on."""

    kind = "loss"

    def loss(self, features, batch) -> Loss:
        good = super().loss(features, batch)
        if self.updates < 5 or not self.training:
            return good
        term = good.terms["level"]
        spoilt = term.sum * float("nan") if self.kind == "loss" else spoil_gradient(term.sum)
        return Loss({"level": term._replace(sum=spoilt)}, {})


def spoil_gradient(x):
    return x + (x * 0).sqrt()


@pytest.mark.parametrize(("kind", "subject"), [("loss", "the loss is nan"), ("gradient", "the gradient norm is nan")])
def test_no_number_ends_the_run_and_is_not_saved(tmp_path, monkeypatch, kind, subject):
    monkeypatch.setattr(Sick, "kind", kind)
    run = Run(composed(classes=(Sick,)), ToyBatches(), recipe(steps=20), tmp_path)
    with pytest.raises(RunError) as error:
        finish(run)
    assert error.value.what.startswith(subject)
    assert error.value.what.endswith(" at step 6: the learning rate 0.01 is probably too high")
    assert error.value.do == (
        "Try --set optimizer.lr=0.003, or --set train.precision=fp32. "
        "The checkpoint of step 3 is good; this step was not saved."
    )
    assert run.checkpoints.steps() == [3]
    assert all(torch.isfinite(tensor).all() for tensor in run.objective.state_dict().values())


def test_no_number_in_the_weights_is_named():
    run = toy_run(valid=False)
    run.objective.backbone.hidden.weight.data[0, 0] = float("nan")
    with pytest.raises(RunError) as error:
        finish(run)
    assert str(error.value) == (
        "training: the loss is nan at step 1: the weights `backbone.hidden.weight` hold nan or inf. "
        "Begin from other weights (--from, or --set model.start=random). No checkpoint was written yet."
    )


def test_no_number_at_the_first_step():
    run = toy_run(valid=False)
    run.objective.backbone.embed.weight.data.fill_(3e38)
    run.objective.backbone.hidden.weight.data.fill_(3e38)
    run.objective.backbone.norm.weight.data.fill_(3e38)
    with pytest.raises(RunError, match="it is the first step, so the input or the weights"):
        finish(run)


def test_a_run_needs_steps():
    with pytest.raises(ValueError, match=r"steps is open. Give steps="):
        Run(composed(), ToyBatches(), recipe(steps=None))


def test_one_objective_alone_runs_too():
    run = Run(composed(classes=(NextToken,)), ToyBatches(), recipe(steps=2))
    assert [set(step.metrics) for step in finish(run)] == [{"guess", "guess_accuracy"}] * 2


def test_the_loop_imports_no_method():
    text = Path(loop.__file__).read_text(encoding="utf-8")
    assert not any(f"firth.{kind}" in text for kind in ("objectives", "signals", "tasks", "starts", "model"))
