"""Folders of log-mel encoders, which no class of transformers holds: config.json has the shape, tensors our names."""

from collections.abc import Mapping
from typing import Any

from firth.model.shape import Shape

SIGNAL = "speech"
NAMES = {"num_hidden_layers": "layers", "hidden_size": "width", "num_attention_heads": "heads"}
TASKS: dict[str, dict[str, str]] = {}
TIED: tuple[str, ...] = ()
PLAIN = True  # tensors lie there under our own names


def modules(shape: Shape, task: str | None) -> dict:
    """No module has another name there."""
    return {}


def constant(name: str) -> bool:
    """True for a tensor that follows from config.json; there is none."""
    return False


def theirs_of(name: str) -> str:
    """The name itself."""
    return name


def architecture(parts: set[str], task: str | None) -> str:
    """No class of transformers."""
    return "FirthFrames"


def config_of(shape: Shape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    return {"model_type": shape.name, "shape": shape.model_dump(exclude={"name", *NAMES.values()})}


def fields_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Shape, without what all shapes share."""
    return dict(config.get("shape") or {})


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that Shape cannot hold; there are none."""
    return []
