"""A model folder as an encoder alone: texts in, vectors out; whatever head lies in the folder is left aside."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from firth.errors import InputError
from firth.functional.lengths import batches as lengths_together
from firth.interop.folder import Opened, model_folder, open_folder
from firth.model.backbones import backbone_of
from firth.model.encoder import Backbone
from firth.model.init import initialise
from firth.model.shape import AnyShape, ConvShape, Shape
from firth.recipe import Model, Recipe, apply_settings
from firth.signal import Batch, Features, Sample
from firth.train import build
from firth.train.adaptation import open_signal, refuse_unfinished
from firth.train.memory import keep_freed_blocks

# B samples, T steps, D width, L layers

TOKENS = 1024  # in a forward, padding included, for each thread of a CPU: what its cache holds, measured at width 384
TOKENS_ELSEWHERE = 65_536  # on an accelerator
PLAIN = 512  # context up to which two matmuls and a softmax are quickest on a CPU; their scores take context² numbers


class Span(NamedTuple):
    """A word in its text: text[start:end]."""

    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        return self.text[self.start : self.end]


@dataclass(frozen=True)
class Encoder:
    """A backbone in evaluation mode, in fp32, and the signal that feeds it."""

    folder: Path
    backbone: Any  # of model/backbones.py
    signal: Any  # of text, where words are asked for: it has a tokenizer
    device: torch.device

    @property
    def shape(self) -> AnyShape:
        return self.backbone.shape

    @property
    def layers(self) -> int:
        """The number of blocks that are left; the embedding is layer 0."""
        return len(self.backbone.encoder.blocks)

    def read(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        """What the encoder reads of each input; of a text as many tokens as there is room for."""
        found = [one.ids for one in self.signal.encode(list(inputs))]
        return [one[: self.room] for one in found] if hasattr(self.signal.config, "context") else found

    def steps(self, one: np.ndarray) -> int:
        """By which inputs that go through the model together are chosen: tokens without special ones, or its length."""
        return len(one) if hasattr(self.signal.config, "context") else self.signal.length(Sample((one,), key=0))

    @property
    def room(self) -> int:
        """Tokens of a text that are looked at, special ones left out."""
        return self.signal.config.context - self.signal.length(Sample((np.empty(0, np.int32),), key=0))

    def batch(self, ids: Sequence[np.ndarray]) -> Batch:
        """Token ids of each text → [CLS] … [SEP], padded, on the device."""
        return self.signal.stack([Sample((one,), key=0) for one in ids]).to(self.device)

    @torch.inference_mode()
    def features(self, ids: Sequence[np.ndarray], layers: bool = False) -> Features:
        return self.backbone(self.batch(ids), layers=layers)

    def cut(self, layer: int) -> "Encoder":
        """The same encoder ended after a block (0: after the embedding), so that nothing is computed in vain.

        Negative numbers count from the end. Only the last layer has the norm that some shapes end with, as in the
        `hidden_states` of transformers. Raises InputError.
        """
        number = layer + self.layers + 1 if layer < 0 else layer
        if not 0 <= number <= self.layers:
            what = f"{self.folder} has layers 0 (the embedding) to {self.layers}"
            raise InputError(f"layer {layer}", what, f"Choose one of them; -1 is layer {self.layers}.")
        if number == self.layers:
            return self
        if isinstance(self.shape, ConvShape):
            what = "a convolution net has one vector for a picture, after its last block"
            raise InputError(f"layer {layer}", what, "Leave the layer out.")
        short = Backbone(self.shape.model_copy(update={"layers": 1}), self.backbone.embed)
        short.encoder.blocks = self.backbone.encoder.blocks[:number]
        short.encoder.local = short.encoder.local[:number]
        short.encoder.norm = nn.Identity()
        return replace(self, backbone=short.eval())

    def word_vectors(self, spans: Sequence[Span]) -> np.ndarray:
        """float32 (L + 1, n, D): the vector of each word at every layer, the mean over its sub-words."""
        found = [locate(self.signal.tokenizer, span, self.room) for span in spans]
        vectors = np.empty((self.layers + 1, len(spans), self.shape.width), np.float32)
        for places in batches([len(one.ids) for one in found], self.budget):
            features = self.features([found[i].ids for i in places], layers=True)
            assert features.layers is not None
            before = self.signal.lead
            parts = [(found[i].first + before, found[i].last + before) for i in places]
            for layer, values in enumerate([*features.layers[:-1], features.values]):
                vectors[layer, places] = means(values, parts).cpu().numpy()
        return vectors

    def word_embeddings(self, spans: Sequence[Span]) -> np.ndarray:
        """float32 (n, D): the rows of the word embedding, the mean over sub-words: the same in every text."""
        table = self.backbone.embed.word.weight.detach().cpu().numpy()  # type: ignore[union-attr, operator]
        found = [locate(self.signal.tokenizer, span, self.room) for span in spans]
        return np.stack([table[one.ids[one.first : one.last]].mean(0) for one in found])

    @property
    def budget(self) -> int:
        """Tokens that go through the model together."""
        return TOKENS * torch.get_num_threads() if self.device.type == "cpu" else TOKENS_ELSEWHERE


class Located(NamedTuple):
    """Token ids, and which of them are the word's."""

    ids: np.ndarray  # int32 (n,)
    first: int
    last: int  # exclusive


