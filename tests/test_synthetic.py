"""Made data: families against plain Python, episodes that hang on seed and number alone, and reading it like a file."""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from firth.data import synthetic
from firth.data.check import check
from firth.data.config import Data
from firth.data.corpus import open_corpus
from firth.data.readers import expand, read
from firth.data.synthetic import icl
from firth.data.synthetic._families import LETTERS, NEAR, ROWS, TRAINED, UNTRAINED, Family
from firth.errors import InputError
from firth.find import names
from firth.functional.random import Draw
from firth.recipe import Recipe, apply_settings
from firth.signals import text as text_signal
from firth.train.pretrain import default_place

FAMILIES = {family.name: family for family in (*TRAINED, *UNTRAINED)}
DRAW = Draw(3)


def some(family: Family, count: int = 40, held_out: bool | None = None) -> np.ndarray:
    return icl.members(family, np.arange(count), DRAW, held_out)


def plain(name: str, member: list[int], word: str) -> str:
    """What a member does to a word, a letter at a time."""
    numbers = [LETTERS.index(letter) for letter in word]
    if name == "lookup":
        keys, values = (["".join(LETTERS[n] for n in member[i : i + 4]) for i in range(begin, begin + 4 * ROWS, 4)]
                        for begin in (0, 4 * ROWS))  # fmt: skip
        return values[keys.index(word)]
    if name == "rearrange":
        return "".join(word[place] for place in member)
    if name == "fill":
        return "".join(word[slot] if slot < 4 else LETTERS[slot - 4] for slot in member)
    if name == "affine":
        return "".join(LETTERS[(member[0] * n + member[1]) % len(LETTERS)] for n in numbers)
    if name == "sort":
        return "".join(sorted(word, key=lambda letter: member[LETTERS.index(letter)]))
    if name == "translate":
        return "".join(LETTERS[member[n]] for n in numbers)
    return "".join(LETTERS[member[4:][numbers[place]]] for place in member[:4])


# ------------------------------------------------------------------ families


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_does_what_it_says_letter_by_letter(name):
    family = FAMILIES[name]
    members = some(family)
    given = family.words(members, icl.uniform(DRAW, np.arange(40), "w", 5, len(LETTERS)))
    made = family.apply(members, given)
    assert given.shape == made.shape == (40, 5, 4)
    for member, words, outputs in zip(members.tolist(), given, made, strict=True):
        for word, output in zip(icl.words(words), icl.words(outputs), strict=True):
            assert len(set(word)) == 4
            assert plain(name, member, word) == output


@pytest.mark.parametrize("name", FAMILIES)
def test_neighbours_are_members_that_differ_in_little(name):
    family = FAMILIES[name]
    members = some(family, 200)
    near = family.near(members, DRAW.uniform(np.arange(200), "near", NEAR))
    given = family.words(members, icl.uniform(DRAW, np.arange(200), "w", 1, len(LETTERS)))
    before, after = family.apply(members, given), family.apply(near, given)
    same = (before == after).all(2)[:, 0]
    assert near.shape == members.shape and 0.02 < 1 - same.mean() < 1  # it changes something, for some words
    if name == "lookup":
        assert (np.sort(family.table(members)[1], 1) == np.sort(family.table(near)[1], 1)).all()
    elif name == "fill":
        assert ((members >= 4) == (near >= 4)).all() and (members[members >= 4] == near[near >= 4]).all()
    elif name in ("translate", "sort"):
        assert ((members != near).sum(1) == 2).all()
        assert (np.sort(near[:, : len(LETTERS)], 1) == np.arange(len(LETTERS))).all()
    else:
        assert ((members != near).sum(1) <= 2).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fifth_of_the_members_is_held_out(name):
    family = FAMILIES[name]
    every = np.unique(some(family, 4000), axis=0)
    assert 0.1 < family.held_out(every).mean() < 0.3
    assert family.held_out(some(family, 50, True)).all() and not family.held_out(some(family, 50, False)).any()


