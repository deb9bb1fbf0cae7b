"""Images as a signal: any file of a picture → uint8 pixels at the size of training; pixels → batches."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn

from firth.errors import InputError
from firth.signal import (
    Batch,
    Encoded,
    Examiner,
    Facts,
    Look,
    Media,
    Rung,
    Sample,
    SignalConfig,
    Unit,
    Unreadable,
    stack_targets,
)
from firth.signals._albums import Albums, shown

SIDES = (8, 16, 24, 28, 32, 48, 64, 96, 128, 160, 192, 224)  # of which the training size is chosen
MOST = 64  # chosen at most: two cores see hundreds of such pictures in a second; larger ones are asked for
RUNGS = {  # SimCLR on 32 × 32 pixels, two views a picture; for resnets of 16 × 16. Measured were resnet small and base
    # (ResNet-18 of a quarter of the width, and whole) with views of 32 × 32: 768 and 88 a second. Rates are reckoned:
    # their seconds lie on the line through those two, by the multiplications for a view. docs/decisions/0035
    "resnet": (
        Rung("tiny", 0, 1_465),
        Rung("mini", 30_000, 1_175),
        Rung("3x256", 500_000, 639),
        Rung("base", 5_000_000, 302),
    ),
    "vit": (
        Rung("2x128", 0, 850),
        Rung("4x192", 100_000, 335),
        Rung("6x192", 500_000, 240),
        Rung("6x256", 3_000_000, 145),
    ),
}
BATCHES = (64, 128, 256)  # pictures of a step
STEPS = 500  # that a run has at least: a few hundred large ones teach less than many small ones
FILE = "preprocessor_config.json"  # where transformers looks for the size and the means
BICUBIC = 3  # as Pillow and transformers number it
DO = "Give the folder of a model of images, or save it again."
DECODING = {"size", "channels", "fit", "stretched", "bands"}  # keys of the config on which the arrays hang


class Config(SignalConfig):
    """The table `image`."""

    size: int | None = Field(None, ge=4, le=4096, description="filled: pixels of a side while training")
    channels: int = Field(3, ge=1, le=3, description="3: red, green, blue; 1: grey")
    fit: Literal["crop", "stretch", "pad"] = "crop"  # the middle square, the whole drawn out, or with a black margin
    stretched: bool = False  # each picture's darkest value becomes black and its brightest white (16-bit microscopy)
    bands: tuple[PositiveInt, ...] = Field(
        (), max_length=3, description="of a TIFF: the channels that are read, from 1"
    )
    cache: Literal["auto", "on", "off"] = "auto"  # decoded pictures are kept: where they fit, always, never
    mean: tuple[float, ...] = ()  # filled: of each channel, pixels in [0, 1]
    std: tuple[float, ...] = ()  # filled: standard deviation likewise

    @property
    def in_words(self) -> bool:
        return False

    @property
    def kept(self) -> str:
        return self.cache


ImageConfig = Config  # inside the class, Config is the class attribute


class Image(Media):
    """Pictures of one size; the config is complete."""

    Config: ClassVar[type[SignalConfig]] = Config
    name: ClassVar[str] = "image"
    suffixes: ClassVar[frozenset[str]] = frozenset(
        {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm"}
    )
    readable: ClassVar[str] = (
        "JPEG, PNG, WebP, TIFF, BMP, GIF, .zip, .tar, parquet of bytes, and .csv or .jsonl of paths"
    )
    objective: ClassVar[tuple[str, ...]] = ("simclr",)
    shape: ClassVar[str] = "resnet"
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer.lr": 2e-3, "optimizer.embedding_lr": 1.0}
    ladders: ClassVar[Mapping[str, tuple[Rung, ...]]] = RUNGS
    unit: ClassVar[Unit] = Unit("image", "images", given="PICTURE.jpg", labelled="LABELLED/")
    config: ImageConfig

    def __init__(self, config: ImageConfig):
        self.config = config

    @classmethod
    def look(cls, data: bytes) -> Look:
        from firth.signals import _pictures

        return _pictures.look(data)

    @classmethod
    def fit(cls, looks: Iterable[Look], config: ImageConfig) -> Self:
        return cls(config if config.size else config.model_copy(update={"size": size_for(list(looks))}))

    def settled(self, arrays: list[np.ndarray]) -> Self:
        """With mean and standard deviation of each channel."""
        values = np.stack(arrays).astype(np.float64) / 255  # (n, C, S, S)
        mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3)).clip(min=1 / 255)
        found = {"mean": tuple(np.round(mean, 4).tolist()), "std": tuple(np.round(std, 4).tolist())}
        return type(self)(self.config.model_copy(update=found))

    def recalled(self, folder) -> Self:
        if self.config.mean:
            return self
        found = type(self).open(folder).config
        return type(self)(self.config.model_copy(update={"mean": found.mean, "std": found.std}))

    @property
    def side(self) -> int:
        """Pixels of a side."""
        assert self.config.size is not None
        return self.config.size

    @property
    def form(self) -> tuple[int, ...]:
        return (self.config.channels, self.side, self.side)

    @property
    def decoding(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json", include=DECODING)

    @property
    def facts(self) -> Facts:
        return Facts(frozenset({"pixels", "pooled"}))

    @property
    def sizes(self) -> dict[str, Any]:
        return {"image": self.side, "channels": self.config.channels}

    @classmethod
    def examiner(cls, config: ImageConfig) -> Examiner:
        return Albums()

    def told(self, looks: list[Look], values: int) -> list[str]:
        """8 × 8 PNG; or 64 × 64 of JPEG from 120 × 90 to 4,000 × 3,000"""
        forms = Counter(look.form for look in looks).most_common(3)
        named, sizes = (
            "/".join(form for form, _ in forms),
            sorted({look.size for look in looks}, key=lambda s: s[0] * s[1]),
        )
        here = f"{self.side} × {self.side}"
        if sizes in ([], [(self.side, self.side)]):
            return [f"{here} {named}".strip()]
        if len(sizes) == 1:
            return [f"{here} of {named}, {shown(sizes[0])}"]
        return [f"{here} of {named}, {shown(sizes[0])} to {shown(sizes[-1])}"]

    def decode(self, data: bytes, note: Callable[[str, str], None] | None = None) -> np.ndarray:
        """uint8 (C, S, S)"""
        from firth.signals import _pictures

        config = self.config
        wanted = _pictures.Wanted(self.side, config.channels, config.fit, config.stretched, config.bands)
        return _pictures.decode(data, wanted, note)

    def pieces(self, source: Any, note: Callable[[str, str], None] | None = None) -> Iterator[np.ndarray]:
        yield self.decode(source, note)

    def batch_for(self, lengths: np.ndarray | None, seen: float | None = None) -> int:
        """256, or as many as leave STEPS steps of what the run sees."""
        return max([size for size in BATCHES if seen is None or seen >= STEPS * size], default=BATCHES[0])

    def encode(self, inputs: list[Any]) -> list[Encoded]:
        """Pixels of each input: an array as it is, the bytes of a file, a path, or what `array` of it says."""
        return [Encoded(self._pixels(one)) for one in inputs]

    def _pixels(self, one: Any) -> np.ndarray:
        one, where = getattr(one, "array", one), str(one) if isinstance(one, str | Path) else "INPUT"
        if not isinstance(one, str | Path | bytes):
            return np.asarray(one)
        try:
            return self.decode(one if isinstance(one, bytes) else Path(one).read_bytes())
        except Unreadable as error:
            raise InputError(where, error.what, error.do) from None
        except OSError as error:
            raise InputError(where, f"cannot be read ({error.strerror})", "Check the name of the file.") from None

    def stack(self, samples: list[Sample]) -> Batch:
        pixels = torch.from_numpy(np.stack([sample.parts[0] for sample in samples]))
        return Batch(stack_targets(samples), pixels=pixels)

    def length(self, sample: Sample) -> int:
        """All are alike."""
        return 1

    def picture(self, sample: Sample) -> np.ndarray:
        """(H, W, 3) uint8: what a person is shown of a sample."""
        return np.broadcast_to(sample.parts[0].transpose(1, 2, 0), (self.side, self.side, 3))

    def embed(self, shape) -> nn.Module:
        from firth.model.backbones import embedding_of

        return embedding_of(shape, mean=self.config.mean, std=self.config.std)

    def save(self, folder) -> None:
        """preprocessor_config.json, with which transformers prepares the same input."""
        config, folder = self.config, Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kept = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.side, "width": self.side},
            "resample": BICUBIC,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(config.mean or [0.5] * config.channels),
            "image_std": list(config.std or [0.5] * config.channels),
            "firth": config.model_dump(mode="json", exclude={"cache"}),
        }
        (folder / FILE).write_text(json.dumps(kept, indent=2) + "\n", "utf-8")

    @classmethod
    def open(cls, folder, config: ImageConfig | None = None) -> Self:
        """The inverse of save; also of what others have written. Raises InputError without a size."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(folder, f"holds no {FILE}", DO)
        try:
            stored = json.loads(path.read_text("utf-8"))
            found = Config(**stored["firth"]) if "firth" in stored else foreign(stored)
            return cls(found.model_copy(update={"cache": config.cache}) if config else found)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"does not say how pictures are read ({error})", DO) from None


def foreign(stored: Mapping[str, Any]) -> Config:
    """What the file of another's model says."""
    size = stored["size"]
    crop = stored.get("crop_size") if stored.get("do_center_crop") else None
    side = crop or size
    side = side if isinstance(side, int) else side.get("height") or side["shortest_edge"]
    means = (tuple(stored.get(key) or ()) for key in ("image_mean", "image_std"))
    mean, std = means if stored.get("do_normalize", True) else ((0.0,) * 3, (1.0,) * 3)
    square = isinstance(size, Mapping) and "height" in size and crop is None
    return Config(size=side, channels=len(mean) or 3, mean=mean, std=std, fit="stretch" if square else "crop")


def size_for(looks: list[Look]) -> int:
    """Pixels of a side while training: that of the pictures where all are small squares, else near the shorter sides'
    median, at most MOST."""
    if not looks:
        return MOST
    shorter = [min(look.size) for look in looks]
    if len({look.size for look in looks}) == 1 and looks[0].size[0] == looks[0].size[1] and 4 <= shorter[0] <= MOST:
        return shorter[0]
    median = float(np.median(shorter))
    return max([side for side in SIDES if side <= min(median, MOST)], default=SIDES[0])
