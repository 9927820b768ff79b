"""Convolving with a composed filter: cheapest while it is small and the feature map is large."""

from collections.abc import Sequence

from keras import ops

from keras_njet._convolution.depthwise import depthwise_conv
from keras_njet._convolution.sampling import Axis


def convolve(x, kernel, axes: Sequence[Axis], groups: int = 1):
    """Convolves with a filter whose centre lies on the pixels `start + stride·(0, ..., count - 1)` of each axis.

    Args:
        x: Tensor of shape `(batch, *sizes, channels)`.
        kernel: Tensor of shape `(*filter sizes, channels / groups, filters)`, the sizes odd.
        axes: For each axis where the pixels lie, in integers.
        groups: Integer, number of groups of channels.

    Returns:
        A tensor of shape `(batch, *counts, filters)`; pixels outside the input count as 0.
    """
    radii = [size // 2 for size in kernel.shape[: len(axes)]]
    strides = tuple(axis.stride for axis in axes)
    if all(axis.has_each_pixel for axis in axes):
        return _convolve(x, kernel, strides, "same", groups)
    before = [radius - axis.start for radius, axis in zip(radii, axes, strict=True)]
    after = [
        axis.start + (axis.count - 1) * axis.stride + radius - (axis.size - 1)
        for radius, axis in zip(radii, axes, strict=True)
    ]
    kept = [slice(max(0, -b), axis.size - max(0, -a)) for b, a, axis in zip(before, after, axes, strict=True)]
    padding = [[max(0, b), max(0, a)] for b, a in zip(before, after, strict=True)]
    x = ops.pad(x[(slice(None), *kept)], [[0, 0], *padding, [0, 0]])
    return _convolve(x, kernel, strides, "valid", groups)


def _convolve(x, kernel, strides, padding, groups):
    options = {"strides": strides, "padding": padding, "data_format": "channels_last"}
    # Keras has no depthwise convolution of volumes, TensorFlow none with unequal strides.
    if 1 < groups == x.shape[-1] and len(strides) < 3 and len(set(strides)) == 1:
        kernel = ops.reshape(kernel, (*kernel.shape[:-2], groups, -1))
        if set(strides) == {1} and len(strides) == 2 and padding == "same" and kernel.shape[-1] == 1:
            return depthwise_conv(x, kernel)
        return ops.depthwise_conv(x, kernel, **options)
    return ops.conv(x, kernel, **options)
