"""ResNet folders: config.json and tensor names of `ResNetModel` and its kin in transformers.

Stems for small pictures are none of transformers': such folders say so by their model_type, and only firth opens them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from firth.interop.places import Place, head_of, whole
from firth.model.shape import ConvShape

SIGNAL = "image"
THEIRS, OURS = "resnet", "firth-resnet"
NAMES: dict[str, str] = {}
PREFIX = "resnet."
TIED = ()
POOLING = "mean"  # what its classifier looks at
TASKS = {"classify": {"classifier.1": "classifier"}}
COUNTER = ".num_batches_tracked"
LARGE = 224  # pixels of a side, where a folder does not say


def modules(shape: ConvShape, task: str | None) -> dict[str, Place]:
    """Their module → its place among ours."""
    found = _pair(f"{PREFIX}embedder.embedder", "backbone.embed")
    number = 0
    for stage, depth in enumerate(shape.depths):
        for block in range(depth):
            theirs = f"{PREFIX}encoder.stages.{stage}.layers.{block}"
            ours = f"backbone.encoder.blocks.{number}"
            for part in range(2 if shape.kind == "basic" else 3):
                found |= _pair(f"{theirs}.layer.{part}", f"{ours}.layer.{part}")
            found |= _pair(f"{theirs}.shortcut", f"{ours}.shortcut")
            number += 1
    return whole(found | head_of(TASKS, task))


def _pair(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{name}": f"{ours}.{name}" for name in ("convolution", "normalization")}


def constant(name: str) -> bool:
    """True for a tensor that changes nothing."""
    return name.endswith(COUNTER)


def theirs_of(name: str) -> str:
    """A tensor name, with or without the prefix of the headless model, in full, the running variance as we call it."""
    name = name.removesuffix(".running_var") + ".running_variance" if name.endswith(".running_var") else name
    return PREFIX + name if name.startswith(("embedder.", "encoder.")) else name


def added(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as transformers names them, and those that it wants besides."""
    found = {name.replace(".running_variance", ".running_var"): tensor for name, tensor in theirs.items()}
    means = [name for name in found if name.endswith(".running_mean")]
    return found | {name.removesuffix(".running_mean") + COUNTER: torch.zeros((), dtype=torch.int64) for name in means}


def architecture(parts: set[str], task: str | None) -> str:
    """The transformers class that holds these parts."""
    return "ResNetForImageClassification" if task == "classify" else "ResNetModel"


def config_of(shape: ConvShape, facts: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a shape, without what all shapes share."""
    return {
        "model_type": THEIRS if shape.stem == "pooled" else OURS,
        "num_channels": shape.channels,
        "embedding_size": shape.first,
        "hidden_sizes": list(shape.widths),
        "depths": list(shape.depths),
        "layer_type": shape.kind,
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "image_size": shape.image,
        "stem": shape.stem,
        "size": shape.size,
    }


def shape_of(config: Mapping[str, Any]) -> ConvShape:
    """The shape of a config.json without anything unsupported."""
    widths, depths = tuple(config["hidden_sizes"]), tuple(config["depths"])
    return ConvShape(
        size=config.get("size", f"{sum(depths)}x{widths[-1]}"),
        kind=config.get("layer_type", "bottleneck"),
        depths=depths,
        widths=widths,
        first=config.get("embedding_size", 64),
        stem=config.get("stem", "pooled"),
        channels=config.get("num_channels", 3),
        image=config.get("image_size", LARGE),
    )


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """The settings of a config.json that ConvShape cannot hold."""
    found = {
        f"activation `{config.get('hidden_act', 'relu')}`": config.get("hidden_act", "relu") != "relu",
        "downsample_in_first_stage": config.get("downsample_in_first_stage"),
        "downsample_in_bottleneck": config.get("downsample_in_bottleneck"),
    }
    return [what for what, is_there in found.items() if is_there]
