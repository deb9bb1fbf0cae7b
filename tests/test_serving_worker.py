"""One thread for the model: jobs in order, given up in time, and a fault of one is none of the next."""

import asyncio
from threading import Event, get_ident

import pytest

from firth.serving.refusal import Refusal
from firth.serving.worker import END, Worker


def tried(test, seconds: float = 20.0):
    """`test(worker)` in an event loop."""

    async def run():
        worker = Worker(seconds)
        try:
            return await asyncio.wait_for(test(worker), 20)
        finally:
            worker.stop()

    return asyncio.run(run())


def counting(most: int):
    return lambda: iter(range(most))


def test_pieces_come_in_order_and_jobs_one_after_another():
    order = []

    def work(name):
        for number in range(3):
            order.append(name)
            yield number

    async def test(worker):
        jobs = [worker.submit(lambda name=name: work(name)) for name in "abc"]
        return [[piece async for piece in job.pieces()] for job in jobs]

    assert tried(test) == [[0, 1, 2]] * 3
    assert order == [*"aaabbbccc"]


def test_all_jobs_run_in_one_thread_that_is_not_the_loops():
    def work():
        yield get_ident()

    async def test(worker):
        return {await worker.submit(work).next() for _ in range(3)} - {get_ident()}

    assert len(tried(test)) == 1


def test_a_fault_comes_out_and_the_next_job_runs():
    def broken():
        yield 1
        raise ZeroDivisionError("no")

    async def test(worker):
        job = worker.submit(broken)
        assert await job.next() == 1
        with pytest.raises(ZeroDivisionError):
            await job.next()
        return [piece async for piece in worker.submit(counting(2)).pieces()]

    assert tried(test) == [0, 1]


def test_a_job_nobody_waits_for_is_given_up_between_two_pieces():
    made, go, closed = [], Event(), Event()

    def endless():
        try:
            number = 0
            while True:
                made.append(number)
                yield number
                go.wait(10)
                number += 1
        finally:
            closed.set()

    async def test(worker):
        job = worker.submit(endless)
        assert await job.next() == 0
        job.cancel()
        go.set()
        assert await job.next() is END
        return [piece async for piece in worker.submit(counting(1)).pieces()]

    assert tried(test) == [0]
    assert closed.wait(10) and len(made) == 2


def test_a_job_given_up_while_it_waits_is_never_begun():
    begun, go = [], Event()

    def slow():
        go.wait(10)
        yield 0

    async def test(worker):
        first = worker.submit(slow)
        second = worker.submit(lambda: begun.append(1) or iter([1]))
        second.cancel()
        go.set()
        assert await first.next() == 0
        assert await second.next() is END
        return await worker.submit(counting(1)).next()

    assert tried(test) == 0 and begun == []


def test_a_job_that_takes_too_long_is_refused():
    go = Event()

    def slow():
        go.wait(10)
        yield 0

    async def test(worker):
        job = worker.submit(slow)
        with pytest.raises(Refusal) as raised:
            await job.next()
        go.set()
        return raised.value

    refusal = tried(test, seconds=0.1)
    assert refusal.status == 503 and str(refusal) == (
        "the answer: was not ready after 0.1 s. Ask for less, or try again when less is asked of it."
    )


def test_a_stopped_worker_refuses_what_runs_and_what_waits():
    begun, go = Event(), Event()

    def slow():
        yield 0
        begun.set()
        go.wait(10)
        yield 1

    async def test(worker):
        jobs = [worker.submit(slow), worker.submit(counting(1))]
        assert await jobs[0].next() == 0
        await asyncio.to_thread(begun.wait, 10)
        worker.stop()
        go.set()
        found = []
        for job in jobs:
            with pytest.raises(Refusal) as raised:
                await job.next()
            found.append(str(raised.value))
        with pytest.raises(Refusal):
            worker.submit(counting(1))
        return found

    assert tried(test) == ["the server: is being stopped. Start it again with firth serve."] * 2
