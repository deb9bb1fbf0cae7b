"""kill -9 at random moments of the real command, then the same command again: the same weights, bit by bit."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests import runs
from tests.house import ROOT
from tests.material import write_corpus

STEPS = 150
OFTEN = ["--set", "train.checkpoint_every=1", "--set", "train.evaluate_every=25", "--set", "train.threads=1"]
PRETRAIN = ["--size", "1x32", "--budget", f"{STEPS}steps", "--set", "text.vocabulary=300", "--set", "text.context=32",
            "--set", "train.batch=4", "--set", "train.precision=fp32", *OFTEN]  # fmt: skip
ADAPT = ["--set", f"train.steps={STEPS}", "--set", "train.patience=none", "--set", "train.precision=fp32", *OFTEN]


def command(verb, folder):
    """The words of a command that trains in `folder`/run."""
    if verb == "pretrain":
        return ["pretrain", write_corpus(folder), *PRETRAIN, "--out", folder / "run"]
    return ["adapt", runs.folder() / "pretrained", runs.folder() / "reviews.tsv", *ADAPT, "--out", folder / "run"]


def start(words):
    """A process of its own, without the numbers of threads that may differ."""
    return subprocess.Popen([sys.executable, "-m", "firth", *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip


def uninterrupted(verb, folder) -> bytes:
    """In this process, which has torch already."""
    from typer.testing import CliRunner

    from firth.cli import app

    folder.mkdir()
    done = CliRunner().invoke(app, list(map(str, command(verb, folder))))
    assert done.exit_code == 0, done.output
    return weights(folder)


def weights(folder) -> bytes:
    return (folder / "run" / "model" / "model.safetensors").read_bytes()


def killed(words, run, delay: float) -> bool:
    """Kill the process `delay` seconds after its first new checkpoint; False where it was done before."""
    process, before = start(words), newest(run)
    while newest(run) == before and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode == -signal.SIGKILL


def newest(run) -> str:
    """The name of the last checkpoint, whatever else lies there."""
    return max((path.name for path in (run / "checkpoints").glob("step-*.safetensors")), default="")


def kill_and_compare(verb, tmp_path, kills: int, seed: int) -> None:
    """The figure of merit: bytes of model.safetensors."""
    whole, source = uninterrupted(verb, tmp_path / "whole"), random.Random(seed)
    folder = tmp_path / "killed"
    folder.mkdir()
    words = command(verb, folder)
    done = sum(killed(words, folder / "run", source.uniform(0, 1.0 / kills)) for _ in range(kills))
    assert done > 0, "no process lived long enough to be killed"
    last = start(words)
    _, told = last.communicate(timeout=600)
    assert last.returncode == 0, told.decode()
    assert weights(folder) == whole
    assert not list((folder / "run" / "checkpoints").glob("*.partial"))


def test_pretrain_killed(tmp_path):
    kill_and_compare("pretrain", tmp_path, kills=2, seed=1)


def test_adapt_killed(tmp_path):
    kill_and_compare("adapt", tmp_path, kills=1, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["pretrain", "adapt"])
def test_ten_kills(tmp_path, verb):
    kill_and_compare(verb, tmp_path, kills=10, seed=3)