def open_encoder(
    folder: str | Path,
    settings: Iterable[str] | Mapping[str, Any] = (),
    device: str = "auto",
    words: bool = True,
) -> Encoder:
    """The encoder of a run folder, or of a model folder of firth or of transformers; no head is needed.

    settings: dotted keys of the signal, such as text.context=256; without it the length is that of the tokenizer, or of
    sentence_bert_config.json where there is one. words: raises InputError for a folder without an encoder of text.
    """
    refuse_unfinished(folder)
    opened = open_folder(folder)
    recipe = Recipe(device=device, signal=opened.signal, model=Model(source=str(folder)))
    recipe = apply_settings(recipe, settings)
    signal = open_signal(recipe)
    if words and "tokens" not in signal.facts.offers:
        what = f"is a model of {signal.name}, which has no words"
        raise InputError(folder, what, "Give the folder of a model of text.")
    if hasattr(signal.config, "context") and "context" not in recipe.tables.get(recipe.signal, {}):
        signal = shortened(signal, opened.shape, folder)
    keep_freed_blocks()
    backbone = backbone_of(opened.shape, signal.embed(opened.shape))
    backbone.load_state_dict(weights(opened))
    return ready(Path(folder), backbone, signal, build.device_of(recipe))


def ready(folder: Path, backbone: Any, signal, device: torch.device) -> Encoder:
    """In evaluation mode, on the device, with the quickest exact kernel."""
    if hasattr(backbone, "set_attention"):
        short = getattr(signal.config, "context", 0) <= PLAIN
        backbone.set_attention("plain" if device.type == "cpu" and short else "sdpa")
    return Encoder(folder, backbone.eval().to(device), signal, device)


def untrained(encoder: Encoder, seed: int = 0) -> Encoder:
    """An encoder of the same shape and tokenizer with weights drawn from the seed, as training would begin."""
    backbone = backbone_of(encoder.shape, encoder.signal.embed(encoder.shape))
    initialise(backbone, encoder.shape, seed)
    return ready(encoder.folder, backbone, encoder.signal, encoder.device)


def weights(opened: Opened) -> dict[str, Tensor]:
    """The tensors of the backbone alone; open_folder has seen that they are there."""
    own = "backbone."
    return {name.removeprefix(own): tensor for name, tensor in opened.state.items() if name.startswith(own)}


def shortened(signal, shape: AnyShape, folder: str | Path):
    """The signal with the context that the model was made for: its positions, and what sentence-transformers keeps."""
    lengths = [signal.config.context]
    if isinstance(shape, Shape) and shape.position_kind == "learned":
        lengths.append(shape.positions)
    path = model_folder(folder) / "sentence_bert_config.json"
    try:
        said = json.loads(path.read_text("utf-8")).get("max_seq_length") if path.is_file() else None
    except (ValueError, AttributeError) as error:
        raise InputError(path, f"is not JSON ({error})", "Fetch the file anew, or remove it.") from None
    lengths += [int(said)] if isinstance(said, int) and said >= 8 else []
    return signal if min(lengths) == lengths[0] else signal.but(context=min(lengths))


def batches(lengths: Sequence[int], budget: int) -> Iterator[np.ndarray]:
    """Places of texts of like length, the longest first: rows × longest row stays within the budget of tokens.

    lengths: tokens without the two special ones. One text alone may be longer than the budget.
    """
    return lengths_together([length + 2 for length in lengths], budget)


def locate(tokenizer, span: Span, room: int) -> Located:
    """The tokens of a text around a word: all of them, or as many as there is room for, the word in the middle."""
    encoded = tokenizer.encode(span.text, add_special_tokens=False)
    inside = [i for i, (a, b) in enumerate(encoded.offsets) if a < span.end and b > span.start and b > a]
    if not inside:
        raise InputError(f"`{span.word}` in `{span.text[:60]}`", "the tokenizer drops it", "Choose another word.")
    first, last = inside[0], min(inside[-1] + 1, inside[0] + room)
    begin = max(0, min((first + last - room) // 2, len(encoded.ids) - room))
    ids = np.array(encoded.ids[begin : begin + room], np.int32)
    return Located(ids, first - begin, last - begin)


def means(values: Tensor, parts: Sequence[tuple[int, int]]) -> Tensor:
    """(B, T, D), (first, last) of each row -> (B, D): the mean over the steps first … last - 1."""
    first, last = torch.tensor(parts, device=values.device).T  # (B,)
    steps = torch.arange(values.shape[1], device=values.device)
    chosen = ((steps >= first[:, None]) & (steps < last[:, None])).to(values.dtype)  # (B, T)
    return (chosen[..., None] * values).sum(1) / chosen.sum(1, keepdim=True)
