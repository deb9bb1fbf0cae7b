"""One thread in which the model works, job after job; what comes of a job is handed to the event loop piece by piece.

Torch computes one thing at a time on all cores, so a second thread would gain nothing; and nothing of the model is
touched by two threads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from firth.serving.refusal import ending, too_late

END = object()


class Job:
    """Something for the model to do. It is given up between two pieces once nobody waits for it any more.

    seconds: after which nobody does.
    """

    def __init__(self, work: Callable[[], Iterator[Any]], seconds: float):
        self.work, self.seconds = work, seconds
        self.loop = asyncio.get_running_loop()
        self.until = self.loop.time() + seconds
        self.found: asyncio.Queue[Any] = asyncio.Queue()
        self.given_up = Event()

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.given_up.set()
        self.found.put_nowait(END)

    async def pieces(self) -> AsyncIterator[Any]:
        """Raises Refusal: what came of the work, or that it takes too long; any other fault of the work as it is."""
        while (piece := await self.next()) is not END:
            yield piece

    async def next(self) -> Any:
        """The next piece, or END."""
        try:
            async with asyncio.timeout_at(self.until):
                piece = await self.found.get()
        except TimeoutError:
            self.cancel()
            raise too_late(self.seconds) from None
        if isinstance(piece, Exception):
            raise piece
        return piece

    def run(self, stopping: Event) -> None:
        """In the worker's thread."""
        try:
            for piece in self.work() if not self.given_up.is_set() else ():
                if self.given_up.is_set() or stopping.is_set():
                    break
                self.hand(piece)
            self.hand(ending() if stopping.is_set() else END)
        except Exception as error:
            self.hand(error)

    def hand(self, piece: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self.found.put_nowait, piece)


class Worker:
    def __init__(self, seconds: float):
        self.seconds = seconds
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()  # as many as there are requests, which are bounded
        self.stopping = Event()
        self.thread = Thread(target=self._work, name="firth-model", daemon=True)
        self.thread.start()

    def submit(self, work: Callable[[], Iterator[Any]]) -> Job:
        """In the event loop. Raises Refusal where the server is being stopped."""
        if self.stopping.is_set():
            raise ending()
        job = Job(work, self.seconds)
        self.jobs.put(job)
        return job

    def stop(self) -> None:
        """What waits, or is being worked on, is answered with a Refusal."""
        self.stopping.set()
        self.jobs.put(None)

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job.run(self.stopping)
            del job  # and what it holds, before the next is waited for
