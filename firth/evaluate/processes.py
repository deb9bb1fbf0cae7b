"""Trials in several processes: this one hands them out, one at a time, and takes in what comes of them.

Each process is a Python of its own that runs `worker.main`. Both sides write JSON, a message a line: in go the request
and then trials to do, out come finished trials, lines for the person, and at most one error. A worker whose input ends
ends itself at once, so none outlives this process, however that ends; it is no member of the terminal's group, so that
Ctrl-C reaches this process alone.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NoReturn

from firth.errors import FirthError, InputError, Interrupted, RunError
from firth.evaluate.comparison import Trial
from firth.evaluate.kept import Key, trial_of
from firth.train import machine
from firth.train.log import Show
from firth.train.stop import Stop

CODE = "from firth.evaluate.worker import main; main()"
ERRORS: dict[str, type[FirthError]] = {one.__name__: one for one in (InputError, RunError, Interrupted)}
LOOK = 0.2  # seconds between two looks at whether the person wants to stop
PATIENCE = 10.0  # seconds until a process that should end is killed
ONE_BY_ONE = "Run the same command without --jobs; it goes on from the trials that are done."

Message = dict[str, Any]


class Worker:
    """One process, and the trial it is at."""

    def __init__(self, request: Mapping[str, Any], threads: int, inbox: "SimpleQueue[tuple[Worker, Message | None]]"):
        self.key: Key | None = None
        self.draw: tuple[int, int] | None = None  # labels and seed of the data it has open
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            encoding="utf-8", env=environment(threads), start_new_session=True,
        )  # fmt: skip
        Thread(target=self._listen, args=(inbox,), daemon=True).start()
        self._write(request)

    def give(self, key: Key) -> None:
        self.key, self.draw = key, (key.labels, key.seed)
        self._write(key._asdict())

    def stop(self) -> None:
        """Ends its input, and thereby it, whatever it is doing."""
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def wait(self) -> None:
        """Until it is gone; one that cannot listen is killed."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _write(self, message: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it is gone; its output, which ends, says so
            self.process.stdin.write(json.dumps(message, default=str) + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]

    def _listen(self, inbox) -> None:
        """None at the end of its output."""
        for line in self.process.stdout:  # type: ignore[union-attr]
            inbox.put((self, json.loads(line)))
        inbox.put((self, None))


def environment(threads: int) -> dict[str, str]:
    """That of this process, with so many threads for whatever computes, and this copy of firth."""
    own = {name: str(threads) for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")}
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)}


def trained(
    request: Mapping[str, Any], keys: Sequence[Key], jobs: int, threads: int | None, show: Show
) -> Generator[tuple[Trial, Message], None, None]:
    """Each trial as soon as it is done, and what its arm tells. threads: of each process; None: a share of the cores.

    Raises what a trial raised, once, after all processes are ended; Interrupted after Ctrl-C or SIGTERM.
    """
    jobs, waiting, said = min(jobs, len(keys)), list(keys), set[str]()
    inbox: SimpleQueue[tuple[Worker, Message | None]] = SimpleQueue()
    threads = threads or max(1, machine.cores() // max(1, jobs))
    if jobs:
        show.line("Jobs", f"{jobs} process{'es' * (jobs != 1)} × {threads} thread{'s' * (threads != 1)}")
    with Stop() as stop, crew(request, jobs, threads, inbox) as workers:
        for worker in workers:
            worker.give(taken(waiting, worker, workers))
        while any(worker.key for worker in workers):
            worker, message = heard(inbox, stop)
            key = worker.key
            if message is None:
                lost(worker)
            elif "error" in message:
                raise ERRORS[message["error"][0]](*message["error"][1:])
            elif "say" in message and json.dumps(message) not in said:
                said.add(json.dumps(message))
                getattr(show, message["say"][0])(*message["say"][1:])
            elif "trial" in message and key:
                worker.key = None
                if waiting:
                    worker.give(taken(waiting, worker, workers))
                yield trial_of(key, message["trial"]), message["told"]


@contextmanager
def crew(request: Mapping[str, Any], jobs: int, threads: int, inbox) -> Iterator[list[Worker]]:
    """So many processes, all of which are gone in the end."""
    workers: list[Worker] = []
    try:
        for _ in range(jobs):
            workers.append(Worker(request, threads, inbox))
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


def taken(waiting: list[Key], worker: Worker, workers: Sequence[Worker]) -> Key:
    """The next trial for a worker, taken from those that wait: one of the draw that it has open, else of its seed (an
    untrained network hangs on the seed), else of a seed that nobody has, else of a draw that nobody has, else the
    first."""
    others = {other.draw for other in workers if other is not worker and other.draw}
    free = [key for key in waiting if (key.labels, key.seed) not in others]
    own = [key for key in waiting if (key.labels, key.seed) == worker.draw]
    alike = [key for key in free if worker.draw and key.seed == worker.draw[1]]
    apart = [key for key in free if key.seed not in {seed for _, seed in others}]
    key = (own or alike or apart or free or waiting)[0]
    waiting.remove(key)
    return key


def heard(inbox, stop: Stop) -> tuple[Worker, Message | None]:
    """The next message. Raises Interrupted where the person wants to stop."""
    while not stop.asked:
        with suppress(Empty):
            return inbox.get(timeout=LOOK)
    raise Interrupted("compare", f"stopped by {stop.asked}; nothing was kept", "Give it a folder to be able to go on.")


def lost(worker: Worker) -> NoReturn:
    """Raises RunError for a process that ended unasked."""
    code = worker.process.wait()
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    do = f"If memory ran out, use fewer --jobs. {ONE_BY_ONE}"
    raise RunError(named(worker.key), f"its process {how}", do)


def named(key: Key | None) -> str:
    return f"trial {key.arm}, labels {key.labels:,}, seed {key.seed}" if key else "a process of --jobs"
