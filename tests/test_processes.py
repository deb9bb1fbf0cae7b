"""`compare --jobs`: trials in several processes are those of one, bit for bit; errors, deaths, Ctrl-C end them all."""

import json
import os
import signal
import subprocess
import sys
import time
from queue import SimpleQueue
from threading import Timer
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.errors import InputError, Interrupted, RunError
from firth.evaluate import compare as core
from firth.evaluate import processes, worker
from firth.evaluate.comparison import Trial
from firth.evaluate.kept import Kept, Key, plain
from firth.evaluate.processes import environment, taken, trained
from firth.interop.folder import open_folder
from firth.train.log import Recorded
from tests import runs
from tests.house import ROOT

FEW = {"train.steps": 4, "train.batch": 4, "train.evaluate_every": 2, "train.precision": "fp32", "train.threads": 1}
KEYS = [Key(arm, 20, seed) for seed in (0, 1) for arm in ("a", "b", "c")]

# a worker without torch: what it does with the trials of each arm
FAKE = """
import json, os, sys, time
from firth.evaluate.worker import listened
out = os.fdopen(os.dup(1), "w")
say = lambda message: print(json.dumps(message), file=out, flush=True)
messages = listened(sys.stdin)
request = next(messages)
for key in messages:
    {act}
    trial = {{"predicted": [key["seed"]], "right": None, "curve": [], "seconds": 0.5}}
    say({{"trial": trial, "told": {{"by": os.getpid()}}}})
"""


def fake(monkeypatch, act: str = "pass") -> None:
    monkeypatch.setattr(processes, "CODE", FAKE.format(act=act))


def run(keys=KEYS, jobs: int = 2, show=None) -> list[tuple[Trial, dict]]:
    return list(trained({"data": "x"}, keys, jobs, 1, show or Recorded()))


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """The processes that a test started; none may be left at its end."""
    found = []

    class Known(processes.Worker):
        def __init__(self, *given):
            found.append(self)
            super().__init__(*given)

    monkeypatch.setattr(processes, "Worker", Known)
    yield found
    assert [one for one in found if one.process.poll() is None] == []


# ------------------------------------------------------------------ for real, tiny


def compared(jobs: int, show=None, **options):
    given = {"labels": (20,), "seeds": 2, "arms": ("random", "co-occurrence", "pretrained"), "settings": FEW, **options}
    return core.compare(runs.folder() / "pretrained", runs.folder() / "reviews.tsv", show=show, jobs=jobs, **given)


def told(found) -> list:
    return [[trial.arm, trial.labels, trial.seed, {**plain(trial), "seconds": None}] for trial in found.trials]


def test_what_a_start_writes_is_handed_on(monkeypatch):
    name = "backbone.embed.word.weight"
    shape = open_folder(runs.folder() / "pretrained").state[name].shape
    begun = {"co-occurrence": {name: torch.linspace(-1, 1, shape.numel()).view(shape)}}
    given = {"seeds": 1, "arms": ("co-occurrence", "pretrained"), "begun": begun}
    both = [told(compared(jobs, **given)) for jobs in (1, 2)]
    assert both[0] == both[1]
    assert both[0][0] != told(compared(1, **given | {"begun": None}))[0]


@pytest.fixture(scope="module")
def one():
    """As one process does it."""
    torch.set_num_threads(1)
    return compared(1)


def test_two_processes_give_the_trials_of_one_bit_for_bit_and_go_on_where_another_ended(one, tmp_path):
    first = compared(1, seeds=1, out=tmp_path / "c")
    show = Recorded()
    two = compared(2, show, out=tmp_path / "c")
    assert json.dumps(told(two)) == json.dumps(told(one))
    assert json.dumps(told(two)[:3]) == json.dumps(told(first))
    assert show.lines[3] == "Jobs     2 processes × 1 thread" and len(show.lines) == 7
    assert sorted(show.lines[4:]) == sorted(
        f"Trial    {core.described(trial, SimpleNamespace(**drawn(two)))}" for trial in two.trials[3:]
    )
    assert two.facts["settings"] == one.facts["settings"] and two.facts["settings"]["threads"] == 1
    assert set(two.facts["cost"]) == {"co-occurrence start", "comparing"}
    again = Recorded()
    assert json.dumps(told(compared(2, again, out=tmp_path / "c"))) == json.dumps(told(one))
    assert not any(line.startswith("Jobs") for line in again.lines)


def test_a_start_hangs_on_no_other_trial(one):
    """Whichever draw comes first, the closed-form start is that of the first seed."""
    work = core.opened(core.Request(str(runs.folder() / "pretrained"), [str(runs.folder() / "reviews.tsv")], "classify",
                                    0, None, FEW, ["co-occurrence"], [], False), Recorded())  # fmt: skip
    last = work.arms["co-occurrence"](work.drawn(20, 1))
    assert plain(last) | {"seconds": None} == told(one)[4][3]


