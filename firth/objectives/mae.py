"""MAE: most patches of a picture are left out, and the pixels of these are drawn from what is left.

Loss: He et al. 2021, arXiv 2111.06377, section 3: the sum over the patches left out of the mean square difference
between the pixels drawn and those that were there, over the number of such patches. Pixels of a patch are normalised
by their own mean and variance. The encoder sees the patches that are left, and nothing of the others; a small decoder
sees what it made of them, and a mask where there is none.
"""

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from firth.errors import InputError
from firth.functional import augment
from firth.functional.augment import Policy
from firth.functional.random import Draw
from firth.model.encoder import Encoder
from firth.model.positions import waves
from firth.model.shape import AnyShape
from firth.model.sizes import shape_of
from firth.objective import Loss, Objective, Term
from firth.objectives._views import ViewsConfig, contact_sheet
from firth.objectives._views import tries as tries
from firth.signal import Batch, Features

# B samples, C channels, S pixels of a side, N patches of p × p pixels, K of them visible, M left out, D, W widths

HOLE = 0.5  # what is shown where a patch was left out


class Config(ViewsConfig):
    reads: ClassVar[frozenset[str]] = frozenset({"pixels", "key", "views", "visible", "masked"})
    adds: ClassVar[frozenset[str]] = frozenset({"views", "visible", "masked"})
    terms: ClassVar[tuple[str, ...]] = ("mae",)
    shape: ClassVar[str | None] = "vit"

    mask_rate: float = Field(0.75, gt=0, lt=1, description="share of the patches that are left out")
    normalise: bool = Field(True, description="whether pixels are normalised by the mean and variance of their patch")
    decoder_layers: int = Field(2, ge=1, description="blocks of the decoder (paper: 8)")
    decoder_width: int = Field(128, ge=2, description="width of the decoder (paper: 512)")
    crop: float | None = Field(0.2, gt=0, le=1, description="smallest crop, share of the area")
    colour: float = Field(0.0, ge=0, description="factor on the changes of brightness, contrast, saturation and hue")
    grey: float | None = Field(0.0, ge=0, le=1, description="share of the views without colour")
    blur: float | None = Field(0.0, ge=0, le=1, description="share of the views that are blurred")
    patch: int = Field(0, ge=0, description="filled: side of a patch, in pixels")
    image: int = Field(0, ge=0, description="filled: side of a picture, in pixels")

    def unit_of(self, name: str) -> str:
        return "squared error"

    def fit(self, shape: AnyShape) -> Self:
        if not shape.patch:
            what = f"hides patches, and the shape {shape.name} has none"
            raise InputError("objective `mae`", what, "Leave model.shape out, or set model.shape=vit.")
        if self.normalise and shape.patch**2 * getattr(shape, "channels", 0) == 1:
            what = "a patch is one number here, which has no variance"
            raise InputError("mae.normalise = true", what, "Set mae.normalise=false, or image.size to an even number.")
        return self.model_copy(update={"patch": shape.patch, "image": shape.image})

    @property
    def policies(self) -> list[Policy]:
        return [self.policy]

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        batch = super().prepare(batch, draw)
        patches = (self.image // self.patch) ** 2
        order = draw.uniform(batch.keys_, "mae", patches).argsort(1)  # (B, N)
        left = min(max(round((1 - self.mask_rate) * patches), 1), patches - 1)
        parts = {"visible": np.sort(order[:, :left]), "masked": np.sort(order[:, left:])}
        counts = batch.counts | {"mae": len(order) * (patches - left)}
        return Batch(batch | {name: torch.from_numpy(part) for name, part in parts.items()}, counts=counts)


Settings = Config  # the type, where the class below has its own name `Config`


class Decoder(nn.Module):
    """(B, 1 + K, D) of the class token and the visible patches -> (B, N, p·p·C): the pixels of every patch."""

    positions: Tensor  # (1 + N, W)

    def __init__(self, shape: AnyShape, layers: int, width: int):
        super().__init__()
        own = shape_of("vit", f"{layers}x{width}", image=shape.image, patch=shape.patch, channels=shape.channels)
        self.side = shape.image // shape.patch
        self.inward = nn.Linear(shape.width, width)
        self.mask = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder(own)  # type: ignore[arg-type]
        self.outward = nn.Linear(width, shape.patch**2 * shape.channels)
        self.register_buffer("positions", waves(self.side, width), persistent=False)

    def forward(self, values: Tensor, visible: Tensor) -> Tensor:
        x = self.inward(values)
        first, seen = x[:, :1], x[:, 1:]  # (B, 1, W), (B, K, W)
        whole = self.mask.to(x.dtype).expand(len(x), self.side**2, -1)
        whole = whole.scatter(1, visible[..., None].expand_as(seen), seen)  # (B, N, W)
        x = torch.cat([first, whole], 1) + self.positions.to(x.dtype)
        return self.outward(self.encoder(x)[0][:, 1:])


class MAE(Objective):
    Config = Config
    config: Settings
    vectors: ClassVar[bool] = True

    def __init__(self, config: Settings, backbone):
        super().__init__(config, backbone)
        self.decoder = Decoder(backbone.shape, config.decoder_layers, config.decoder_width)

    def forward(self, batch: Batch) -> Loss:
        pictures, drawn = self.drawn(batch)
        wanted = self.wanted(patches_of(pictures, self.config.patch))
        error = (drawn - wanted).square().mean(-1)  # (B, N)
        return Loss({"mae": Term(error.gather(1, batch["masked"]).sum(), batch.counts["mae"])}, {})

    def drawn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The pictures (B, C, S, S), and what is drawn of all their patches (B, N, p·p·C)."""
        pictures = augment.views(batch["pixels"], batch["views"], self.config.image)
        values = self.backbone({"pixels": pictures, "visible": batch["visible"]}).values  # (B, 1 + K, D)
        drawn = self.decoder(values, batch["visible"])
        return pictures, drawn.to(torch.promote_types(drawn.dtype, torch.float32))

    def wanted(self, patches: Tensor) -> Tensor:
        """(B, N, p·p·C) -> the same, as it is to be drawn."""
        if not self.config.normalise:
            return patches
        mean, deviation = moments(patches)
        return (patches - mean) / deviation

    def watched(self, features: Features) -> Tensor:
        """The mean over the patches: the loss asks the class token for nothing."""
        return features.patches


def moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, n) -> mean and standard deviation of each patch, (B, N, 1); unbiased, as in the paper's code."""
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()


def patches_of(pictures: Tensor, side: int) -> Tensor:
    """(B, C, S, S) -> (B, N, p·p·C): patches row by row, each patch row by row, channels last."""
    rows = pictures.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, C, S/p, p, S/p, p)
    return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def pictures_of(patches: Tensor, side: int, channels: int) -> Tensor:
    """The inverse of patches_of."""
    count = round(patches.shape[1] ** 0.5)
    rows = patches.unflatten(2, (side, side, channels)).unflatten(1, (count, count))  # (B, n, n, p, p, C)
    return rows.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def pictured(objective, tries: Batch, step: int) -> dict[str, np.ndarray]:
    """Each picture, what is left of it, and what is drawn of it: samples/step-<step>.png."""
    part = objective.parts["mae"] if hasattr(objective, "parts") else objective
    device = next(part.parameters()).device
    with torch.no_grad():
        return {f"step-{step}": contact_sheet(reconstructed(part, tries.to(device)))}


def reconstructed(part: MAE, batch: Batch) -> list[Tensor]:
    """(B, C, S, S) each: the pictures, with holes, and with the holes filled in.

    Where pixels were normalised, what is drawn has the mean and variance of the patch that was there: of the patch
    itself only what is in it is drawn.
    """
    pictures, drawn = part.drawn(batch)
    patches = patches_of(pictures, part.config.patch)
    if part.config.normalise:
        mean, deviation = moments(patches)
        drawn = drawn * deviation + mean
    there = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
    there = there.scatter(1, batch["visible"], True)[..., None]  # (B, N, 1)
    shown = [torch.where(there, patches, HOLE), torch.where(there, patches, drawn)]
    return [pictures, *(pictures_of(one, part.config.patch, pictures.shape[1]) for one in shown)]
