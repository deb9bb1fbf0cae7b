"""Views per second of a core, on whole batches of tensors and with Pillow picture by picture, in turn.

python benchmarks/augment.py [--side 32] [--batch 256] [--rounds 7] [--threads 2] [--pillow 200] [--preset natural]

Both sides apply the same drawn numbers to the same pictures: crop, flip, brightness, contrast, saturation, hue in the
drawn order, grey, solarising; no blur, as at 32 pixels none is seen. Pillow's side is a loop in one process. Rates are
over seconds of processor time, all threads together, so that they bear a busy machine; on an accelerator over wall
time. Drawing the numbers counts on the tensors' side and not on Pillow's. Printed: views/s of each side, the ratio of
each round, its median, and how far the views differ.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from firth.functional import augment
from firth.functional.random import Draw
from firth.train.memory import keep_freed_blocks

ENHANCED = {0: ImageEnhance.Brightness, 1: ImageEnhance.Contrast, 2: ImageEnhance.Color}
ORDER = ("first", "second", "third", "fourth")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pillow", type=int, default=200, help="views of a round on Pillow's side")
    parser.add_argument("--preset", choices=sorted(augment.PRESETS), default="natural")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def pictures(count: int, side: int) -> Tensor:
    """(count, 3, side, side) uint8 with soft shapes."""
    rough = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (count, 3, 8, 8))).float()
    return torch.nn.functional.interpolate(rough, size=side, mode="bicubic").clamp(0, 255).byte()


def drawn(policy: augment.Policy, count: int, epoch: int) -> Tensor:
    return augment.draw_views(Draw(0, epoch), np.arange(count, dtype=np.uint64), "views", [policy, policy])


def with_tensors(pixels: Tensor, policy: augment.Policy, epoch: int, device: str) -> float:
    """Views per second."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    parameters = drawn(policy, len(pixels), epoch)
    made = augment.views(pixels, parameters.to(device))
    if device != "cpu":
        torch.cuda.synchronize()
    return len(made) / (clock() - began)


def with_pillow(pixels: np.ndarray, parameters: np.ndarray) -> tuple[float, np.ndarray]:
    """Views per second of one process, and the views, (B, H, W, 3)."""
    began = time.process_time()
    named = (dict(zip(augment.NAMES, numbers, strict=True)) for numbers in parameters.tolist())
    made = [one_view(*pair) for pair in zip(pixels, named, strict=True)]
    return len(made) / (time.process_time() - began), np.stack(made)


def one_view(pixels: np.ndarray, given: Mapping[str, float]) -> np.ndarray:
    """(H, W, 3) uint8, the numbers of a view by name -> (H, W, 3) uint8."""
    high, wide = pixels.shape[:2]
    left, top = given["left"] * wide, given["top"] * high
    box = (left, top, min(left + given["width"] * wide, wide), min(top + given["height"] * high, high))
    picture = Image.fromarray(pixels).resize((wide, high), Image.Resampling.BILINEAR, box=box)
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
    with_tensors(here, policy, 0, given.device)
    for epoch in range(given.rounds):
        parameters = drawn(policy, len(few), epoch)[:, 0]
        theirs.append(with_pillow(few, parameters.numpy())[0])
        ours.append(with_tensors(here, policy, epoch, given.device))
    made = 255 * augment.apply(pixels[: len(few)], parameters).permute(0, 2, 3, 1).numpy()
    difference = np.abs(made - with_pillow(few, parameters.numpy())[1])
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(
        f"tensors {median(ours):,.0f} views/s · Pillow {median(theirs):,.0f} views/s of a core, {given.threads} threads"
    )
    print(f"ratio {' '.join(f'{ratio:.1f}' for ratio in ratios)} · median {median(ratios):.1f}")
    print(f"difference: mean {difference.mean():.2f}, 99 % below {np.quantile(difference, 0.99):.1f} of 255 levels")


if __name__ == "__main__":
    main()