def drawn(found) -> dict:
    """What `described` looks at."""
    labelled = SimpleNamespace(task=SimpleNamespace(metric="accuracy"), by_class=False)
    return {"gold": found.gold, "counts": None, "labelled": labelled, "whole": None}


def test_no_jobs_are_refused():
    with pytest.raises(InputError) as caught:
        compared(0)
    assert str(caught.value) == "jobs = 0: no process would train. Use 1, or as many as there are cores."


# ------------------------------------------------------------------ who does what


def test_every_trial_is_done_once_by_as_many_processes_as_asked_for(monkeypatch):
    fake(monkeypatch, "time.sleep(0.05)")
    found = run()
    assert sorted((t.arm, t.labels, t.seed) for t, _ in found) == sorted(map(tuple, KEYS))
    assert len({facts["by"] for _, facts in found}) == 2
    assert all(trial.predicted.tolist() == [trial.seed] for trial, _ in found)


def test_there_are_no_more_processes_than_trials(monkeypatch):
    fake(monkeypatch)
    show = Recorded()
    assert len(run(KEYS[:1], 8, show)) == 1
    assert show.lines == ["Jobs     1 process × 1 thread"]
    assert run([], 8) == []


def test_a_process_keeps_to_its_draw_and_a_new_one_takes_a_draw_of_its_own():
    waiting, one, two = list(KEYS), SimpleNamespace(draw=None), SimpleNamespace(draw=None)
    taking = []
    for who in (one, two, one, two, two, one):
        key = taken(waiting, who, [one, two])
        who.draw = (key.labels, key.seed)
        taking.append(tuple(key))
    assert taking == [("a", 20, 0), ("a", 20, 1), ("b", 20, 0), ("b", 20, 1), ("c", 20, 1), ("c", 20, 0)]
    waiting = [Key("d", 20, 0)]
    assert taken(waiting, two, [one, two]) == ("d", 20, 0) and waiting == []


def test_a_process_keeps_to_its_seed_where_it_can_and_to_one_that_nobody_has():
    waiting = [Key("a", labels, seed) for seed in (0, 1, 2) for labels in (20, 40)]
    one, two = SimpleNamespace(draw=None), SimpleNamespace(draw=None)
    taking = []
    for who in (one, two, two, two, one, one):
        key = taken(waiting, who, [one, two])
        who.draw = (key.labels, key.seed)
        taking.append(who.draw)
    assert taking == [(20, 0), (20, 1), (40, 1), (20, 2), (40, 0), (40, 2)]


@pytest.mark.parametrize(("asked", "cores", "jobs", "threads"), [(None, 8, 2, 4), (None, 2, 3, 1), (3, 8, 2, 3)])
def test_threads_are_those_asked_for_or_a_share_of_the_cores(monkeypatch, asked, cores, jobs, threads):
    fake(monkeypatch)
    monkeypatch.setattr(processes.machine, "cores", lambda: cores)
    show = Recorded()
    list(trained({}, KEYS, jobs, asked, show))
    assert show.lines[0].startswith(f"Jobs     {jobs} processes × {threads} thread")
    own = environment(threads)
    assert own["OMP_NUM_THREADS"] == str(threads) and own["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


def test_what_all_say_is_said_once(monkeypatch):
    fake(monkeypatch, 'say({"say": ["note", "no raw text"]}); say({"say": ["line", "Data", "x"]})')
    show = Recorded()
    run(show=show)
    assert sorted(show.lines[1:]) == ["Data     x", "no raw text"]


# ------------------------------------------------------------------ how it ends


def test_an_error_arrives_as_it_was_made_and_ends_the_others(monkeypatch):
    fake(
        monkeypatch,
        'say({"error": ["InputError", "x.tsv:3", "is bad", "Mend it."]}) if key["seed"] else time.sleep(60)',
    )
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        run()
    assert (caught.value.where, caught.value.what, caught.value.do) == ("x.tsv:3", "is bad", "Mend it.")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("act", "how"),
    [("os.kill(os.getpid(), 9)", "its process was ended by SIGKILL"),
     ("os._exit(3)", "its process ended with exit code 3")],
)  # fmt: skip
def test_a_process_that_dies_is_named_with_its_trial(monkeypatch, act, how):
    fake(monkeypatch, act)
    with pytest.raises(RunError) as caught:
        run(KEYS[:1])
    assert str(caught.value) == (
        f"trial a, labels 20, seed 0: {how}. If memory ran out, use fewer --jobs. "
        "Run the same command without --jobs; it goes on from the trials that are done."
    )


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_all_and_says_so(monkeypatch, number, name):
    fake(monkeypatch, "time.sleep(60)")
    Timer(1.0, os.kill, (os.getpid(), number)).start()
    began = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        run()
    assert str(caught.value).startswith(f"compare: stopped by {name}; nothing was kept.")
    assert time.monotonic() - began < 30


