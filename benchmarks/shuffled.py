"""Twenty real comparisons in which there is nothing to learn: how often does `firth compare` claim something?

    python benchmarks/shuffled.py                       # about 15 minutes on two cores
    python benchmarks/shuffled.py --draws 1 --only sst2 --base runs/some-model --steps 20   # a try

A small model is pre-trained for 60 s; then it is compared with random initialisation and a baseline on four tasks, five
times each with other seeds (three a comparison), `--control shuffled-labels`: labels are dealt out anew in what is
learnt from. Only training files are used; a fifth of each is the test part. What is found over random initialisation is
counted: an interval of 95 % allows "better" and "worse" together in one of twenty. Finished trials stay in --work.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

SEEDS = 3  # of each comparison


class Set(NamedTuple):
    """A labelled file and what is done with it; the baseline is the cheapest of the task."""

    task: str
    path: str
    labels: int
    baseline: str
    settings: tuple[str, ...] = ()


SETS = {
    "sst2": Set("classify", "sst2/train.tsv.gz", 200, "tf-idf"),
    "sick": Set("pairs", "sick/train.tsv.gz", 200, "word-overlap"),
    "upos": Set("tag", "ud_ewt/train.conllu.gz", 100, "most-frequent-tag"),
    "squad": Set("span", "squad/train_sample.json.gz", 100, "word-overlap", ("text.context=256",)),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder text/; default: that of FIRTH_DATA")
    parser.add_argument("--base", type=Path, help="a model; default: one of 60 s on wiki_en, made in --work")
    parser.add_argument("--budget", default="60s", help="of that pre-training")
    parser.add_argument("--only", default="", help="sets whose name contains this")
    parser.add_argument("--draws", type=int, default=5, help="comparisons of each set")
    parser.add_argument("--steps", type=int, default=60, help="of each training")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-shuffled"))
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout, the rest on stderr")
    return parser.parse_args()


def base(given: argparse.Namespace) -> Path:
    """The model that is compared; made, gone on with, or found finished."""
    from firth.train.pretrain import pretrain

    if given.base:
        return given.base
    text = given.data / "wiki_en" / "train.jsonl.gz"
    return pretrain([text], size="2x128", budget=given.budget, out=given.work / "base").folder


def compared(name: str, one: Set, draw: int, given: argparse.Namespace, model: Path) -> dict[str, Any]:
    """One comparison: its difference over random initialisation and over the baseline, and what is said of them."""
    from firth.evaluate.versus import versus

    settings = [f"train.steps={given.steps}", "train.batch=16", f"train.evaluate_every={given.steps}", *one.settings]
    found = versus(
        model, given.data / one.path, one.task, [one.labels], SEEDS, ["random", "pretrained", one.baseline],
        control="shuffled-labels", settings=settings, out=given.work / f"{name}-{draw}", seed=SEEDS * draw,
    ).as_dict()  # fmt: skip
    kept = ("against", "accuracy", "interval", "finding")
    differences = [{key: difference[key] for key in kept} for difference in found["differences"]]
    print(f"{name} {draw}: {found['verdict']}", file=sys.stderr)
    return {"set": name, "draw": draw, "metric": found["metric"], "differences": differences,
            "scores": {arm["arm"]: arm["accuracy"] for arm in found["arms"]}}  # fmt: skip


def counted(found: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Rival (baselines together) → finding → how often."""
    counts: dict[str, Counter[str]] = {"random": Counter(), "baseline": Counter()}
    for one in found:
        for difference in one["differences"]:
            counts["random" if difference["against"] == "random" else "baseline"][difference["finding"]] += 1
    return {rival: dict(several) for rival, several in counts.items()}


HEAD = "| set | draw | metric | pre-trained | random | gain in points, 95 % | finding |\n" + "|---" * 7 + "|"


def line(one: dict[str, Any]) -> str:
    (first, *_) = one["differences"]
    low, high = (100 * end for end in first["interval"])
    gain = f"{100 * first['accuracy']:+.1f} ({low:+.1f} to {high:+.1f})"
    shares = (f"{100 * one['scores'][arm]:.1f} %" for arm in ("pretrained", "random"))
    return f"| {' | '.join([one['set'], str(one['draw']), one['metric'], *shares, gain, first['finding']])} |"


def main() -> None:
    given = options()
    given.data = given.data or Path(os.environ.get("FIRTH_DATA", "data")) / "text"
    model, chosen = base(given), [(name, one) for name, one in SETS.items() if given.only in name]
    found = [compared(name, one, draw, given, model) for draw in range(given.draws) for name, one in chosen]
    if given.json:
        return print(json.dumps({"counts": counted(found), "comparisons": found}))
    print("\n".join([HEAD, *map(line, sorted(found, key=lambda one: one["set"])), "", json.dumps(counted(found))]))


if __name__ == "__main__":
    main()