def test_small_families_are_whole():
    count = {name: len(np.unique(some(FAMILIES[name], 6000), axis=0)) for name in ("rearrange", "affine")}
    assert count == {"rearrange": 4**4, "affine": 8 * 16}


def test_tables_and_languages_are_of_many_sizes():
    """2 to 8 rows, 4 to 16 letters; of a member, no more words and letters come than it has."""
    for name, sizes in (("lookup", range(2, ROWS + 1)), ("translate", range(4, len(LETTERS) + 1))):
        members = some(FAMILIES[name], 300)
        assert sorted(set(members[:, -1].tolist())) == list(sizes)
        given = FAMILIES[name].words(members, icl.uniform(DRAW, np.arange(300), "w", 60, len(LETTERS)))
        units = (set(icl.words(words)) if name == "lookup" else set(words.ravel().tolist()) for words in given)
        assert [len(one) for one in units] == members[:, -1].tolist()


def test_patterns_have_two_fixed_letters():
    assert ((some(FAMILIES["fill"], 500) >= 4).sum(1) == 2).all()


# ------------------------------------------------------------------ episodes


def test_an_episode_is_lines_of_a_word_and_what_it_becomes():
    config = icl.Config(episodes=300)
    found = list(icl.texts(config))
    assert len(found) == len(set(found)) == 300
    assert sum(len(text) + 1 for text in found) == config.size
    assert set("".join(found)) == set(LETTERS + ">\n")
    for text in found:
        lines = text.split("\n")
        assert len(lines) == 24 and all(len(line) == 9 and line[4] == ">" for line in lines)


def test_episodes_hang_on_seed_and_number_alone():
    config = icl.Config(episodes=2 * icl.BLOCK + 5)
    found = list(icl.texts(config))
    assert found == list(icl.texts(config)) and len(found) == config.episodes
    assert list(icl.texts(icl.Config(episodes=7))) == found[:7]
    assert icl.block(config, np.array([icl.BLOCK + 1, 3])) == [found[icl.BLOCK + 1], found[3]]
    assert not set(icl.texts(icl.Config(episodes=50, seed=1))) & set(found)


def test_the_first_episode_stays_what_it_is():
    """Raise icl.VERSION where this changes: caches must not hold the old episodes under the new name."""
    first = next(icl.texts(icl.Config(episodes=1, examples=17)))
    assert (icl.VERSION, first.split("\n")[:3]) == (2, GOLDEN)


GOLDEN = ["bgdl>dggb", "eimd>miie", "dikc>kiid"]


def test_families_come_equally_often_and_one_function_makes_an_episode():
    counts: Counter[str] = Counter()
    for text in icl.texts(icl.Config(episodes=400)):
        pairs = [tuple(line.split(">")) for line in text.split("\n")]
        counts[family_of(pairs)] += 1
    assert set(counts) == {"lookup", "translate", "places"}
    assert 60 < counts["lookup"] < 140 and 60 < counts["translate"] < 140


def family_of(pairs) -> str:
    if len({given for given, _ in pairs}) <= ROWS:
        assert len(set(pairs)) <= ROWS
        return "lookup"
    code = {(a, b) for given, made in pairs for a, b in zip(given, made, strict=True)}
    return "translate" if len(code) == len({a for a, _ in code}) == len({b for _, b in code}) else "places"


def test_training_sees_no_held_out_member():
    """The places that letters come from can be read off the lines, where there are enough of them."""
    family, seen = FAMILIES["rearrange"], set()
    for text in icl.texts(icl.Config(episodes=1200)):
        pairs = [tuple(line.split(">")) for line in text.split("\n")]
        places = [[p for p in range(4) if all(given[p] == made[s] for given, made in pairs)] for s in range(4)]
        if all(len(one) == 1 for one in places):
            seen.add(tuple(one[0] for one in places))
    assert len(seen) > 120 and not family.held_out(np.array(sorted(seen))).any()


