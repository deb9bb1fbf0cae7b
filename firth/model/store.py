"""What a frozen encoder gives of each sample, kept for the next time the sample comes.

A frozen encoder gives the same of a sample whatever its company in a batch, so that a head that goes through its labels
many times needs to encode them once. Kept by the sample's key, in full precision, up to a limit of memory.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from firth.model.features import Features

# B samples, T steps, N layers that are asked for, D width

WRAP = 2**64  # between a number without a sign and the one with a sign of the same bits
LIMIT = 2**31  # bytes of vectors that are kept unless told; what comes later is encoded each time


class Store:
    """Features by key of a sample. With layers the last one is taken behind the norm that some shapes end with."""

    def __init__(self, limit: int = LIMIT):
        self.limit, self.bytes = limit, 0
        self.rows: dict[int, Tensor] = {}  # key → (T, N, D)
        self.vectors: dict[int, Tensor] = {}  # key → (D,), where an encoder gives one of its own

    def __contains__(self, key: Any) -> bool:
        """Whether a sample is kept. key: its own, of 64 bits without a sign; batches hold the same bits with one."""
        return (key - WRAP if key >= WRAP // 2 else key) in self.rows

    def __call__(self, batch: Mapping[str, Tensor], run: Callable[[], Features]) -> Features:
        """What `run` gives of the batch, from what is kept where all its samples are."""
        keys = batch["key"].tolist()
        if all(key in self.rows for key in keys):
            return self.found(keys)
        features = run()
        self.keep(keys, features)
        return features

    def keep(self, keys: list[int], features: Features) -> None:
        """The real steps of each sample, as long as there is room."""
        layers = [features.values] if features.layers is None else [*features.layers[:-1], features.values]
        stacked = torch.stack(layers, 2)  # (B, T, N, D)
        for number, key in enumerate(keys):
            row = stacked[number] if features.padding is None else stacked[number][~features.padding[number]]
            size = row.numel() * row.element_size()
            if key in self.rows or self.bytes + size > self.limit:
                continue
            self.rows[key], self.bytes = row.clone(), self.bytes + size
            if features.vector is not None:
                self.vectors[key] = features.vector[number].clone()

    def found(self, keys: list[int]) -> Features:
        """The features of these samples as a batch; padding is 0."""
        rows = [self.rows[key] for key in keys]
        sizes = torch.tensor([len(row) for row in rows], device=rows[0].device)
        values = pad_sequence(rows, batch_first=True)  # (B, T, N, D)
        if not values.shape[1]:  # no sample has a step: one of padding, as encoders have it
            values = values.new_zeros(len(rows), 1, *values.shape[2:])
        steps = torch.arange(values.shape[1], device=values.device)
        padding = None if bool((sizes == values.shape[1]).all()) else steps >= sizes[:, None]
        layers = list(values.unbind(2))
        vector = torch.stack([self.vectors[key] for key in keys]) if self.vectors else None
        return Features(layers[-1], padding, layers=layers if len(layers) > 1 else None, vector=vector)
