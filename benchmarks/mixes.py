"""Score runs of masked tokens, with and without next sentence, on the same held-out positions in three ways.

    python benchmarks/mixes.py runs/results/mix-*

15 % of the tokens of the same held-out rows are hidden: all by [MASK]; all by a random token; 80/10/10. Prints the
loss in nats over the vocabulary and the share right at first guess; for runs with next sentence, its held-out accuracy.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.protocol import CONTEXT, MASK_RATE, SEED, rows
from firth.functional.random import Draw
from firth.objective import collate, quiet
from firth.train import build
from firth.train.folder import RunFolder
from firth.train.log import Silent

WAYS = {"mask-only": (1.0, 0.0), "replace-only": (0.0, 1.0), "80-10-10": (0.8, 0.1)}  # shares of mask, of random
PAIRS = 4000  # held-out pairs for next sentence


def hidden(tokens: np.ndarray, mask: float, random: float, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) -> inputs, and True where a token is to be guessed: the same places for every way."""
    draw = np.random.default_rng(SEED)
    chosen = (draw.random(tokens.shape) < MASK_RATE) & (tokens >= 5)
    fate, other = draw.random(tokens.shape), draw.integers(5, vocabulary, tokens.shape)
    inputs = np.where(chosen & (fate < mask), 4, tokens)
    return np.where(chosen & (fate >= mask) & (fate < mask + random), other, inputs), chosen


@torch.inference_mode()
def masked(objective, tokens: np.ndarray, chosen: np.ndarray, inputs: np.ndarray) -> dict[str, float]:
    head = objective.parts["masked-tokens"].head
    nats = right = 0.0
    for at in range(0, len(tokens), 32):
        where = torch.from_numpy(chosen[at : at + 32])
        logits = head(objective.backbone({"tokens": torch.from_numpy(inputs[at : at + 32])}).values[where])
        answer = torch.from_numpy(tokens[at : at + 32])[where]
        nats += float(torch.nn.functional.cross_entropy(logits, answer, reduction="sum"))
        right += float((logits.argmax(-1) == answer).sum())
    return {"loss": nats / chosen.sum(), "accuracy": right / chosen.sum()}


@torch.inference_mode()
def next_sentence(objective, corpus, signal) -> float:
    part = objective.parts["next-sentence"]
    source = corpus.held_out("documents", CONTEXT, partner=True)
    right = seen = 0
    for places in np.array_split(np.arange(min(PAIRS, len(source))), 60):
        batch = collate(source.get(places, Draw(SEED)), [part.config], signal, Draw(SEED))
        loss = part.loss(part.encode(batch), batch)
        right += int(loss.metrics["next_sentence_accuracy"].sum)
        seen += int(batch.counts["next_sentence"])
    return right / seen


def scored(folder: Path) -> dict:
    run = RunFolder(folder)
    corpus = build.open_data(run.recipe, Silent())
    signal = corpus.signal
    objective = build.compose(run.recipe, signal)
    build.load_weights(objective, folder)
    tokens = rows(corpus.held_out("packed", CONTEXT), signal, 512).astype(np.int64)
    with quiet(objective):
        found = {}
        for name, shares in WAYS.items():
            inputs, chosen = hidden(tokens, *shares, signal.facts.vocabulary)
            found[name] = masked(objective, tokens, chosen, inputs)
        if "next-sentence" in objective.parts:
            found["next-sentence"] = next_sentence(objective, corpus, signal)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    for folder in parser.parse_args().runs:
        if not (folder / "model").is_dir():
            continue
        found = scored(folder)
        cells = [f"{name} {found[name]['loss']:.3f} ({100 * found[name]['accuracy']:.1f} %)" for name in WAYS]
        cells += [f"next sentence {100 * found['next-sentence']:.1f} %"] if "next-sentence" in found else []
        print(f"{folder.name:32} " + " · ".join(cells), flush=True)
        (folder / "mixes.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
