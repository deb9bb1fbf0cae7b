"""Names for sizes, and the usual shapes at any size."""

import re
from typing import Any

from firth.errors import InputError, did_you_mean
from firth.model.shape import Shape

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
SHAPES = {"bert": BERT, "modernbert": MODERNBERT}


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


def shape_of(name: str, size: str | None, vocabulary: int, positions: int = 128, **own) -> Shape:
    """The shape `name` at a size; `own` are fields of Shape that differ (heads, intermediate, dropout, …).

    Raises InputError for an unknown shape or size, and for a width that does not divide into its heads.
    """
    if name not in SHAPES:
        hint = did_you_mean(name, SHAPES)
        raise InputError(f"model.shape `{name}`", "no such shape", f"{hint}There is: {', '.join(SHAPES)}.")
    layers, width = parse_size(size or DEFAULT)
    made: dict[str, Any] = {"name": name, "layers": layers, "width": width, "vocabulary": vocabulary}
    made |= {"positions": positions, "heads": heads_for(width), "intermediate": intermediate_for(name, width)}
    made |= SHAPES[name] | {key: value for key, value in own.items() if value is not None}
    _check_heads(width, made["heads"])
    return Shape(**made)


def heads_for(width: int) -> int:
    """Heads of about 64 values each, of even length."""
    heads = max(1, width // HEAD_WIDTH)
    while heads > 1 and width % (2 * heads):
        heads -= 1
    return heads


def intermediate_for(name: str, width: int) -> int:
    """BERT: 4 × width. Gated: 2/3 of that, so that there are as many weights, to the nearest multiple of 64."""
    return 4 * width if name == "bert" else max(64, 64 * round(8 * width / 3 / 64))


def _check_heads(width: int, heads: int) -> None:
    if width % (2 * heads):
        raise InputError(
            f"width {width}",
            f"does not divide into {heads} heads of even length",
            f"Set model.heads to a number that divides {width // 2}, or take a width that is a multiple of 64.",
        )
