"""Small encoders the model tests share: random enough that every weight matters."""

import torch
from torch import nn

from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.heads import OutputMap, PoolHead, TokenHead
from firth.model.init import initialise
from firth.model.shape import Shape
from firth.model.sizes import shape_of

VOCABULARY = 60
LOCAL = {"global_every": 2, "window": 8}  # as in published ModernBERT: most layers see a window


def small(name: str, **own) -> Shape:
    return shape_of(name, "3x32", VOCABULARY, 48, **{"heads": 4, "dropout": 0.0, **own})


SHAPES = {"bert": small("bert"), "modernbert": small("modernbert"), "local": small("modernbert", **LOCAL)}


def shaken(module: nn.Module, shape: Shape, seed: int = 0) -> nn.Module:
    """Initialised, then every parameter moved: biases and norms are no longer neutral. In evaluation mode."""
    initialise(module, shape, seed)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))
    return module.eval()


def backbone(shape: Shape, dtype=torch.float64) -> Backbone:
    return shaken(Backbone(shape, TokenEmbedding(shape)), shape).to(dtype)


CAUSAL = {
    "llama": small("llama", key_heads=4),
    "llama-grouped": small("llama", key_heads=2, tied=False, rope_global=500_000.0),
    "llama-wide-heads": small("llama", key_heads=1, head_size=10),
    "gpt2": small("gpt2"),
    "gpt2-untied": small("gpt2", tied=False, activation="relu"),
}


class Part(nn.Module):
    """A stand-in for an objective: modules by name."""

    def __init__(self, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Whole(nn.Module):
    """A stand-in for Composed, with the parts asked for and the state names of the real one."""

    def __init__(self, shape: Shape, *parts: str, classes: int = 3):
        super().__init__()
        self.backbone = Backbone(shape, TokenEmbedding(shape))
        made = {
            "masked-tokens": lambda: Part(head=TokenHead(shape, self.backbone.embed.word.weight)),
            "next-sentence": lambda: Part(pool=PoolHead(shape), classifier=nn.Linear(shape.width, 2)),
            "next-token": lambda: Part(head=OutputMap(shape, self.backbone.embed.word.weight)),
            "classify": lambda: Part(pool=PoolHead(shape), classifier=nn.Linear(shape.width, classes)),
        }
        self.parts = nn.ModuleDict({name: made[name]() for name in parts})
        shaken(self, shape)


def tokens(rows: int = 3, steps: int = 20, seed: int = 1) -> torch.Tensor:
    """(B, T) int64"""
    return torch.randint(0, VOCABULARY, (rows, steps), generator=torch.Generator().manual_seed(seed))


def padding(*lengths: int, steps: int = 20) -> torch.Tensor:
    """(B, T) bool: True from each row's length on."""
    return torch.arange(steps)[None] >= torch.tensor(lengths)[:, None]