def test_few_members_come_again():
    def maps(members: int) -> set[tuple[tuple[str, str], ...]]:
        found = icl.texts(icl.Config(episodes=400, examples=60, members=members))
        episodes = ([tuple(line.split(">")) for line in text.split("\n")] for text in found)
        return {tuple(sorted(set(pairs))) for pairs in episodes if family_of(pairs) == "lookup"}

    assert len(maps(3)) <= 3 + 1 and len(maps(0)) > 60  # one row may be missing in 60 lines once


def test_memory_does_not_grow_with_the_number_of_episodes():
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in itertools.islice(icl.texts(icl.Config()), count):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(4 * icl.BLOCK) < 1.2 * peak(icl.BLOCK)


# ------------------------------------------------------------------ questions


@pytest.mark.parametrize("kind", icl.KINDS)
def test_a_question_has_one_right_option_by_the_function_of_its_examples(kind):
    for one in icl.questions(kind, 28):
        assert len(set(one.options)) == icl.OPTIONS and 0 <= one.answer < icl.OPTIONS
        assert len(one.examples) == icl.SHOTS and len(one.query) == 4
        assert one.prompt(0) == f"{one.query}>"
        assert one.prompt(2).split("\n") == [*map(">".join, one.examples[:2]), f"{one.query}>"]
        if one.family == "lookup" and one.query in dict(one.examples):
            assert dict(one.examples)[one.query] == one.options[one.answer]
        if one.family == "sort":
            assert {"".join(sorted(option)) for option in one.options} == {"".join(sorted(one.query))}


@pytest.mark.parametrize("kind", icl.KINDS)
def test_families_take_turns_and_seeds_give_other_questions(kind):
    found = icl.questions(kind, 24)
    own = [family.name for family in icl.KINDS[kind]]
    assert [one.family for one in found] == [own[i % len(own)] for i in range(24)]
    assert found == icl.questions(kind, 24) == icl.questions(kind, 30)[:24]
    assert not set(found) & set(icl.questions(kind, 24, seed=1))
    assert {"affine", "cipher", "sort"}.isdisjoint(own) == (kind != "new-families")


def test_new_members_are_held_out_with_all_their_rivals():
    key, family = np.array([5 << 16]), FAMILIES["translate"]
    for held_out in (True, False):
        rivals, query, _ = icl._rivals(family, key, DRAW, held_out)
        assert (family.held_out(rivals) == held_out).all() and query.shape == (1, 1, 4)


def test_nothing_about_the_options_gives_the_answer_away():
    """Whatever is chosen without looking at the examples is right in one of four."""
    found = [one for kind in icl.KINDS for one in icl.questions(kind, 200)]
    ways = {
        "first": lambda one: 0,
        "least": lambda one: one.options.index(min(one.options)),
        "like the query": lambda one: max(range(4), key=lambda i: icl.overlap(one.options[i], one.query)),
        "like the others": lambda one: max(
            range(4), key=lambda i: sum(icl.overlap(one.options[i], other) for other in one.options)
        ),
        "repeating": lambda one: min(range(4), key=lambda i: len(set(one.options[i]))),
    }
    for way, choose in ways.items():
        share = np.mean([choose(one) == one.answer for one in found])
        assert abs(share - 0.25) < 3 * (0.25 * 0.75 / len(found)) ** 0.5, way


def test_baselines_see_the_examples_only():
    one = icl.Question("x", (("abcd", "aaaa"), ("abce", "bbbb"), ("mnop", "cccc")), "abcf", ("aaaa", "bbbb"), 1)
    assert [icl.copied(one, n) for n in range(4)] == ["", "aaaa", "bbbb", "cccc"]
    assert [icl.nearest(one, n) for n in range(4)] == ["", "aaaa", "bbbb", "bbbb"]


# ------------------------------------------------------------------ read like a file


def test_it_is_read_like_any_other_data():
    reading = read(["synthetic:icl:episodes=30"])
    found = list(reading)
    assert [one.text for one in found] == list(icl.texts(icl.Config(episodes=30))) == [one.text for one in reading]
    assert str(found[6].where) == "synthetic:icl:episodes=30:7"
    assert (reading.unit, reading.text_column, reading.label_column, reading.running) == ("row", "text", None, False)
    assert found[0].label is None and reading.findings == []


