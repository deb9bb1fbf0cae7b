"""The text signal: exact ids, sentence starts, words, stacking, and folders that transformers opens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from firth import find
from firth.errors import InputError
from firth.model.sizes import shape_of
from firth.signal import Sample, Signal
from firth.signals import text
from firth.signals._chunks import Table, batches_by_length, sentence_starts
from firth.signals.text import Config, Text
from tests.material import documents

STRANGE = [
    "naïve Ünïcode 日本語。次の文。 x",
    "x  y\n\nz   é ",
    "[MASK] a [SEP]",
    "",
    "  ",
    "a\x0bb \x85c",
    "don't\tstop",
    "1,000.5 km²",
]
LETTERS = st.text(st.sampled_from("abcABZé 19.,!?'\"\n\t日。-"), max_size=60)


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def signal(request):
    return Text.fit(documents(60) + STRANGE, Config(tokenizer=request.param, vocabulary=600, context=32))


def test_the_signal_is_found_by_its_file():
    module = find.find("signals", "text")
    assert find.main_class(module, Signal) is Text
    assert "text" in find.names("signals")


def test_special_tokens_come_first(signal):
    assert [signal.tokenizer.id_to_token(i) for i in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert signal.facts.special_ids == (0, 1, 2, 3, 4)
    assert signal.facts.mask_id == 4 and signal.facts.vocabulary == signal.tokenizer.get_vocab_size()
    assert {"tokens", "sentences", "partner", "words"} <= signal.facts.offers


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_the_same_text_gives_the_same_vocabulary(kind):
    config = Config(tokenizer=kind, vocabulary=400)
    one, two = (Text.fit(documents(40) + STRANGE, config).tokenizer.to_str() for _ in range(2))
    assert one == two


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(LETTERS, max_size=5))
def test_chunks_give_the_ids_of_the_whole_text(signal, texts):
    encoded = signal.encode(texts)
    assert [e.ids.tolist() for e in encoded] == [ids_of(signal, one) for one in texts]
    for one in encoded:
        assert (np.diff(one.breaks) > 0).all()
        assert ((one.breaks > 0) & (one.breaks < len(one.ids))).all()


@pytest.mark.parametrize("one", [*STRANGE, *documents(2)])
def test_strange_texts_give_the_ids_of_the_whole_text(signal, one):
    if "\x0b" in one and signal.config.tokenizer == "bpe":
        pytest.skip("a vertical tab counts as white space there")
    assert signal.encode([one])[0].ids.tolist() == ids_of(signal, one)


def ids_of(signal, one: str) -> list[int]:
    return signal.encoder.tokenizer.encode(one, add_special_tokens=False).ids


def test_special_tokens_in_a_text_are_plain_unless_asked_for(signal):
    assert 4 not in signal.encode(["a [MASK] b"])[0].ids
    assert 4 in signal.encode(["a [MASK] b"], specials=True)[0].ids


def test_full_tables_begin_anew_and_change_nothing(signal, monkeypatch):
    want = [e.ids.tolist() for e in signal.encode(documents(20))]
    monkeypatch.setattr("firth.signals._chunks.MEMO_STRINGS", 3)
    for one, ids in zip(documents(20), want, strict=True):
        assert signal.encode([one])[0].ids.tolist() == ids
    assert len(signal.encoder.chunks.memo) < 60


def test_very_long_words_are_cut_for_the_tokenizer(signal, monkeypatch):
    monkeypatch.setattr("firth.signals._chunks.LONGEST", 10)
    encoded = signal.encode(["ship " + "é" * 35 + " sail", "cow"])
    assert len(encoded[0].ids) >= 4 and encoded[1].ids.tolist() == ids_of(signal, "cow")


def test_a_table_tokenises_each_string_once():
    asked = []

    def tokenise(strings):
        asked.extend(strings)
        return np.arange(len(strings), dtype=np.int32), np.ones(len(strings), int)

    table = Table(tokenise)
    rows, new = table.rows(["a", "b", "a"])
    assert rows.tolist() == [0, 1, 0] and new == ["a", "b"]
    assert table.rows(["b", "c"])[0].tolist() == [1, 2] and asked == ["a", "b", "c"]
    assert table.gather(np.array([1, 0, 1]))[0].tolist() == [1, 0, 1]


def test_batches_by_length_lose_nothing():
    texts = ["aa", "b" * 50, "", "c", "d" * 9]
    assert [one for batch in batches_by_length(texts, 10) for one in batch] == texts
    assert list(batches_by_length([], 10)) == []


@pytest.mark.parametrize(
    ("one", "starts"),
    [
        ("One two. Three four.", ["Three"]),
        ("He met Dr. Smith. It rained", ["It"]),
        ("J. R. Firth wrote. He won", ["He"]),
        ("first line\nsecond line", ["second"]),
        ('He said "stop." Then he left', ["Then"]),
        ("version 2.0 is out. and on", []),
        ("日本語。次の文", ["次の文"]),
        ("", []),
    ],
)
def test_sentence_starts(one, starts):
    assert [one[i:].split()[0].split("。")[0] for i in sentence_starts(one)] == starts


def test_breaks_are_where_sentences_start(signal):
    one = "The ship sails.  The cow sleeps! the end\nA new line"
    encoded = signal.encode([one])[0]
    starts = [signal.decode(encoded.ids[i:]).strip().lower() for i in encoded.breaks]
    assert [s.split()[0] for s in starts] == ["the", "a"] and len(starts[0]) > len(starts[1])


def test_other_tokenizers_see_whole_texts():
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizers.Whitespace(), normalizers.NFKC()
    signal = Text(tokenizer, Config(tokenizer="source"))
    assert signal.encoder.pattern is None
    encoded = signal.encode(["One. Two three. Four", ""])
    assert len(encoded[0].ids) == 6 and encoded[0].breaks.tolist() == [2, 5] and len(encoded[1].ids) == 0


def samples(*parts) -> list[Sample]:
    return [Sample(tuple(np.array(p, np.int32) for p in part), key=i) for i, part in enumerate(parts)]


def test_stack_one_part(signal):
    batch = signal.stack(samples([[7, 8, 9]], [[7]]))
    assert batch["tokens"].tolist() == [[2, 7, 8, 9, 3], [2, 7, 3, 0, 0]]
    assert batch["pad"].tolist() == [[False] * 5, [False, False, False, True, True]]
    assert batch["special"].tolist() == [[True, False, False, False, True], [True, False, True, True, True]]
    assert batch["key"].tolist() == [0, 1] and "segments" not in batch
    assert batch["tokens"].dtype == torch.int64 and batch["word"].dtype == torch.int64


def test_stack_two_parts(signal):
    batch = signal.stack(samples([[7, 8], [9]], [[7], [8, 9]]))
    assert batch["tokens"].tolist() == [[2, 7, 8, 3, 9, 3], [2, 7, 3, 8, 9, 3]]
    assert batch["segments"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert "pad" not in batch


def test_stack_cuts_the_longest_part_first(signal):
    long, short = list(range(5, 45)), list(range(5, 15))
    batch = signal.stack(samples([long, short]))
    assert batch["tokens"].shape == (1, 32)
    assert batch["tokens"][0, -11:-1].tolist() == short
    batch = signal.stack(samples([long, long]))
    assert batch["segments"].sum() in (15, 16) and batch["tokens"].shape == (1, 32)
    assert signal.length(samples([long, long])[0]) == 32 and signal.length(samples([[5]])[0]) == 3


def test_stack_keeps_targets_and_labels(signal):
    made = [s.but(targets={"turned": np.int64(i)}, label=i) for i, s in enumerate(samples([[7]], [[8]]))]
    batch = signal.stack(made)
    assert batch["turned"].tolist() == [0, 1] and batch["label"].tolist() == [0, 1]


def test_words_are_numbered_from_their_first_piece():
    signal = Text.fit(["aaa bbb aaa bbb", "ab", "ba"], Config(vocabulary=16))
    ids = signal.encode(["aaa abab, b"])[0].ids
    pieces = [signal.tokenizer.id_to_token(i) for i in ids]
    words = signal.stack([Sample((ids,), 0)])["word"][0].tolist()
    assert words[0] == words[-1] == -1
    expected = np.cumsum([not piece.startswith("##") for piece in pieces]) - 1
    assert words[1:-1] == expected.tolist()


def test_words_in_byte_pieces_and_over_separators():
    signal = Text.fit(documents(30), Config(tokenizer="bpe", vocabulary=300))
    ids = signal.encode(["The ship, (sails)."])[0].ids
    row = np.concatenate([ids, [signal.sep_id], ids[1:]]).astype(np.int32)
    words = signal.stack([Sample((row,), 0)])["word"][0].numpy()
    assert words[0] == words[len(ids) + 1] == -1
    numbers = words[words >= 0]
    assert numbers[0] == 0 and set(np.diff(numbers)) <= {0, 1}
    pieces = [signal.tokenizer.id_to_token(i) for i in ids]
    first = ["".join(p for p, w in zip(pieces, words[1:], strict=False) if w == n) for n in range(3)]
    assert first == ["the", "Ġship", ","]


def test_save_and_open_give_the_same_signal(signal, tmp_path):
    signal.save(tmp_path)
    again = Text.open(tmp_path)
    assert again.config == signal.config and again.facts == signal.facts
    assert Text.open(tmp_path, Config(context=77)).config == signal.config.model_copy(update={"context": 77})
    one = documents(3)[2]
    assert again.encode([one])[0].ids.tolist() == signal.encode([one])[0].ids.tolist()
    assert signal.but(context=16).config.context == 16


def test_transformers_opens_the_tokenizer_with_the_same_ids(signal, tmp_path):
    transformers = pytest.importorskip("transformers")
    signal.save(tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for one in [*documents(5), "naïve 日本語。", "don't"]:
        assert other(one)["input_ids"] == [2, *signal.encode([one])[0].ids.tolist(), 3]
    assert other.mask_token_id == 4 and other.pad_token_id == 0
    assert other("a", "b")["input_ids"].count(3) == 2 and "token_type_ids" not in other("a")


def test_old_folders_with_vocab_txt_open(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ship", "sail", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    signal = Text.open(tmp_path)
    assert signal.config.tokenizer == "source" and signal.encode(["Ship sails"])[0].ids.tolist() == [5, 6, 7]


def message(error) -> str:
    return str(error.value)


def test_errors_say_where_what_and_what_to_do(tmp_path):
    with pytest.raises(InputError) as error:
        Text.fit([], Config())
    assert message(error) == "the text: there are no words to learn a tokenizer from. Give files that hold text."
    with pytest.raises(InputError) as error:
        Text.fit(["ab ab ab"], Config(vocabulary=10_000))
    assert message(error) == (
        "text.vocabulary = 10,000: the text is too small for it: it gives 8 entries. "
        "Set text.vocabulary = 8 or less, or give more text."
    )
    with pytest.raises(InputError) as error:
        Text.fit(["a"], Config(tokenizer="source"))
    assert message(error) == (
        "text.tokenizer = source: no model folder was given. Give one with --from, or set text.tokenizer = wordpiece."
    )


def test_errors_about_folders(tmp_path):
    with pytest.raises(InputError) as error:
        Text.open(tmp_path)
    assert message(error) == (
        f"{tmp_path}: holds no tokenizer.json and no vocab.txt. Give the folder of a model with its tokenizer."
    )
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(InputError) as error:
        Text.open(tmp_path)
    assert message(error) == f"{tmp_path}: its tokenizer has no mask_token. Give the folder of a BERT-like model."
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="is no tokenizer"):
        Text.open(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        Text.open(tmp_path)


@pytest.mark.parametrize(
    ("context", "rows", "batch"),
    [(128, None, 16), (1024, None, 2), (64, None, 16), (4096, None, 1), (128, 2_000, 6), (128, 14_000, 16),
     (1024, 10_000, 5), (128, 10**7, 128), (128, 3, 4)],
)  # fmt: skip
def test_the_rows_of_a_step_go_by_the_tokens_that_a_run_reads(context, rows, batch):
    stream = Text.fit(documents(5), Config(tokenizer="characters", frame="stream", context=context))
    assert stream.batch_for(None, rows) == batch
    assert stream.but(frame="pair").batch_for(None, rows) is None


@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_the_ladder_of_characters_rises_in_what_it_wants_and_falls_in_its_rate(shape):
    rungs = text.Text.ladder(shape, text.Config(tokenizer="characters"))
    wanted, rates = ([getattr(one, name) for one in rungs] for name in ("samples", "rate"))
    assert wanted == sorted(wanted) and wanted[0] == 0 and rates == sorted(rates, reverse=True)
    weights = [shape_of(shape, one.size, vocabulary=65, positions=128).weights for one in rungs]
    assert weights == sorted(weights)
    assert text.Text.ladder(shape, text.Config(tokenizer="bpe")) == ()
