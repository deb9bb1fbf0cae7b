"""What objectives over views of pictures share: views are drawn on the CPU, made and encoded on the device."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, Literal, Self

import numpy as np
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from firth.functional import augment
from firth.functional.augment import Policy
from firth.functional.picture import sheet
from firth.functional.random import Draw
from firth.model.shape import AnyShape
from firth.objective import Objective, ObjectiveConfig
from firth.signal import Batch, Facts, Features, Sample

# B samples, V views, C channels, S pixels of a side, D width

SHOWN = 8  # samples on a contact sheet
SMALLEST = 64  # pixels; pictures with a shorter side are enlarged on a sheet
LOW, LEAST = 0.5, 16  # resolution of views where nobody says, and pixels of a side at least: docs/decisions/0035


class ViewsConfig(ObjectiveConfig):
    """Settings that are not set are those of the preset; filled in, so that a recipe says what it did."""

    needs: ClassVar[frozenset[str]] = frozenset({"pixels"})
    reads: ClassVar[frozenset[str]] = frozenset({"pixels", "key", "views"})
    adds: ClassVar[frozenset[str]] = frozenset({"views"})
    shares: ClassVar[int] = 2  # items of the loss to a sample

    augment: Literal["natural", "microscopy", "satellite", "documents"] = Field(
        "natural", description="preset of how views are drawn"
    )
    crop: float | None = Field(None, gt=0, le=1, description="smallest crop, share of the area; None: by the preset")
    colour: float = Field(1.0, ge=0, description="factor on the changes of brightness, contrast, saturation and hue")
    grey: float | None = Field(None, ge=0, le=1, description="share of the views without colour; None: by the preset")
    blur: float | None = Field(None, ge=0, le=1, description="share of the views that are blurred; None: by the preset")
    solarise: float | None = Field(
        None, ge=0, le=1, description="share of the views inverted where bright; None: by the preset"
    )
    cut: float | None = Field(
        None, ge=0, le=1, description="share of the views that lose a square; None: by the preset"
    )
    degrees: float | None = Field(None, ge=0, le=180, description="rotation to either side; None: by the preset")

    def fill(self, facts: Facts) -> Self:
        return self.model_copy(update=self.amounts())

    def amounts(self) -> dict[str, float]:
        """What is set, and what the preset has for the rest."""
        preset = augment.PRESETS[self.augment]
        own = {"crop": preset.crop[0]} | {name: getattr(preset, name) for name in OPEN}
        return own | {name: value for name in own if (value := getattr(self, name)) is not None}

    @property
    def policy(self) -> Policy:
        """How a view is drawn."""
        preset, own = augment.PRESETS[self.augment], self.amounts()
        colours = {name: self.colour * getattr(preset, name) for name in ("brightness", "contrast", "saturation")}
        crop, hue = own.pop("crop"), min(self.colour * preset.hue, 0.5)
        return preset._replace(crop=(crop, max(crop, preset.crop[1])), hue=hue, **own, **colours)  # type: ignore[arg-type]

    @property
    def policies(self) -> list[Policy]:
        """Of each view that is drawn."""
        return [self.policy] * 2

    def prepare(self, batch: Batch, draw: Draw) -> Batch:
        pixels = batch["pixels"]  # (B, C, H, W)
        ratio = pixels.shape[3] / pixels.shape[2]
        views = augment.draw_views(draw, batch.keys_, "views", self.policies, ratio)  # (B, V, P)
        return Batch({**batch, "views": views}, counts={**batch.counts, self.terms[0]: self.shares * len(views)})


class ComparedViewsConfig(ViewsConfig):
    """Views are compared as wholes, so they may be smaller than pictures."""

    resolution: float | None = Field(
        None, gt=0, le=1, description="filled: side of a view, share of the picture's, 16 pixels at least: 0.5; vit: 1"
    )

    def fit(self, shape: AnyShape) -> Self:
        return self if self.resolution else self.model_copy(update={"resolution": 1.0 if shape.patch else LOW})


class UnlikeViewsConfig(ComparedViewsConfig):
    """The two views are drawn unlike, as in BYOL (Grill et al. 2020, arXiv 2006.07733, table 6): the first is blurred
    twice as often as `blur` says, the second a fifth as often; `solarise` is the share of the second alone."""

    def amounts(self) -> dict[str, float]:
        usual = {"solarise": 0.2} if self.solarise is None and self.augment == "natural" else {}
        return super().amounts() | usual

    @property
    def policies(self) -> list[Policy]:
        policy = self.policy
        first = policy._replace(blur=min(1.0, 2 * policy.blur), solarise=0.0)
        return [first, policy._replace(blur=policy.blur / 5)]


OPEN = ("grey", "blur", "solarise", "cut", "degrees")  # settings of the same name in Policy


def side_of_views(side: int, share: float, patch: int) -> int:
    """Pixels of a view of pictures of so many, in whole patches."""
    patch = patch or 1
    return patch * math.ceil(min(side, max(LEAST, share * side)) / patch)


def look(backbone, pixels: Tensor) -> Tensor:
    """(N, C, S, S) -> (N, D): one vector a picture."""
    return backbone({"pixels": pixels}).pooled


class ComparingViews(Objective):
    """An objective over views; `forward` has passes of its own."""

    config: ComparedViewsConfig
    collapses: ClassVar[bool] = True
    vectors: ClassVar[bool] = True
    projector: nn.Module  # what is compared is behind it

    def __init__(self, config: ComparedViewsConfig, backbone):
        super().__init__(config, backbone)
        self.patch: int = backbone.shape.patch  # pixels, 0: none; views are of whole patches

    def side(self, batch: Batch) -> int:
        """Pixels of a view."""
        return side_of_views(batch["pixels"].shape[2], self.config.resolution or 1.0, self.patch)

    def pictures(self, batch: Batch, count: int | None = None) -> Tensor:
        """(V·B, C, S, S) float in [0, 1]: the first view of all samples, then the second. count: V; None: all."""
        return augment.views(batch["pixels"], batch["views"][:, :count], self.side(batch))

    def pooled(self, batch: Batch) -> Tensor:
        """(V·B, D): all views in one pass."""
        return look(self.backbone, self.pictures(batch))

    def compared(self, features: Features) -> Tensor:
        """(B, Z), of pictures as they are."""
        return self.projector(features.pooled)

    def twins(self, batch: Batch) -> tuple[Tensor, Tensor]:
        first, second = look(self.backbone, self.pictures(batch, 2)).chunk(2)
        return first, second


# ------------------------------------------------------------------ what a person sees of them


def tries(signal, samples: Iterator[Sample], draw: Draw, config: ViewsConfig, count: int = SHOWN) -> Batch | None:
    """The first of the samples with the views that an epoch would draw; None where there is no sample."""
    chosen = list(islice(samples, count))
    return config.prepare(signal.stack(chosen), draw) if chosen else None


def pictured(objective, tries: Batch, step: int) -> dict[str, np.ndarray]:
    """What a run is trained on, as one picture: samples/views.png."""
    part = next(part for part in objective.objectives if isinstance(part, ComparingViews))
    return {"views": sheet_of_views(tries, part.side(tries))}


def contact_sheet(columns: list[Tensor]) -> np.ndarray:
    """(B, C, S, S) float in [0, 1] each -> (H, W, 3) uint8: a row for each sample, a column for each list."""
    scale = max(1, round(SMALLEST / max(column.shape[-1] for column in columns)))
    return sheet(list(zip(*map(_visible, columns), strict=True)), scale)


def sheet_of_views(batch: Batch, side: int) -> np.ndarray:
    """(H, W, 3) uint8: each sample, and beside it its views, of so many pixels a side, drawn as large as the sample."""
    pixels, drawn = batch["pixels"].cpu(), batch["views"].cpu()
    still = augment.draw_views(Draw(0), np.zeros(len(pixels), np.uint64), "sheet", [augment.STILL])  # square, as views
    views = [augment.apply(pixels, column, side) for column in drawn.unbind(1)]
    whole = augment.apply(pixels, still[:, 0])
    return contact_sheet([whole, *(F.interpolate(view, size=whole.shape[2:]) for view in views)])


def _visible(pixels: Tensor) -> np.ndarray:
    """(B, C, S, S) -> (B, S, S, 3) uint8: the first three channels, or one thrice."""
    three = pixels[:, :3] if pixels.shape[1] >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
    return (255 * three.clamp(0, 1)).round().byte().permute(0, 2, 3, 1).cpu().numpy()