def test_names_are_one_for_equal_settings():
    for given in ("synthetic:icl", "synthetic:icl:seed=0", "synthetic:icl:episodes=200000:seed=0"):
        assert str(synthetic.parse(given)) == "synthetic:icl"
    (file,) = expand(["synthetic:icl:seed=2:episodes=5", "synthetic:icl:episodes=5:seed=2"])
    assert (file.name, file.format, file.size) == ("synthetic:icl:episodes=5:seed=2", "synthetic", 5 * 24 * 10)
    assert [one.name for one in expand(["synthetic:icl:seed=1", "synthetic:icl:seed=2"])][1] == "synthetic:icl:seed=2"


def test_it_goes_with_files(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "words of a person"}\n{"text": "more words of a person"}\n')
    found = [one.text for one in read([tmp_path / "a.jsonl", "synthetic:icl:episodes=3"])]
    assert len(found) == 5 and found[0] == "words of a person" and ">" in found[-1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("synthetic:icll", "synthetic:icll: is no made data. Did you mean `icl`? There is: synthetic:icl."),
        ("synthetic:", "synthetic:: is no made data. There is: synthetic:icl."),
        (
            "synthetic:icl:episode=3",
            "synthetic:icl:episode=3: `episode` is no key of it. Did you mean `episodes`? "
            "It has: episodes, examples, members, seed.",
        ),
        (
            "synthetic:icl:seed",
            "synthetic:icl:seed: `seed` has no `=`. Write key=value: synthetic:icl:seed=1.",
        ),
        (
            "synthetic:icl:episodes=0",
            "synthetic:icl:episodes=0: `episodes` cannot be `0`: input should be greater than or equal to 1. "
            "Give it like synthetic:icl:episodes=200000.",
        ),
        (
            "synthetic:icl:examples=16",
            "synthetic:icl:examples=16: `examples` cannot be `16`: input should be greater than or equal to 17. "
            "Give it like synthetic:icl:examples=24.",
        ),
    ],
)
def test_what_is_wrong_with_a_name_is_said(given, message):
    with pytest.raises(InputError) as caught:
        expand([given])
    assert str(caught.value) == message


def corpus(tmp_path, given: str):
    config = text_signal.Config(vocabulary=60, context=64)
    return open_corpus(Data(paths=(given,), held_out=0.2), text_signal, config, cache=tmp_path)


def test_a_corpus_is_packed_once_for_equal_episodes(tmp_path, monkeypatch):
    first = corpus(tmp_path, "synthetic:icl:episodes=60")
    assert (first.facts["documents"], first.facts["unit"], first.facts["bytes"]) == (60, "row", 60 * 240)
    assert corpus(tmp_path, "synthetic:icl:seed=0:episodes=60").folder == first.folder
    assert corpus(tmp_path, "synthetic:icl:episodes=60:seed=1").folder != first.folder
    monkeypatch.setattr(icl, "VERSION", icl.VERSION + 1)
    assert corpus(tmp_path, "synthetic:icl:episodes=60").folder != first.folder


def test_the_doctor_does_not_ask_for_the_language_of_made_words():
    report = check(["synthetic:icl:episodes=200"])
    assert report.errors == [] and "languages" not in report.facts and report.facts["documents"] == 200
    assert not [finding for finding in report.findings if finding.level == "warning"]
    assert report.suggestion == "firth pretrain synthetic:icl:episodes=200 --budget 1m"
    assert report.estimate.startswith("about 0.0 M tokens; 1 min on two cores read them about 20 times")


def test_a_run_on_it_has_a_plain_name():
    recipe = apply_settings(Recipe(), {"data.paths": ("synthetic:icl:episodes=5",)})
    assert str(default_place(recipe)) == "runs/icl-masked-tokens"


def test_generators_are_found_by_their_file():
    assert names("data/synthetic") == ["icl"]
