"""Training tokenizers with the package `tokenizers`: WordPiece as in BERT, byte-level BPE as in GPT-2; and the plain
ones, characters and bytes.

The first two are learnt by the trainer for byte pair encoding (Sennrich, Haddow & Birch 2016, section 3.2) from counted
words, in sorted order, so that the same text always gives the same vocabulary. Its own WordPiece trainer numbers the
continuation pieces in the order of a hash table, which changes from process to process; here each letter inside a word
is given a twin letter instead, and the twins become `##` afterwards.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from firth.signals._chunks import BYTES, PLAIN, WORDS
from firth.signals._frames import END, FRAMES, Frame

PAIR = FRAMES["pair"]
SPECIAL = PAIR.specials  # ids 0 to 4
TWIN = 0x20000  # added to a letter's code inside a word; words with letters from there on are not counted
LEFT_OUT = re.compile("[\x0b\x0c\x1c-\x1f\x85]")  # white space to Python, control characters to BERT's rules
MOST_CHUNKS = 1_500_000  # distinct chunks counted before those seen once are dropped
MOST_WORDS = 2_500_000  # words the trainer is fed; larger counts are scaled down
MANY = 1_000_000  # from so many words on, those seen once are not worth a piece


def train(
    texts: Iterable[str], kind: str, vocabulary: int, lowercase: bool, min_frequency: int, frame: Frame = PAIR
) -> Tokenizer:
    """kind "wordpiece", "bpe", "characters" or "bytes"; vocabulary counts all entries, the special tokens included."""
    if kind == "bytes":
        return _byte_level(_letters([letter for _, letter in sorted(_byte_letters().items())], frame), lowercase, frame)
    if kind == "characters":
        return _characters(texts, vocabulary, lowercase, frame)
    if kind == "wordpiece":
        before = normalizers.BertNormalizer(lowercase=lowercase)
        words = _bert_words(_chunk_counts(texts, bert_chunks), before, lowercase)
        twins = Counter({_twin(word): count for word, count in words.items() if ord(max(word)) < TWIN})
        pieces = _pieces(twins, vocabulary, min_frequency, [], specials_of(kind, frame))
        found = {_untwin(piece, frame): number for piece, number in pieces.get_vocab().items()}
        return _wordpiece(found, before, frame)
    words, alphabet = _byte_words(_chunk_counts(texts, BYTES.findall), lowercase), pre_tokenizers.ByteLevel.alphabet()
    return _byte_level(_pieces(words, vocabulary, min_frequency, alphabet, specials_of(kind, frame)), lowercase, frame)


def specials_of(kind: str, frame: Frame) -> tuple[str, ...]:
    """The special tokens of a tokenizer. Byte-level ones can write anything: to them, nothing is unknown."""
    complete = kind in ("bpe", "bytes") or frame.unknown in frame.specials
    return frame.specials if complete else (*frame.specials, frame.unknown)


def from_vocabulary(lines: Iterable[str], lowercase: bool) -> Tokenizer:
    """A WordPiece tokenizer from BERT's vocab.txt: one piece a line."""
    vocabulary = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    return _wordpiece(vocabulary, normalizers.BertNormalizer(lowercase=lowercase), PAIR)


def _characters(texts: Iterable[str], vocabulary: int, lowercase: bool, frame: Frame) -> Tokenizer:
    """The most frequent characters, in the order of their codes; the others are unknown."""
    counts: Counter[str] = Counter()
    normalizer = _byte_normalizer(lowercase)
    for text in texts:
        counts.update(normalizer.normalize_str(text) if normalizer else text)
    room = vocabulary - len(specials_of("characters", frame))
    most = sorted(counts, key=lambda letter: (-counts[letter], letter))[:room]
    tokenizer = _letters(sorted(most), frame, frame.unknown)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Fuse()
    return _finished(tokenizer, frame)


def _letters(letters: list[str], frame: Frame, unknown: str | None = None) -> Tokenizer:
    """Each letter is a token: byte pair encoding without a pair."""
    specials = specials_of("characters" if unknown else "bytes", frame)
    numbers = {piece: number for number, piece in enumerate([*specials, *letters])}
    return Tokenizer(models.BPE(vocab=numbers, merges=[], unk_token=unknown))


