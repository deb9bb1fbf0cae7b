"""Samples along the way: what the model makes of a few held-out texts or pictures so far."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from firth import find
from firth.data.source import Source
from firth.functional.random import Draw
from firth.objective import Composed
from firth.recipe import Recipe, config_of
from firth.signal import Sample, Signal
from firth.train.build import KIND


class Pictures:
    """Writes samples/<name>.png; does nothing where no objective of the recipe has anything to show.

    The file of an objective that has offers `tries(signal, samples, draw, config)`, what to show the model, and
    `pictured(objective, tries, step)`, (H, W, 3) uint8 by name.
    """

    def __init__(self, recipe: Recipe, signal: Signal, source: Source, folder: Path):
        modules = {name: find.find(KIND[recipe.verb], name) for name in recipe.objective}
        name = next((name for name, module in modules.items() if hasattr(module, "pictured")), "")
        self.module, self.folder, draw = modules.get(name), Path(folder), Draw(recipe.seed)
        config = config_of(recipe, KIND[recipe.verb], name) if name else None
        self.tries = self.module.tries(signal, some(source, draw), draw, config) if self.module else None

    def write(self, step: int, objective: Composed) -> None:
        if self.module is None or self.tries is None:
            return
        from PIL import Image

        self.folder.mkdir(parents=True, exist_ok=True)
        for name, pixels in self.module.pictured(objective, self.tries, step).items():
            Image.fromarray(pixels).save(self.folder / f"{name}.png")


class Samples:
    """Writes samples/step-<step>.txt; does nothing where no objective of the recipe has anything to show.

    The file of an objective that has offers `tries(signal, texts, draw, count)`, what to show the model, and
    `shown(objective, signal, tries)`, a line for each.
    """

    def __init__(self, recipe: Recipe, signal: Signal, source: Source, folder: Path, count: int = 5):
        modules = [find.find(KIND[recipe.verb], name) for name in recipe.objective]
        self.module = next((module for module in modules if hasattr(module, "shown")), None)
        self.signal, self.folder, draw = signal, Path(folder), Draw(recipe.seed)
        self.tries = self.module.tries(signal, texts(signal, source, draw), draw, count) if self.module else []

    def write(self, step: int, objective: Composed) -> list[str]:
        """The lines, also written into the folder."""
        if self.module is None or not self.tries:
            return []
        lines = self.module.shown(objective, self.signal, self.tries)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"step-{step}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return lines


def some(source: Source, draw: Draw, most: int = 100) -> Iterator[Sample]:
    """The first held-out samples."""
    for index in range(min(most, len(source))):
        yield source.get(np.array([index]), draw)[0]


def texts(signal: Signal, source: Source, draw: Draw, most: int = 100) -> Iterator[str]:
    """The texts of the first held-out samples."""
    for sample in some(source, draw, most):
        yield signal.decode(sample.parts[0])  # type: ignore[attr-defined]
