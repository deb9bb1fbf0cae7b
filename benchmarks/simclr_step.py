"""A whole step of SimCLR, views included, against lightly's loss and head over Pillow's views in a DataLoader.

    python benchmarks/simclr_step.py [--sizes small,mini] [--resolution 1] [--batch 256] [--steps 8] [--rounds 3]

Their side is written out here: lightly imports torchvision, which this project does without. Its loss (NT-Xent: Chen et
al. 2020, arXiv 2002.05709, section 2.1) and its head (linear, batch norm, ReLU, linear, batch norm) in plain PyTorch,
each view through the network in a pass of its own, AdamW; two views a picture, drawn and made by Pillow in the workers
of a DataLoader as torchvision's transforms do: crop, flip, colours in random order, grey, to a tensor. No blur: at 32
pixels none is seen. firth's side is its loop as it trains, with its preset for the same views.

The network is the same on both sides, with the same first weights: by default the quarter-width ResNet-18 (`small`)
and what firth takes for five minutes. The sides run in turn. Printed: images/s by the clock, the first steps left out,
and processor time of a whole round, all processes together, which bears a busy machine; medians over the rounds.

With --bound also the images/s if a step were nothing but its convolutions, forward and backward, each timed alone.
"""

import argparse
import copy
import random
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.augment import Bound, as_floats, one_view, pictures
from firth.data.sampler import Batches
from firth.data.source import ListSource
from firth.functional import augment
from firth.objectives._views import side_of_views
from firth.recipe import Model, Recipe, Train
from firth.signal import Sample
from firth.signals.image import Config, Image
from firth.train import build
from firth.train.loop import train
from firth.train.run import Run

POLICY = augment.PRESETS["natural"]._replace(blur=0.0)
FIRST = 2  # steps of a round that the clock leaves out
MINUTES = 300.0  # seconds of the budget that names the second network


class Cost(NamedTuple):
    """Of an image: seconds by the clock, seconds of processor time."""

    clock: float
    processor: float


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(dict.fromkeys(["small", size_for(MINUTES)])))
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--resolution", type=float, default=1.0, help="of both sides' views, share of the side")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8, help=f"of a side in a round, more than {FIRST}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="of their DataLoader")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--bound", action="store_true", help="the convolutions alone, too")
    return parser.parse_args()


def size_for(seconds: float) -> str:
    """The network that firth takes for a budget of so many seconds."""
    found = build.sized(Recipe(signal="image", objective=("simclr",)), seconds).model.size
    assert found is not None
    return found


def run_of(given: argparse.Namespace, size: str) -> Run:
    """firth's run over the pictures; its table `simclr` asks for the views of POLICY."""
    settings = Train(steps=given.steps, batch=given.batch, precision=given.precision)
    tables = {"simclr": {"blur": 0.0, "resolution": given.resolution}}
    recipe = Recipe(signal="image", objective=("simclr",), model=Model(size=size), train=settings, tables=tables)
    signal = Image(Config(size=given.side))
    recipe = build.fill(recipe, signal)
    source = ListSource([Sample((one,), key=key) for key, one in enumerate(pixels_of(given))])
    objective = build.compose(recipe, signal)
    return Run(objective, Batches(source, signal, objective.configs, 0, batch=given.batch), recipe)


def pixels_of(given: argparse.Namespace) -> np.ndarray:
    """(N, 3, S, S) uint8, as many as a round takes."""
    return pictures(given.steps * given.batch, given.side).numpy()


# ------------------------------------------------------------------ their side


class Pairs(Dataset):
    """Two views of each picture, (3, S, S) float in [0, 1], made picture by picture."""

    def __init__(self, pixels: np.ndarray, side: int):
        self.pixels, self.source, self.side = pixels.transpose(0, 2, 3, 1).copy(), random.Random(0), side

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.view(index), self.view(index)

    def view(self, index: int) -> Tensor:
        return as_floats(one_view(self.pixels[index], drawn(POLICY, self.source), self.side))


def drawn(policy: augment.Policy, source: random.Random) -> dict[str, float]:
    """The numbers of a view of a square picture by name, as torchvision's transforms draw them."""
    top, left, height, width = box(policy, source)
    jitter = source.random() < policy.jitter
    spreads = {name: getattr(policy, name) for name in ("brightness", "contrast", "saturation")}
    colours = {name: source.uniform(1 - spread, 1 + spread) if jitter else 1.0 for name, spread in spreads.items()}
    order = dict(zip(("first", "second", "third", "fourth"), source.sample(range(4), 4), strict=True))
    return {
        "top": top, "left": left, "height": height, "width": width, "flip_x": source.random() < policy.flip_x,
        **colours, "hue": source.uniform(-policy.hue, policy.hue) if jitter else 0.0, **order,
        "grey": source.random() < policy.grey, "threshold": augment.NEVER,
    }  # fmt: skip


