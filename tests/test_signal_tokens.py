"""Tokens of any text: nothing is lost, other tools see the same ids, sentences begin where people see them begin."""

import json
import string
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from firth.signals import _chunks, _sentences, _tokenizers
from firth.signals.text import Config, Text
from tests import material

WORDS = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
PLAIN = st.lists(WORDS, max_size=12).map(" ".join)
ANY = st.text(st.characters(codec="utf-8"), max_size=60)
QUICK = settings(max_examples=60, deadline=None)


@cache
def fitted(kind: str, lowercase: bool = True) -> Text:
    """Over the toy corpus and every printable letter, so that WordPiece knows each of them alone and inside a word."""
    letters = string.ascii_letters + string.digits
    alphabet = [f"{one} a{one}" for one in letters] * 3
    texts = [*material.documents(60), *alphabet, "Über naïve café 東京 。 ¿Qué? 🙂" * 3]
    return Text.fit(texts, Config(tokenizer=kind, vocabulary=600, lowercase=lowercase, context=64))


CASES = [("wordpiece", True), ("wordpiece", False), ("bpe", True), ("bpe", False)]


# ------------------------------------------------------------------ round trips


@QUICK
@given(ANY)
@example("  two  spaces \n and a line\r\n")
@example("🙂🙃 naïve Ünïcödé\u2028after")
def test_byte_pieces_lose_nothing(text):
    signal = fitted("bpe", False)
    [encoded] = signal.encode([text])
    assert signal.decode(encoded.ids, skip_special=False) == text


@QUICK
@given(PLAIN)
def test_word_pieces_give_plain_words_back(text):
    signal = fitted("wordpiece", False)
    [encoded] = signal.encode([text])
    assert signal.decode(encoded.ids) == text


@QUICK
@given(PLAIN)
def test_lowercase_is_the_only_thing_uncased_word_pieces_lose(text):
    signal = fitted("wordpiece", True)
    assert signal.decode(signal.encode([text])[0].ids) == text.lower()
    np.testing.assert_array_equal(signal.encode([text])[0].ids, signal.encode([text.upper()])[0].ids)


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(ANY, max_size=6))
def test_ids_do_not_depend_on_company(kind, lowercase, texts):
    signal = fitted(kind, lowercase)
    together = signal.encode(texts)
    for text, encoded in zip(texts, together, strict=True):
        [alone] = signal.encode([text])
        np.testing.assert_array_equal(encoded.ids, alone.ids)
        np.testing.assert_array_equal(encoded.breaks, alone.breaks)


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(ANY, max_size=6))
def test_flat_and_listed_tokens_are_the_same(kind, lowercase, texts):
    signal = fitted(kind, lowercase)
    flat = signal.encode_flat(texts)
    assert len(flat.offsets) == len(flat.break_offsets) == len(texts) + 1
    assert flat.ids.dtype == np.int32 and flat.breaks.dtype == np.int32
    for number, encoded in enumerate(signal.encode(texts)):
        np.testing.assert_array_equal(flat.ids[flat.offsets[number] : flat.offsets[number + 1]], encoded.ids)
        own = flat.breaks[flat.break_offsets[number] : flat.break_offsets[number + 1]]
        np.testing.assert_array_equal(own, encoded.breaks)


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
@settings(max_examples=40, deadline=None)
@given(text=ANY)
def test_breaks_ascend_and_leave_something_on_both_sides(kind, lowercase, text):
    [encoded] = fitted(kind, lowercase).encode([text])
    assert (np.diff(encoded.breaks) > 0).all()
    assert ((encoded.breaks > 0) & (encoded.breaks < len(encoded.ids))).all()
    assert ((encoded.ids >= 0) & (encoded.ids < fitted(kind, lowercase).vocabulary)).all()


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_other_tools_read_the_saved_tokenizer_alike(kind, lowercase, tmp_path):
    transformers = pytest.importorskip("transformers")
    signal = fitted(kind, lowercase)
    signal.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = ["The Ship meets the tide.", "Café 東京。次 🙂", "a  b\tc\n\nd", "x" * 300, "don't — e.g. 1,000.5%"]
    for text in texts:
        ours = signal.encode([text])[0].ids.tolist()
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours
        assert theirs(text, truncation=True)["input_ids"][1:-1] == ours[:62]
    assert (theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id) == (2, 3, 4)


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_save_and_open_keep_ids_and_settings(kind, lowercase, tmp_path):
    signal = fitted(kind, lowercase)
    signal.save(tmp_path)
    opened = Text.open(tmp_path)
    assert opened.config == signal.config and opened.facts == signal.facts
    for text in material.documents(5):
        np.testing.assert_array_equal(opened.encode([text])[0].ids, signal.encode([text])[0].ids)


