"""`firth pretrain` as torchrun starts it: two processes train one run, and one of them writes and prints."""

import os
import socket
import subprocess
import sys

import pytest

from firth.errors import InputError
from firth.recipe import Recipe
from firth.train import prepare, ranks, session
from firth.train.budget import Budget, Clock
from firth.train.folder import RunFolder
from firth.train.log import Recorded, read_metrics
from tests import runs
from tests.house import ROOT


def on_two_ranks(*words) -> list[subprocess.CompletedProcess]:
    """The same command in two processes, with what torchrun tells each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "firth", *map(str, words)]
    started = [
        subprocess.Popen(command, env={**os.environ, **told, "RANK": rank, "LOCAL_RANK": rank}, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [process.communicate(timeout=900) for process in started]
    return [
        subprocess.CompletedProcess(command, one.returncode, *text) for one, text in zip(started, said, strict=True)
    ]


def losses(folder) -> list[float]:
    """Of each step, then of each evaluation."""
    rows = read_metrics(folder / "metrics.jsonl")
    return [row["loss"] for row in rows if "lr" in row] + [row["held_out"]["loss"] for row in rows if "held_out" in row]


def test_two_processes_train_the_run_of_one(tmp_path):
    settings = [word for setting in runs.QUICK for word in ("--set", setting)]
    words = ["pretrain", runs.folder() / "corpus.txt", "--size", "2x32", "--budget", "12steps", *settings]
    main, other = on_two_ranks(*words, "--out", tmp_path / "run")
    assert (main.returncode, other.returncode) == (0, 0), main.stderr + other.stderr
    assert other.stdout == "" and all(f"\n{key}" in main.stdout for key in ("Plan", "Result", "Next", "Report"))
    ours, theirs = tmp_path / "run", runs.folder() / "pretrained"
    assert losses(ours) == pytest.approx(losses(theirs), rel=1e-4)
    facts = [RunFolder(place).facts for place in (ours, theirs)]
    assert facts[0]["status"] == "finished" and facts[0]["data"] == facts[1]["data"]
    assert facts[0]["result"]["tokens"] == facts[1]["result"]["tokens"]
    assert (ours / "model" / "model.safetensors").exists() and (ours / "report.html").exists()


def test_who_leads_is_known_before_the_ranks_are_joined(monkeypatch):
    assert ranks.leads() and not ranks.several()
    monkeypatch.setenv("RANK", "1")  # of something else than torchrun
    assert ranks.leads()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ranks.several() and not ranks.leads()
    monkeypatch.setenv("RANK", "0")
    assert ranks.leads()


def test_what_ranks_cannot_do_alike_is_refused(monkeypatch):
    monkeypatch.setattr("firth.distributed.world", lambda: 2)
    with pytest.raises(
        InputError, match=r"--budget 60s: cannot be measured alike on 2 ranks\. Give the budget in steps"
    ):
        session.refuse_timed_ranks(Budget("seconds", 60))
    work = prepare.Work(Recipe(), Budget("steps", 1), Clock(), Recorded(), None, source=[1, 2], held_out=[1])
    with pytest.raises(InputError, match="leaves fewer samples than ranks in the held-out part"):
        prepare.refuse_empty(work)
