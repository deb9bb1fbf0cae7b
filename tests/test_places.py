"""Places that are spread over many."""

import pytest

from firth.functional.places import evenly


@pytest.mark.parametrize(
    ("size", "most", "places"),
    [
        (0, 3, []),
        (1, 3, [0]),
        (4, 4, [0, 1, 2, 3]),
        (3, 9, [0, 1, 2]),
        (9, 3, [0, 4, 8]),
        (9, 1, [0]),
        (10, 4, [0, 3, 6, 9]),
    ],
)
def test_places_are_spread_from_the_first_to_the_last(size, most, places):
    assert evenly(size, most).tolist() == places


@pytest.mark.parametrize("size", [2, 1_000, 99_991])
def test_all_are_taken_where_they_fit(size):
    assert evenly(size, size).tolist() == list(range(size))
