"""How likely a model that writes on finds a text: log p of each token given those before it.

Rows of like length go through together; what all rows begin with alike, such as the examples of a prompt, is read once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firth.errors import InputError
from firth.functional.choices import Likelihood, Scorer, begins_of
from firth.functional.lengths import batches
from firth.model.cache import Cache
from firth.objective import quiet

# B rows of a batch, T steps, N tokens that count, V tokens of the vocabulary, P steps that all rows begin with

STEPS = 2048  # of a batch, for each thread of a processor
STEPS_ELSEWHERE = 1 << 16  # on an accelerator
LOGITS = 1 << 23  # numbers that are held at once
ALIKE = 24  # steps: a beginning that is shorter is not worth keeping


def scorer(part: Any, signal: Any) -> Scorer:
    """part: a NextToken; signal: of its texts. Each text begins as the tokenizer has it, at least with an end token.

    What counts begins with the blanks that a prompt ends with: most tokenizers write them with what follows.

    Raises InputError, when it is called, for texts beyond the context.
    """
    before = list(signal.ends.before)

    def rows(texts: Sequence[str]) -> list[np.ndarray]:
        return [np.concatenate([before, one.ids]).astype(np.int32) for one in signal.encode(list(texts))]

    def score(prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[list[Likelihood]]:
        texts = [prompt + one for prompt, some in zip(prompts, options, strict=True) for one in some]
        read, ids = rows([prompt.rstrip() for prompt in prompts]), rows(texts)
        refuse_long(ids, texts, signal.config.context)
        sizes = begins_of(read, ids, options)
        begun = [one if size else np.append(signal.sep_id, one) for one, size in zip(ids, sizes, strict=True)]
        found = iter(likelihoods(part, begun, [max(1, size) for size in sizes]))
        return [[next(found) for _ in some] for some in options]

    return score


def refuse_long(ids: Sequence[np.ndarray], texts: Sequence[str], context: int) -> None:
    """Raises InputError for a text that would be cut. The last token is guessed, and not read."""
    for row, text in zip(ids, texts, strict=True):
        if len(row) - 1 > context:
            shown = text if len(text) <= 40 else text[:39] + "…"
            what = f"has {len(row):,} tokens, the context {context:,}"
            raise InputError(f"`{shown}`", what, f"Shorten it, or raise the context: text.context={len(row)}.")


@torch.inference_mode()
def likelihoods(part: Any, rows: Sequence[np.ndarray], begins: Sequence[int]) -> list[Likelihood]:
    """The likelihood of what stands in each row from some place on, given all that stands before it there.

    rows: token ids (n,) of each; begins: the first place that counts, at least 1.
    """
    device = next(part.backbone.parameters()).device
    with quiet(part.backbone, part):
        begin = alike(rows, min(begins, default=1) - 1)
        cache = read(part, rows[0][:begin], device) if begin else None
        found: dict[int, Likelihood] = {}
        for places in batches([len(row) - begin for row in rows], steps_for(device)):
            sums = of_batch(part, [rows[i] for i in places], [begins[i] for i in places], cache, device)
            found |= zip(places, sums, strict=True)
    return [found[i] for i in range(len(rows))]


def alike(rows: Sequence[np.ndarray], most: int) -> int:
    """At how many places, from the first on, all rows have the same token; 0 where that is not worth it."""
    if len(rows) < 2 or most < ALIKE:
        return 0
    whole = np.stack([row[:most] for row in rows])
    same = (whole == whole[0]).all(0)
    size = most if same.all() else int(same.argmin())
    return size if size >= ALIKE else 0


def read(part: Any, ids: np.ndarray, device: torch.device) -> Cache:
    """What the tokens (P,) leave behind for those that follow."""
    cache = Cache(len(part.backbone.encoder.blocks))
    tokens = torch.from_numpy(ids.astype(np.int64))[None].to(device)
    part.backbone({"tokens": tokens}, keep=tokens.new_full((1, 1), len(ids) - 1), cache=cache)
    return cache


def steps_for(device: torch.device) -> int:
    return STEPS * torch.get_num_threads() if device.type == "cpu" else STEPS_ELSEWHERE


def of_batch(part: Any, rows: Sequence[np.ndarray], begins: Sequence[int], cache: Cache | None,
             device: torch.device) -> list[Likelihood]:  # fmt: skip
    """cache: what stands before the tokens that are read, alike in all rows."""
    known = cache.steps if cache else 0
    values = read_on(part, [row[known:-1] for row in rows], cache, device)  # (B, T, D)
    counts = [len(row) - begin for row, begin in zip(rows, begins, strict=True)]
    owner = np.repeat(np.arange(len(rows)), counts)  # (N,) row of each token that counts
    steps = np.concatenate([np.arange(begin, len(row)) for row, begin in zip(rows, begins, strict=True)]) - 1 - known
    target = np.concatenate([row[begin:] for row, begin in zip(rows, begins, strict=True)]).astype(np.int64)
    chosen = values[torch.from_numpy(owner), torch.from_numpy(steps)]  # (N, D)
    logs, likeliest = guesses(part.head, chosen, torch.from_numpy(target).to(device))
    nats = np.bincount(owner, logs, len(rows))
    missed = np.bincount(owner, ~likeliest, len(rows))
    return [Likelihood(*one) for one in zip(nats.tolist(), counts, (missed == 0).tolist(), strict=True)]


def read_on(part: Any, rows: Sequence[np.ndarray], cache: Cache | None, device: torch.device) -> Tensor:
    """(B, T, D): the vectors of the tokens. What stands behind the end of a row is nothing that a step in it sees."""
    tokens = np.zeros((len(rows), max(1, *map(len, rows))), np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    own = cache.of_rows(torch.zeros(len(rows), dtype=torch.int64, device=device)) if cache else None
    return part.backbone({"tokens": torch.from_numpy(tokens).to(device)}, causal=True, cache=own).values


def guesses(head: Callable[[Tensor], Tensor], values: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N, D), (N,) → (N,) log p of the target, (N,) whether it is the likeliest token."""
    logs, best = [], []
    size = max(1, LOGITS // head.rows.shape[0])  # type: ignore[attr-defined]
    for some, truth in zip(values.split(size), target.split(size), strict=True):
        logits = head(some).float()  # (n, V)
        own = logits.gather(1, truth[:, None])[:, 0]
        logs.append(own - logits.logsumexp(1))
        best.append(logits.argmax(1) == truth)
    return torch.cat(logs).double().cpu().numpy(), torch.cat(best).cpu().numpy()
