"""Ctrl-C and SIGTERM: finish the step, write a checkpoint, say how to go on."""

import signal
import threading
from contextlib import contextmanager

from firth import distributed
from firth.errors import Interrupted

CALLED = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stop:
    """While open, the first signal is noted for the loop to see; a second Ctrl-C stops at once, as Python does."""

    def __init__(self):
        self.asked: str | None = None  # what the person did, in words
        self._former: dict = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in CALLED}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = CALLED[signal.Signals(number)]

    @contextmanager
    def told(self, where, step: int):
        """A step that fails after Ctrl-C failed of it: the signal also ends what a step has running, as a compiler."""
        try:
            yield
        except Exception as error:
            if self.asked is None:
                raise
            what = f"stopped by {self.asked} during step {step:,}"
            do = "The same command goes on from the last checkpoint."
            raise Interrupted(where, what, do) from error

    def agreed(self) -> bool:
        """True on all ranks when one of them was asked to stop."""
        return distributed.total({"stop": float(self.asked is not None)})["stop"] > 0

    def interrupted(self, where, step: int, steps: int, saved: bool) -> Interrupted:
        """The error to raise once everything is written."""
        what = f"stopped by {self.asked or 'another rank'} after step {step:,} of {steps:,}"
        if saved:
            return Interrupted(where, f"{what}; a checkpoint was written", "The same command goes on from there.")
        return Interrupted(where, f"{what}; nothing was kept", "Give the run a folder with --out to be able to go on.")
