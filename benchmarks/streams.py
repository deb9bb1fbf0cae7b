"""What both sides of next_token.py share: the stream of tokens, held-out rows, and how a model is scored."""

import json
from pathlib import Path

import numpy as np

HELD_OUT = 256  # rows that the second setting is scored on


def prepare(text: Path, folder: Path, table: dict, data: dict, most: int | None) -> None:
    """Tokenise once (outside every budget) through firth; write tokenizer, stream and held-out rows for the peers.

    table, data: keys of the recipe's tables `text` and `data`. most: held-out rows; None: all whole ones.
    """
    from firth.data.corpus import open_corpus
    from firth.find import find
    from firth.recipe import Data

    signal = find("signals", "text")
    config = signal.Text.Config(**{"frame": "stream", "lowercase": False} | table)
    corpus = open_corpus(Data(paths=(str(text),), **data), signal, config, seed=0)
    corpus.signal.save(folder / "tokenizer")
    np.save(folder / "train.npy", stream(corpus.train("stream", config.context)))
    held = stream(corpus.held_out("stream", config.context))
    count = (len(held) - 1) // config.context
    rows = np.stack([held[i * config.context :][: config.context + 1] for i in range(count)])
    np.save(folder / "held_out.npy", rows[: len(rows) if most is None else most])
    facts = {"context": config.context, "vocabulary": corpus.signal.facts.vocabulary}
    (folder / "facts.json").write_text(json.dumps(facts))


def stream(source) -> np.ndarray:
    """int32 (N,): the tokens of a side, an end token before the first text, too."""
    shard = source.shard
    return np.concatenate([[shard.separator], np.asarray(shard.tokens)]).astype(np.int32)


def recut(rows: np.ndarray, context: int) -> np.ndarray:
    """Rows (N, T + 1) of a stream, each with the token after it, as rows of another length."""
    whole = np.append(rows[:, :-1], rows[-1, -1])
    return np.stack([whole[i * context :][: context + 1] for i in range((len(whole) - 1) // context)])


def score(model_folder: Path, folder: Path, context: int | None = None) -> dict[str, float]:
    """Loss (nats) and accuracy of any AutoModelForCausalLM folder on the held-out rows (N, T + 1), in fp32.

    context: tokens of a row, where they are to be others than those prepared; all of the rows are read as one stream.
    """
    import torch
    from transformers import AutoModelForCausalLM

    held = np.load(folder / "held_out.npy").astype(np.int64)
    rows = torch.from_numpy(recut(held, context) if context else held)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    loss = right = 0.0
    with torch.no_grad():
        for part in rows.split(32):
            logits, wanted = model(input_ids=part[:, :-1]).logits.flatten(0, 1), part[:, 1:].flatten()
            loss += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            right += float((logits.argmax(-1) == wanted).sum())
    count = rows[:, 1:].numel()
    return {"loss": loss / count, "accuracy": right / count, "positions": count}
