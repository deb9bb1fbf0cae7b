"""Writing on: one token after another for a batch of rows, each as if it were alone, with keys and values kept.

A row is read through a window of at most `context` tokens. Where it is full, the window goes on with the newer half of
what is in it; of a prompt that is longer, the last `context` tokens are read.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from firth.functional.random import Draw
from firth.model.cache import Cache
from firth.model.encoder import Backbone
from firth.model.sampling import Writing, choose

Allowed = Callable[[list[int]], Iterable[int]]  # tokens written so far → those that may come next


class Writer:
    """Rows that are written on. `step` gives each row a token; rows that have ended get none.

    head: (…, D) -> logits (…, V). prompts: token ids of each row, at least one. end_id: the token that ends a row; it
    is not handed out. banned: tokens that are never written. keys: a number for each row, which its luck depends on.
    cached: False computes everything anew for each token; the result is the same.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Callable[[Tensor], Tensor],
        prompts: Sequence[Sequence[int]],
        writing: Writing,
        context: int,
        end_id: int = -1,
        banned: Sequence[int] = (),
        keys: Sequence[int] | None = None,
        allowed: Allowed | None = None,
        cached: bool = True,
    ):
        self.backbone, self.head, self.writing, self.context = backbone, head, writing, max(2, context)
        self.end_id, self.allowed, self.cached = end_id, allowed, cached
        self.banned = torch.tensor(list(banned), dtype=torch.int64, device=next(backbone.parameters()).device)
        self.windows = [list(map(int, prompt))[-self.context :] for prompt in prompts]
        self.seen = [list(map(int, prompt)) for prompt in prompts]
        self.written: list[list[int]] = [[] for _ in prompts]
        self.live = list(range(len(self.windows)))  # rows that go on
        self.batch: list[int] = []  # rows in the cache, in its order
        self.cache: Cache | None = None
        keys = range(len(self.windows)) if keys is None else keys
        self.luck = torch.from_numpy(Draw(writing.seed).uniform(list(keys), "write", max(1, writing.tokens)))

    @property
    def over(self) -> bool:
        return not self.live or max(len(self.written[row]) for row in self.live) >= self.writing.tokens

    def stop(self, row: int) -> None:
        """This row is done."""
        self.live = [one for one in self.live if one != row]

    @torch.inference_mode()
    def step(self) -> dict[int, int]:
        """Row → its next token, for each row that goes on and has not come to its end token now."""
        tokens = self.choose(self.logits()).tolist()
        chosen = dict(zip(self.batch, tokens, strict=True))
        found = {row: chosen[row] for row in self.live}
        for row, token in found.items():
            if token == self.end_id:
                self.stop(row)
                continue
            for own in (self.windows[row], self.seen[row], self.written[row]):
                own.append(token)
        return {row: token for row, token in found.items() if token != self.end_id}

    def logits(self) -> Tensor:
        """(rows of the batch, V) for the next token of each."""
        self.shift()
        device = next(self.backbone.parameters()).device
        if self.cache is None or not self.cached:
            return self.begin(device)
        last = torch.tensor([[self.windows[row][-1]] for row in self.batch], device=device)
        return self.head(self.backbone({"tokens": last}, cache=self.cache).values[:, 0])

    def shift(self) -> None:
        """Full windows go on with their newer half; rows that have ended leave the batch when half of them have."""
        full = [row for row in self.live if len(self.windows[row]) > self.context]
        for row in full:
            self.windows[row] = self.windows[row][-max(1, self.context // 2) :]
        if full or not self.batch:
            self.cache, self.batch = None, list(self.live)
        elif 2 * len(self.live) <= len(self.batch):
            places = torch.tensor([self.batch.index(row) for row in self.live])
            self.cache, self.batch = self.cache and self.cache.of_rows(places), list(self.live)

    def begin(self, device: torch.device) -> Tensor:
        """Read all windows, shorter ones padded on the left, and keep what they leave behind."""
        windows = [self.windows[row] for row in self.batch]
        steps = max(map(len, windows))
        tokens = torch.tensor([[0] * (steps - len(window)) + window for window in windows], device=device)
        batch = {"tokens": tokens}
        if min(map(len, windows)) < steps:
            lengths = torch.tensor([len(window) for window in windows], device=device)
            batch["pad"] = torch.arange(steps, device=device) < steps - lengths[:, None]
        self.cache = Cache(len(self.backbone.encoder.blocks))
        keep = torch.full((len(windows), 1), steps - 1, device=device)
        return self.head(self.backbone(batch, keep=keep, cache=self.cache).values[:, 0])

    def choose(self, logits: Tensor) -> Tensor:
        """(B, V) -> (B,): tokens that may come, chosen as `writing` says."""
        logits = logits.float()
        if len(self.banned):
            logits.index_fill_(1, self.banned, -torch.inf)
        if self.allowed is not None:
            logits = torch.stack([self.only(row, one) for row, one in zip(self.batch, logits, strict=True)])
        return choose(logits, [self.seen[row] for row in self.batch], self.writing, self.luck_of_step())

    def luck_of_step(self) -> Tensor:
        """(B,) what decides on the next token of each row; () where nothing is left to luck."""
        device = next(self.backbone.parameters()).device
        if self.writing.temperature == 0:
            return self.luck.new_empty((), device=device)
        last = self.luck.shape[1] - 1
        return self.luck[self.batch, [min(len(self.written[row]), last) for row in self.batch]].to(device)

    def only(self, row: int, logits: Tensor) -> Tensor:
        """(V,) with -inf at all tokens that may not come next in this row."""
        assert self.allowed is not None
        ids = torch.tensor(sorted(self.allowed(self.written[row])) or [max(self.end_id, 0)], device=logits.device)
        return torch.full_like(logits, -torch.inf).index_copy(0, ids, logits[ids])
