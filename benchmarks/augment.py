"""Views per second, on whole batches of tensors and with Pillow picture by picture, in turn.

python benchmarks/augment.py [--side 32] [--batch 256] [--rounds 7] [--threads 2] [--pillow 200] [--preset natural]
                             [--bound]

Both sides apply the same drawn numbers to the same pictures: crop, flip, brightness, contrast, saturation, hue in the
drawn order, grey, solarising; no blur, as at 32 pixels none is seen. Both end in a batch of floats, as a network takes
it. Pillow's side is a loop in one process. Drawing the numbers counts on the tensors' side and not on Pillow's.

Printed: views/s of processor time (all threads together: it bears a busy machine, and is a comparison core by core) and
by the clock (all threads against one process of Pillow: it means something on an idle machine alone), the ratios of
each round, their medians, and how far the views differ. On an accelerator the clock alone counts.

With --bound also the least time that these operations can take: each is repeated where it stands, on what lies in the
cache by then, and its shortest time counts. Drawing and everything between two operations are left out.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parent.parent))
from firth.functional import augment
from firth.functional.random import Draw
from firth.train.memory import keep_freed_blocks

ENHANCED = {0: ImageEnhance.Brightness, 1: ImageEnhance.Contrast, 2: ImageEnhance.Color}
ORDER = ("first", "second", "third", "fourth")
REPEATS = 9  # of an operation under --bound


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pillow", type=int, default=200, help="views of a round on Pillow's side")
    parser.add_argument("--preset", choices=sorted(augment.PRESETS), default="natural")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bound", action="store_true", help="the time of the operations alone, too")
    return parser.parse_args()


def pictures(count: int, side: int) -> Tensor:
    """(count, 3, side, side) uint8 with soft shapes."""
    rough = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (count, 3, 8, 8))).float()
    return torch.nn.functional.interpolate(rough, size=side, mode="bicubic").clamp(0, 255).byte()


def drawn(policy: augment.Policy, count: int, epoch: int) -> Tensor:
    return augment.draw_views(Draw(0, epoch), np.arange(count, dtype=np.uint64), "views", [policy, policy])


class Rate(NamedTuple):
    """Views per second."""

    processor: float  # of processor time
    clock: float


def rated(work: Callable[[], Tensor]) -> tuple[Rate, Tensor]:
    """How fast views are made, and the views."""
    began = time.process_time(), time.perf_counter()
    made = work()
    if made.is_cuda:
        torch.cuda.synchronize()
    return Rate(len(made) / (time.process_time() - began[0]), len(made) / (time.perf_counter() - began[1])), made


class Bound(TorchDispatchMode):
    """Sums the shortest times of the operations that are made under it, or of those that have `word` in their name."""

    def __init__(self, word: str = ""):
        super().__init__()
        self.word, self.seconds = word, 0.0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if self.word not in str(operator):
            return operator(*args, **(kwargs or {}))
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            made = operator(*args, **(kwargs or {}))
            times.append(time.perf_counter() - began)
        self.seconds += min(times)
        return made


def bound(pixels: Tensor, policy: augment.Policy, rounds: int) -> float:
    """Views per second of the operations alone, the best of the rounds."""
    found = []
    for epoch in range(rounds):
        parameters = drawn(policy, len(pixels), epoch)
        with Bound() as timed:
            made = augment.views(pixels, parameters)
        found.append(len(made) / timed.seconds)
    return max(found)


def with_tensors(pixels: Tensor, policy: augment.Policy, epoch: int) -> Tensor:
    """(B, 3, H, W) uint8 -> (2·B, 3, H, W) float in [0, 1]"""
    return augment.views(pixels, drawn(policy, len(pixels), epoch).to(pixels.device))


def with_pillow(pixels: np.ndarray, parameters: Tensor) -> Tensor:
    """(B, H, W, 3) uint8, (B, P) -> (B, 3, H, W) float in [0, 1]"""
    named = (dict(zip(augment.NAMES, numbers, strict=True)) for numbers in parameters.tolist())
    return torch.stack([as_floats(one_view(*pair)) for pair in zip(pixels, named, strict=True)])


def as_floats(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in [0, 1]"""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float().div_(255)


def one_view(pixels: np.ndarray, given: Mapping[str, float], side: int = 0) -> np.ndarray:
    """(H, W, 3) uint8, the numbers of a view by name -> (H, W, 3) uint8, or (side, side, 3)."""
    high, wide = pixels.shape[:2]
    left, top = given["left"] * wide, given["top"] * high
    box = (left, top, min(left + given["width"] * wide, wide), min(top + given["height"] * high, high))
    picture = Image.fromarray(pixels).resize((side or wide, side or high), Image.Resampling.BILINEAR, box=box)
    picture = ImageOps.mirror(picture) if given["flip_x"] else picture
    factors = [given[name] for name in ("brightness", "contrast", "saturation", "hue")]
    for turn in (int(given[name]) for name in ORDER):
        if turn < 3 and factors[turn] != 1:
            picture = ENHANCED[turn](picture).enhance(factors[turn])
        elif turn == 3 and factors[3]:
            picture = moved(picture, factors[3])
    picture = ImageOps.grayscale(picture).convert("RGB") if given["grey"] else picture
    picture = ImageOps.solarize(picture, int(255 * given["threshold"])) if given["threshold"] <= 1 else picture
    return np.asarray(picture)


def moved(picture: Image.Image, shift: float) -> Image.Image:
    """Hue in Pillow's HSV of whole levels, as torchvision does for pictures of Pillow."""
    hue, saturation, value = picture.convert("HSV").split()
    levels = np.asarray(hue, np.uint8) + np.uint8(round(255 * shift) % 256)
    return Image.merge("HSV", (Image.fromarray(levels), saturation, value)).convert("RGB")


def main() -> None:
    given = options()
    torch.set_num_threads(given.threads)
    keep_freed_blocks()  # as training does
    policy = augment.PRESETS[given.preset]._replace(blur=0.0, solarise=0.1, flip_y=0.0, transpose=0.0, degrees=0.0)
    pixels = pictures(given.batch, given.side)
    here = pixels.to(given.device)
    few = pixels[: given.pillow].permute(0, 2, 3, 1).contiguous().numpy()
    ours, theirs = [], []
    with_tensors(here, policy, 0)
    for epoch in range(given.rounds):
        parameters = drawn(policy, len(few), epoch)[:, 0]
        rate, made = rated(partial(with_pillow, few, parameters))
        theirs.append(rate)
        ours.append(rated(partial(with_tensors, here, policy, epoch))[0])
    show(ours, theirs, given.threads)
    if given.bound:
        most, pillow = bound(here, policy, given.rounds), median(rate.clock for rate in theirs)
        print(f"the operations alone, at their best: {most:,.0f} views/s, {most / pillow:.1f} times Pillow's median")
    difference = 255 * (augment.apply(pixels[: len(few)], parameters) - made).abs().numpy()
    print(f"difference: mean {difference.mean():.2f}, 99 % below {np.quantile(difference, 0.99):.1f} of 255 levels")


def show(ours: list[Rate], theirs: list[Rate], threads: int) -> None:
    for title, clock in (("of processor time", False), (f"by the clock, {threads} threads and 1 process", True)):
        pairs = [(one[clock], other[clock]) for one, other in zip(ours, theirs, strict=True)]
        first, second = (median(side) for side in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        shown = " ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"{title}: tensors {first:,.0f} views/s · Pillow {second:,.0f} · ratio {median(ratios):.1f} ({shown})")


if __name__ == "__main__":
    main()
