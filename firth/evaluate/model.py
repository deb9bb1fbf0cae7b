"""`firth.load`: a trained model that is asked from Python for what it says of inputs, and for vectors of them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from firth.data.config import listed
from firth.evaluate import predict, vectors
from firth.evaluate.encoder import Encoder, open_encoder
from firth.evaluate.inputs import How, column_of, document_of, inputs_of
from firth.evaluate.predict import Loaded
from firth.interop.folder import model_folder
from firth.train import build
from firth.train.adaptation import refuse_unfinished


@dataclass
class Model:
    """What `load` gives: the weights are read when it is first asked."""

    folder: Path
    settings: Any = ()
    device: str = "auto"

    @cached_property
    def loaded(self) -> Loaded:
        """With the head that predicts. Raises InputError where the folder has none."""
        return predict.load(self.folder, self.settings, self.device)

    @cached_property
    def encoder(self) -> Encoder:
        """Without any head."""
        return open_encoder(self.folder, self.settings, self.device, words=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that it tells apart; () where it tells none."""
        return self.loaded.classes

    def predict(self, inputs: Any, top: int | None = None, **writing: Any) -> Iterator[Any]:
        """One prediction for each input, while further ones are still being read: list(...) has all of them.

        inputs: a text or several (where the task reads several together, each may be a tuple); of pictures and sounds
        their paths. top, writing: as of Loaded.predict. Raises InputError for what cannot be answered.
        """
        return self.loaded.predict(self._read(inputs), top, **writing)

    def stream(self, texts: Iterable[str], **writing: Any) -> Iterator[Any]:
        """Each text, and then what is written to it, piece by piece; only of a model that writes."""
        return self.loaded.stream(texts, **writing)

    def embed(
        self, inputs: Any, layer: int = -1, pooling: str = "mean", normalise: bool = True, text: str | None = None
    ) -> np.ndarray:
        """float32 (n, width): a vector of each input, as `firth.embed` makes it.

        inputs: texts, files or folders, one or several. text: name of the text column in tables.
        """
        document = document_of(self.folder, None, self.encoder.signal)
        how = How(text, document=document, learnt=column_of(self.folder))
        read = inputs_of(self.encoder.signal, listed(inputs, side_by_side), how)
        return vectors.embed_texts(self.encoder.cut(layer), read, pooling, normalise)

    def _read(self, inputs: Any) -> Any:
        """Texts as they are; of another signal what lies at the paths."""
        signal, reads = self.loaded.signal, self.loaded.reads
        if not hasattr(build.store_of(type(signal)), "inputs"):
            return inputs
        return (one.content for one in inputs_of(signal, listed(inputs, paths), How(reads=reads)))


def load(folder: str | Path, settings: Iterable[str] | Mapping[str, Any] = (), device: str = "auto") -> Model:
    """A run folder, or a model folder of firth or of transformers, to be asked: `.predict(...)` and `.embed(...)`.

    settings: dotted keys of the signal, such as text.context=256, and of the method, such as transcribe.beam=16.
    Raises InputError for a folder without a model.
    """
    refuse_unfinished(folder)
    model_folder(folder)
    return Model(Path(folder), dict(settings) if isinstance(settings, Mapping) else list(settings), device)


def paths(one: Any) -> Any:
    """A path, or those that are read together."""
    return os.fspath(one) if isinstance(one, str | os.PathLike) else listed(one)


def side_by_side(one: Any) -> str:
    """A path or text; texts that are read together with a | between."""
    return str(one) if isinstance(one, str | Path) else " | ".join(map(str, one))