def box(policy: augment.Policy, source: random.Random) -> tuple[float, float, float, float]:
    """Top, left, height and width of a crop, shares of the sides; the whole where ten tries do not fit."""
    for _ in range(augment.TRIES):
        area = source.uniform(*policy.crop)
        ratio = np.exp(source.uniform(*np.log(policy.ratio)))
        width, height = (area * ratio) ** 0.5, (area / ratio) ** 0.5
        if width <= 1 and height <= 1:
            return source.uniform(0, 1 - height), source.uniform(0, 1 - width), height, width
    return 0.0, 0.0, 1.0, 1.0


class Theirs:
    """A copy of firth's network under their head, and their step."""

    def __init__(self, given: argparse.Namespace, run: Run):
        own = run.objective.objectives[0].config
        self.backbone = copy.deepcopy(run.objective.backbone)
        self.head = head(self.backbone.shape.width, own.hidden, own.out)
        self.temperature, self.bf16 = own.temperature, given.precision == "bf16"
        self.optimizer = torch.optim.AdamW([*self.backbone.parameters(), *self.head.parameters()], lr=1e-3)

    def step(self, views: tuple[Tensor, Tensor]) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            first, second = (self.head(self.backbone({"pixels": view}).pooled) for view in views)
        loss = nt_xent(first.float(), second.float(), self.temperature)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def head(width: int, hidden: int, out: int) -> nn.Sequential:
    first = nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
    return nn.Sequential(*first, nn.Linear(hidden, out, bias=False), nn.BatchNorm1d(out))


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """(B, Z) and (B, Z): the mean over all 2·B views."""
    vectors = F.normalize(torch.cat([first, second]), dim=1)
    logits = (vectors @ vectors.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(logits)).roll(len(first)))


# ------------------------------------------------------------------ measuring


def ours(given: argparse.Namespace, size: str) -> Cost:
    run = run_of(given, size)
    return costs(given, (step.loss for step in train(run)))


def theirs(given: argparse.Namespace, size: str) -> Cost:
    run = run_of(given, size)
    side = Theirs(given, run)
    pairs = Pairs(pixels_of(given), side_of_views(given.side, given.resolution, run.objective.backbone.shape.patch))
    loader = DataLoader(pairs, given.batch, shuffle=True, num_workers=given.workers, drop_last=True)
    return costs(given, map(side.step, loader))


def bound(given: argparse.Namespace, size: str) -> float:
    """Images per second of the convolutions of a step alone."""
    run = run_of(argparse.Namespace(**{**vars(given), "steps": 1}), size)
    with Bound("convolution") as timed:
        for _ in train(run):
            pass
    return given.batch / timed.seconds


def costs(given: argparse.Namespace, steps) -> Cost:
    """What the steps take; the iterator makes one when it is asked for the next."""
    began, ends = processor_time(), [time.perf_counter()]
    for _ in steps:
        ends.append(time.perf_counter())
    del steps  # and with it the workers, whose time counts when they have ended
    return Cost(
        (ends[-1] - ends[FIRST]) / (len(ends) - 1 - FIRST) / given.batch,
        (processor_time() - began) / (len(ends) - 1) / given.batch,
    )


def processor_time() -> float:
    """Seconds of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    given = options()
    torch.set_num_threads(given.threads)
    for size in given.sizes.split(","):
        found: dict[str, list[Cost]] = defaultdict(list)
        for _ in range(given.rounds):
            for side in (ours, theirs):
                found[side.__name__].append(side(given, size))
        show(size, found["ours"], found["theirs"])
        if given.bound:
            print(f"  the convolutions alone: {bound(given, size):,.0f} images/s")


def show(size: str, ours: list[Cost], theirs: list[Cost]) -> None:
    print(f"{size}: resnet, {len(ours)} rounds in turn")
    for name, title in (("clock", "images/s by the clock"), ("processor", "images/s of processor time")):
        pairs = [(getattr(one, name), getattr(other, name)) for one, other in zip(ours, theirs, strict=True)]
        ratios = [other / one for one, other in pairs]
        rates = (f"{median(1 / cost for cost in side):,.0f}" for side in zip(*pairs, strict=True))
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"  {title:<28} firth {next(rates)} · theirs {next(rates)} · ratio {median(ratios):.2f} ({shown})")


if __name__ == "__main__":
    main()
