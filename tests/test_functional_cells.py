"""Several labels in a cell: lists, and separators found by content; names that hold the mark stay whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.functional.cells import LIST, ONE, SEPARATORS, described, label_of, labels_in, listed, ordered, separator_of

WORDS = st.text("abcdefgh -", min_size=1, max_size=8).map(str.strip).filter(bool)


@pytest.mark.parametrize(("cells", "separator"), [
    (["a", "b", "a|b"], "|"),
    (["sea;farm", "farm;town", "sea;town", "sea"], ";"),
    (["drama, comedy", "comedy", "drama", "crime, drama"], ","),
    (['["a", "b"]', "[]", '["a"]'], LIST),
    (["['Drama', 'Crime']", "['Drama']"], LIST),
    (['["a", "b"]', "a", "b"], LIST),
    (["a|b", "[]", "b", "a"], "|"),
    (["a", "b", "[]"], LIST),
    (["a", "b", "c"], ONE),
    ([], ONE),
    (["", " "], ONE),
    (["Arts, crafts", "Bed, bath", "Cars"], ONE),
    (["yes, fully", "no"], ONE),
    (["1,5", "2,0", "2,5", "1,0", "0,5", "0,0"], ONE),
    (["1,5,7", "1", "5", "7", "1,5"], ","),
    (["a|b,c", "b,c", "a"], "|"),
    (["a|" + "b" * 41, "a", "c", "a|c"], ONE),
])  # fmt: skip
def test_what_separates_labels_is_found_by_content(cells, separator):
    assert separator_of(cells * 3) == separator


@given(st.lists(WORDS, min_size=3, max_size=6, unique=True), st.sampled_from(SEPARATORS), st.randoms())
def test_any_labels_in_any_company_are_found(labels, mark, source):
    """Each label alone, and some together."""
    together = [mark.join(source.sample(labels, 2)) for _ in range(3)]
    cells = [*labels, *together]
    assert separator_of(cells) == mark
    assert {one for cell in cells for one in labels_in(cell, mark)} == set(labels)


@given(st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=5))
def test_lists_come_back_however_they_are_written(lists):
    for write in (json.dumps, repr):
        cells = [write(one) for one in lists]
        assert separator_of(cells) == LIST
        assert [labels_in(cell, LIST) for cell in cells] == [tuple(sorted(set(one))) for one in lists]


@pytest.mark.parametrize(("cell", "separator", "labels"), [
    ("b | a|b||", "|", ("a", "b")),
    ("[]", "|", ()),
    ("a|b", ONE, ("a|b",)),
    ("[3, 1.0]", LIST, ("1", "3")),
    ("a", LIST, ("a",)),
    ('["x|y"]', "|", ("x|y",)),
])  # fmt: skip
def test_labels_of_a_cell_stand_once_and_in_order(cell, separator, labels):
    assert labels_in(cell, separator) == labels


@pytest.mark.parametrize("text", ["a", "[OTHER]", "[1, [2]]", "{'a': 1}", "[", "[" * 5000 + "]", "['a'", "[f(1)]"])
def test_what_is_no_list_of_labels_is_none(text):
    assert listed(text) is None


@pytest.mark.parametrize(
    ("value", "label"), [(1.0, "1"), (1.5, "1.5"), (" a ", "a"), (["é", 1], '["é", 1]'), ((), "[]")]
)
def test_a_label_is_a_string(value, label):
    assert label_of(value) == label


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["10", "9", "many"], ["10", "9", "many"]),
        (["²", "10", "9"], ["10", "9", "²"]),  # a digit to Unicode, and no number
        (["--2", "1"], ["--2", "1"]),
        (["-", "1"], ["-", "1"]),
        (["٣", "2"], ["2", "٣"]),
        (["9" * 5000, "1"], ["1", "9" * 5000]),
        ([], []),
    ],
)
def test_labels_stand_by_number_where_all_are_numbers(names, order):
    assert ordered(names) == ordered(reversed(names)) == order


@given(st.lists(st.integers(0, 99).flatmap(lambda n: st.sampled_from([str(n), f"0{n}"])), unique=True))
def test_labels_stand_in_one_order_however_they_come(names):
    assert ordered(names) == ordered(set(names)) and list(map(int, ordered(names))) == sorted(map(int, names))


def test_people_are_told_how_labels_stand():
    assert described("|") == "several labels a text, separated by `|`"
    assert described(LIST) == "several labels a text, as lists"
