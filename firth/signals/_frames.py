"""How a row is framed: [CLS] first part [SEP] second part [SEP]; texts one after the other, an end token after each; or
of such a stream one text, with what its tokenizer puts before it, as tasks read it.

An objective says what it needs ("stream"), the text signal which frame and which tokenizer go with it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders

from firth.errors import InputError
from firth.signal import Batch, Sample, stack_targets

END = "<|endoftext|>"  # after each text, and so before the next; GPT-2, Radford et al. 2019
UNKNOWN = "<|unknown|>"
INFILL = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")  # arXiv 2207.14255, section 3


class Frame(NamedTuple):
    specials: tuple[str, ...]  # the first ids of a tokenizer that is trained
    unknown: str  # stands for what the tokenizer cannot write
    roles: dict[str, tuple[str, ...]]  # in tokenizer_config.json, and what they are called where the file is silent
    needed: tuple[str, ...]  # roles without which there is no such row
    offers: frozenset[str]


FRAMES = {
    "pair": Frame(
        ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        "[UNK]",
        {
            "pad_token": ("[PAD]", "<pad>", "<|padding|>"),
            "unk_token": ("[UNK]", "<unk>"),
            "cls_token": ("[CLS]", "<s>", END),
            "sep_token": ("[SEP]", "</s>", END),
            "mask_token": ("[MASK]", "<mask>"),
        },
        ("pad_token", "cls_token", "sep_token", "mask_token"),
        frozenset({"tokens", "sentences", "partner", "words", "class token", "pooled"}),
    ),
    "stream": Frame(
        (END, *INFILL),
        UNKNOWN,
        {
            "bos_token": (END, "<|begin_of_text|>", "<s>"),
            "eos_token": (END, "<|end_of_text|>", "</s>"),
            "pad_token": (END, "<|end_of_text|>", "</s>"),
            "unk_token": (UNKNOWN, "<unk>"),
        },
        ("eos_token",),
        frozenset({"tokens", "stream", "words"}),
    ),
}
FRAMES["texts"] = FRAMES["stream"]._replace(offers=frozenset({"tokens", "words", "pooled"}))  # for tasks


class Ends(NamedTuple):
    """Ids that stand before the first text of a row, and between two texts."""

    before: tuple[int, ...]
    between: tuple[int, ...]


def frame_of(tokenizer: Tokenizer, stored: dict) -> str:
    """The frame of a folder that does not say: "pair" with a [MASK] token, or where there is no end token either."""
    known = {name: roles_of(tokenizer, stored, frame) for name, frame in FRAMES.items()}
    return "stream" if known["stream"]["eos_token"] and not known["pair"]["mask_token"] else "pair"


def roles_of(tokenizer: Tokenizer, stored: dict, frame: Frame) -> dict[str, str]:
    """Role → token: as tokenizer_config.json says, else by its usual names; "" where there is none."""
    roles = {}
    for role, names in frame.roles.items():
        said = stored.get(role)
        said = said.get("content") if isinstance(said, dict) else said
        roles[role] = next((n for n in (said, *names) if n and tokenizer.token_to_id(n) is not None), "")
    return roles


def check_roles(roles: dict[str, str], frame: Frame, folder) -> dict[str, str]:
    """Raises InputError where one that the frame needs is missing."""
    missing = [role for role in frame.needed if not roles[role]]
    if missing:
        raise InputError(folder, f"its tokenizer has no {', '.join(missing)}", "Give the folder of a BERT-like model.")
    return roles


def ends_of(tokenizer: Tokenizer, end_id: int) -> Ends:
    """As the tokenizer's own rule has it; texts that it would only join are parted by the token that ends a text."""
    one, two = tokenizer.encode("a"), tokenizer.encode("a", "b")
    before = one.ids[: first(one.sequence_ids, 0)]
    parted = two.ids[: first(two.sequence_ids, 1)]
    added = [number for number, text in zip(parted, two.sequence_ids, strict=False) if text is None]
    return Ends(tuple(before), tuple(added[first(two.sequence_ids, 0) :]) or (end_id,))


def first(texts: Sequence[int | None], text: int) -> int:
    """The place of the first token of a text; the number of all where it has none."""
    return texts.index(text) if text in texts else len(texts)


def joined(parts: Sequence[np.ndarray], ends: Ends, context: int) -> np.ndarray:
    """int32 (n,): the texts as one row of at most `context` tokens."""
    room = context - len(ends.before) - (len(parts) - 1) * len(ends.between)
    start, *others = shortened(tuple(parts), room)
    between = np.array(ends.between, np.int32)
    return np.concatenate(
        [np.array(ends.before, np.int32), start, *(one for part in others for one in (between, part))]
    )


def shortened(parts: tuple[np.ndarray, ...], room: int) -> tuple[np.ndarray, ...]:
    """Parts of at most `room` tokens together: the longest is cut at its end until it is no longer the longest."""
    if sum(map(len, parts)) <= room:
        return parts
    lengths = [len(part) for part in parts]
    while sum(lengths) > room:
        longest = lengths.index(max(lengths))
        others = max([n for i, n in enumerate(lengths) if i != longest], default=0)
        lengths[longest] = max(min(others, lengths[longest] - 1), lengths[longest] - (sum(lengths) - room))
    return tuple(part[:length] for part, length in zip(parts, lengths, strict=True))


def stack_stream(samples: list[Sample], most: int, pad_id: int, sizes: np.ndarray) -> Batch:
    """Rows of at most `most` tokens as they are, with the bytes that each token stands for; sizes (V,)."""
    rows = [np.concatenate(sample.parts)[:most] for sample in samples]
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), max(1, int(lengths.max()))), pad_id, np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    batch = Batch(stack_targets(samples), tokens=torch.from_numpy(tokens), bytes=torch.from_numpy(sizes[tokens]))
    if lengths.min() < tokens.shape[1]:
        batch["pad"] = torch.from_numpy(np.arange(tokens.shape[1]) >= lengths[:, None])
    return batch


def sizes_of(tokenizer: Tokenizer, vocabulary: int) -> np.ndarray:
    """int64 (V,): how many bytes of text each token stands for; special ones none."""
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    bytewise = isinstance(tokenizer.decoder, decoders.ByteLevel)
    pieces = [tokenizer.id_to_token(number) or "" for number in range(vocabulary)]
    sizes = [len(piece) if bytewise else _plain_size(piece) for piece in pieces]
    return np.array([0 if number in special else size for number, size in enumerate(sizes)], np.int64)


def _plain_size(piece: str) -> int:
    """Of a piece in letters, with the marks of WordPiece and SentencePiece."""
    if len(piece) == 6 and piece.startswith("<0x"):  # a byte that the vocabulary has no letter for
        return 1
    return len(piece.removeprefix("##").replace("▁", " ").encode())
