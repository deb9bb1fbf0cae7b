"""At the end of a run: held-out samples beside the training samples nearest to them, and a map of the held-out part."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firth.data.source import Source
from firth.functional.neighbours import nearest, principal_map
from firth.functional.picture import sheet
from firth.functional.places import evenly
from firth.objective import Composed
from firth.signal import Sample, Signal
from firth.train.watch import BANK, Watch, encoded, has_class, taken

ROWS, COLUMNS = 8, 8  # of the picture; the first column are the held-out samples
SIDE = 48  # pixels; smaller pictures are enlarged
PICTURE, MAP = "neighbours.png", "map.json"


def write(watch: Watch, signal: Signal, source: Source, folder: Path, seed: int, device: Any) -> None:
    """neighbours.png and map.json into the folder, where vectors were watched; of samples that can be seen."""
    if len(watch.held_out) < 2:
        return
    vectors, _ = encoded(watch.objective, signal, watch.held_out, device)
    folder.mkdir(parents=True, exist_ok=True)
    write_map(vectors, watch.held_out, folder / MAP)
    if signal.picture(watch.held_out[0]) is not None:
        bank = watch.bank or taken(source, BANK, seed)
        rows = beside(watch.objective, signal, watch.held_out, vectors, bank, device)
        save(grid([[seen(signal, one) for one in row] for row in rows]), folder / PICTURE)


def write_map(vectors: Tensor, samples: Sequence[Sample], path: Path) -> None:
    """Directions on the two axes of most variance, with the labels that samples have."""
    points, shares = principal_map(torch.nn.functional.normalize(vectors, dim=1))
    labels = [int(one.label) if has_class(one) else None for one in samples]
    found = {"points": points.float().tolist(), "shares": shares.tolist(), "labels": labels}
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


def beside(
    objective: Composed, signal: Signal, samples: Sequence[Sample], vectors: Tensor, bank: Sequence[Sample], device: Any
) -> list[list[Sample]]:
    """ROWS samples, evenly chosen, each with those of the bank that are nearest to it, the nearest first."""
    chosen = evenly(len(samples), ROWS).tolist()
    known, _ = encoded(objective, signal, bank, device)
    places = nearest(known, vectors[chosen], COLUMNS - 1).place.tolist()
    return [[samples[i], *(bank[j] for j in row)] for i, row in zip(chosen, places, strict=True)]


def seen(signal: Signal, sample: Sample) -> np.ndarray:
    found = signal.picture(sample)
    assert found is not None
    return found


def grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures (H, W, 3) uint8, all of one size or smaller ones at the upper left → one picture."""
    largest = max(max(one.shape[:2]) for row in rows for one in row)
    return sheet(rows, max(1, -(-SIDE // largest)))


def save(picture: np.ndarray, path: Path) -> None:
    """(H, W, 3) uint8 as PNG."""
    from PIL import Image

    Image.fromarray(picture).save(path, optimize=True)
