"""Interrupted equals uninterrupted, bit by bit: after a stop, a kill -9 at any moment, and a damaged checkpoint."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from firth.errors import Interrupted, RunError
from firth.train.loop import train
from tests.toy import ToyBatches, finish, sha, toy_run

SETTINGS = [(name, precision) for name in ("adamw", "muon") for precision in ("fp32", "bf16")]


def uninterrupted(**settings) -> str:
    run = toy_run(**settings)
    finish(run)
    return sha(run)


@pytest.mark.parametrize(("name", "precision"), SETTINGS)
@pytest.mark.parametrize("after", [1, 3, 8, 11])
def test_going_on_is_bit_equal(tmp_path, name, precision, after):
    settings = {"name": name, "precision": precision, "dropout": 0.2, "micro": 3}
    for step in train(toy_run(tmp_path, **settings)):
        if step.index == after:
            break
    again = toy_run(tmp_path, **settings)
    finish(again)
    assert again.resumed == after // 3 * 3
    assert sha(again) == uninterrupted(**settings)


def test_only_the_missing_steps_ask_for_data(tmp_path):
    for step in train(toy_run(tmp_path)):
        if step.index == 7:
            break
    again = toy_run(tmp_path)
    finish(again)
    assert again.batches.asked_for == [6, 7, 8, 9, 10, 11]


def test_a_finished_run_is_evaluated_and_not_trained(tmp_path):
    first = toy_run(tmp_path)
    last = finish(first)[-1]
    again = toy_run(tmp_path)
    (step,) = finish(again)
    assert (step.index, step.items, step.evaluation) == (12, 0, last.evaluation)
    assert sha(again) == sha(first)


def test_the_evaluation_that_saving_came_before_is_repeated(tmp_path):
    settings = {"checkpoint_every": 4, "evaluate_every": 4}
    for step in train(toy_run(tmp_path, **settings)):
        if step.index == 4:
            first = step.evaluation
            break
    steps = finish(toy_run(tmp_path, **settings))
    assert (steps[0].index, steps[0].items, steps[0].evaluation) == (4, 0, first)
    assert [step.index for step in steps[1:]] == list(range(5, 13))


def test_a_checkpoint_that_was_read_already_is_not_read_again_nor_held(tmp_path, monkeypatch):
    for step in train(toy_run(tmp_path, dropout=0.2)):
        if step.index == 7:
            break
    again = toy_run(tmp_path, dropout=0.2)
    again.found = again.checkpoints.newest()
    monkeypatch.setattr("firth.train.checkpoint.read", None)
    finish(again)
    assert again.resumed == 6 and again.found is None
    assert sha(again) == uninterrupted(dropout=0.2)


@pytest.mark.parametrize("stop_after", [3, 4, 5, 6, 7])
def test_patience_goes_on_too(tmp_path, stop_after):
    scores = {1: 0.1, 2: 0.5, 3: 0.2, 4: 0.6, 5: 0.3, 6: 0.4, 7: 0.5, 8: 0.9}

    def one(folder):
        run = toy_run(folder, steps=50, evaluate_every=1, checkpoint_every=2, patience=3)
        run.score = lambda evaluation: scores[int(run.state_dict()["parts.level.updates"])]
        return run

    for step in train(one(tmp_path / "a")):
        if step.index == stop_after:
            break
    again, whole = one(tmp_path / "a"), one(tmp_path / "b")
    assert finish(again)[-1].index == finish(whole)[-1].index == 7
    assert sha(again) == sha(whole)
    assert int(again.state_dict()["parts.level.updates"]) == 4


def test_a_damaged_newest_checkpoint_costs_only_its_steps(tmp_path):
    for step in train(toy_run(tmp_path, dropout=0.2)):
        if step.index == 8:
            break
    path = toy_run(tmp_path).checkpoints.path(6)
    os.truncate(path, 1000)
    again = toy_run(tmp_path, dropout=0.2)
    finish(again)
    assert again.resumed == 3
    assert again.notes[0].startswith(f"{path} is damaged (")
    assert sha(again) == uninterrupted(dropout=0.2)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    finish(toy_run(tmp_path, name="adamw"))
    with pytest.raises(RunError) as error:
        finish(toy_run(tmp_path, name="muon"))
    assert str(error.value) == (
        f"{tmp_path}, checkpoint of step 12: its optimizer is another. "
        "Run with the config it was made with, or choose another --out."
    )


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    from tests.toy import Level, Run, composed, recipe

    finish(toy_run(tmp_path))
    with pytest.raises(RunError) as error:
        finish(Run(composed(classes=(Level,)), ToyBatches(), recipe(), tmp_path))
    assert error.value.what == "its weights `parts.nexttoken.head.bias` have another shape here"


@pytest.mark.parametrize(("number", "called"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_signals_finish_the_step_and_write_a_checkpoint(tmp_path, number, called):
    run, indices = toy_run(tmp_path, dropout=0.2), []
    with pytest.raises(Interrupted) as error:
        for step in train(run):
            indices.append(step.index)
            if step.index == 4:
                os.kill(os.getpid(), number)
    assert indices == [1, 2, 3, 4, 5]
    assert run.checkpoints.steps()[-1] == 5
    assert error.value.exit_code == 130
    assert str(error.value) == (
        f"{tmp_path}: stopped by {called} after step 5 of 12; a checkpoint was written. "
        "The same command goes on from there."
    )
    again = toy_run(tmp_path, dropout=0.2)
    finish(again)
    assert sha(again) == uninterrupted(dropout=0.2)


def test_a_stop_without_a_folder_says_so():
    with pytest.raises(Interrupted) as error:
        for _ in train(toy_run()):
            os.kill(os.getpid(), signal.SIGTERM)
    assert str(error.value) == (
        "training: stopped by SIGTERM after step 2 of 12; nothing was kept. "
        "Give the run a folder with --out to be able to go on."
    )


def test_a_stop_during_the_last_step_is_a_finished_run(tmp_path):
    run = toy_run(tmp_path, steps=2)
    for step in train(run):
        os.kill(os.getpid(), signal.SIGTERM) if step.index == 1 else None
    assert step.index == 2 and step.evaluation


def test_the_former_handlers_are_back_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    finish(toy_run(steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


KILLED = {"steps": 40, "checkpoint_every": 1, "evaluate_every": 10, "dropout": 0.2, "precision": "bf16"}


def train_slowly(folder: str, result: str) -> None:
    """In a process of its own: checkpoints at every step, so that many kills fall into the writing of one."""
    import torch

    torch.set_num_threads(1)
    run = toy_run(folder, **KILLED)
    run.batches.seconds = 0.02
    finish(run)
    with open(result, "w", encoding="utf-8") as file:
        file.write(sha(run))


@pytest.mark.parametrize("seed", [0, 1])
def test_kill_9_at_random_moments(tmp_path, seed):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "safetensors.torch", "pydantic", "pytest"])
    source, result = random.Random(seed), tmp_path / "result"
    for _ in range(5):
        one_process(context, tmp_path, kill_after=source.uniform(0.05, 0.5))
    assert not result.exists()
    one_process(context, tmp_path)
    assert result.read_text() == uninterrupted(**KILLED)


def one_process(context, folder, kill_after: float | None = None) -> None:
    """Run in a fresh process; kill it some time after its first checkpoint of this life."""
    process = context.Process(target=train_slowly, args=(str(folder), str(folder / "result")))
    before = written(folder)
    process.start()
    while kill_after and written(folder) == before and process.is_alive():
        time.sleep(0.002)
    if kill_after:
        time.sleep(kill_after / 5)
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == (-signal.SIGKILL if kill_after else 0)


def written(folder) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*.safetensors"))


SCRIPT = "from tests.test_train_resume import train_slowly; import sys; train_slowly(sys.argv[1], sys.argv[2])"


def test_kill_9_of_a_whole_interpreter_while_it_writes(tmp_path):
    """The process is killed as soon as a half-written file is seen."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(tmp_path / "result")]
    process = subprocess.Popen(command, cwd=os.path.dirname(os.path.dirname(__file__)))
    folder, until = tmp_path / "checkpoints", time.monotonic() + 60
    while not (len(written(tmp_path)) > 1 and list(folder.glob("*.partial"))) and time.monotonic() < until:
        pass
    process.kill()
    process.wait()
    again = toy_run(tmp_path, **KILLED)
    finish(again)
    assert 0 < again.resumed < 40 and again.notes == []
    assert sha(again) == uninterrupted(**KILLED)
