"""The next step's batches are made in a background thread while this step computes.

Batches are pure functions of the step, so the order in which they are made changes nothing. It hides the data behind
an accelerator; on a CPU whose cores all compute it neither helps nor hurts (text takes 0.9 ms a step).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from firth.signal import Batch


class Prefetch:
    """Iterates over make(first), …, make(last() - 1), one ahead. An error of `make` comes up in its turn.

    last: asked before each, since the end of a run may be moved while it goes on.
    """

    def __init__(self, make: Callable[[int], list[Batch]], first: int, last: Callable[[], int]):
        self.make, self.next, self.last = make, first, last
        self._ahead: Future | None = None

    def __enter__(self) -> "Prefetch":
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="firth-batches")
        self._begin()
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        if self._ahead is None:
            raise StopIteration
        batches = self._ahead.result()
        self._begin()
        return batches

    def _begin(self) -> None:
        self._ahead = self._pool.submit(self.make, self.next) if self.next < self.last() else None
        self.next += 1
