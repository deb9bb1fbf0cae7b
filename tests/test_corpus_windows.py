"""Packing: no token is lost or doubled, whatever the context; windows, keys, sentence starts and partners."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.data.sampler import Batches
from firth.data.shards import Shard, ShardWriter, token_type
from firth.data.windows import DocumentRows, PackedRows, cut_at
from firth.errors import InputError
from firth.functional.random import Draw

SEP = 3
DOCUMENTS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def write(folder, lengths: list[int], pieces: bool = False) -> tuple[Shard, list[np.ndarray]]:
    """A shard of documents with these lengths; tokens count up, a sentence starts at every fifth token."""
    ids = np.arange(10, 10 + sum(lengths), dtype=np.int32)
    documents = np.split(ids, np.cumsum(lengths)[:-1])
    breaks = [np.arange(5, n, 5, dtype=np.int32) for n in lengths]
    writer = ShardWriter(folder, np.uint16, SEP)
    if pieces:
        for number, document in enumerate(documents):
            writer.append(document[:7], np.arange(5, min(7, len(document)), 5))
            writer.append(document[7:], np.arange(10, max(len(document), 10), 5) - 7)
            writer.end_document(100 + number)
    else:
        counts = np.array([len(b) for b in breaks])
        writer.extend(ids, np.array(lengths), np.concatenate(breaks), counts, 100 + np.arange(len(lengths)))
    writer.close()
    return Shard(folder, np.uint16, SEP), documents


def everything(source) -> list:
    return source.get(np.arange(len(source)), Draw(0))


@settings(max_examples=60, deadline=None)
@given(lengths=DOCUMENTS, context=st.integers(6, 80))
def test_packed_rows_hold_the_stream_exactly_once(tmp_path_factory, lengths, context):
    shard, documents = write(tmp_path_factory.mktemp("shard"), lengths)
    rows = [sample.parts[0] for sample in everything(PackedRows(shard, context))]
    stream = np.concatenate([np.append(document, SEP) for document in documents])[:-1]
    assert np.array_equal(np.concatenate(rows), stream)
    assert {len(row) for row in rows[:-1]} <= {context - 2} and 0 < len(rows[-1]) <= context - 2
    assert len({sample.key for sample in everything(PackedRows(shard, context))}) == len(rows)


@settings(max_examples=60, deadline=None)
@given(lengths=DOCUMENTS, context=st.integers(6, 80), epoch=st.integers(1, 9))
def test_later_epochs_cut_the_stream_elsewhere(tmp_path_factory, lengths, context, epoch):
    """The same numbers of tokens, each at most once: all but one of the ring."""
    shard, documents = write(tmp_path_factory.mktemp("shard"), lengths)
    source = PackedRows(shard, context)
    first, later = everything(source), source.get(np.arange(len(source)), Draw(3, epoch))
    assert [len(one.parts[0]) for one in first] == [len(one.parts[0]) for one in later]
    ring = np.concatenate([np.append(document, SEP) for document in documents])
    begin = cut_at(Draw(3, epoch), source.size) % len(ring)
    assert np.array_equal(np.concatenate([one.parts[0] for one in later]), np.roll(ring, -begin)[:-1])


def test_where_a_stream_is_cut_hangs_on_seed_and_epoch_alone(tmp_path):
    assert cut_at(None, 50) == cut_at(Draw(7), 50) == 0
    found = [cut_at(Draw(seed, epoch), 50) for seed in (0, 1) for epoch in range(1, 9)]
    assert len({*found}) > 8 and found[0] == cut_at(Draw(0, 1), 50) and max(found) < 50
    shard, _ = write(tmp_path, [40, 3, 25, 60])
    source, draw = PackedRows(shard, 12), Draw(0, 2)
    whole, some = source.get(np.arange(len(source)), draw), source.get(np.array([5, 2]), draw)
    assert [one.key for one in some] == [whole[5].key, whole[2].key]
    assert np.array_equal(some[0].parts[0], whole[5].parts[0])


@settings(max_examples=60, deadline=None)
@given(lengths=DOCUMENTS, context=st.integers(7, 80))
def test_windows_of_documents_hold_each_document_exactly_once(tmp_path_factory, lengths, context):
    shard, documents = write(tmp_path_factory.mktemp("shard"), lengths)
    source = DocumentRows(shard, context)
    parts = [sample.parts[0] for sample in everything(source)]
    assert np.array_equal(np.concatenate(parts), np.concatenate(documents))
    assert source.lengths.tolist() == [len(part) for part in parts]
    assert len(parts) == sum(-(-n // (context - 2)) for n in lengths)
    assert max(map(len, parts)) <= context - 2


@settings(max_examples=40, deadline=None)
@given(lengths=DOCUMENTS, context=st.integers(7, 80))
def test_sentence_starts_stay_at_their_tokens(tmp_path_factory, lengths, context):
    shard, documents = write(tmp_path_factory.mktemp("shard"), lengths)
    starts = {int(document[i]) for document in documents for i in range(5, len(document), 5)}
    for sample in everything(DocumentRows(shard, context)):
        part = sample.parts[0]
        assert (sample.breaks > 0).all()
        assert {int(t) for t in part[sample.breaks]} == starts & {int(t) for t in part[1:]}


def test_one_shard_serves_every_context(tmp_path):
    shard, documents = write(tmp_path, [50, 9, 31])
    for context in (8, 16, 33):
        for rows in (PackedRows, DocumentRows):
            joined = np.concatenate([s.parts[0] for s in everything(rows(shard, context))])
            assert np.array_equal(joined[joined != SEP], np.concatenate(documents))


def test_windows_are_even(tmp_path):
    shard, _ = write(tmp_path, [21, 4])
    assert DocumentRows(shard, 12).lengths.tolist() == [7, 7, 7, 4]


def test_pieces_make_the_same_shard_as_whole_documents(tmp_path):
    lengths = [3, 30, 8, 14]
    one, _ = write(tmp_path / "one", lengths)
    two, _ = write(tmp_path / "two", lengths, pieces=True)
    for name in ("tokens", "offsets", "breaks", "break_offsets", "hashes"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.size == sum(lengths) and one.documents == 4 and two.document(1).tolist() == one.document(1).tolist()


def test_partners_are_of_other_documents_and_depend_on_the_key_only(tmp_path):
    shard, documents = write(tmp_path, [40, 3, 25, 60])
    source = DocumentRows(shard, 13, partner=True)
    home = {int(t): number for number, document in enumerate(documents) for t in document}
    drawn = set()
    for epoch in range(60):
        for sample in source.get(np.arange(len(source)), Draw(1, epoch)):
            mine, other = home[int(sample.parts[0][0])], home[int(sample.partner.parts[0][0])]
            assert mine != other
            drawn.add((mine, other))
    assert len(drawn) == 12
    backwards = source.get(np.arange(len(source))[::-1], Draw(1, 5))[::-1]
    for a, b in zip(source.get(np.arange(len(source)), Draw(1, 5)), backwards, strict=True):
        assert a.partner.key == b.partner.key


def test_partners_are_equally_likely(tmp_path):
    shard, _ = write(tmp_path, [10, 40, 50])
    source = DocumentRows(shard, 13, partner=True)
    keys = [source.get(np.array([0]), Draw(0, epoch))[0].partner.key for epoch in range(1800)]
    counts = np.unique(keys, return_counts=True)[1]
    assert len(counts) == 9 and counts.min() > 140 and counts.max() < 260


def test_keys_do_not_depend_on_the_place_of_the_document(tmp_path):
    one, _ = write(tmp_path / "one", [20])
    two, _ = write(tmp_path / "two", [20, 20])
    assert [s.key for s in everything(DocumentRows(one, 12))] == [s.key for s in everything(DocumentRows(two, 12))][:2]


def test_tables_beside_the_shard_are_written_once(tmp_path):
    shard, _ = write(tmp_path, [20, 30])
    DocumentRows(shard, 12)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    DocumentRows(shard, 12)
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert {"windows-10.bin", "lengths-10.bin"} <= set(before)


def test_token_type():
    assert token_type(65535) is np.uint16 and token_type(65536) is np.uint32


def test_a_step_is_cheap(tmp_path):
    from firth.signals.text import Config, Text
    from tests.material import documents

    signal = Text.fit(documents(20), Config())
    shard, _ = write(tmp_path, [200] * 250)
    shard.tokens = shard.tokens % 90
    for source, milliseconds in ((PackedRows(shard, 128), 1.5), (DocumentRows(shard, 128, partner=True), 3)):
        batches = Batches(source, signal, [], 0, 16)
        batches.step(0)
        begin = time.process_time()
        for step in range(100):
            batches.step(step)
        assert (time.process_time() - begin) / 100 < milliseconds / 1000


def test_errors(tmp_path):
    shard, _ = write(tmp_path, [20])
    with pytest.raises(InputError) as error:
        PackedRows(shard, 5)
    assert str(error.value) == (
        "text.context = 5: with 2 special tokens it leaves 3 for text. Set text.context = 6 or more; 128 is usual."
    )
    with pytest.raises(InputError) as error:
        DocumentRows(shard, 12, partner=True)
    assert str(error.value) == (
        "data: next sentences need another document to draw from, there is 1. "
        "Say --document block or --document line, give more text, or set next_sentence.mode = order."
    )
