"""How many steps a stretch of sound becomes: one rule for joined frames and for convolutions over samples."""

from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

if TYPE_CHECKING:  # shapes are described without torch, which takes seconds to load
    from torch import Tensor

Count = TypeVar("Count", int, np.ndarray, "Tensor")


def steps_of(length: Count, field: int, stride: int) -> Count:
    """Units of the input (samples, frames) -> steps: how often `field` units fit, each time `stride` farther.

    Exact for a chain of unpadded convolutions, whose steps floor(… (n - k) / s + 1 …) are those of one convolution over
    their whole field. 0 where the input is shorter than the field.
    """
    steps = (length - field) // stride + 1
    return cast(Count, max(steps, 0)) if isinstance(steps, int) else steps.clip(min=0)


def field_and_stride(kernels: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """Of a chain of convolutions: the units that a step sees, and from one step to the next."""
    field = stride = 1
    for kernel, jump in zip(kernels, strides, strict=True):
        field, stride = field + (kernel - 1) * stride, stride * jump
    return field, stride
