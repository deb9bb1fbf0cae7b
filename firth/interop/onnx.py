"""An encoder and its head as an ONNX file: traced by torch, opened with onnxruntime.

Inputs are named as transformers names them. Of texts: input_ids, attention_mask (1 at tokens, 0 at padding) and, where
the shape has segments, token_type_ids; all int64 (batch, steps), of any size. Of pictures: pixel_values, float32
(batch, channels, side, side), made as preprocessor_config.json says. Outputs have the names that `scores` gives.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from firth.interop.check import Answer
from firth.interop.tensors import PREPARES, read_json
from firth.model.encoder import Backbone
from firth.model.positions import Rotary, Turn
from firth.model.shape import AnyShape, Shape
from firth.model.sizes import READS
from firth.objective import Composed
from firth.signal import Batch, Features
from firth.task import EMPTY

# B samples, T steps

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ENCODERS = ("bert", "modernbert", "vit", "resnet")  # shapes of tokens and pixels whose steps all see each other
PIXELS = "pixel_values"
ONE_FILE = 1.5e9  # bytes of weights; more than 2 GB do not fit into one file of this form

Scores = Callable[[Features], dict[str, Tensor]]


class Angles(Rotary):
    """Rotary angles made anew in each pass: a table kept from before would end the texts that the file takes."""

    def __call__(self, steps: int, like: Tensor) -> Turn:
        return self.make(steps, like)


class Prepared(nn.Module):
    """In place of Normalise: pixels whose mean and deviation were taken off before."""

    def forward(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        return pixels.to(dtype)


class Graph(nn.Module):
    """What is traced: tensors in, tensors out."""

    def __init__(self, objective: Composed, scores: Scores):
        super().__init__()
        self.objective, self.scores = objective, scores

    @property
    def backbone(self) -> Backbone:
        return self.objective.backbone  # type: ignore[return-value]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """(B, T) each -> the outputs in their order."""
        batch = {"tokens": input_ids, "pad": attention_mask == 0}
        if token_type_ids is not None:
            batch["segments"] = token_type_ids
        return tuple(self.scores(self.backbone(batch)).values())


class PixelGraph(Graph):
    """The same for pictures."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """(B, C, S, S) -> the outputs in their order."""
        return tuple(self.scores(self.backbone({"pixels": pixel_values})).values())


def graph_of(objective: Composed, scores: Scores) -> Graph:
    """What is traced of a model, in evaluation mode."""
    kind = PixelGraph if of_pixels(objective.backbone.shape) else Graph  # type: ignore[arg-type, union-attr]
    return kind(objective, scores).eval()


def of_pixels(shape: AnyShape) -> bool:
    return READS[shape.name] == "pixels"


def write(path: Path, graph: Graph, outputs: list[str]) -> None:
    """Trace the graph and write it; large weights into a file beside it, model.onnx.data."""
    inputs = inputs_of(graph.backbone.shape)
    large = sum(value.nbytes for value in graph.state_dict().values()) > ONE_FILE
    with torch.no_grad(), traceable(graph.backbone), quietly():
        program = torch.onnx.export(
            graph, tuple(inputs.example.clone() for _ in inputs.names), dynamo=True, verbose=False,
            input_names=inputs.names, output_names=outputs, dynamic_shapes=tuple(inputs.free for _ in inputs.names),
        )  # fmt: skip
        assert program is not None
        program.save(path, external_data=large)


class Inputs(NamedTuple):
    """What a graph is given."""

    names: list[str]
    size: str  # of each, for people
    example: Tensor  # of two samples
    free: dict[int, Any]  # dimensions that may be of any size


def inputs_of(shape: AnyShape) -> Inputs:
    batch = torch.export.Dim("batch")
    if of_pixels(shape):
        form = (shape.channels, shape.image, shape.image)
        return Inputs([PIXELS], " × ".join(["batch", *map(str, form)]), torch.zeros(2, *form), {0: batch})
    assert isinstance(shape, Shape)  # as those of tokens are
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if shape.segments else [])]
    example = torch.ones(2, limits(shape).get("min", 8) + 1, dtype=torch.int64)
    return Inputs(names, "batch × steps", example, {0: batch, 1: torch.export.Dim("steps", **limits(shape))})


def limits(shape: Shape) -> dict[str, int]:
    """The numbers of steps that are traced for. max: where positions are learned. min: beyond the reach of a window, so
    that the mask against farther steps is part of the graph; in shorter texts it hides nothing."""
    found = {"max": shape.positions} if shape.position_kind == "learned" else {}
    local = any(shape.is_local(layer) for layer in range(shape.layers))
    return found | ({"min": shape.window // 2 + 2} if local else {})


@contextmanager
def traceable(backbone: Backbone) -> Iterator[None]:
    """The backbone as it can be traced for any length; afterwards it is as before."""
    pixels = of_pixels(backbone.shape)
    holder, name = (backbone.embed, "normalise") if pixels else (backbone.encoder, "rotary")
    before = getattr(holder, name)
    setattr(holder, name, Prepared() if pixels else angles(before))
    try:
        yield
    finally:
        setattr(holder, name, before)


def angles(rotary: Mapping[bool, Rotary | None]) -> dict[bool, Rotary | None]:
    """Those of local and of global layers, without tables."""
    return {local: kept and Angles(kept.head_width, kept.base) for local, kept in rotary.items()}


@contextmanager
def quietly() -> Iterator[None]:
    """Without what torch says of packages that are not needed here."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


class Opened:
    """A file of this form in onnxruntime, on the CPU."""

    def __init__(self, path: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]
        self.prepared = prepared_in(path.parent)

    def __call__(self, batch: Batch) -> Answer:
        """The outputs for a batch of the signal."""
        given = fed(batch, self.prepared)
        found = self.session.run(None, {name: given[name] for name in self.inputs})
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(self.outputs, found, strict=True)}


def prepared_in(folder: Path) -> dict[str, Any]:
    """How a folder says that pictures are prepared; nothing where it does not."""
    return read_json(folder / PREPARES) if (folder / PREPARES).is_file() else {}


def fed(batch: Batch, prepared: Mapping[str, Any] = EMPTY) -> dict[str, np.ndarray]:
    """The inputs that stand for a batch: int64 (B, T), or of pixels float32 (B, C, H, W), prepared as a folder says."""
    if "pixels" in batch:
        mean, std = (np.array(prepared[f"image_{name}"], np.float32).reshape(1, -1, 1, 1) for name in ("mean", "std"))
        return {PIXELS: (batch["pixels"].numpy() / np.float32(255) - mean) / std}
    tokens = batch["tokens"]
    pad = batch.get("pad", torch.zeros_like(tokens, dtype=torch.bool))
    segments = batch.get("segments", torch.zeros_like(tokens))
    given = {"input_ids": tokens, "attention_mask": (~pad).long(), "token_type_ids": segments}
    return {name: value.numpy() for name, value in given.items()}
