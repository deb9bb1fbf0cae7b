"""Vectors of a model that was trained before, as what another is to learn from."""

from collections.abc import Callable

import numpy as np
import torch

from firth import find
from firth.errors import InputError
from firth.interop.folder import mark_of_weights, model_folder, open_folder
from firth.model.backbones import backbone_of
from firth.recipe import Recipe
from firth.signal import Sample, Signal

# T steps, D width


def vectors_of(recipe: Recipe, folder: str, layer: int) -> tuple[str, Callable[[list[Sample]], list[np.ndarray]]]:
    """A mark of the model, and the function from samples to the vectors (T, D) of each that a block puts out.

    layer: from 1; 0 is the middle block. Raises InputError for a folder that is no model of the recipe's signal, and
    for one that has not so many blocks.
    """
    place = model_folder(folder)
    opened = open_folder(place)
    layers = opened.shape.layers
    if layer > layers:
        raise InputError(f"layer {layer}", f"{folder} has {layers} blocks", f"Name one from 1 to {layers}.")
    cls: type[Signal] = find.main_class(find.find("signals", recipe.signal), Signal)
    signal = cls.open(place)
    backbone = backbone_of(opened.shape, signal.embed(opened.shape)).eval()
    prefix = "backbone."
    own = {name.removeprefix(prefix): value for name, value in opened.state.items() if name.startswith(prefix)}
    backbone.load_state_dict(own)
    number = layer or (layers + 1) // 2

    @torch.inference_mode()
    def describe(samples: list[Sample]) -> list[np.ndarray]:
        features = backbone(signal.stack(samples), layers=True)
        values, padding = features.layers[number].float(), features.padding
        real = [values.shape[1]] * len(values) if padding is None else (~padding).sum(1).tolist()
        return [row[:count].numpy() for row, count in zip(values, real, strict=True)]

    return mark_of_weights(place), describe