def test_what_was_kept_is_told_to_who_stops(tmp_path):
    kept = Kept(tmp_path / "c", {})
    kept.put(Trial("a", 20, 0, np.array([1])))
    with pytest.raises(Interrupted) as caught, core.telling_what_is_kept(kept, 12):
        raise Interrupted("training", "stopped by Ctrl-C after step 3 of 9; nothing was kept", "Give it a folder.")
    assert str(caught.value) == (
        f"{tmp_path / 'c'}: stopped after 1 of 12 trials. The same command goes on from there."
    )
    with pytest.raises(Interrupted, match="nothing was kept"), core.telling_what_is_kept(Kept(None, {}), 12):
        raise Interrupted("training", "stopped; nothing was kept", "Give it a folder.")


def test_random_initialisation_is_taken_over_from_another_run_of_the_network(tmp_path):
    first = Kept(tmp_path / "a", {"model": "a"})
    for arm in ("random", "pretrained"):
        first.put(Trial(arm, 20, 0, np.array([1]), seconds=3.0))
    other = Kept(tmp_path / "b", {"model": "b"}, like=tmp_path / "a")
    assert other.get("pretrained", 20, 0) is None and other.get("random", 20, 1) is None
    found = other.get("random", 20, 0)
    assert found is not None and found.seconds == 3.0 and other.count == 1
    assert Kept(tmp_path / "b", {"model": "b"}).get("random", 20, 0) is not None
    assert Kept(None, {}, like=tmp_path / "a").get("random", 20, 0) is not None


def test_who_stops_reading_ends_them_all(monkeypatch, started):
    fake(monkeypatch, "time.sleep(0.1)")
    going = trained({}, KEYS, 2, 1, Recorded())
    next(going)
    assert [one.process.poll() for one in started] == [None, None]
    going.close()
    assert [one.process.poll() for one in started] == [0, 0]


@pytest.mark.parametrize("busy", [True, False])
def test_a_worker_whose_input_ends_ends_itself(busy):
    """As when the process that started it is killed."""
    code = FAKE.format(act="time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=environment(1), text=True)  # fmt: skip
    process.stdin.write('{}\n{"arm": "a", "seed": 0}\n' if busy else "{}\n")
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


# ------------------------------------------------------------------ the other side


def served(monkeypatch, arm) -> list[dict]:
    work = SimpleNamespace(arms={"a": arm}, drawn=lambda labels, seed: (labels, seed))
    monkeypatch.setattr(core, "opened", lambda request, show: show.note(f"task {request.task}") or work)
    request = core.Request("m", ["x"], "classify", 0, None, {}, ["a"], [], False)._asdict()
    said: list[dict] = []
    worker.serve(iter([request, Key("a", 20, 1)._asdict()]), said.append)
    return json.loads(json.dumps(said))


class Arm:
    def __call__(self, drawn) -> Trial:
        return Trial("a", *drawn, np.array([1, 0]), (), 0.5)

    def told(self) -> dict:
        return {"cost": {"x start": 1.5}}


def test_a_worker_says_what_came_of_a_trial(monkeypatch):
    note, done = served(monkeypatch, Arm())
    assert note == {"say": ["note", "task classify"]}
    assert done == {
        "trial": {"predicted": [1, 0], "right": None, "curve": [], "seconds": 0.5, "opening": None, "layers": []},
        "told": {"cost": {"x start": 1.5}},
    }


def test_a_worker_says_errors_as_they_are_and_faults_with_their_trial(monkeypatch, capsys):
    def refuse(drawn):
        raise InputError("x.tsv", "is bad", "Mend it.")

    def fail(drawn):
        raise KeyError("nothing")

    assert served(monkeypatch, refuse)[1] == {"error": ["InputError", "x.tsv", "is bad", "Mend it."]}
    assert served(monkeypatch, fail)[1] == {
        "error": ["RunError", "trial a, labels 20, seed 1", "ended with KeyError: 'nothing'",
                  "This is a fault in firth; run again with --jobs 1 --debug."]
    }  # fmt: skip
    assert "Traceback" in capsys.readouterr().err


def test_a_stop_is_heard_while_nothing_comes():
    with pytest.raises(Interrupted):
        processes.heard(SimpleQueue(), SimpleNamespace(asked="Ctrl-C"))


@pytest.mark.slow
def test_ctrl_c_on_the_command_line_ends_all_and_the_same_command_goes_on(tmp_path):
    words = ["compare", str(runs.folder() / "pretrained"), str(runs.folder() / "reviews.tsv"), "--labels", "20",
             "--seeds", "3", "--arms", "random,pretrained", "--jobs", "2", "--out", str(tmp_path / "c"),
             "--set", "train.batch=4", "--set", "train.steps=300"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "firth", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "c").glob("trials/*.json")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "The same command goes on from there." in errors and "Traceback" not in errors
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and len(list((tmp_path / "c" / "trials").iterdir())) == 6
