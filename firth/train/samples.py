"""Samples along the way: what the model makes of a few held-out texts so far, and pictures of what it sees."""

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


class Samples:
    """Writes samples/step-<step>.txt and pictures; does nothing where no objective of the recipe has anything to show.

    The file of an objective that has offers `tries(signal, texts, draw, count)`, what to show the model, and
    `shown(objective, signal, tries)`, a line for each; or, where it shows pictures, `sights(signal, samples, draw,
    config)` and `pictured(objective, sights, step)`: (H, W, 3) uint8 by name, for samples/<name>.png.
    """

    def __init__(self, recipe: Recipe, signal: Signal, source: Source, folder: Path, count: int = 5):
        modules = {name: find.find(KIND[recipe.verb], name) for name in recipe.objective}
        self.module = next((module for module in modules.values() if hasattr(module, "shown")), None)
        self.signal, self.folder, draw = signal, Path(folder), Draw(recipe.seed)
        self.tries = self.module.tries(signal, texts(signal, source, draw), draw, count) if self.module else []
        seeing = [name for name, module in modules.items() if hasattr(module, "pictured")]
        self.eye = modules[seeing[0]] if seeing else None
        if self.eye:
            config = config_of(recipe, KIND[recipe.verb], seeing[0])
            self.sights = self.eye.sights(signal, held_out(source, draw), draw, config)

    def write(self, step: int, objective: Composed) -> list[str]:
        """The lines, also written into the folder; pictures are written beside them."""
        if self.eye and self.sights is not None:
            self.paint(self.eye.pictured(objective, self.sights, step))
        if self.module is None or not self.tries:
            return []
        lines = self.module.shown(objective, self.signal, self.tries)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"step-{step}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return lines

    def paint(self, pictures: dict[str, np.ndarray]) -> None:
        """Write each picture that is not there yet."""
        from PIL import Image

        self.folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            path = self.folder / f"{name}.png"
            if not path.exists():
                Image.fromarray(picture).save(path, optimize=True)


def held_out(source: Source, draw: Draw, most: int = 100) -> Iterator[Sample]:
    """The first held-out samples."""
    for index in range(min(most, len(source))):
        yield source.get(np.array([index]), draw)[0]


def texts(signal: Signal, source: Source, draw: Draw, most: int = 100) -> Iterator[str]:
    """The texts of the first held-out samples."""
    for sample in held_out(source, draw, most):
        yield signal.decode(sample.parts[0])  # type: ignore[attr-defined]
