"""`firth embed`: pooled vectors of texts, for search, clustering and near duplicates; streamed, in fp32.

Texts are taken in windows, tokenised, sorted by their tokens and cut into batches by a budget of tokens, so that there
is little padding; vectors leave in the order of the texts. Mean pooling is the mean over all real tokens, [CLS] and
[SEP] included: Reimers & Gurevych 2019 (Sentence-BERT), arXiv 1908.10084, section 3.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from firth.errors import InputError, did_you_mean
from firth.evaluate.encoder import Encoder, batches, open_encoder
from firth.evaluate.predict import inputs_of
from firth.evaluate.vector_files import File, check_out
from firth.signal import Features
from firth.train.log import Show, Silent

# B samples, T steps, D width

TEXTS = 4096  # held at once, at most
CHARACTERS = 16_000_000  # of the texts held at once, about


def greatest(features: Features) -> Tensor:
    """(B, D): the greatest value of each dimension over the steps that are no padding."""
    values = features.values
    if features.padding is not None:
        values = values.masked_fill(features.padding[..., None], -torch.inf)
    return values.amax(1)


POOLINGS: dict[str, Callable[[Features], Tensor]] = {
    "mean": lambda features: features.mean,
    "first": lambda features: features.pooled,
    "max": greatest,
}


@dataclass(frozen=True)
class Embedded:
    """What was written. seconds: of reading, tokenising, computing and writing; loading the model is left out."""

    out: str
    texts: int
    width: int
    layer: int
    pooling: str
    normalise: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        rate = f"{self.texts / self.seconds:,.0f} texts/s" if self.seconds > 0 else "–"
        return f"{self.texts:,} vectors of {self.width} numbers · {rate} · {self.out}"


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
    dry_run: bool = False,
    show: Show | None = None,
) -> np.ndarray | Embedded:
    """One vector for each text: texts themselves, the texts of files, the lines of a pipe (`-`).

    out: a file to write (.npy, .parquet); None: float32 (n, D) is returned. layer: whose output is pooled, 0 = the
    embedding, -1 = the last. pooling: mean, first ([CLS]) or max. normalise: to length 1. text: name of the text column
    in tables. Raises InputError at once for a model, input or file that cannot be used.
    """
    pool, path = pooling_of(pooling), None if out is None else check_out(out)
    given = [inputs] if isinstance(inputs, str) else list(inputs)
    if not given:
        raise InputError("INPUT", "is not given", "Give a text in quotes, a file, or - for a pipe.")
    whole = open_encoder(model, settings, device, words=False)
    sources = [inputs_of(whole.signal, one, text) for one in given]
    encoder, show = whole.cut(layer), show or Silent()
    show.line("Model", f"{whole.shape.name}, layer {encoder.layers} of {whole.layers} × {whole.shape.width}, {pooling}")
    if path is None or dry_run:
        return embed_texts(encoder, () if dry_run else chain.from_iterable(sources), pooling, normalise)
    began, count = time.perf_counter(), 0
    with File(path, encoder.shape.width) as sink:
        for texts, vectors in stream(encoder, chain.from_iterable(sources), pool, normalise):
            sink.write(texts, vectors)
            count += len(texts)
    spent = time.perf_counter() - began
    result = Embedded(str(path), count, encoder.shape.width, encoder.layers, pooling, normalise, spent)
    show.line("Saved", str(result))
    return result


def embed_texts(encoder: Encoder, texts: Iterable[str], pooling: str = "mean", normalise: bool = True) -> np.ndarray:
    """float32 (n, D) for texts, whatever they look like, by an encoder that is open already."""
    parts = [vectors for _, vectors in stream(encoder, texts, pooling_of(pooling), normalise)]
    return np.concatenate([np.empty((0, encoder.shape.width), np.float32), *parts])


def stream(
    encoder: Encoder, texts: Iterable[str], pool: Callable[[Features], Tensor], normalise: bool
) -> Iterator[tuple[list[str], np.ndarray]]:
    """(texts, float32 (n, D)) window by window, in order."""
    for window in windows(texts):
        yield window, vectors_of(encoder, encoder.read(window), pool, normalise)


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


def windows(texts: Iterable[str]) -> Iterator[list[str]]:
    """Lists of at most TEXTS texts, closed once they hold CHARACTERS characters."""
    window: list[str] = []
    size = 0
    for text in texts:
        window.append(text)
        size += len(text) if isinstance(text, str) else text.array.size
        if len(window) == TEXTS or size >= CHARACTERS:
            yield window
            window, size = [], 0
    if window:
        yield window


def pooling_of(name: str) -> Callable[[Features], Tensor]:
    """Raises InputError for an unknown one."""
    if name not in POOLINGS:
        hint = did_you_mean(name, POOLINGS)
        raise InputError(f"--pooling {name}", "no such pooling", f"{hint}There is: {', '.join(POOLINGS)}.")
    return POOLINGS[name]
