"""tokenizer.json as the vocabulary of a GGUF file: that of llama.cpp's tokenizer `gpt2`, byte-level pair encoding.

Bytes are such a vocabulary without pairs. So are characters, once each is written in the letters of its bytes; the only
pairs are then those that join the bytes of one character, and every text is cut into the same tokens.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, pre_tokenizers

from firth.errors import InputError
from firth.interop.tensors import read_json

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # kinds of tokens there
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unk", "pad_token": "pad"}
NEVER = "ÿ ÿ"  # the letters of byte 255, which no text holds: a file without a pair is not read
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
OTHER = "Say --to hf, or train with text.tokenizer=bpe."
PLAIN: dict[str, Any] = {
    "continuing_subword_prefix": "",
    "end_of_word_suffix": "",
    "byte_fallback": False,
    "dropout": 0,
}


TEXTS = (  # what both tokenizers must cut alike
    "The ship's captain can't say; they'd sail at 10:45, 1,234 miles from here.",
    "  two blanks\n\n\tand a tab, then CAPITALS and mixedCase_names.\r\n",
    "Zoë's naïve café — “quoted” … 東京、ひらがな, русский, עברית, 🙂🏽!",
    "x = {'a': [1, 22, 333]}; print(f\"{x!r:>8}\")  # ½ ² Å",
)


class Vocabulary(NamedTuple):
    """What the file holds of a tokenizer."""

    tokens: list[str]  # by id, in letters that stand for bytes
    kinds: list[int]
    merges: list[str]  # pairs, the earlier the sooner joined
    special: dict[str, int]  # bos, eos, unk, pad → id
    begins: bool  # a text begins with bos
    ends: bool  # and ends with eos
    unknown: str  # the token that stands here for what the vocabulary lacks; there it is left out. "": none does


def read_tokenizer(folder: Path) -> Tokenizer:
    """Raises InputError."""
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # whatever the package raises
        what = f"is no tokenizer ({error})" if path.is_file() else "is not there"
        raise InputError(path, what, "Give the folder of a model with its tokenizer.") from None


def vocabulary_of(folder: Path, rows: int) -> Vocabulary:
    """rows: of the embedding. Raises InputError for what llama.cpp's tokenizer would cut differently."""
    where, tokenizer = folder / "tokenizer.json", read_tokenizer(folder)
    tree = json.loads(tokenizer.to_str())
    if found := unsupported(tree):
        raise InputError(where, f"{found[0]}, which llama.cpp's tokenizer `gpt2` does not know", OTHER)
    if tokenizer.get_vocab_size() > rows:
        what = f"has {tokenizer.get_vocab_size():,} tokens, and the model {rows:,} rows for them"
        raise InputError(where, what, "Take tokenizer and weights from the same model.")
    if (last := max(tokenizer.get_vocab().values(), default=0)) >= rows:
        what = f"has a token of number {last:,}, and the model {rows:,} rows for them"
        raise InputError(where, what, "Take tokenizer and weights from the same model.")
    characters = tree["pre_tokenizer"] is None
    special = special_of(tokenizer, folder)
    begins, ends = framed(tokenizer, special, where)
    merges = [" ".join(pair) for pair in tree["model"]["merges"]]
    if characters:
        merges = list(dict.fromkeys(pair for letter in characters_in(tree) for pair in joined(letters(letter))))
    names, kinds = spelled(tree, rows, characters)
    return Vocabulary(names, kinds, merges or [NEVER], special, begins, ends, tree["model"].get("unk_token") or "")


def unsupported(tree: Mapping[str, Any]) -> list[str]:
    """What the tokenizer does that cannot be done there."""
    model, before, cut = tree["model"], tree["normalizer"], tree["pre_tokenizer"]
    kind = model["type"]
    if kind != "BPE":
        return [f"holds a vocabulary of the kind {kind}"]
    merges = bool(model["merges"])
    bytewise = cut and cut["type"] == "ByteLevel" and not cut["add_prefix_space"] and (cut["use_regex"] or not merges)
    found = {
        "lowers the case of letters": before and before["type"] == "Lowercase",
        f"changes texts before it cuts them ({before['type'] if before else ''})": before,
        f"cuts texts into words in its own way ({cut['type'] if cut else ''})": cut and not bytewise,
        "joins pairs of characters, not of bytes": not cut and merges,
        "takes whole words before it joins pairs": model.get("ignore_merges") and merges,
    }
    found |= {f"has {name}": (model.get(name) or neutral) != neutral for name, neutral in PLAIN.items()}
    return [what for what, is_there in found.items() if is_there]


def special_of(tokenizer: Tokenizer, folder: Path) -> dict[str, int]:
    """bos, eos, unk, pad → id, as far as there are any. Raises InputError without an end."""
    path = folder / "tokenizer_config.json"
    said = read_json(path) if path.is_file() else {}
    names = {ours: said.get(role) for role, ours in ROLES.items()}
    names = {role: name.get("content") if isinstance(name, dict) else name for role, name in names.items()}
    found = {
        role: number for role, name in names.items() if name and (number := tokenizer.token_to_id(name)) is not None
    }
    if "eos" not in found:  # llama.cpp would take number 11 for it
        raise InputError(path, "names no `eos_token`, and llama.cpp ends a text by it", "Name the token that ends one.")
    return {"bos": found["eos"], **found}


def framed(tokenizer: Tokenizer, special: Mapping[str, int], where: Path) -> tuple[bool, bool]:
    """Whether a text begins with bos, and whether it ends with eos. Raises InputError for another frame."""
    bare, whole = (tokenizer.encode("a", add_special_tokens=framing).ids for framing in (False, True))
    for begins in (False, True):
        for ends in (False, True):
            if whole == [*[special["bos"]] * begins, *bare, *[special["eos"]] * ends]:
                return begins, ends
    raise InputError(where, "frames a text by other tokens than bos and eos, which llama.cpp does not", OTHER)


def characters_in(tree: Mapping[str, Any]) -> list[str]:
    """The tokens of one character, in the order of their ids."""
    vocabulary = tree["model"]["vocab"]
    return [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if len(token) == 1]


def letters(text: str) -> str:
    """A letter for each byte of a text, as GPT-2 writes them."""
    return "".join(word for word, _ in BYTE_LEVEL.pre_tokenize_str(text))


def joined(word: str) -> Iterator[str]:
    """The pairs that make one token of the letters of a character."""
    return (f"{word[:place]} {word[place]}" for place in range(1, len(word)))


def spelled(tree: Mapping[str, Any], rows: int, characters: bool) -> tuple[list[str], list[int]]:
    """Token and kind by id; rows without a token are unused."""
    tokens, kinds = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    for token, number in tree["model"]["vocab"].items():
        tokens[number], kinds[number] = letters(token) if characters else token, NORMAL
    for one in tree["added_tokens"]:
        tokens[one["id"]], kinds[one["id"]] = one["content"], CONTROL if one["special"] else USER_DEFINED
    return tokens, kinds


def cut_otherwise(encode: Callable[[str], list[int]], folder: Path, vocabulary: Vocabulary) -> list[str]:
    """The texts that another tokenizer cuts otherwise than the folder's, characters left out that it does not know."""
    tokenizer = read_tokenizer(folder)
    unknown = tokenizer.token_to_id(vocabulary.unknown)

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    texts = ["".join(letter for letter in text if unknown is None or unknown not in ids(letter)) for text in TEXTS]
    return [text for text in texts if encode(text) != ids(text)]
