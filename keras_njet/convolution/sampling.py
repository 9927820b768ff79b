"""Where the pixels of an output lie on the input: strides, padding and bilinear resampling along one axis."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops


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
    def of_tile(cls, block: int, halo: int) -> "Axis":
        """A tile of `block` output pixels that depend on `halo` further input pixels on either side."""
        return cls(block + 2 * halo, halo, stride=1, count=block, new_size=block)

    @property
    def is_known(self) -> bool:
        """Whether the sizes are integers."""
        return isinstance(self.size, int) and isinstance(self.new_size, int)

    @property
    def is_subsampled(self) -> bool:
        """Whether the output is subsampled; the sizes may be tensors, which are not compared."""
        return self.new_size is not self.count

    @property
    def keeps_all_pixels(self) -> bool:
        """Whether there is an output pixel on each input pixel, and no other."""
        return (self.start, self.stride, self.new_size) == (0, 1, self.size)

    def offsets(self, dtype: str):
        """Distances of all input pixels from each output pixel: a tensor of shape `(count, size)`."""
        arange = np.arange if self.is_known else ops.arange
        centres = self.start + self.stride * arange(self.count)
        return ops.convert_to_tensor(arange(self.size)[None, :] - centres[:, None], dtype)

    def subsampling(self, dtype: str):
        """Matrix of shape `(new_size, count)` that subsamples the output."""
        return bilinear_matrix(self.count, self.new_size, dtype)


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


def bilinear_matrix(size, new_size, dtype="float32"):
    """Matrix that resamples an axis linearly, with pixel centres at half-integers and no anti-aliasing.

    The same numbers as a bilinear resize of an image, but as a matrix product, so that every backend agrees.

    Args:
        size: Size of the axis before, in pixels, an integer or an integer tensor.
        new_size: Size of the axis after, likewise.
        dtype: Dtype of the result.

    Returns:
        A tensor of shape `(new_size, size)` whose rows add up to one.
    """
    ratio = ops.cast(size, dtype) / ops.cast(new_size, dtype)
    centres = (ops.arange(new_size, dtype=dtype) + 0.5) * ratio - 0.5
    centres = ops.clip(centres, 0.0, ops.cast(size - 1, dtype))
    pixels = ops.arange(size, dtype=dtype)
    return ops.relu(1.0 - ops.abs(ops.expand_dims(centres, 1) - ops.expand_dims(pixels, 0)))
