"""HuBERT model folders: config.json and tensor names of `HubertModel` and its kin in transformers."""

from collections.abc import Mapping
from typing import Any

from firth.interop import wav2vec2
from firth.interop.places import Place
from firth.interop.wav2vec2 import NAMES, TIED, constant, fields_of, missing, unsupported
from firth.model.shape import Shape

__all__ = ["NAMES", "TIED", "constant", "fields_of", "missing", "unsupported"]
SIGNAL = "speech"
PREFIX = "hubert."
TASKS: dict[str, dict[str, str]] = {}


def modules(shape: Shape, task: str | None) -> dict[str, Place]:
    """Their module (or tensor) → its place among ours. The class that guesses clusters is not in transformers."""
    return wav2vec2.encoder(shape, PREFIX)


def theirs_of(name: str) -> str:
    """A tensor name of any age, with or without the prefix of the headless model, in today's full form."""
    return wav2vec2.theirs_of(name, PREFIX)


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    return "HubertModel"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    assert shape.sound is not None
    own = {"feat_proj_layer_norm": shape.sound.map_norm, "conv_pos_batch_norm": False}
    return {"model_type": "hubert", **wav2vec2.common(shape), **own}
