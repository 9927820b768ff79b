"""Where the pixels of an output lie on the input: strides, padding and linear resampling, one axis at a time."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_njet._convolution.products import along_axis

_LARGEST_MATRIX = 2**21  # entries; a longer axis is resampled by its neighbouring pixels


@dataclasses.dataclass(frozen=True)
class Axis:
    """Geometry of a convolution along one axis, in pixels; integers, or integer tensors where a size is not known.

    Attributes:
        size: Size of the input.
        start: Position of the first output pixel on the input.
        stride: Distance between output pixels.
        count: Number of output pixels.
        new_size: Number of pixels after subsampling, equal to `count` where there is none.
    """

    size: Any
    start: Any
    stride: int
    count: Any
    new_size: Any

    @classmethod
    def of_tile(cls, block: int, halo: int, stride: int = 1) -> "Axis":
        """A tile of `block` output pixels that depend on `halo` further input pixels on either side."""
        return cls(stride * (block - 1) + 1 + 2 * halo, halo, stride, count=block, new_size=block)

    @property
    def is_known(self) -> bool:
        """Whether the sizes are integers."""
        return isinstance(self.size, int) and isinstance(self.new_size, int)

    @property
    def has_each_pixel(self) -> bool:
        """Whether there is an output pixel on each pixel of the input, before subsampling; true of any size."""
        is_whole = self.count is self.size or (self.is_known and self.count == self.size)
        return is_whole and (self.start, self.stride) == (0, 1)

    @property
    def is_subsampled(self) -> bool:
        """Whether the output is subsampled; sizes that are tensors are not compared."""
        return self.new_size is not self.count and not (self.is_known and self.new_size == self.count)

    def offsets(self, dtype: str):
        """Distances of all input pixels from each output pixel: a tensor of shape `(count, size)`."""
        arange = np.arange if self.is_known else ops.arange
        centres = self.start + self.stride * arange(self.count)
        return ops.convert_to_tensor(arange(self.size)[None, :] - centres[:, None], dtype)

    def subsampling(self, dtype: str):
        """Matrix of shape `(new_size, count)` that subsamples the output."""
        return linear_matrix(self.count, self.new_size, dtype)


def strided_positions(size, stride: int, margin):
    """Positions of the output pixels of a convolution along one axis: `start + stride·(0, 1, ..., count - 1)`.

    With "same" padding they are those of `keras.layers.Conv2D` with any odd filter at least as wide as the stride: they
    do not depend on the size of the filter.

    Args:
        size: Size of the input in pixels, an integer or an integer tensor.
        stride: Integer ≥ 1.
        margin: "same", or the distance in pixels that the output keeps from the border of the input: the half-width of
            the filter for "valid" padding.

    Returns:
        `(start, count)`, integers or integer tensors.
    """
    if margin == "same" and stride == 1:
        return 0, size  # the size itself, also where it is a tensor
    if margin == "same":
        count = (size + stride - 1) // stride
        return (size - (count - 1) * stride) // 2, count
    count = (size - 2 * margin - 1) // stride + 1
    if isinstance(count, int) and count < 1:
        raise ValueError(
            "Without padding the input must be at least as large as the filter. Expected a size of at least "
            f"{2 * margin + 1} pixels. Received: size={size}"
        )
    return margin, count


def resample(x, new_sizes: Sequence):
    """Resamples a "channels_last" feature map linearly along each axis, as `linear_matrix` does along one.

    Args:
        x: Tensor of shape `(batch, *sizes, channels)`.
        new_sizes: The size of each axis afterwards, in pixels: integers, or integer tensors; None to leave one alone.

    Returns:
        A tensor of shape `(batch, *new_sizes, channels)`.
    """
    for index in reversed(range(len(new_sizes))):
        if new_sizes[index] is not None:
            x = _resample_axis(x, 1 + index, new_sizes[index])
    return x


def linear_matrix(size, new_size, dtype="float32"):
    """Matrix that resamples an axis linearly, with pixel centres at half-integers and no anti-aliasing.

    The same numbers as a bilinear resize of an image, but as a matrix product, so that every backend agrees.

    Args:
        size: Size of the axis before, in pixels, an integer or an integer tensor.
        new_size: Size of the axis after, likewise.
        dtype: Dtype of the result.

    Returns:
        A tensor of shape `(new_size, size)` whose rows add up to one.
    """
    if isinstance(size, int) and isinstance(new_size, int):
        numbers, ratio, last = np, size / new_size, size - 1  # a constant, as each operation takes long to be traced
    else:
        numbers, ratio, last = ops, ops.cast(size, dtype) / ops.cast(new_size, dtype), ops.cast(size - 1, dtype)
    centres = numbers.clip((numbers.arange(new_size, dtype=dtype) + 0.5) * ratio - 0.5, 0.0, last)
    distances = numbers.abs(centres[:, None] - numbers.arange(size, dtype=dtype))
    return ops.convert_to_tensor(numbers.maximum(1.0 - distances, 0.0), dtype)


def _resample_axis(x, axis, new_size):
    size = ops.shape(x)[axis]
    dtype = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
    is_known = isinstance(size, int) and isinstance(new_size, int)
    if not is_known or size * new_size <= _LARGEST_MATRIX:
        return along_axis(ops.cast(linear_matrix(size, new_size, dtype), x.dtype), x, axis)
    centres = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    below = np.minimum(centres.astype("int32"), size - 2)
    share = np.reshape(centres - below, (-1,) + (1,) * (len(x.shape) - 1 - axis))
    share = ops.cast(ops.convert_to_tensor(share, dtype), x.dtype)
    return ops.take(x, below, axis=axis) * (1 - share) + ops.take(x, below + 1, axis=axis) * share
