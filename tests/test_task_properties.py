"""Windows, columns, kept trials, lists of numbers and choices: what holds whatever is drawn."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from firth.errors import InputError
from firth.evaluate.arms import name_of as arm_name
from firth.evaluate.comparison import Point, Trial
from firth.evaluate.kept import Kept
from firth.evaluate.versus import combinations, merged, name_of, numbers_of
from firth.find import find
from firth.recipe import load_toml
from firth.report.company_page import page_of
from firth.task import Example, Where

span, tag, pairs = (find("tasks", name) for name in ("span", "tag", "pairs"))
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12
)


def pieces(count: int) -> SimpleNamespace:
    """A document of `count` tokens, three characters each, a blank between them."""
    begin = np.arange(count) * 4
    return SimpleNamespace(ids=np.arange(count, dtype=np.int32) + 10, begin=begin, end=begin + 3)


def asked(count: int, first: int | None, last: int = 0) -> Example:
    """A question whose answer is the tokens first … last."""
    document = " ".join("abc" for _ in range(count))
    target = [] if first is None else [(document[first * 4 : last * 4 + 3], first * 4)]
    return Example(f"q\n{document}", None, Where("x"), parts=("q", document), target=target)


# ------------------------------------------------------------------ windows of a document


@given(st.integers(1, 400), st.integers(2, 80), st.integers(1, 100), st.integers(1, 20))
def test_windows_of_a_document_cover_it_and_overlap(total, room, stride, question):
    config, ids = span.Config(stride=stride), np.zeros(question, np.int32)
    found = list(span.windows(config, asked(total, None), ids, pieces(total), room))
    starts = [int(window.begin[0]) // 4 for window in found]
    stops = [int(window.end[-1] + 1) // 4 for window in found]
    assert starts[0] == 0 and stops[-1] == total and all(0 < stop - start <= room for start, stop in
                                                         zip(starts, stops, strict=True))  # fmt: skip
    shared = min(stride, room // 2)
    for (_, stop), (start, _) in pairwise(zip(starts, stops, strict=True)):
        assert stop - start == shared
    assert len({window.sample.key for window in found}) == len(found)
    assert all(window.shift == question + 2 for window in found)


@given(st.data())
def test_an_answer_no_longer_than_the_overlap_is_whole_in_some_window(data):
    total, room, stride = data.draw(st.integers(1, 300)), data.draw(st.integers(4, 60)), data.draw(st.integers(1, 80))
    first = data.draw(st.integers(0, total - 1))
    last = min(total - 1, first + data.draw(st.integers(0, min(stride, room // 2) - 1)))
    one = asked(total, first, last)
    found = list(span.windows(span.Config(stride=stride), one, np.zeros(3, np.int32), pieces(total), room))
    places = []
    for window in found:
        start, end = int(window.sample.targets["start"]), int(window.sample.targets["end"])
        assert (start == 0) == (end == 0)
        if start:
            places.append((int(window.begin[start - window.shift]), int(window.end[end - window.shift])))
    assert places and set(places) == {(first * 4, last * 4 + 3)}


@given(st.data())
def test_what_a_window_offers_lies_in_it_and_is_scored_over_its_no_answer(data):
    count = data.draw(st.integers(1, 12))
    config = span.Config(best=data.draw(st.integers(1, 5)), longest=data.draw(st.integers(1, 6)))
    scores = st.lists(st.floats(-20, 20), min_size=count + 3, max_size=count + 3)
    starts, ends = (np.array(data.draw(scores)) for _ in range(2))
    piece = pieces(count)
    document = "abc " * count
    found = span.offered(config, document, span.Window(None, 2, piece.begin, piece.end), starts, ends)
    assert len(found) <= config.best**2
    for one in found:
        first, last = one.begin // 4, one.end // 4
        assert 0 <= first <= last < count and last - first < config.longest
        assert one.text == document[one.begin : one.end]
        assert one.score == pytest.approx(starts[first + 2] + ends[last + 2] - starts[0] - ends[0])
    best = max(starts[a + 2] + ends[b + 2] for a in range(count) for b in range(a, min(count, a + config.longest)))
    if config.best >= count:
        assert max(one.score for one in found) == pytest.approx(best - starts[0] - ends[0])


CANDIDATES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 9), st.floats(-30, 30)).map(
        lambda drawn: span.Candidate("x", drawn[0], drawn[0] + drawn[1], drawn[2])
    ),
    max_size=30,
)


@given(CANDIDATES, st.booleans(), st.floats(-5, 5))
def test_candidates_are_ranked_once_each_with_shares_of_one(candidates, unanswerable, threshold):
    config = span.Config(unanswerable=unanswerable, threshold=threshold, best=5)
    found = span.ranked(config, candidates)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert sum(one.probability for one in found) == pytest.approx(1)
    assert len({(one.begin, one.end) for one in found}) == len(found)
    best = max((one.score for one in candidates), default=None)
    if best is None or (unanswerable and best < threshold):
        assert found[0].text == ""
    if best is not None and (not unanswerable or best > threshold):
        assert found[0].score == best and found[0].text == "x"


# ------------------------------------------------------------------ windows of a sentence


@given(st.lists(st.integers(1, 5), min_size=1, max_size=120), st.integers(8, 40))
def test_each_word_is_tagged_once_where_it_has_most_company(lengths, context):
    begin = np.cumsum([0, *lengths[:-1]])
    piece = SimpleNamespace(ids=np.arange(sum(lengths), dtype=np.int32), begin=begin)
    signal = SimpleNamespace(config=SimpleNamespace(context=context))
    example = Example("words", None, Where("x"))
    found = tag.windows(example, piece, list(range(len(lengths))), signal)
    room, company = context - 2, {}
    for sample in found:
        size, targets = len(sample.parts[0]), sample.targets
        assert size <= room
        for step, label, number in zip(targets["first"], targets["tags"], targets["number"], strict=True):
            assert sample.parts[0][step - 1] == begin[number]
            company.setdefault(int(number), []).append((min(step - 1, room - step), label))
    assert set(company) == set(range(len(lengths)))
    for number, seen in company.items():
        tagged = [near for near, label in seen if label >= 0]
        assert len(tagged) == 1 and tagged[0] == max(near for near, _ in seen)
        assert [label for _, label in seen if label >= 0] == [number]


# ------------------------------------------------------------------ pairs


NAMES = st.lists(st.text("abcdefgh", min_size=3, max_size=6), min_size=3, max_size=6, unique=True)


@given(NAMES, st.data())
def test_the_two_wordiest_columns_are_read_in_their_order(names, data):
    assume(not {*names} & {*pairs.FIRST, *pairs.SECOND})
    chosen = sorted(data.draw(st.sets(st.integers(0, len(names) - 1), min_size=2, max_size=2)))
    label = next(name for place, name in enumerate(names) if place not in chosen)
    rows = []
    for number in range(3):
        cells = {name: "one two three four" if place in chosen else f"x{number}" for place, name in enumerate(names)}
        rows.append(Example("", f"x{number}", Where("x.tsv"), cells | {label: f"x{number}"}))
    assert pairs.columns(pairs.Config(), rows) == tuple(names[place] for place in chosen)
    first, second = names[chosen[1]], names[chosen[0]]
    assert pairs.columns(pairs.Config(first=first, second=second), rows) == (first, second)
    assert pairs.Config(first=first, second=second).inputs(rows[0]) == ("one two three four",) * 2


@given(WORDS, WORDS)
def test_a_pair_is_two_texts_around_a_tab(first, second):
    assert pairs.pair(f"{first}\t{second}", 1) == pairs.pair((first, second), 1) == (first.strip(), second.strip())
    with pytest.raises(InputError, match="input 7: 3 texts where a pair is needed"):
        pairs.pair(f"{first}\t{second}\t{first}", 7)


# ------------------------------------------------------------------ what is kept


SHARES = st.floats(0, 1)
POINTS = st.lists(st.tuples(st.integers(0, 9999), st.floats(0, 99), SHARES).map(lambda p: Point(*p)), max_size=5)
SAID = st.lists(st.one_of(st.text(max_size=20), st.lists(WORDS, max_size=4), st.floats(-1e6, 1e6)), min_size=1,
                max_size=8)  # fmt: skip


@given(said=SAID, points=POINTS, data=st.data())
def test_a_kept_trial_of_plain_values_comes_back_as_it_was(tmp_path_factory, said, points, data):
    right = np.array(data.draw(st.lists(SHARES, min_size=len(said), max_size=len(said))))
    kept = Kept(tmp_path_factory.mktemp("kept") / "c", {"a": 1})
    kept.put(Trial("x/y", 20, 3, said, tuple(points), 0.25, right))
    back = kept.get("x/y", 20, 3)
    assert back.predicted == said and back.curve == tuple(points) and back.seconds == 0.25
    assert (back.right == right).all() and (back.arm, back.labels, back.seed) == ("x/y", 20, 3)
    assert kept.get("x/y", 20, 4) is None and kept.get("x", 20, 3) is None


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_a_kept_trial_of_classes_comes_back_as_it_was(tmp_path_factory, said):
    kept = Kept(tmp_path_factory.mktemp("kept") / "c", {})
    kept.put(Trial("a", 20, 0, np.array(said)))
    assert kept.get("a", 20, 0).predicted.tolist() == said and kept.get("a", 20, 0).right is None


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)),
       st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)))  # fmt: skip
def test_a_folder_takes_the_same_request_and_names_what_differs(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("kept") / "c"
    Kept(folder, one).put(Trial("a", 20, 0, np.array([1])))
    differing = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    if not differing:
        Kept(folder, other)
        return
    with pytest.raises(InputError) as caught:
        Kept(folder, other)
    assert caught.value.what == f"holds a comparison with another {', '.join(differing)}"


def test_nothing_is_written_before_there_is_a_trial(tmp_path):
    Kept(tmp_path / "new" / "c", {"a": 1})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for place, what in (("file", "is a file, not a folder"), ("file/x", "lies inside a file, not a folder")):
        with pytest.raises(InputError) as caught:
            Kept(tmp_path / place, {})
        assert str(caught.value) == f"{tmp_path / place}: {what}. Choose another place with --out."


# ------------------------------------------------------------------ what is asked for


@given(st.sets(st.integers(1, 10**6), min_size=1, max_size=6))
def test_numbers_are_read_as_they_are_written(numbers):
    assert numbers_of(",".join(map(str, numbers))) == numbers_of(list(numbers)) == sorted(numbers)
    assert numbers_of(" , ".join(f"{number:_}" for number in numbers)) == sorted(numbers)


@given(st.lists(st.lists(st.text("0123456789.", min_size=1, max_size=4), min_size=2, max_size=3, unique=True),
                min_size=1, max_size=2))  # fmt: skip
def test_choices_are_all_different_and_so_are_their_names(values):
    keys = ["masked_tokens.mask_rate", "optimizer.lr"]
    vary = [f"{key}={','.join(one)}" for key, one in zip(keys, values, strict=False)]
    found = combinations(vary)
    assert len(found) == np.prod([len(one) for one in values])
    assert len({json.dumps(choice) for choice in found}) == len({name_of(choice) for choice in found}) == len(found)


@given(st.lists(st.sampled_from(["random", "x", "y", "x-2"]), max_size=6))
def test_arms_of_model_folders_have_names_of_their_own(folders):
    taken = {"random", "pretrained"}
    for folder in folders:
        name = arm_name(Path("runs") / folder / "model", taken)
        assert name not in taken and name.startswith(folder)
        taken.add(name)


@given(st.text(min_size=1, max_size=300))
def test_the_page_of_a_word_has_a_name_that_files_can_have(word):
    name = str(page_of(word))
    assert "/" not in name and "\x00" not in name and len(name.encode("utf-8", "replace")) < 200
    assert name.startswith("company-") and name.endswith(".html")


def test_settings_come_after_the_config(tmp_path):
    (tmp_path / "few.toml").write_text("[train]\nsteps = 3\n")
    listed = merged(load_toml(tmp_path / "few.toml"), ["train.steps=5"])
    assert listed.index("train.steps=3") < listed.index("train.steps=5")
    assert merged(load_toml(tmp_path / "few.toml"), {"train.steps": 5})["train.steps"] == 5
    assert merged(None, ["a=b"]) == ["a=b"]
