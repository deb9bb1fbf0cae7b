"""Segments of long recordings: none lost, none too long, cut where it is calm, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.functional import segments
from tests.recordings import RATE, hiss, tone


def in_blocks(wave: np.ndarray, size: int):
    return [wave[first : first + size] for first in range(0, len(wave), size)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4000), st.integers(1, 3000), st.integers(1, 3000), st.floats(0.05, 2), st.integers(0, 99))
def test_joined_segments_are_the_recording_and_hang_on_no_block(size, first, second, longest, seed):
    rate = 500
    wave = hiss(size / rate, seed, rate)
    wave[:: max(1, size // 7)] = 0
    found = list(segments.segments(in_blocks(wave, first), rate, longest))
    other = list(segments.segments(in_blocks(wave, second), rate, longest))
    assert [len(one) for one in found] == [len(one) for one in other]
    assert all(0 < len(one) <= max(1, round(longest * rate)) for one in found)
    np.testing.assert_array_equal(np.concatenate([np.empty(0, np.float32), *found]), wave)


def test_cuts_lie_in_pauses():
    """Words of 0.6 s with pauses of 0.4 s: every cut is in a pause."""
    word, pause = tone(400, 0.6), np.zeros(round(0.4 * RATE), np.float32)
    wave = np.tile(np.concatenate([word, pause]), 20)
    found = list(segments.segments([wave], RATE, 5.0))
    ends = np.cumsum([len(one) for one in found])[:-1] / RATE
    assert len(ends) >= 4
    assert all(0.6 < end % 1.0 < 1.0 for end in ends)


def test_a_recording_that_is_not_too_long_stays_whole():
    wave = hiss(1.0)
    assert [len(one) for one in segments.segments([wave], RATE, 1.0)] == [RATE]
    assert [len(one) for one in segments.segments([wave[:1]], RATE, 1.0)] == [1]
    assert list(segments.segments([], RATE, 1.0)) == []


def test_silence_is_cut_as_late_as_may_be():
    found = [len(one) for one in segments.segments([np.zeros(10 * RATE, np.float32)], RATE, 4.0)]
    assert sum(found) == 10 * RATE and len(found) == 3


def test_the_end_of_what_may_be_taken_is_no_calmer_for_ending():
    """Half of what lies around the last place is beyond the window: it was counted as silence."""
    wave = tone(400, 10.0)
    wave[int(7.5 * RATE) : 8 * RATE] *= 0.8  # 64 % of the energy
    place = segments.quietest(wave, RATE) / RATE
    assert 7.5 < place < 8.0


def test_silence_at_the_edges_is_taken_off_up_to_a_margin():
    wave = np.concatenate([np.zeros(RATE), tone(400, 0.5), np.zeros(RATE)]).astype(np.float32)
    found = segments.trimmed(wave, RATE)
    assert len(found) == pytest.approx(0.7 * RATE, abs=0.05 * RATE)
    assert np.square(found).sum() == pytest.approx(np.square(wave).sum(), rel=1e-3)
    assert len(segments.trimmed(np.zeros(100, np.float32), RATE)) == 0
    assert len(segments.trimmed(np.empty(0, np.float32), RATE)) == 0
    assert len(segments.trimmed(np.ones(1, np.float32), RATE)) == 1


@pytest.mark.parametrize("level", [1e-3, 0.1, 0.4])
def test_loudness_becomes_one(level):
    found = segments.levelled(hiss(0.5, level=level))
    assert 10 * np.log10(np.square(found).mean()) == pytest.approx(segments.LEVEL, abs=0.01)


def test_loudness_stops_before_peaks_are_clipped():
    wave = np.zeros(16_000, np.float32)
    wave[5] = 0.5
    assert np.abs(segments.levelled(wave)).max() == pytest.approx(0.99)
    assert (segments.levelled(np.zeros(9, np.float32)) == 0).all()


def test_the_share_of_silence():
    wave = np.concatenate([tone(400, 1.0, level=0.5), np.zeros(3 * RATE, np.float32)])
    assert segments.silent_share(wave, RATE) == pytest.approx(0.75, abs=0.02)
    assert segments.silent_share(np.zeros(500, np.float32), RATE) == 1.0
    assert segments.silent_share(hiss(0.5), RATE) == 0.0