def _byte_letters() -> dict[int, str]:
    """Byte → the letter that byte-level pre-tokenizers write for it (GPT-2, encoder.py): printable ones as they are."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in plain)
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + number) for number, byte in enumerate(others)}


def bert_chunks(text: str) -> list[str]:
    """Pieces that hold whole words. str.split is four times as fast as a pattern; but it also cuts at signs that BERT
    leaves out as if they were not there."""
    return WORDS.findall(text) if LEFT_OUT.search(text) else text.split()


def _chunk_counts(texts: Iterable[str], cut: Callable[[str], list[str]]) -> Counter:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(cut(text))
        if len(counts) > MOST_CHUNKS:
            counts = _without_rare(counts)
    return _without_rare(counts) if counts.total() > MANY else counts


def _without_rare(counts: Counter) -> Counter:
    return Counter({chunk: count for chunk, count in counts.items() if count > 1})


def _bert_words(chunks: Counter, normalizer, lowercase: bool) -> Counter:
    words: Counter[str] = Counter()
    before = pre_tokenizers.BertPreTokenizer()
    for chunk, count in chunks.items():
        word = chunk.strip(" \t\n\r")
        if word.isascii() and word.isprintable():
            found = PLAIN.findall(word.lower() if lowercase else word)
        else:
            found = [piece for piece, _ in before.pre_tokenize_str(normalizer.normalize_str(word))]
        for piece in found:
            words[piece[:100]] += count
    return words


def _byte_words(chunks: Counter, lowercase: bool) -> Counter:
    words: Counter[str] = Counter()
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    normalizer = _byte_normalizer(lowercase)
    for chunk, count in chunks.items():
        text = normalizer.normalize_str(chunk) if normalizer else chunk
        for piece, _ in before.pre_tokenize_str(text[:1000]):
            words[piece[:400]] += count
    return words


def _pieces(
    words: Counter, vocabulary: int, min_frequency: int, alphabet: list[str], specials: tuple[str, ...]
) -> Tokenizer:
    """A BPE model without white space rules over counted words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_frequency,
        special_tokens=list(specials),
        limit_alphabet=max(256, min(1000, vocabulary // 4)),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_fed(words), trainer)
    return tokenizer


def _fed(words: Counter) -> Iterator[str]:
    """Each word as often as it counts, scaled down to MOST_WORDS in all, in sorted order."""
    scale = max(1.0, words.total() / MOST_WORDS)
    for word in sorted(words):
        count = max(1, round(words[word] / scale))
        for first in range(0, count, 1000):
            yield (word + " ") * min(1000, count - first)


def _wordpiece(vocabulary: dict[str, int], normalizer, frame: Frame) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=frame.unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _finished(tokenizer, frame)


def _byte_level(trained: Tokenizer, lowercase: bool, frame: Frame) -> Tokenizer:
    tokenizer = Tokenizer(trained.model)
    normalizer = _byte_normalizer(lowercase)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _finished(tokenizer, frame)


def _byte_normalizer(lowercase: bool):
    return normalizers.Lowercase() if lowercase else None


def _finished(tokenizer: Tokenizer, frame: Frame) -> Tokenizer:
    """Special tokens, and for other tools [CLS] a [SEP] b [SEP], or of a stream an end token before each text."""
    known = [token for token in (*frame.specials, frame.unknown) if tokenizer.token_to_id(token) is not None]
    tokenizer.add_special_tokens(known)
    if frame is not PAIR:
        end = [(END, tokenizer.token_to_id(END))]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{END} $A", pair=f"{END} $A {END} $B:1", special_tokens=end
        )
        return tokenizer
    ends = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def _twin(word: str) -> str:
    return word[0] + "".join(chr(ord(letter) + TWIN) for letter in word[1:])


def _untwin(piece: str, frame: Frame = PAIR) -> str:
    if piece in (*frame.specials, frame.unknown):
        return piece
    plain = "".join(chr(ord(c) - TWIN) if ord(c) >= TWIN else c for c in piece)
    return plain if ord(piece[0]) < TWIN else "##" + plain
