"""Text as a stream: tokenizers, special tokens, rows, and folders whose ids equal those of transformers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import InputError
from firth.signal import Sample
from firth.signals import text as text_module
from firth.signals._frames import INFILL, sizes_of
from firth.signals._tokenizers import _byte_letters
from firth.signals.text import Config, Text
from tests.material import documents

END, UNKNOWN = "<|endoftext|>", "<|unknown|>"
STRANGE = ["naïve Ünïcode 日本語。次の文。", "x  y\n\nz   é ", "[MASK] a [SEP]", "", "  ", "a\tb 🙂!", "don't\r\nstop"]
KINDS = ("bpe", "characters", "bytes", "wordpiece")
ANY = st.text(max_size=40)


def fitted(kind: str, **own) -> Text:
    config = Config(tokenizer=kind, frame="stream", vocabulary=600, context=16, lowercase=False, **own)
    return Text.fit(documents(60) + STRANGE, config)


@pytest.fixture(scope="module", params=KINDS)
def signal(request):
    return fitted(request.param)


@pytest.fixture(scope="module")
def folder(signal, tmp_path_factory):
    place = tmp_path_factory.mktemp("tokenizer")
    signal.save(place)
    return place


def test_the_objective_says_what_it_needs_and_the_signal_what_goes_with_it():
    assert Config.suited(frozenset({"tokens", "stream"})) == {"tokenizer": "bpe", "frame": "stream", "lowercase": False}
    assert Config.suited(frozenset({"tokens", "sentences"})) == {}
    assert [Config(tokenizer=kind).in_words for kind in KINDS] == [True, False, False, True]


def test_a_stream_has_an_end_and_tokens_to_fill_in_but_no_mask(signal):
    facts = signal.facts
    assert signal.tokenizer.token_to_id(END) == facts.end_id == signal.sep_id == signal.pad_id == 0
    assert [signal.tokenizer.id_to_token(number) for number in facts.infill_ids] == list(INFILL)
    assert facts.mask_id == -1 and {"tokens", "stream"} <= facts.offers and "class token" not in facts.offers
    knows = signal.config.tokenizer in ("characters", "wordpiece")
    assert (signal.tokenizer.token_to_id(UNKNOWN) is not None) == knows
    assert facts.special_ids == tuple(range(5 if knows else 4))


@given(one=ANY)
def test_bytes_give_every_text_back(one):
    signal = BYTES
    ids = signal.encode([one])[0].ids
    data = one.encode("utf-8", "replace")
    assert (ids - 4).tolist() == list(data) and signal.decode(ids) == data.decode()


BYTES = fitted("bytes")


def test_bytes_are_numbered_as_they_are():
    assert BYTES.vocabulary == 260
    assert {ord(letter) for byte, letter in _byte_letters().items() if 33 <= byte < 127} == set(range(33, 127))


def test_characters_are_each_a_token_and_the_rare_ones_unknown():
    signal = Text.fit(["aab", "b c", "aa"], Config(tokenizer="characters", frame="stream", vocabulary=16))
    assert [signal.tokenizer.id_to_token(i) for i in range(5, signal.vocabulary)] == [" ", "a", "b", "c"]
    assert signal.encode(["ab? c"])[0].ids.tolist() == [6, 7, 4, 5, 8] and signal.unk_id == 4
    assert signal.decode(signal.encode(["ab  c"])[0].ids) == "ab  c"
    few = Text.fit(["aaa bbb aaa ccc a b d"] * 3, Config(tokenizer="characters", frame="stream", vocabulary=16))
    assert few.vocabulary == 10


def test_only_the_most_frequent_characters_are_known():
    text = "".join(chr(ord("a") + number) * (30 - number) for number in range(26))
    signal = Text.fit([text], Config(tokenizer="characters", frame="stream", vocabulary=16))
    assert signal.vocabulary == 16 and (signal.encode([text])[0].ids == signal.unk_id).sum() == sum(range(5, 20))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_lowercase_is_a_choice(kind, lowercase):
    signal = Text.fit(["The Ship"] * 9, Config(tokenizer=kind, frame="stream", vocabulary=300, lowercase=lowercase))
    assert signal.decode(signal.encode(["The Ship"])[0].ids) == ("the ship" if lowercase else "The Ship")


@given(one=ANY)
def test_chunks_give_the_ids_of_the_whole_text(signal, one):
    one = one.encode("utf-8", "replace").decode()
    whole = signal.encoder.tokenizer.encode(one, add_special_tokens=False).ids
    if signal.config.tokenizer == "bpe" and any(sign in one for sign in "\x0b\x0c\x1c\x1d\x1e\x1f\x85"):
        return  # white space to one of the two and not to the other
    assert signal.encode([one])[0].ids.tolist() == whole


def test_characters_and_bytes_also_come_in_pairs():
    for kind in ("characters", "bytes"):
        signal = Text.fit(documents(20), Config(tokenizer=kind, vocabulary=300, context=16))
        batch = signal.stack([Sample((signal.encode(["ship"])[0].ids,), key=1)])
        assert batch["tokens"][0, 0] == signal.cls_id and batch["tokens"][0, -1] == signal.sep_id
        assert signal.facts.mask_id == 4 and "class token" in signal.facts.offers


# ------------------------------------------------------------------ rows


def test_a_row_is_the_tokens_with_one_to_guess_beyond_the_context(signal):
    rows = [np.arange(5, 5 + size, dtype=np.int32) for size in (17, 30, 4)]
    batch = signal.stack([Sample((row,), key=number) for number, row in enumerate(rows)])
    assert batch["tokens"].shape == (3, 17)
    assert batch["tokens"][1].tolist() == rows[1][:17].tolist() and batch["tokens"][2, :4].tolist() == rows[2].tolist()
    assert batch["pad"].sum(1).tolist() == [0, 0, 13]
    assert "pad" not in signal.stack([Sample((rows[0],), key=0)])
    assert signal.length(Sample((rows[2],), key=0)) == 4 and signal.length(Sample((rows[1],), key=0)) == 16


@pytest.mark.parametrize("one", [*documents(2), "x  y\n\nz   é ", "a 🙂!"])
def test_tokens_know_how_many_bytes_they_stand_for(signal, one):
    ids = signal.encode([one])[0].ids
    batch = signal.stack([Sample((np.append(ids, 0)[-17:],), key=0)])
    assert batch["bytes"][0, -1] == 0
    if signal.config.tokenizer in ("bpe", "bytes"):
        assert sizes_of(signal.tokenizer, signal.vocabulary)[ids].sum() == len(one.encode())
    if signal.config.tokenizer == "characters":
        known = [letter for letter in one if signal.tokenizer.token_to_id(letter) is not None]
        assert sizes_of(signal.tokenizer, signal.vocabulary)[ids].sum() == len("".join(known).encode())


def test_pieces_of_other_tokenizers_have_sizes_too():
    from firth.signals._frames import _plain_size

    assert [_plain_size(piece) for piece in ("▁the", "<0xE2>", "##ing", "é", "<0x")] == [4, 1, 3, 2, 3]


def test_a_prompt_begins_with_the_end_of_what_was_before(signal):
    ids = signal.encode(["the ship"])[0].ids.tolist()
    assert signal.prompt("the ship").tolist() == [0, *ids]
    assert signal.prompt("").tolist() == [0] and signal.prompt("the ship").dtype == np.int32


# ------------------------------------------------------------------ folders


def test_transformers_gives_the_same_ids(signal, folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for one in [*documents(3), *STRANGE]:
        ids = signal.encode([one])[0].ids.tolist()
        assert (
            theirs(one, add_special_tokens=False)["input_ids"]
            == signal.tokenizer.encode(one, add_special_tokens=False).ids
        )
        assert theirs(one)["input_ids"] == signal.prompt(one).tolist()
        if "[MASK]" not in one:
            assert theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == signal.decode(
                ids
            )
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 0, 0)
    assert theirs.padding_side == "left" and theirs.model_max_length == 16


def test_a_folder_opens_as_it_was(signal, folder):
    again = Text.open(folder, Config(context=64))
    assert again.config == signal.config.model_copy(update={"context": 64})
    assert again.facts == signal.facts and again.roles == signal.roles
    one = documents(1)[0]
    assert again.encode([one])[0].ids.tolist() == signal.encode([one])[0].ids.tolist()


def test_a_foreign_tokenizer_without_mask_is_a_stream(signal, folder, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    opened = Text.open(tmp_path)
    assert (opened.config.frame, opened.config.tokenizer) == ("stream", "source")
    assert opened.facts.end_id == 0 and opened.facts.offers == signal.facts.offers


def test_a_stream_without_end_is_refused(signal, tmp_path):
    bare = signal.tokenizer.to_str().replace(END, "<|nothing|>")
    (tmp_path / "tokenizer.json").write_text(bare)
    with pytest.raises(InputError, match="its tokenizer has no pad_token, cls_token, sep_token, mask_token"):
        Text.open(tmp_path)


def test_frames_are_not_named_by_hand_elsewhere():
    """The objective's needs lead to the frame; nobody asks for its name."""
    assert text_module.Config().frame == "pair"
    assert torch.equal(BYTES.stack([Sample((np.array([5, 6]),), key=0)])["tokens"], torch.tensor([[5, 6]]))
