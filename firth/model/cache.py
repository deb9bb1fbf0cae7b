"""Keys and values of the steps that were seen, so that a new step is computed alone (for generation)."""

import torch
from torch import Tensor

# B rows, G heads of keys, T new steps, S steps in all, C values of a head

ROOM = 64  # steps; what there is room for doubles from here


def room_for(steps: int) -> int:
    """Steps that there is room for once there are so many."""
    return max(ROOM, 1 << (steps - 1).bit_length())


class Past:
    """Of one layer."""

    def __init__(self):
        self.steps = 0
        self.held: Tensor | None = None  # (2, B, G, room, C): keys, values

    def add(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """(B, G, T, C) × 2, of the new steps -> (B, G, S, C) × 2, of all."""
        first, self.steps = self.steps, self.steps + key.shape[2]
        held = self._room(key)
        held[0, :, :, first : self.steps] = key
        held[1, :, :, first : self.steps] = value
        return held[0, :, :, : self.steps], held[1, :, :, : self.steps]

    def add_one(self, pair: Tensor) -> Tensor:
        """(2, B, G, C), key and value of one new step -> (2, B * G, S, C), of all."""
        self.steps += 1
        held = self._room(pair[0][:, :, None])
        held.select(3, self.steps - 1).copy_(pair)
        return held.flatten(1, 2)[:, :, : self.steps]

    def _room(self, like: Tensor) -> Tensor:
        if self.held is None or self.held.shape[3] < self.steps:
            room = room_for(self.steps)
            grown = like.new_empty(2, *like.shape[:2], room, like.shape[3])
            if self.held is not None:
                grown[:, :, :, : self.held.shape[3]] = self.held
            self.held = grown
        return self.held


class Cache:
    """Of all layers, for a batch of rows. Rows of unequal length are padded, on either side."""

    def __init__(self, layers: int):
        self.layers = [Past() for _ in range(layers)]
        self.pad: Tensor | None = None  # (B, S) True where there is nothing; None: no row is padded
        self.real: Tensor | None = None  # (B,) steps of each row that are no padding, where rows are padded

    @property
    def steps(self) -> int:
        return self.layers[0].steps

    def place(self, tokens: Tensor, pad: Tensor | None) -> Tensor | None:
        """The places (B, T) of the new steps in their rows, counting no padding; None: all rows go on at `steps`."""
        if pad is None and self.pad is None:
            return None
        pad = torch.zeros_like(tokens, dtype=torch.bool) if pad is None else pad
        before = pad.new_zeros(pad.shape[0], self.steps) if self.pad is None else self.pad
        counted = self.steps if self.real is None else self.real[:, None]
        place = counted + (~pad).cumsum(1) - 1  # (B, T)
        self.pad, self.real = torch.cat([before, pad], 1), place[:, -1] + 1
        return place.clamp_(min=0)

    def of_rows(self, rows: Tensor) -> "Cache":
        """A copy with these rows (R,) only, in this order; a row may be taken more than once."""
        taken = Cache(len(self.layers))
        for own, past in zip(taken.layers, self.layers, strict=True):
            own.steps = past.steps
            own.held = None if past.held is None else past.held[:, rows]
        taken.pad = None if self.pad is None else self.pad[rows]
        taken.real = None if self.real is None else self.real[rows]
        return taken
