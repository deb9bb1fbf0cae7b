"""The first reading of a corpus, the doctor's inspectors, and shards: exact counts, bounded memory."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.data import inspectors, shards, survey
from firth.data.records import Record, Where
from firth.functional.random import hash_bytes
from tests import material

QUICK = settings(max_examples=40, deadline=None)
TEXTS = st.lists(st.text("ab cé\n", max_size=20), max_size=30)


def records(texts, label: str | None = None) -> list[Record]:
    return [Record(text, label, Where("a.txt", 10 * line + 1)) for line, text in enumerate(texts)]


# ------------------------------------------------------------------ survey


@QUICK
@given(TEXTS, st.integers(1, 50), st.integers(1, 5))
def test_documents_come_stripped_numbered_and_in_order(texts, size, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "BATCH", size)
        patch.setattr(survey, "MOST", most)
        batches = list(survey.batches_of(records(texts)))
    assert [text for batch in batches for text in batch.texts] == [t.strip() for t in texts if t.strip()]
    assert [batch.first for batch in batches] == np.cumsum([0, *(len(b.texts) for b in batches)])[:-1].tolist()
    assert all(batch.texts and len(batch.texts) <= most for batch in batches)


def test_everything_is_counted_once(tmp_path):
    texts = [*material.documents(20), *material.documents(3), "", "  "]
    found = survey.survey(records(texts), tmp_path, want_sample=False)
    assert (found.documents, found.duplicates.exact, found.sample) == (23, 3, None)
    assert found.characters == sum(map(len, texts[:23])) == found.lengths.sum()
    assert found.words == sum(len(text.split()) for text in texts)
    assert found.hashes.tolist() == [hash_bytes(text.encode()) for text in texts[:23]]
    assert found.repeated.tolist() == [False] * 20 + [True] * 3


def test_nothing_at_all_is_surveyed(tmp_path):
    found = survey.survey([], tmp_path, want_sample=True)
    assert (found.documents, found.characters, found.words, len(found.hashes), len(found.lengths)) == (0, 0, 0, 0, 0)


def sample_of(path, count: int, limit: int) -> survey.Sample:
    sample = survey.Sample(path, limit)
    for number in range(count):
        text = b"%06d" % number
        sample.add(number, hash_bytes(text), text)
    return sample


def test_a_sample_within_its_limit_is_everything(tmp_path):
    sample = sample_of(tmp_path / "s", 50, 10**6)
    assert list(sample.texts(50, 0)) == [(number, f"{number:06d}") for number in range(50)]


def test_a_sample_beyond_its_limit_is_an_even_share(tmp_path):
    sample = sample_of(tmp_path / "s", 5000, 6000)
    chosen = [number for number, _ in sample.texts(5000, 0)]
    assert 700 <= len(chosen) <= 1000 and sample.size == 6 * len(chosen) <= 6000
    assert np.mean(chosen) == pytest.approx(2500, rel=0.1)


def test_a_sample_does_not_depend_on_the_order(tmp_path):
    chosen = []
    for order in (range(2000), reversed(range(2000))):
        sample = survey.Sample(tmp_path / "s", 3000)
        for number in order:
            text = b"%06d" % number
            sample.add(number, hash_bytes(text), text)
        chosen.append({number for number, _ in sample.texts(2000, 0)})
    assert chosen[0] == chosen[1]


def test_a_sample_may_end_within_a_document(tmp_path):
    sample = sample_of(tmp_path / "s", 10, 10**6)
    assert list(sample.texts(3, 4))[-2:] == [(2, "000002"), (3, "0000")]
    assert [number for number, _ in sample.texts(3, 0)] == [0, 1, 2]


def test_one_huge_document_is_cut_to_the_limit(tmp_path):
    sample = survey.Sample(tmp_path / "s", 100)
    sample.add(0, 0, b"x" * 1000)
    assert [len(text) for _, text in sample.texts(1, 0)] == [100]


# ------------------------------------------------------------------ shards

DOCUMENT = st.tuples(st.lists(st.integers(0, 99), min_size=1, max_size=12), st.integers(0, 2**64 - 1))


def breaks_of(tokens) -> np.ndarray:
    """A sentence every third token."""
    return np.arange(3, len(tokens), 3, dtype=np.int32)


def check(shard: shards.Shard, documents) -> None:
    assert shard.documents == len(documents)
    assert shard.size == sum(len(tokens) for tokens, _ in documents)
    assert shard.hashes.tolist() == [key for _, key in documents]
    for number, (tokens, _) in enumerate(documents):
        assert shard.document(number).tolist() == tokens
        assert shard.document(number).dtype == np.int32
        own = shard.breaks[shard.break_offsets[number] : shard.break_offsets[number + 1]]
        assert own.tolist() == breaks_of(tokens).tolist()
        assert shard.tokens[shard.offsets[number + 1] - 1] == 3


@QUICK
@given(st.lists(DOCUMENT, max_size=8), st.integers(1, 4), st.sampled_from([np.uint16, np.uint32]))
def test_documents_come_back_from_a_shard(tmp_path_factory, documents, group, kind):
    folder = tmp_path_factory.mktemp("shard")
    writer = shards.ShardWriter(folder, kind, 3)
    for first in range(0, len(documents), group):
        some = documents[first : first + group]
        tokens, breaks = [np.array(t, np.int32) for t, _ in some], [breaks_of(t) for t, _ in some]
        counts, break_counts = (np.array([*map(len, arrays)], np.int64) for arrays in (tokens, breaks))
        keys = np.array([key for _, key in some], np.uint64)
        writer.extend(np.concatenate(tokens), counts, np.concatenate(breaks), break_counts, keys)
    writer.close()
    check(shards.Shard(folder, kind, 3), documents)


@QUICK
@given(st.lists(DOCUMENT, max_size=6), st.integers(1, 5))
def test_documents_may_be_written_in_pieces(tmp_path_factory, documents, size):
    folder = tmp_path_factory.mktemp("shard")
    writer = shards.ShardWriter(folder, np.uint16, 3)
    for tokens, key in documents:
        for first in range(0, len(tokens), size):
            breaks = breaks_of(tokens)
            inside = breaks[(breaks >= first) & (breaks < first + size)] - first
            writer.append(np.array(tokens[first : first + size], np.int32), inside)
        writer.end_document(key)
    writer.close()
    check(shards.Shard(folder, np.uint16, 3), documents)


@pytest.mark.parametrize(("vocabulary", "kind"), [(5, np.uint16), (65535, np.uint16), (65536, np.uint32)])
def test_tokens_take_two_bytes_where_two_are_enough(vocabulary, kind):
    assert shards.token_type(vocabulary) is kind
    assert np.iinfo(kind).max >= vocabulary - 1


def test_an_empty_file_is_an_empty_array(tmp_path):
    (tmp_path / "a").touch()
    assert len(shards.map_array(tmp_path / "a", np.int64)) == 0
    (tmp_path / "b").write_bytes(np.arange(3).tobytes())
    assert shards.map_array(tmp_path / "b", np.int64).tolist() == [0, 1, 2]


# ------------------------------------------------------------------ inspectors


@QUICK
@given(TEXTS)
def test_lengths_are_counted_to_the_letter(texts):
    lengths = inspectors.Lengths()
    for record in records(texts):
        lengths.add(record)
    words = [len(text.split()) for text in texts]
    facts = lengths.facts()
    assert (facts["documents"], facts["words"]) == (len(texts), sum(words))
    assert facts["characters"] == sum(map(len, texts)) and facts["longest"] == max(words, default=0)
    assert sum(facts["lengths"].values()) == len(texts)
    middle = sorted(words)[(len(words) - 1) // 2] if words else 0
    assert facts["median"] == middle
    most = np.quantile(words, 0.95, method="inverted_cdf") if words else 0
    assert facts["most"] == most


def test_bins_double():
    lengths = inspectors.Lengths()
    for count in (0, 1, 2, 3, 4, 7, 8):
        lengths.add(records(["w " * count])[0])
    assert lengths.facts()["lengths"] == {"0–0": 1, "1–1": 1, "2–3": 2, "4–7": 2, "8–15": 1}


@pytest.mark.parametrize(("counts", "told"), [({"a": 9, "b": 1}, 0), ({"a": 10, "b": 1}, 1), ({"a": 50}, 0), ({}, 0)])
def test_only_a_very_uneven_class_is_told(counts, told):
    classes = inspectors.Classes()
    for name, count in counts.items():
        for record in records(["text"] * count, name):
            classes.add(record)
    classes.add(Record("without a label", None, Where("a.txt")))
    assert len(classes.findings()) == told
    assert classes.facts() == ({"classes": counts} if counts else {})


def test_a_leak_is_between_parts_and_never_within_one():
    leaks = inspectors.Leaks()
    one, same, other = records(["One text", "one  text", "another"])
    assert [leaks.add(one, "train"), leaks.add(same, "train"), leaks.add(other, "test")] == [None, None, None]
    assert [leaks.add(same, "test"), leaks.add(other, "train")] == ["train", "test"]


def test_an_inspector_says_nothing_unless_it_has_to():
    silent = inspectors.Inspector()
    assert (silent.facts(), silent.findings()) == ({}, [])
    with pytest.raises(NotImplementedError):
        silent.add(records(["text"])[0])


def test_boilerplate_is_named_with_its_first_line():
    line = "All rights reserved by the authors"
    found = inspectors.Boilerplate()
    for record in records([f"text {n}\n{line}" for n in range(6)]):
        found.add(record)
    [finding] = found.findings()
    assert finding.where == "a.txt:2"
    assert finding.what == f"the line `{line}` is in 6 of 6 documents"
    assert found.facts() == {"boilerplate": {line: 6}}


def test_languages_of_short_texts_are_not_guessed():
    languages = inspectors.Languages()
    for record in records(["short"] * 30):
        languages.add(record)
    assert (languages.facts(), languages.findings(), languages.shares()) == ({}, [], ({}, {}))


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 1000), max_size=10))
def test_bars_are_as_many_as_bins_and_the_tallest_is_full(bins):
    bars = inspectors.histogram(bins)
    assert len(bars) == len(bins) and " " not in bars
    assert not bins or bars[list(bins.values()).index(max(bins.values()))] == "█"


@pytest.mark.parametrize(("line", "short"), [("a  b\t c", "a b c"), ("x" * 60, "x" * 60), ("x" * 61, "x" * 57 + "…")])
def test_long_lines_are_shown_short(line, short):
    assert inspectors._short(line) == short


def test_counting_forgets_the_rare_and_keeps_the_frequent():
    found = inspectors.Boilerplate(keep=50)
    for number in range(500):
        found.add(records([f"a line that comes only once, number {number}\nthe line that always comes again"])[0])
    assert len(found.counts) <= 51 and set(found.places) == set(found.counts)
    assert Counter(found.counts).most_common(1)[0][0] == "the line that always comes again"
