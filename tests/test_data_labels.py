"""Labels, columns and splits in every mixture that chance comes up with."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.data import columns, labels, splits
from firth.data.records import Problems, Record, Where
from firth.errors import InputError

QUICK = settings(max_examples=60, deadline=None)
TEXTS = st.text("abcdef ", min_size=1, max_size=12)
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from(["x", "y", "z"])), min_size=2, max_size=60)


def records(rows, name: str = "a.tsv") -> list[Record]:
    return [Record(text, label, Where(name, line, 1)) for line, (text, label) in enumerate(rows, 2)]


def labelled(*names: str) -> list[Record]:
    return records([(f"text {number}", name) for number, name in enumerate(names)])


# ------------------------------------------------------------------ places and problems


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (Where("a.txt"), "a.txt"),
        (Where("a.txt", 3), "a.txt:3"),
        (Where("a.txt", 3, 7), "a.txt:3:7"),
        (Where("z.zip/a.txt", 1, 1), "z.zip/a.txt:1:1"),
    ],
)
def test_places_read_as_editors_open_them(where, shown):
    assert str(where) == shown


def test_the_first_problem_ends_the_reading():
    with pytest.raises(InputError) as caught:
        Problems().bad(Where("a.txt", 3), "is bad", "Repair it.")
    assert str(caught.value) == "a.txt:3: is bad. Repair it."


def test_skipped_problems_are_kept_and_counted():
    problems = Problems(skip=True)
    for line in range(1, 31):
        problems.bad(Where("a.txt", line), f"row {line} is bad", "Repair it.")
    problems.note("note", "b.txt", "another thing")
    found = problems.all()
    assert len(found) == 20 + 1 + 1
    assert found[-1] == ("note", "", "and 10 more of this kind", "Repair it.")
    assert [finding.level for finding in found[:20]] == ["error"] * 20
    assert problems.counts == {"Repair it.": 30, "another thing": 1}


# ------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["positive", "Negative"], ("Negative", "positive")),
    ],
)
def test_classes_have_one_order(names, classes):
    assert labels.class_names(labelled(*names)) == classes


def test_two_labels_are_enough():
    labels.need_two_classes(labelled("a", "b"), "a.tsv")


@pytest.mark.parametrize(
    ("names", "what"),
    [((), "no labelled text was found"), (("a", "a"), "only the label `a` was found")],
)
def test_fewer_than_two_labels_are_refused(names, what):
    with pytest.raises(InputError) as caught:
        labels.need_two_classes(labelled(*names), "a.tsv")
    do = "Give examples of at least two labels; --label names the column."
    assert (caught.value.where, caught.value.what, caught.value.do) == ("a.tsv", what, do)


@QUICK
@given(ROWS)
def test_checking_keeps_what_can_be_learnt(rows):
    given_ = records(rows)
    problems = Problems(skip=True)
    kept = labels.check_labels(given_, None, problems)
    counts = Counter(record.label for record in given_)
    assert [record.label for record in kept] == [r.label for r in given_ if counts[r.label] > 1]
    assert len(problems.findings) == sum(count == 1 for count in counts.values())


def test_the_place_named_is_the_first_of_the_label():
    with pytest.raises(InputError) as caught:
        labels.check_labels(labelled("good", "good", "bad", "bad", "god"), None, Problems())
    assert caught.value.where == "a.tsv:6:1"


def test_a_models_classes_decide_where_there_is_a_model():
    given_ = labelled("good", "baad", "good")
    problems = Problems(skip=True)
    kept = labels.check_labels(given_, ("bad", "good"), problems)
    assert [record.label for record in kept] == ["good", "good"]
    assert problems.findings[0].do == "Did you mean `bad`? It has `bad`, `good`."


# ------------------------------------------------------------------ columns


def table(**cells: list) -> list[dict]:
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


PROSE = [f"a long line of words about the number {n}" for n in range(12)]
STARS = [str(1 + n % 3) for n in range(12)]


@pytest.mark.parametrize(
    ("cells", "text", "label"),
    [
        ({"a": PROSE, "b": STARS}, "a", "b"),
        ({"b": STARS, "a": PROSE}, "a", "b"),
        ({"id": [str(n) for n in range(12)], "review": PROSE, "stars": STARS}, "review", "stars"),
        ({"title": ["one two"] * 12, "text": PROSE}, "text", None),
        ({"text": PROSE}, "text", None),
    ],
)
def test_columns_are_found_by_their_content(cells, text, label):
    assert columns.find_columns(table(**cells), "a.tsv") == (text, label)


def test_columns_given_by_name_win():
    rows = table(text=PROSE, other=PROSE[::-1], label=STARS)
    assert columns.find_columns(rows, "a.tsv", text="other") == ("other", "label")
    assert columns.find_columns(rows, "a.tsv", text="other", label="text") == ("other", "text")


def test_a_column_of_numbers_is_no_text():
    rows = table(a=[str(n / 7) for n in range(12)], b=[str(n) for n in range(12)])
    with pytest.raises(InputError) as caught:
        columns.find_columns(rows, "a.tsv")
    assert caught.value.do == "Name it: --text can be `a`, `b`."


def test_a_column_is_described_by_counts():
    facts = columns.describe("a", ["one two", "", None, "one two", "three"])
    assert facts == ("a", 1.0, 2, 3, pytest.approx(19 / 3), 7, pytest.approx(5 / 3), 1)
    assert columns.describe("a", []) == ("a", 0.0, 0, 0, 0.0, 0, 0.0, 0)
    assert columns.describe("a", ["1", "2.5", "-3", "word"]).strings == 0.25


@pytest.mark.parametrize(
    ("name", "values", "yes"),
    [
        ("a", ["x", "y"] * 10, True),
        ("a", ["x"] * 20, False),
        ("a", [f"v{n}" for n in range(20)], False),
        ("label", [f"v{n % 15}" for n in range(20)], True),
        ("label", [f"v{n}" for n in range(20)], False),
        ("label", ["v", "w"], True),
        ("label", ["w" * 41, "v"] * 10, False),
        ("a", [], False),
    ],
)
def test_what_may_be_a_label(name, values, yes):
    assert columns.is_label(columns.describe(name, values)) is yes


# ------------------------------------------------------------------ splits


def parted(rows, given_labels=None, seed: int = 0, **options):
    parts = {"train": records(rows), "valid": [], "test": []}
    return splits.split(parts, given_labels, seed, **options)


@QUICK
@given(ROWS)
def test_a_split_loses_nothing_but_duplicates(rows):
    done = parted(rows)
    kept = sum(map(len, done.parts.values()))
    assert kept + done.duplicates + done.conflicts + done.leaks == len(rows)


@QUICK
@given(ROWS, st.floats(0.05, 0.5))
def test_equal_texts_are_never_on_two_sides(rows, share):
    done = parted(rows, test_share=share, drop=False)
    seen = [{splits.content(record) for record in part} for part in done.parts.values()]
    pure = not {splits.content(r) for r in records(rows)} & set(_ambiguous(rows))
    assert not pure or not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def _ambiguous(rows) -> list[int]:
    """Contents that have two labels: these may part, class by class."""
    by_content: dict[int, set[str]] = {}
    for record in records(rows):
        by_content.setdefault(splits.content(record), set()).add(record.label)
    return [key for key, names in by_content.items() if len(names) > 1]


@QUICK
@given(ROWS, st.randoms())
def test_the_order_of_the_rows_decides_no_side(rows, source):
    distinct = list({splits.content(record): row for record, row in zip(records(rows), rows, strict=True)}.values())
    shuffled = source.sample(distinct, len(distinct))
    one, other = parted(distinct), parted(shuffled)
    for part in one.parts:
        assert {r.text for r in one.parts[part]} == {r.text for r in other.parts[part]}


@QUICK
@given(st.integers(12, 60), st.integers(0, 5))
def test_a_budget_is_kept_to_the_example(amount, seed):
    rows = [(f"text number {n}", "abc"[n % 3]) for n in range(60)]
    done = parted(rows, amount, seed)
    assert len(done.parts["train"]) + len(done.parts["valid"]) == amount
    counts = Counter(record.label for record in done.parts["train"] + done.parts["valid"])
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {record.label for record in done.parts["valid"]} == set("abc")


def test_content_overlooks_case_and_blanks():
    one, other = records([("Some  Text\n", "a"), ("some text", "a")])
    assert splits.content(one) == splits.content(other)
    assert splits.content(one) != splits.content(records([("sometext", "a")])[0])


def test_conflicting_labels_are_named_with_both_places():
    done = parted([("the same", "a"), ("The  same", "b"), ("c", "a"), ("d", "b")])
    assert done.conflicts == 1
    where, what = done.notes[0]
    assert str(where) == "a.tsv:3:1"
    assert what == "the same text has the label `a` at a.tsv:2:1; `b` is left out"


def test_leaks_are_named_with_the_place_they_leak_from():
    train, test = records([("one", "a"), ("two", "b"), ("three", "a")]), records([("TWO", "b")], "test.tsv")
    done = splits.split({"train": train, "valid": [], "test": test}, None, 0)
    assert done.leaks == 1 and len(done.parts["test"]) == 1
    assert str(done.notes[0][0]) == "a.tsv:3:1"
    assert done.notes[0][1] == "is at test.tsv:2:1, too, and is left out of the train part"


@pytest.mark.parametrize("size", [10, 100, 1001])
def test_the_share_that_validates(size):
    done = parted([(f"text {n}", "ab"[n % 2]) for n in range(size)])
    share = 0.2 if size <= splits.FEW else 0.1
    assert len(done.parts["valid"]) == pytest.approx(share * size, abs=1.5)
