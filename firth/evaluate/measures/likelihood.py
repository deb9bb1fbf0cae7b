"""Likelihood: bits per byte and perplexity of held-out text, read through windows that are moved by a stride.

The bits of the text's tokens, over its bytes in UTF-8: models with different tokenizers can be compared by it. Of a
window only the tokens at its end count that no window before it counted, so that each is guessed once and, but for the
first ones, with context - stride + 1 tokens before it at least. The end of a text is not guessed. With the stride of
the context these are the sums of lm-evaluation-harness (loglikelihood_rolling).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import exp, log, sqrt
from typing import Any, NamedTuple

import numpy as np

from firth.data.files import expand
from firth.data.readers import read
from firth.errors import InputError
from firth.evaluate.asked import Asked
from firth.evaluate.judge import Judge
from firth.evaluate.statistics import Interval

# N texts, W windows

TAKES = ("text", "most", "stride")
MOST = 709.0  # exp of more is no number


class Window(NamedTuple):
    """A stretch of a row of tokens; those from `first` on count."""

    begin: int
    first: int
    end: int


@dataclass(frozen=True)
class Likelihoods:
    """Sums over texts. by: of what; figures of pseudo-log-likelihoods compare among themselves only."""

    by: str
    bits_per_byte: Interval  # over texts
    perplexity: float  # per token of the model
    word_perplexity: float
    texts: int
    tokens: int
    words: int
    bytes: int
    stride: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bits_per_byte": self.bits_per_byte._asdict()}

    def lines(self) -> list[str]:
        one, pseudo = self.bits_per_byte, "" if self.by == "likelihood" else f" ({self.by})"
        ends = f" ({one.low:.3f} to {one.high:.3f})" if self.texts > 1 else ""
        return [
            f"{one.mean:.3f} bits per byte{ends}{pseudo} · perplexity {self.perplexity:,.1f} a token, "
            f"{self.word_perplexity:,.1f} a word",
            f"{self.texts:,} texts · {self.tokens:,} tokens · {self.words:,} words · {self.bytes:,} bytes · "
            f"stride {self.stride:,}",
        ]


def measured(judge: Judge, asked: Asked) -> Likelihoods:
    """Raises InputError where there is no text, and for a stride beyond the window."""
    window = judge.room - len(judge.lead)
    stride = asked.stride or max(1, window // 2)
    if stride > window:
        raise InputError(f"--stride {stride}", f"leaves out text between windows of {window:,} tokens", "Lower it.")
    reading = read(expand(list(asked.paths)), text=asked.text)
    texts = [record.text for record, _ in zip(reading, range(asked.most or 10**12), strict=False)]
    return likelihoods(judge, [text for text in texts if text], stride)


def likelihoods(judge: Judge, texts: Sequence[str], stride: int) -> Likelihoods:
    """The texts, each alone."""
    if not texts:
        raise InputError("likelihood", "there is no text to score", "Give at least one text.")
    ids = [np.concatenate([judge.lead, one.ids]).astype(np.int32) for one in judge.signal.encode(list(texts))]
    cut = [list(windows(len(row), len(judge.lead), judge.room, stride)) for row in ids]
    rows = [row[window.begin : window.end] for row, some in zip(ids, cut, strict=True) for window in some]
    found = iter(judge.sums(rows, [window.first - window.begin for some in cut for window in some]))
    nats = np.array([sum(next(found).nats for _ in some) for some in cut])
    sizes = np.array([len(text.encode("utf-8", "replace")) for text in texts], float)
    tokens = sum(len(row) - len(judge.lead) for row in ids)
    words = sum(len(text.split()) for text in texts)
    whole = -float(nats.sum())
    return Likelihoods(judge.kind, ratio(-nats / log(2), sizes), raised(whole / max(tokens, 1)),
                       raised(whole / max(words, 1)), len(texts), tokens, words, int(sizes.sum()), stride)  # fmt: skip


def windows(size: int, first: int, room: int, stride: int) -> Iterator[Window]:
    """Of a row of so many tokens, the first ones of which are no text; a window holds `room` of them at most."""
    done, end = first, min(size, room)
    while done < size:
        yield Window(max(0, end - room), done, end)
        done, end = end, min(size, end + stride)


def ratio(sums: np.ndarray, sizes: np.ndarray) -> Interval:
    """(N,), (N,) → sum of the one over sum of the other, and its interval over texts, by linearisation (Cochran 1977,
    section 6.3)."""
    mean = float(sums.sum() / sizes.sum())
    spread = (sums - mean * sizes) / sizes.mean()
    half = 1.96 * float(spread.std(ddof=1)) / sqrt(len(sums)) if len(sums) > 1 else float("nan")
    return Interval(mean, mean - half, mean + half, 1)


def raised(nats: float) -> float:
    """e to the power of so many nats."""
    return exp(nats) if nats < MOST else float("inf")
