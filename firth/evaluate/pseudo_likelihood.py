"""How likely a model that looks to both sides finds a text: its pseudo-log-likelihood.

Each token is hidden in turn and guessed from all others; the sum of log p is no likelihood of a language model, but
orders sentences as well (Salazar et al. 2020, arXiv 1910.14659). A text of n tokens takes n passes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firth.errors import InputError
from firth.functional.choices import Likelihood, Scorer, begins_of
from firth.functional.lengths import batches
from firth.objective import Composed, quiet
from firth.objectives.masked_tokens import MaskedTokens
from firth.signal import Sample, Signal

# B rows of a batch, T steps

TOGETHER = 1 << 14  # steps of a batch, [CLS] and [SEP] included


class Hidden(NamedTuple):
    """One token of one text, hidden."""

    text: int  # number of the text
    place: int  # of the token in the text
    ids: np.ndarray  # (n,) of the text, whole


def scorer(objective: Composed, signal: Signal) -> Scorer:
    """objective: with masked tokens; signal: of the same run. Options are scored behind their prompts, joined as texts.

    Raises InputError for an objective that cannot fill in, and, when it is called, for texts beyond the context.
    """
    part = next((one for one in objective.objectives if isinstance(one, MaskedTokens)), None)
    if part is None:
        hint = "Give a run with the objective masked-tokens."
        raise InputError(f"objective `{','.join(objective.parts)}`", "does not fill in hidden tokens", hint)

    def score(prompts: Sequence[str], options: Sequence[Sequence[str]]) -> list[list[Likelihood]]:
        texts = [prompt + one for prompt, some in zip(prompts, options, strict=True) for one in some]
        read, ids = ([one.ids for one in signal.encode(some)] for some in (list(prompts), texts))  # type: ignore[attr-defined]
        refuse_long(ids, texts, signal.config.context)  # type: ignore[attr-defined]
        found = iter(of_rows(part, signal, ids, begins_of(read, ids, options)))
        return [[next(found) for _ in some] for some in options]

    return score


def of_rows(part: MaskedTokens, signal: Signal, ids: Sequence[np.ndarray], begins: Sequence[int]) -> list[Likelihood]:
    """Token ids of each text, without special ones, and its first place that counts."""
    nats, right, counts = np.zeros(len(ids)), np.ones(len(ids), bool), np.zeros(len(ids), np.int64)
    hidden = [Hidden(n, place, row) for n, row in enumerate(ids) for place in range(begins[n], len(row))]
    for places in batches([len(one.ids) + 2 for one in hidden], TOGETHER):
        rows = [hidden[i] for i in places]
        logs, likeliest = guesses(part, signal, rows)
        for one, log, best in zip(rows, logs.tolist(), likeliest.tolist(), strict=True):
            nats[one.text] += log
            right[one.text] &= best
            counts[one.text] += 1
    return [Likelihood(*one) for one in zip(nats.tolist(), counts.tolist(), right.tolist(), strict=True)]


def refuse_long(ids: Sequence[np.ndarray], texts: Sequence[str], context: int) -> None:
    """Raises InputError for a text that would be cut."""
    for row, text in zip(ids, texts, strict=True):
        if len(row) + 2 > context:
            what = f"has {len(row) + 2:,} tokens, the context {context:,}"
            shown = text if len(text) <= 40 else text[:39] + "…"
            raise InputError(f"`{shown}`", what, f"Shorten it, or raise the context: text.context={len(row) + 2}.")


@torch.inference_mode()
def guesses(part: MaskedTokens, signal: Signal, rows: Sequence[Hidden]) -> tuple[Tensor, Tensor]:
    """(B,) log p of the hidden tokens, (B,) whether each is the likeliest."""
    batch = signal.stack([Sample((masked(one, part.config.mask_id),), key=0) for one in rows])
    steps = torch.tensor([[0, one.place + 1] for one in rows])  # step 0 is [CLS]
    truth = torch.tensor([int(one.ids[one.place]) for one in rows])
    batch["keep"] = steps
    device = next(part.parameters()).device
    with quiet(part.backbone, part):
        values = part.encode(batch.to(device)).values[:, 1]  # (B, D)
        logs = part.head(values).float().log_softmax(-1).cpu()  # (B, V)
    return logs.gather(1, truth[:, None])[:, 0], logs.argmax(-1) == truth


def masked(one: Hidden, mask_id: int) -> np.ndarray:
    """(n,) ids with the token hidden."""
    ids = np.array(one.ids)
    ids[one.place] = mask_id
    return ids
