"""A shape becomes a module: the encoder of its kind, over the embedding of what it reads."""

from torch import nn

from firth.model.convnet import ConvNet
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.pixels import PatchEmbedding, Stem
from firth.model.shape import AnyShape, ConvShape
from firth.model.sound import embedding_of as sound_embedding


def backbone_of(shape: AnyShape, embed: nn.Module | None = None) -> nn.Module:
    """batch → Features. embed: as the signal makes it; None: one of the same parameters that knows no signal."""
    embed = embedding_of(shape) if embed is None else embed
    return ConvNet(shape, embed) if isinstance(shape, ConvShape) else Backbone(shape, embed)


def embedding_of(shape: AnyShape, **own) -> nn.Module:
    """What stands before the encoder; own: what a signal knows of its data, such as mean and std of pixels."""
    if isinstance(shape, ConvShape):
        return Stem(shape, **own)
    if shape.sound is not None:
        return sound_embedding(shape)
    return PatchEmbedding(shape, **own) if shape.patch else TokenEmbedding(shape, **own)