def test_a_copy_with_another_context_shares_the_tokenizer():
    signal = fitted("wordpiece")
    shorter = signal.but(context=16)
    assert (shorter.config.context, signal.config.context) == (16, 64)
    assert shorter.tokenizer is signal.tokenizer and shorter.facts == signal.facts


def test_segments_are_asked_of_other_tools_only_where_the_model_has_them(tmp_path):
    for segments, wanted in ((False, 2), (True, 3)):
        fitted("bpe").save(tmp_path, segments=segments)
        names = json.loads((tmp_path / "tokenizer_config.json").read_text())["model_input_names"]
        assert len(names) == wanted and ("token_type_ids" in names) is segments


# ------------------------------------------------------------------ sentences


@pytest.mark.parametrize("chunk", [" end.", " end!", " end?", " end…", ' end."', " end.)", "ended.'", "京。", "！"])
def test_a_sentence_may_end_here(chunk):
    assert _sentences.ends_sentence(chunk)


@pytest.mark.parametrize("chunk", [" Dr.", " J.", " e.g.", " end", " end,", " U.S.", " (etc.)", " approx.", ""])
def test_no_sentence_ends_here(chunk):
    assert not _sentences.ends_sentence(chunk)


@pytest.mark.parametrize("chunk", [" The", ' "The', " 12", " (Then", " É", " 京", "“So"])
def test_a_sentence_may_begin_here(chunk):
    assert _sentences.opens_sentence(chunk)


@pytest.mark.parametrize("chunk", [" the", ' "the', " —", " ...", "", " é"])
def test_no_sentence_begins_here(chunk):
    assert not _sentences.opens_sentence(chunk)


@pytest.mark.parametrize(
    ("chunk", "yes"), [("京。", True), ("京！」", False), ("京！”", True), (" end.", False), ("？", True)]
)
def test_east_asian_stops_need_no_capital(chunk, yes):
    assert _sentences.ends_surely(chunk) is yes


@pytest.mark.parametrize(("chunk", "yes"), [("\nThe", True), (" \n \tthe", True), (" the", False), ("the\n", False)])
def test_only_a_newline_before_the_word_counts(chunk, yes):
    assert _sentences.follows_newline(chunk) is yes


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("One two. Three four.", ["Three"]),
        ("One Dr. Smith came. He left.", ["He"]),
        ("no capital. here it goes on", []),
        ("A line\nanother line", ["another"]),
        ("Is it? Yes! It is… Good.", ["Yes", "It", "Good"]),
        ("東京。大阪。", ["大阪"]),
        ("", []),
        (" . ", []),
    ],
)
def test_where_sentences_start_in_characters(text, starts):
    found = _chunks.sentence_starts(text).tolist()
    assert len(found) == len(starts)
    assert all(text[place:].startswith(word) for place, word in zip(found, starts, strict=True))


# ------------------------------------------------------------------ chunks and tables


def bare(before, normalizer=None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if before is not None:
        tokenizer.pre_tokenizer = before
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return tokenizer


@pytest.mark.parametrize(
    ("before", "normalizer", "pattern"),
    [
        (pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(), _chunks.WORDS),
        (pre_tokenizers.BertPreTokenizer(), None, _chunks.WORDS),
        (pre_tokenizers.BertPreTokenizer(), normalizers.Replace("a", " "), None),
        (pre_tokenizers.ByteLevel(add_prefix_space=False), None, _chunks.BYTES),
        (pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC(), _chunks.BYTES),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), None, None),
        (pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), None, None),
        (pre_tokenizers.Metaspace(), None, None),
        (None, None, _chunks.BYTES),  # joins nothing: each character is a token
        (None, normalizers.NFC(), None),
    ],
)
def test_chunks_are_cut_only_where_that_is_exact(before, normalizer, pattern):
    assert _chunks.pattern_of(bare(before, normalizer)) is pattern


