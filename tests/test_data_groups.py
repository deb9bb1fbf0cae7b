"""Groups of labelled examples: what names them, which are left out of what is learnt, and what is wrong with a rule."""

import json

import pytest

from firth.data.config import Data
from firth.data.groups import Rule, apart, groups_of, names, with_rows
from firth.data.labelled import open_labelled, whole_test
from firth.data.records import Record, Where
from firth.errors import InputError

SPEAKERS = ("ann", "bob", "cid")


def record(number: int, speaker: str = "ann", **row) -> Record:
    return Record(f"text {number}", "x", Where(f"7_{speaker}_{number}.wav"), {"speaker": speaker, **row})


RECORDS = [record(number, SPEAKERS[number % 3]) for number in range(12)]


@pytest.mark.parametrize(
    ("text", "rule", "column"),
    [
        ("speaker", Rule("speaker"), "speaker"),
        ("speaker=ann", Rule("speaker", ("ann",)), "speaker"),
        ("speaker = ann, bob", Rule("speaker", ("ann", "bob")), "speaker"),
        ("speaker=ann,bob,ann", Rule("speaker", ("ann", "bob")), "speaker"),
        ('speaker=["Smith, Ann", " a=b"]', Rule("speaker", ("Smith, Ann", " a=b")), "speaker"),
        ("_(.+)_", Rule("_(.+)_"), None),
        ("_(.+)_=bob", Rule("_(.+)_", ("bob",)), None),
        ("_(?=[a-z])(.+)_", Rule("_(?=[a-z])(.+)_"), None),
    ],
)
def test_a_rule_is_a_column_or_a_pattern_and_maybe_names(text, rule, column):
    assert Rule.of(text) == rule and rule.column == column


@pytest.mark.parametrize("by", ["speaker", "_(.+)_"])
@pytest.mark.parametrize("name", ["ann", "Smith, John", "Ann (2)", "a=b", " c ", '"q"', "[x]", "Jörg"])
def test_a_single_group_is_named_whatever_it_is_called(by, name):
    assert Rule.of(Rule(by).only(name)) == Rule(by, (name,))


@pytest.mark.parametrize("rule", ["speaker", "_(.+)_"])
def test_a_column_and_the_names_of_files_say_the_same(rule):
    assert groups_of(RECORDS, Rule.of(rule)) == [SPEAKERS[number % 3] for number in range(12)]


def test_numbers_in_cells_are_names_as_labels_are():
    assert groups_of([record(1, age=30), record(2, age=31.0)], Rule("age")) == ["30", "31"]


def test_groups_come_in_order_or_as_they_were_named():
    assert names(["b", "c", "a", "b"], Rule("x"), "d") == ("a", "b", "c")
    assert names(["b", "c", "a"], Rule("x", ("c", "a")), "d") == ("c", "a")


def test_what_is_left_out_is_tested_and_nothing_else_is():
    found = apart({"train": RECORDS, "valid": [], "test": []}, "speaker=bob", "d")
    assert found["test"] == RECORDS[1::3] and found["valid"] == []
    assert found["train"] == [one for one in RECORDS if one.fields["speaker"] != "bob"]


def test_of_test_files_only_their_rows_are_tested():
    parts = {"train": RECORDS[:6], "valid": RECORDS[6:9], "test": RECORDS[9:]}
    found = apart(parts, "speaker=ann", "d")
    assert found["test"] == [RECORDS[9]]
    assert found["train"] == [RECORDS[i] for i in (1, 2, 4, 5)] and found["valid"] == [RECORDS[7], RECORDS[8]]


def test_files_have_the_rows_of_the_tables_that_name_them():
    plain = [one._replace(fields={}) for one in RECORDS[:2]]
    found = with_rows(plain, {RECORDS[0].where.file: {"speaker": "ann"}})
    assert found[0].fields == {"speaker": "ann"} and found[1].fields == {}


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do():
    parts = {"train": RECORDS, "valid": [], "test": []}
    assert refusal(lambda: apart(parts, "speaker", "d.jsonl")) == (
        "data.leave_out = speaker: names no group. Write data.leave_out=speaker=NAME."
    )
    assert refusal(lambda: apart(parts, "speaker=anne", "d.jsonl")) == (
        "d.jsonl: has no row with speaker = anne. Did you mean `ann`? It can be `ann`, `bob`, `cid`."
    )
    assert refusal(lambda: apart(parts, "speaker=ann,bob,cid", "d.jsonl")) == (
        "d.jsonl: is all of speaker = ann, bob, cid, and nothing else is left to learn from. "
        "Give examples of other groups, too."
    )
    assert refusal(lambda: groups_of(RECORDS, Rule("speakr"))) == (
        "7_ann_0.wav: has no column `speakr`. Did you mean `speaker`? There is: speaker."
    )
    assert refusal(lambda: groups_of([record(3, " ")], Rule("speaker"))) == (
        "7_ _3.wav: `speaker` is empty. Fill it in, or leave the row out."
    )
    assert refusal(lambda: groups_of([record(3)._replace(fields={})], Rule("speaker"))) == (
        "7_ann_3.wav: has no column `speaker`. "
        "Give a table with that column, or a pattern on names of files such as _(.+)_"
    )
    assert refusal(lambda: groups_of(RECORDS, Rule("-(.+)-"))) == (
        "7_ann_0.wav: its name does not match -(.+)-. Leave the file out, or give a wider pattern."
    )
    do = "Put one pair of brackets around the part that names the group: _(.+)_"
    assert refusal(lambda: Rule.of("(.)_(.)")) == f"groups by (.)_(.): has 2 pairs of brackets. {do}"
    assert refusal(lambda: Rule.of("_(.+_")).startswith("groups by _(.+_: is no pattern (")


# ------------------------------------------------------------------ labelled data


@pytest.fixture
def reviews(tmp_path):
    """Texts of three writers, two classes, in a table."""
    rows = [{"text": f"a {label} film number {number}", "label": label, "writer": SPEAKERS[number % 3]}
            for number, label in enumerate(("good", "bad", "bad", "good", "good", "bad") * 4)]  # fmt: skip
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labelled_texts_are_parted_by_a_column(reviews):
    found = open_labelled(Data(paths=(str(reviews),), leave_out="writer=cid"), None, 0)
    writers = {part: {one.fields["writer"] for one in records} for part, records in found.records.items()}
    assert writers["train"] == {"ann", "bob"} and writers["valid"] <= {"ann", "bob"} and writers["test"] == {"cid"}
    assert found.facts["examples"]["test"] == 8 and found.facts["leaks"] == 0


def test_all_that_may_be_tested_is_one_part(reviews):
    whole = whole_test(Data(paths=(str(reviews),)), None)
    assert len(whole.records["test"]) == 24 and whole.classes == ("bad", "good") and whole.train is None
    parted = open_labelled(Data(paths=(str(reviews),), leave_out="writer=ann"), None, 0)
    assert parted.records["test"] == [one for one in whole.records["test"] if one.fields["writer"] == "ann"]
    assert parted.classes == whole.classes
