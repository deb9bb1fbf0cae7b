"""Token ids → vectors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from firth.errors import InputError
from firth.model.block import norm_of
from firth.model.dropping import drop
from firth.model.shape import Shape

# B samples, T steps, D width


class TokenEmbedding(nn.Module):
    """The sum of word, position and segment vectors, as far as the shape has them; then norm and dropout."""

    stride = 1  # tokens from one step to the next

    def __init__(self, shape: Shape):
        super().__init__()
        self.dropout = shape.dropout
        self.word = table(shape.vocabulary, shape.width)
        self.position = table(shape.positions, shape.width) if shape.position_kind == "learned" else None
        self.segment = table(shape.segments, shape.width) if shape.segments else None
        self.norm: nn.Module = norm_of(shape) if shape.embed_norm else nn.Identity()

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """batch["tokens"] (B, T); "segments", "position" (B, T) where there are any -> (B, T, D).

        Raises InputError where a sample is longer than the learned positions.
        """
        x = self.word(batch["tokens"])  # (B, T, D)
        for added in (self.places(x.shape[1], batch.get("position")), self.parts(batch.get("segments"))):
            x = x if added is None else x + added
        return drop(self.norm(x), self.dropout, self.training)

    def padding(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """(B, T), True at steps where there is nothing; None: there are none."""
        return batch.get("pad")

    def places(self, steps: int, position: Tensor | None = None) -> Tensor | None:
        """(T, D), or with the place of each step (B, T) -> (B, T, D)."""
        if self.position is None:
            return None
        if position is not None:
            return self.position(position)
        if steps > self.position.num_embeddings:
            raise InputError(
                "text.context",
                f"samples of {steps:,} tokens, but the model has {self.position.num_embeddings:,} positions",
                f"Set text.context={self.position.num_embeddings}, or take a model with more positions.",
            )
        return self.position.weight[:steps]

    def parts(self, segments: Tensor | None) -> Tensor | None:
        """(B, T, D), or (D,) where everything is of the first segment."""
        if self.segment is None:
            return None
        return self.segment.weight[0] if segments is None else self.segment(segments)


def table(rows: int, width: int) -> nn.Embedding:
    """nn.Embedding; on the meta device without drawing numbers, for which torch would import its compiler (2 s)."""
    weight = torch.empty(rows, width)
    return nn.Embedding(rows, width, _weight=weight if weight.is_meta else nn.init.normal_(weight))