@given(ANY)
@QUICK
def test_chunks_lose_nothing(text):
    assert "".join(_chunks.WORDS.findall(text)) == text
    assert "".join(_chunks.BYTES.findall(text)) == text


def letters(strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A tokenizer of letters."""
    return np.array([ord(c) for s in strings for c in s], np.int32), np.array([len(s) for s in strings], np.int64)


@given(st.lists(st.lists(st.text("abc", max_size=3), min_size=1), min_size=1, max_size=4))
@QUICK
def test_a_table_gathers_what_it_was_told(calls):
    table = _chunks.Table(letters)
    for strings in calls:
        rows, new = table.rows(strings)
        assert [one for one in dict.fromkeys(strings) if table.memo[one] >= len(table.memo) - len(new)] == new
        ids, after = table.gather(rows)
        assert "".join(map(chr, ids)) == "".join(strings)
        assert np.diff(after).tolist() == [len(one) for one in strings]


def test_a_table_forgets_everything():
    table = _chunks.Table(letters)
    table.rows(["ab", "c"])
    table.forget()
    assert (len(table.memo), table.characters, len(table.ids), table.ends.tolist()) == (0, 0, 0, [0])
    assert table.rows(["c"])[1] == ["c"] and not table.full


# ------------------------------------------------------------------ training tokenizers


@given(st.text(st.characters(max_codepoint=0x1FFFF, codec="utf-8"), min_size=1, max_size=10))
@QUICK
def test_twins_come_back_as_continuations(word):
    twin = _tokenizers._twin(word)
    assert len(twin) == len(word) and twin[0] == word[0]
    assert _tokenizers._untwin(twin) == word
    if len(word) > 1:
        assert _tokenizers._untwin(twin[1:]) == "##" + word[1:]


@QUICK
@given(ANY, st.booleans())
@example("a\x0bb c\x1fd e\x85f", True)
@example("東京。大阪！ x。y  z\xa0z\u3000w\t\r\n", True)
def test_words_are_counted_alike_however_a_text_is_cut(text, lowercase):
    before = normalizers.BertNormalizer(lowercase=lowercase)
    cuts = (_tokenizers.bert_chunks(text), _chunks.WORDS.findall(text))
    counts = [_tokenizers._bert_words(Counter(cut), before, lowercase) for cut in cuts]
    assert counts[0] == counts[1]


def test_special_tokens_are_never_untwinned():
    assert [_tokenizers._untwin(token) for token in _tokenizers.SPECIAL] == list(_tokenizers.SPECIAL)


def test_a_vocabulary_file_is_read_line_by_line():
    lines = [*_tokenizers.SPECIAL, "the", "ship", "##s", "Tide"]
    tokenizer = _tokenizers.from_vocabulary(lines, lowercase=True)
    assert [tokenizer.id_to_token(number) for number in range(len(lines))] == lines
    assert tokenizer.encode("The ships", add_special_tokens=False).tokens == ["the", "ship", "##s"]
    cased = _tokenizers.from_vocabulary(lines, lowercase=False)
    assert cased.encode("Tide tide", add_special_tokens=False).tokens == ["Tide", "[UNK]"]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_no_more_entries_than_asked_for(kind):
    tokenizer = _tokenizers.train(material.documents(50), kind, 300, True, 2)
    assert 200 <= tokenizer.get_vocab_size() <= 300
    assert [tokenizer.id_to_token(number) for number in range(5)] == list(_tokenizers.SPECIAL)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_the_order_of_the_texts_does_not_matter(kind):
    texts = material.documents(40)
    one, other = (_tokenizers.train(given, kind, 300, True, 2).to_str() for given in (texts, texts[::-1]))
    assert one == other


def test_rare_pairs_are_not_joined():
    texts = ["common common common rarity"]
    pieces = _tokenizers.train(texts, "wordpiece", 500, True, 3).get_vocab()
    assert "common" in pieces and "rarity" not in pieces
