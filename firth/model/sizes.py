"""Names for sizes, and the usual shapes at any size."""

import re
from math import gcd
from typing import Any

from firth.errors import InputError, did_you_mean
from firth.model.shape import Shape, SoundShape

SIZES = {  # layers, width
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
DEFAULT = "mini"
HEAD_WIDTH = 64  # BERT, arXiv 1810.04805, section 3: 768 / 12 = 1024 / 16

BERT = {
    "segments": 2,
    "dropout": 0.1,
    "norm_placement": "post",
    "norm_bias": True,
    "norm_epsilon": 1e-12,
    "bias": True,
    "head_bias": True,
    "gated": False,
    "position_kind": "learned",
}
MODERNBERT: dict = {}  # the defaults of Shape
LLAMA = {
    "causal": True,
    "norm_kind": "rms",
    "embed_norm": False,
    "first_norm": True,
    "activation": "silu",
    "rope_global": 10_000.0,
}
GPT2 = {
    "causal": True,
    "dropout": 0.1,
    "norm_bias": True,
    "embed_norm": False,
    "first_norm": True,
    "bias": True,
    "activation": "gelu_tanh",
    "gated": False,
    "position_kind": "learned",
}
FRAMES: dict = {"norm_kind": "rms", "embed_norm": False, "first_norm": True, "rope_global": 10_000.0}
WAVE = {
    "dropout": 0.1,
    "norm_placement": "post",
    "norm_bias": True,
    "bias": True,
    "gated": False,
    "position_kind": "convolved",
}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "modernbert": MODERNBERT,
    "llama": LLAMA,
    "gpt2": GPT2,
    "frames": FRAMES,
    "causal-frames": {**FRAMES, "causal": True},
    "wav2vec2": WAVE,
    "hubert": WAVE,
}
READS = dict.fromkeys(SHAPES, "tokens") | {  # the batch key that a shape turns into vectors
    "frames": "frames",
    "causal-frames": "frames",
    "wav2vec2": "wave",
    "hubert": "wave",
}
CHANNELS = 512  # of the convolutions over samples, at most: wav2vec 2.0, section 4.2, at width 768 and 1,024


def parse_size(size: str) -> tuple[int, int]:
    """A name or "4x256" -> (layers, width). Raises InputError."""
    if size.strip().lower() in SIZES:
        return SIZES[size.strip().lower()]
    if found := re.fullmatch(r"\s*([1-9]\d{0,3})\s*[x×]\s*([1-9]\d{0,5})\s*", size, re.IGNORECASE):
        return int(found[1]), int(found[2])
    hint = did_you_mean(size, SIZES)
    raise InputError(
        f"size `{size}`",
        "is neither a name nor layers x width",
        f"{hint}Write for instance 4x256, or one of {', '.join(SIZES)}.",
    )


def shape_of(name: str, size: str | None, vocabulary: int, positions: int = 128, bands: int = 0, **own) -> Shape:
    """The shape `name` at a size; `own` are fields of Shape that differ (heads, intermediate, dropout, …).

    bands: numbers of a log-mel frame, for shapes that read frames.

    Raises InputError for an unknown shape or size, and for a width that does not divide into its heads.
    """
    if name not in SHAPES:
        hint = did_you_mean(name, SHAPES)
        raise InputError(f"model.shape `{name}`", "no such shape", f"{hint}There is: {', '.join(SHAPES)}.")
    layers, width = parse_size(size or DEFAULT)
    made: dict[str, Any] = {"name": name, "layers": layers, "width": width, "vocabulary": vocabulary}
    made |= {"positions": positions, "heads": heads_for(width), "intermediate": intermediate_for(name, width)}
    made |= sound_for(name, width, bands)
    made |= SHAPES[name] | {key: value for key, value in own.items() if value is not None}
    _check_heads(width, made["heads"])
    if name == "llama":
        made.setdefault("key_heads", key_heads_for(made["heads"]))
    _check_key_heads(name, made["heads"], made.get("key_heads", 0))
    _check_tied(name, made.get("tied", True))
    return Shape(**made)


def sound_for(name: str, width: int, bands: int) -> dict[str, Any]:
    """The part of a shape that turns sound into steps. Raises InputError where frames have no bands.

    Channels of the convolutions: two thirds of the width, as 512 of 768 in wav2vec 2.0, to the nearest multiple of 32.
    """
    if READS[name] == "wave":
        channels = min(CHANNELS, max(32, 32 * round(width / 48)))
        return {"sound": SoundShape(widths=(channels,) * 7, position_groups=gcd(16, width))}
    if READS[name] != "frames":
        return {}
    if not bands:
        do = "Give sound, or choose another model.shape."
        raise InputError(f"model.shape `{name}`", "reads log-mel frames, and the data has none", do)
    return {"sound": SoundShape(bands=bands)}


def heads_for(width: int) -> int:
    """Heads of about 64 values each, of even length."""
    heads = max(1, width // HEAD_WIDTH)
    while heads > 1 and width % (2 * heads):
        heads -= 1
    return heads


def key_heads_for(heads: int) -> int:
    """Two queries share a key, where they divide."""
    return heads if heads % 2 else heads // 2


def intermediate_for(name: str, width: int) -> int:
    """4 × width. Gated: 2/3 of that, so that there are as many weights, to the nearest multiple of 64."""
    return 4 * width if not SHAPES[name].get("gated", True) else max(64, 64 * round(8 * width / 3 / 64))


def _check_heads(width: int, heads: int) -> None:
    if width % (2 * heads):
        raise InputError(
            f"width {width}",
            f"does not divide into {heads} heads of even length",
            f"Set model.heads to a number that divides {width // 2}, or take a width that is a multiple of 64.",
        )


def _check_key_heads(name: str, heads: int, key_heads: int) -> None:
    where = f"model.key_heads = {key_heads}"
    if key_heads not in (0, heads) and name != "llama":
        do = "Leave it out, or set model.shape = llama."
        raise InputError(where, f"in the shape {name}, each of its {heads} heads has keys of its own", do)
    if key_heads and heads % key_heads:
        do = f"Set model.key_heads to a number that divides {heads}."
        raise InputError(where, f"{heads} heads do not divide into it", do)


def _check_tied(name: str, tied: bool) -> None:
    if not tied and not SHAPES[name].get("causal"):
        do = "Leave it out, or set model.shape = llama or gpt2."
        raise InputError("model.tied = false", f"the output map of the shape {name} is its embedding", do)
