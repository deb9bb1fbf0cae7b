"""An encoder and its head as an ONNX file: traced by torch, opened with onnxruntime.

Inputs are named as transformers names them: input_ids, attention_mask (1 at tokens, 0 at padding) and, where the shape
has segments, token_type_ids; all int64 (batch, steps), of any size. Outputs have the names that `scores` gives.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from firth.interop.check import Answer
from firth.model.encoder import Backbone
from firth.model.positions import Rotary, Turn
from firth.model.shape import Shape
from firth.objective import Composed
from firth.signal import Batch, Features

# B samples, T steps

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ENCODERS = ("bert", "modernbert")  # shapes whose steps all see each other
ONE_FILE = 1.5e9  # bytes of weights; more than 2 GB do not fit into one file of this form

Scores = Callable[[Features], dict[str, Tensor]]


class Angles(Rotary):
    """Rotary angles made anew in each pass: a table kept from before would end the texts that the file takes."""

    def __call__(self, steps: int, like: Tensor) -> Turn:
        return self.make(steps, like)


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


def write(path: Path, graph: Graph, outputs: list[str]) -> None:
    """Trace the graph, in evaluation mode, and write it; large weights into a file beside it, model.onnx.data."""
    shape, inputs = graph.backbone.shape, names_of(graph.backbone.shape)
    steps = torch.export.Dim("steps", **limits(shape))
    sizes = {0: torch.export.Dim("batch"), 1: steps}
    example = torch.ones(2, limits(shape).get("min", 8) + 1, dtype=torch.int64)
    large = sum(value.nbytes for value in graph.state_dict().values()) > ONE_FILE
    with torch.no_grad(), traceable(graph.backbone), quietly():
        program = torch.onnx.export(
            graph.eval(), tuple(example.clone() for _ in inputs), dynamo=True, verbose=False,
            input_names=inputs, output_names=outputs, dynamic_shapes=tuple(sizes for _ in inputs),
        )  # fmt: skip
        assert program is not None
        program.save(path, external_data=large)


def limits(shape: Shape) -> dict[str, int]:
    """The numbers of steps that are traced for. max: where positions are learned. min: beyond the reach of a window, so
    that the mask against farther steps is part of the graph; in shorter texts it hides nothing."""
    found = {"max": shape.positions} if shape.position_kind == "learned" else {}
    local = any(shape.is_local(layer) for layer in range(shape.layers))
    return found | ({"min": shape.window // 2 + 2} if local else {})


def names_of(shape: Shape) -> list[str]:
    """The inputs."""
    return ["input_ids", "attention_mask", *(["token_type_ids"] if shape.segments else [])]


@contextmanager
def traceable(backbone: Backbone) -> Iterator[None]:
    """The backbone as it can be traced for any length; afterwards it is as before."""
    encoder = backbone.encoder
    before = encoder.rotary
    encoder.rotary = {local: kept and Angles(kept.head_width, kept.base) for local, kept in before.items()}
    try:
        yield
    finally:
        encoder.rotary = before


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

    def __call__(self, batch: Batch) -> Answer:
        """The outputs for a batch of the signal."""
        given = fed(batch)
        found = self.session.run(None, {name: given[name] for name in self.inputs})
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(self.outputs, found, strict=True)}


def fed(batch: Batch) -> dict[str, np.ndarray]:
    """int64 (B, T): the inputs that stand for a batch."""
    tokens = batch["tokens"]
    pad = batch.get("pad", torch.zeros_like(tokens, dtype=torch.bool))
    segments = batch.get("segments", torch.zeros_like(tokens))
    given = {"input_ids": tokens, "attention_mask": (~pad).long(), "token_type_ids": segments}
    return {name: value.numpy() for name, value in given.items()}
