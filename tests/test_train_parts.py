"""The small parts of the loop: measuring, prefetching, stopping, the best so far, kept memory."""

import platform
import signal
import threading

import pytest
import torch

from firth.objective import Loss, Term
from firth.signal import Batch
from firth.train.best import Best
from firth.train.measure import Sums, items, measure, weighted
from firth.train.memory import keep_freed_blocks
from firth.train.prefetch import Prefetch
from firth.train.stop import Stop
from tests.toy import ToyBatches, composed


def test_means_do_not_depend_on_how_batches_are_cut():
    module = composed(dropout=0.5).double()
    a, b = (measure(module, ToyBatches().evaluation(20, size)) for size in (20, 3))
    assert a == pytest.approx(b)
    assert a["loss"] == pytest.approx(0.1 * a["guess"] + 0.1 * a["level"])


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_mode_and_no_gradient(training):
    module = composed().train(training)
    measure(module, ToyBatches().evaluation(8, 8))
    assert module.training is training
    assert all(p.grad is None for p in module.parameters())


def test_measuring_restores_the_mode_after_an_error():
    module = composed().train()
    with pytest.raises(KeyError):
        measure(module, [Batch(other=torch.zeros(1))])
    assert module.training


def test_sums_over_nothing_are_left_out():
    sums = Sums()
    sums.add(Loss({"a": Term(torch.tensor(6.0), 3), "b": Term(torch.tensor(0.0), 0)}, {}))
    assert sums.means() == {"a": 2.0}
    assert weighted(sums.means(), {"a": 0.5, "b": 9.0}) == 1.0


def test_items_are_real_steps():
    tokens, pad = torch.zeros(2, 4), torch.tensor([[False, False, True, True], [False] * 4])
    assert items(Batch(tokens=tokens)) == 8
    assert items(Batch(tokens=tokens, pad=pad)) == 6
    assert items(Batch(pixels=torch.zeros(5, 3, 8, 8))) == 5


def test_prefetching_keeps_the_order_and_is_one_ahead():
    asked, second = [], threading.Event()

    def make(i):
        asked.append(i)
        second.set() if i == 4 else None
        return [i]

    with Prefetch(make, 3, lambda: 6) as ahead:
        assert next(ahead) == [3]
        assert second.wait(5)
        assert list(ahead) == [[4], [5]]
    assert asked == [3, 4, 5]


def test_prefetching_nothing():
    with Prefetch(lambda i: [i], 5, lambda: 5) as ahead:
        assert list(ahead) == []


def test_an_error_of_the_data_comes_up_in_its_turn():
    def make(i):
        if i == 1:
            raise OSError("gone")
        return [i]

    with Prefetch(make, 0, lambda: 3) as ahead:
        assert next(ahead) == [0]
        with pytest.raises(OSError, match="gone"):
            next(ahead)


def test_no_thread_stays_behind():
    before = threading.active_count()
    with Prefetch(lambda i: [i], 0, lambda: 9) as ahead:
        next(ahead)
    assert threading.active_count() == before


def test_a_second_ctrl_c_stops_at_once():
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == "Ctrl-C" and stop.agreed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_stopping_in_another_thread_is_left_to_the_main_one():
    results = []

    def work():
        with Stop() as stop:
            results.append(stop.agreed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [False]


def test_the_best_is_kept_until_patience_is_gone():
    best, value = Best(patience=2), torch.zeros(1)
    for step, score in enumerate([0.3, 0.5, 0.5]):
        value.fill_(step)
        best.see(step, score, lambda: {"w": value})
    assert (best.step, best.misses, best.over, best.weights["w"].item()) == (1, 1, False, 1.0)
    best.see(3, 0.4, lambda: {"w": value})
    assert best.over


def test_the_best_goes_through_a_checkpoint():
    best = Best(patience=2)
    assert best.facts() == {}
    best.see(4, 0.3, lambda: {"w": torch.ones(1)})
    other = Best(patience=2)
    other.load(best.facts(), best.weights)
    assert other == best


def test_without_patience_nothing_is_kept():
    best = Best()
    best.see(1, 0.3, lambda: pytest.fail("not asked for"))
    assert not best.over and best.facts() == {}


def test_a_score_that_is_no_number_is_a_miss():
    best = Best(patience=1)
    best.see(1, float("nan"), dict)
    assert best.over and best.weights == {}


def test_freed_blocks_are_kept_on_glibc():
    assert keep_freed_blocks() is (platform.libc_ver()[0] == "glibc")


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_blocks() is False
