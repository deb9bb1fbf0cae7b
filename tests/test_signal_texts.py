"""One text of a stream a row, as tasks read it: what its tokenizer puts before and between, cut, padded, saved."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.signal import Sample
from firth.signals._frames import Ends, joined
from tests import llamas
from tests.test_signal_stream import END, STRANGE, fitted

KINDS = ("bpe", "characters", "bytes")
PAIRS = [("a ship", "the tide meets it"), ("", "b"), *pairwise(filter(None, STRANGE))]


def samples(signal, *texts: tuple[str, ...]) -> list[Sample]:
    return [Sample(tuple(one.ids for one in signal.encode(list(parts))), key=0) for parts in texts]


@pytest.fixture(scope="module", params=KINDS)
def signal(request):
    return fitted(request.param).but(context=200).of_texts()


def test_a_text_begins_with_the_token_that_ended_the_one_before(signal):
    batch = signal.stack(samples(signal, ("the ship",), ("a",)))
    first, second = (one.parts[0].tolist() for one in samples(signal, ("the ship",), ("a",)))
    assert batch["tokens"][0].tolist() == [signal.sep_id, *first]
    rest = len(first) - len(second)
    assert batch["tokens"][1].tolist() == [signal.sep_id, *second, *[signal.pad_id] * rest]
    assert batch["pad"].sum() == rest and batch["pad"][1, -rest:].all()


def test_rows_are_those_of_transformers(signal, tmp_path):
    transformers = pytest.importorskip("transformers")
    signal.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for one, other in PAIRS:
        for parts in ((one,), (one, other)):
            row = signal.stack(samples(signal, parts))["tokens"][0].tolist()
            assert row == theirs(*parts)["input_ids"], parts


@pytest.mark.parametrize("kind", llamas.KINDS)
def test_texts_that_a_tokenizer_would_only_join_are_parted_by_the_end(kind, tmp_path):
    from firth.signals.text import Text

    tokenizer = llamas.KINDS[kind]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    signal = Text.open(tmp_path).of_texts()
    end = tokenizer.token_to_id(END)
    assert signal.config.frame == "texts" and signal.ends == Ends((end,), (end,))
    one, other = (part.tolist() for part in samples(signal, ("the ship", "the tide"))[0].parts)
    assert signal.stack(samples(signal, ("the ship", "the tide")))["tokens"][0].tolist() == [end, *one, end, *other]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    context=st.integers(8, 60),
    before=st.integers(0, 2),
    between=st.integers(1, 2),
)
def test_no_row_is_longer_than_the_context_and_the_longest_part_gives_way(sizes, context, before, between):
    ends = Ends((90,) * before, (91,) * between)
    parts = tuple(np.full(size, number, np.int32) for number, size in enumerate(sizes))
    row = joined(parts, ends, context)
    room = context - before - between * (len(sizes) - 1)
    assert len(row) == min(context, sum(sizes) + context - room)
    kept = [int((row == number).sum()) for number in range(len(sizes))]
    assert all(have <= had for have, had in zip(kept, sizes, strict=True))
    assert all(have == had or have >= max(kept) - 1 for have, had in zip(kept, sizes, strict=True))


def test_lengths_are_those_of_the_rows(signal):
    for parts in [("",), ("the ship",), ("the ship", "a"), ("the ship " * 90, "b")]:
        (sample,) = samples(signal, parts)
        assert signal.length(sample) == signal.stack([sample])["tokens"].shape[1] <= 200


def test_a_stream_and_its_texts_are_one_tokenizer_saved_alike_but_for_the_side_of_padding(signal, tmp_path):
    stream = signal.but(frame="stream")
    for name, one in (("stream", stream), ("texts", signal)):
        one.save(tmp_path / name)
    kept = {name: json.loads((tmp_path / name / "tokenizer_config.json").read_text()) for name in ("stream", "texts")}
    assert kept["stream"]["firth"] == kept["texts"]["firth"] and kept["texts"]["firth"]["frame"] == "stream"
    assert [kept[name]["padding_side"] for name in ("stream", "texts")] == ["left", "right"]
    assert stream.lead == 0 and signal.lead == 1 and signal.of_texts() is signal


def test_other_frames_stay_what_they_are():
    from firth.signals.text import Config, Text

    pair = Text.fit(STRANGE * 5, Config(vocabulary=200, context=32))
    assert pair.of_texts() is pair and pair.lead == 1
