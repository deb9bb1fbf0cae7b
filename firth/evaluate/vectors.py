"""`firth embed`: pooled vectors of texts, for search, clustering and near duplicates; streamed, in fp32.

Texts are taken in windows, tokenised, sorted by their tokens and cut into batches by a budget of tokens, so that there
is little padding; vectors leave in the order of the texts. Mean pooling is the mean over all real tokens, [CLS] and
[SEP] included: Reimers & Gurevych 2019 (Sentence-BERT), arXiv 1908.10084, section 3.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from firth.data.config import listed
from firth.data.given import Given
from firth.errors import InputError, count, did_you_mean
from firth.evaluate.encoder import Encoder, batches, open_encoder
from firth.evaluate.inputs import How, column_of, document_of, inputs_of
from firth.evaluate.vector_files import File, check_out
from firth.signal import Features
from firth.train.log import Show, Silent

# B samples, T steps, D width

TEXTS = 4096  # held at once, at most
CHARACTERS = 16_000_000  # of the texts held at once, about
NAMED = 20  # inputs that cannot be read and are named; the others are counted


def greatest(features: Features) -> Tensor:
    """(B, D): the greatest value of each dimension over the steps that are no padding; 0 where all are, as of the mean:
    a clip may be shorter than a step."""
    if features.padding is None:
        return features.values.amax(1)
    found = features.values.masked_fill(features.padding[..., None], -torch.inf).amax(1)
    return found.masked_fill(features.padding.all(1, keepdim=True), 0)


POOLINGS: dict[str, Callable[[Features], Tensor]] = {
    "mean": lambda features: features.mean,
    "first": lambda features: features.pooled,
    "max": greatest,
}


@dataclass(frozen=True)
class Embedded:
    """What was written. seconds: of reading, tokenising, computing and writing; loading the model is left out. failed:
    inputs that could not be read."""

    out: str
    texts: int
    width: int
    layer: int
    pooling: str
    normalise: bool
    seconds: float
    failed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rate = f"{self.texts / self.seconds:,.0f} a second" if self.seconds > 0 else "–"
        failed = f" · {count(self.failed, 'input')} could not be read" if self.failed else ""
        return f"{self.texts:,} vectors of {self.width} numbers · {rate} · {self.out}{failed}"


def embed(
    model: str | Path,
    inputs: str | Iterable[str],
    out: str | Path | None = None,
    layer: int = -1,
    pooling: str = "mean",
    normalise: bool = True,
    device: str = "auto",
    settings: Iterable[str] | Mapping[str, Any] = (),
    text: str | None = None,
    document: str | None = None,
    skip_bad: bool = False,
    dry_run: bool = False,
    show: Show | None = None,
) -> np.ndarray | Embedded:
    """One vector for each text: texts themselves, the texts of files, the lines of a pipe (`-`).

    out: a file to write (.npy, .parquet); None: float32 (n, D) is returned. layer: whose output is pooled, 0 = the
    embedding, -1 = the last. pooling: mean, first ([CLS]) or max. normalise: to length 1. text: name of the text column
    in tables. document: what one text of plain text is, as for `predict`. skip_bad: the vector of what cannot be read
    is NaN in .npy and in what is returned, and .parquet leaves out the row, and its id. Raises InputError at once for a
    model, input or file that cannot be used.
    """
    pool, path = pooling_of(pooling), None if out is None else check_out(out)
    given = listed(inputs)
    if not given:
        raise InputError("INPUT", "is not given", "Give a text in quotes, a file, or - for a pipe.")
    whole = open_encoder(model, settings, device, words=False)
    how = How(text, document=document_of(model, document, whole.signal), skip_bad=skip_bad,
              learnt=column_of(model))  # fmt: skip
    found = inputs_of(whole.signal, given, how)
    encoder, show = whole.cut(layer), show or Silent()
    show.line("Model", f"{whole.shape.name}, layer {encoder.layers} of {whole.layers} × {whole.shape.width}, {pooling}")
    if path is None or dry_run:
        return embed_texts(encoder, () if dry_run else found, pooling, normalise)
    began, tally = time.perf_counter(), Tally(show)
    with File(path, encoder.shape.width) as sink:
        for window, vectors in stream(encoder, tally.of(found), pool, normalise):
            sink.write(window, vectors)
    spent = time.perf_counter() - began
    shape = (encoder.shape.width, encoder.layers, pooling, normalise)
    result = Embedded(str(path), tally.read, *shape, spent, tally.failed)
    show.line("Saved", str(result))
    return result


@dataclass
class Tally:
    """Counts inputs, and names the first that could not be read."""

    show: Show
    read: int = 0
    failed: int = 0

    def of(self, inputs: Iterable[Given]) -> Iterator[Given]:
        for one in inputs:
            if not isinstance(one.content, InputError):
                self.read += 1
            else:
                self.failed += 1
                if self.failed <= NAMED:
                    self.show.note(f"{one.content.where}: {one.content.what}. It is left out.")
            yield one


def embed_texts(encoder: Encoder, texts: Iterable[Any], pooling: str = "mean", normalise: bool = True) -> np.ndarray:
    """float32 (n, D) for texts, whatever they look like, or inputs, by an encoder that is open already."""
    parts = [vectors for _, vectors in stream(encoder, texts, pooling_of(pooling), normalise)]
    return np.concatenate([np.empty((0, encoder.shape.width), np.float32), *parts])


def stream(
    encoder: Encoder, texts: Iterable[Any], pool: Callable[[Features], Tensor], normalise: bool
) -> Iterator[tuple[list[Given], np.ndarray]]:
    """(inputs, float32 (n, D)) window by window, in order; NaN for what cannot be read."""
    for window in windows(one if isinstance(one, Given) else Given(one) for one in texts):
        good = [place for place, one in enumerate(window) if not isinstance(one.content, InputError)]
        vectors = np.full((len(window), encoder.shape.width), np.nan, np.float32)
        if good:
            vectors[good] = vectors_of(encoder, encoder.read([window[i].content for i in good]), pool, normalise)
        yield window, vectors


@torch.inference_mode()
def vectors_of(
    encoder: Encoder, given: Sequence[np.ndarray], pool: Callable[[Features], Tensor], normalise: bool
) -> np.ndarray:
    """float32 (n, D) for what the encoder has read: tokens, special ones left out, or arrays."""
    vectors = np.empty((len(given), encoder.shape.width), np.float32)
    for places in batches([encoder.steps(one) for one in given], encoder.budget):
        pooled = pool(encoder.features([given[i] for i in places])).float()
        vectors[places] = (F.normalize(pooled, dim=-1) if normalise else pooled).cpu().numpy()
    return vectors


def windows(inputs: Iterable[Given]) -> Iterator[list[Given]]:
    """Lists of at most TEXTS inputs, closed once they hold CHARACTERS characters, or values of arrays."""
    window: list[Given] = []
    size = 0
    for one in inputs:
        window.append(one)
        size += size_of(one.content)
        if len(window) == TEXTS or size >= CHARACTERS:
            yield window
            window, size = [], 0
    if window:
        yield window


def size_of(content: Any) -> int:
    """Characters of a text, values of an array; nothing of what cannot be read."""
    if isinstance(content, str):
        return len(content)
    return content.array.size if hasattr(content, "array") else 0


def pooling_of(name: str) -> Callable[[Features], Tensor]:
    """Raises InputError for an unknown one."""
    if name not in POOLINGS:
        hint = did_you_mean(name, POOLINGS)
        raise InputError(f"--pooling {name}", "no such pooling", f"{hint}There is: {', '.join(POOLINGS)}.")
    return POOLINGS[name]
