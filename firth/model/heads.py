"""What stands on the encoder: logits over the vocabulary, and one vector per sample."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.model.block import activate, norm_of
from firth.model.shape import AnyShape, Shape

# N items, B samples, D width, V vocabulary


class TokenHead(nn.Module):
    """Dense map, activation, norm, then the token embedding as the output map (tied, arXiv 1608.05859) and a bias.

    The embedding belongs to the backbone; it is used here but not registered, so that a state holds it once.
    """

    def __init__(self, shape: Shape, embedding_weight: nn.Parameter):
        super().__init__()
        self.activation = shape.activation
        self.dense = nn.Linear(shape.width, shape.width, bias=shape.head_bias)
        self.norm = norm_of(shape)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        self._embedding = (embedding_weight,)

    def forward(self, values: Tensor) -> Tensor:
        """(N, D) -> logits (N, V)"""
        return F.linear(self.norm(activate(self.dense(values), self.activation)), self._embedding[0], self.bias)


class OutputMap(nn.Module):
    """The output map over the vocabulary alone: the token embedding, or where the shape is not tied its own rows."""

    weight: nn.Parameter | None

    def __init__(self, shape: Shape, embedding_weight: nn.Parameter):
        super().__init__()
        own = None if shape.tied else nn.Parameter(torch.zeros(shape.vocabulary, shape.width))
        self.register_parameter("weight", own)
        self._embedding = (embedding_weight,)

    @property
    def rows(self) -> Tensor:
        """(V, D)"""
        return self._embedding[0] if self.weight is None else self.weight

    def forward(self, values: Tensor) -> Tensor:
        """(…, D) -> logits (…, V)"""
        return F.linear(values, self.rows)


BARE = ("vit", "resnet")  # shapes whose classifier stands on the pooled vector itself, as in transformers


def pool_head(shape: AnyShape) -> nn.Module:
    """(B, D), the first step or a mean -> (B, D): one vector per sample, ready for a classifier."""
    return PoolHead(shape) if isinstance(shape, Shape) and shape.name not in BARE else nn.Identity()


class PoolHead(nn.Module):
    """One vector per sample, ready for a classifier. BERT: dense, tanh. ModernBERT: dense, activation, norm."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.width, bias=shape.head_bias)
        self.activation = shape.activation
        self.norm = None if shape.name == "bert" else norm_of(shape)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D), the first step or a mean -> (B, D)"""
        dense = self.dense(pooled)
        return dense.tanh() if self.norm is None else self.norm(activate(dense, self.activation))
