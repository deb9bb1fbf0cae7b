"""The other side of processes.py: reads what is to be trained from standard input, and says what came of it.

Nothing heavy is imported before the input is listened to, so that the process can be ended at any moment.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any, TextIO

from firth.errors import FirthError, RunError

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Runs until its input ends. What libraries print goes to standard error: standard output is for messages."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(listened(sys.stdin), lambda message: print(json.dumps(message), file=out, flush=True))


def listened(stream: TextIO) -> Iterator[dict[str, Any]]:
    """The messages of a stream; when it ends, this process ends, even in the middle of a trial."""
    inbox: SimpleQueue[str] = SimpleQueue()

    def listen() -> None:
        for line in stream:
            inbox.put(line)
        os._exit(0)

    Thread(target=listen, daemon=True).start()
    while True:
        yield json.loads(inbox.get())


def serve(messages: Iterator[dict[str, Any]], say: Say) -> None:
    """The request, then one trial after the other. An error is said, and is the end."""
    where = "a process of --jobs"
    try:
        from firth.evaluate.compare import Request, opened
        from firth.evaluate.kept import Key, plain
        from firth.evaluate.processes import named

        work = opened(Request(**next(messages)), Said(say))
        for message in messages:
            key = Key(**message)
            where = named(key)
            trial = work.arms[key.arm](work.drawn(key.labels, key.seed))
            say({"trial": plain(trial), "told": work.arms[key.arm].told()})
    except FirthError as error:
        say({"error": [type(error).__name__, error.where, error.what, error.do]})
    except Exception as error:
        traceback.print_exc()
        what = f"ended with {type(error).__name__}: {(str(error).splitlines() or [''])[0][:500]}"
        fault = RunError(where, what, "This is a fault in firth; run again with --jobs 1 --debug.")
        say({"error": ["RunError", fault.where, fault.what, fault.do]})


class Said:
    """A Show that says lines and notes to the other side; several live lines cannot be drawn at once."""

    def __init__(self, say: Say):
        self.say = say

    def line(self, key: str, text: str) -> None:
        self.say({"say": ["line", key, text]})

    def note(self, text: str) -> None:
        self.say({"say": ["note", text]})

    def progress(self, step, run) -> None: ...

    def count(self, key: str, done: int, whole: int, begun: int = 0) -> None: ...

    def result(self, result) -> None: ...
