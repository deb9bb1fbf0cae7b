"""How likely the model finds each token of a text, and which others it finds likelier."""

from itertools import accumulate
from typing import Any, NamedTuple

import torch

from firth.evaluate.predict import Loaded
from firth.find import find

BROKEN = "\ufffd"  # a letter of which not all bytes are there


class Told(NamedTuple):
    """Of each token told: its text, where that begins, its log-likelihood in nats, and those of the likeliest.

    None stands for a token with nothing before it.
    """

    tokens: list[str]
    offsets: list[int]
    own: list[float | None]
    likeliest: list[dict[str, float] | None] | None

    def as_dict(self, offset: int = 0) -> dict[str, Any]:
        """As OpenAI's API has it; offset: characters before the first token."""
        places = [offset + place for place in self.offsets]
        return {"tokens": self.tokens, "token_logprobs": self.own, "top_logprobs": self.likeliest,
                "text_offset": places}  # fmt: skip


@torch.inference_mode()
def likelihoods(model: Loaded, ids: list[int], before: int, top: int) -> Told:
    """Of ids[before:], each given those before it; one pass over all of them, which must fit the context."""
    part, backbone = model.objective.parts[model.name], model.objective.backbone
    tokens = torch.tensor([ids], device=next(backbone.parameters()).device)
    logits = find("objectives", model.name).exported(part, backbone({"tokens": tokens}))["logits"][0]  # (T, V)
    first = max(before, 1)
    shares = logits[first - 1 : -1].float().log_softmax(-1)  # (T', V), each row of the token after it
    wanted = torch.tensor(ids[first:], dtype=torch.int64, device=shares.device)
    own: list[float | None] = [None] * (first - before)
    own += shares.gather(1, wanted[:, None])[:, 0].tolist()
    texts = [text_of(model.signal, one) for one in ids[before:]]
    offsets = offsets_of(model.signal, ids[before:])
    return Told(texts, offsets, own, likeliest(model, shares, wanted, top, first - before) if top else None)


def likeliest(model: Loaded, shares: torch.Tensor, wanted: torch.Tensor, top: int, unknown: int) -> list:
    """Text → log-likelihood of the `top` likeliest tokens and the one that stands there."""
    values, places = shares.topk(min(top, shares.shape[1]), -1)  # (T', top)
    own = shares.gather(1, wanted[:, None])
    found: list[dict[str, float] | None] = [None] * unknown
    ids, numbers = torch.cat((places, wanted[:, None]), 1).tolist(), torch.cat((values, own), 1).tolist()
    for row, logs in zip(ids, numbers, strict=True):
        found.append({text_of(model.signal, one): log for one, log in zip(row, logs, strict=True)})
    return found


def offsets_of(signal: Any, ids: list[int]) -> list[int]:
    """Where each token begins in the text of all; the later ones of several that are one letter, at the end of it."""
    offsets, whole, text = [], 0, ""  # whole: characters before the tokens held; text: theirs
    held: list[int] = []  # since the last letter that was whole
    for token in ids:
        offsets.append(whole + len(text))
        held.append(token)
        text = signal.decode(held, skip_special=False)
        if not text.endswith(BROKEN):
            whole, text, held = whole + len(text), "", []
    return list(accumulate(reversed(offsets), min))[::-1]  # a letter of which bytes are missing may be several signs


def text_of(signal: Any, token: int) -> str:
    """What a token stands for; one that is a part of a letter goes by its name in the vocabulary."""
    text = signal.decode([token], skip_special=False)
    return signal.tokenizer.id_to_token(token) if BROKEN in text else text
