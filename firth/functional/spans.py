"""Entity spans in BIO tags, and their precision, recall and F1 as `seqeval` computes them in its default mode.

That mode is conlleval's (Tjong Kim Sang and De Meulder 2003): what is read as a span is lenient (an I- that follows
nothing of its type begins one), and a span is right when type, beginning and end are. E- and S- (IOBES) are read, too.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

# N sentences

OUTSIDE = "O"
UNTYPED = "_"  # the type of a tag that is only B or I
GOES_ON = {("B", "I"), ("B", "E"), ("I", "I"), ("I", "E")}  # two tags of one type that are in one span


class Span(NamedTuple):
    """Words start … stop - 1 of a sentence."""

    type: str
    start: int
    stop: int


def is_bio(tags: Sequence[str]) -> bool:
    """Whether every tag is O or B, I, E or S with a type after a hyphen (or none), and some tag is not O."""
    kinds = set(tags)
    return kinds - {OUTSIDE} != set() and all(part(tag)[0] for tag in kinds - {OUTSIDE})


def part(tag: str) -> tuple[str, str]:
    """("B", "PER") of B-PER; ("", "") of O and of whatever is no such tag."""
    prefix, hyphen, kind = tag.partition("-")
    known = prefix in ("B", "I", "E", "S") and (hyphen or not kind)
    return (prefix, kind or UNTYPED) if known else ("", "")


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of one sentence, in order. A tag that is none of BIOES is outside, like O."""
    found: list[Span] = []
    before, begin = ("", ""), 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        now = part(tag)
        if now[1] == before[1] and (before[0], now[0]) in GOES_ON:
            before = now
            continue
        if before[0]:
            found.append(Span(before[1], begin, place))
        before, begin = now, place
    return found


def span_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Tags of N sentences, twice -> {"precision", "recall", "f1", "support", "types"}, micro over all spans.

    Shares in [0, 1], 0 where nothing was there to divide by; support: the gold spans; types: the same figures by
    type, sorted. Equal to seqeval's precision_score, recall_score, f1_score (average="micro" and None).
    Raises ValueError for unequal numbers of sentences or of tags in one.
    """
    true, said, right = Counter[str](), Counter[str](), Counter[str]()
    for ours, theirs in zip(gold, predicted, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} gold tags and {len(theirs)} predicted ones in a sentence")
        one, other = set(spans(ours)), set(spans(theirs))
        true.update(span.type for span in one)
        said.update(span.type for span in other)
        right.update(span.type for span in one & other)
    types = {kind: _figures(right[kind], said[kind], true[kind]) for kind in sorted(true | said)}
    return _figures(right.total(), said.total(), true.total()) | {"types": types}


def _figures(right: int, said: int, true: int) -> dict[str, Any]:
    return {
        "precision": right / said if said else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (said + true) if said + true else 0.0,
        "support": true,
    }
