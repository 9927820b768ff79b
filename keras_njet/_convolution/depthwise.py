"""Depthwise convolution with a faster gradient of its filters.

oneDNN, with which TensorFlow and torch convolve on a CPU, is quick with the gradient of a depthwise filter that is
three pixels wide, however high, and several times slower per pixel if the filter is wider. So the gradient of a wide
filter is computed in strips of three columns.
"""

import keras
from keras import ops

from keras_njet._gradients import depthwise_input_gradient, depthwise_kernel_gradient, with_gradients

_STRIP = 3
_WITH_ONEDNN = ("tensorflow", "torch")


def depthwise_conv(x, kernel):
    """Convolves each channel with a filter of its own, "same" padding, "channels_last".

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        kernel: Tensor of shape `(size, size, channels, 1)`, size odd.

    Returns:
        A tensor of the shape of `x`.
    """
    if kernel.shape[0] <= _STRIP or keras.config.backend() not in _WITH_ONEDNN:
        return _conv(x, kernel)
    return with_gradients(_conv, (_input_gradient, _kernel_gradient))(x, kernel)


def _conv(x, kernel):
    return ops.depthwise_conv(x, kernel, padding="same", data_format="channels_last")


def _input_gradient(x, kernel, upstream):
    return depthwise_input_gradient(kernel, upstream)


def _kernel_gradient(x, kernel, upstream):
    size, width = kernel.shape[0], ops.shape(x)[2]
    radius = size // 2
    x = ops.pad(x, [[0, 0], [radius, radius], [radius, radius], [0, 0]])
    strips = []
    for column in range(0, size, _STRIP):
        start = min(column, size - _STRIP)  # the last strip overlaps the one before
        columns = x[:, :, start : start + width + _STRIP - 1]
        strips.append(depthwise_kernel_gradient(columns, (size, _STRIP), upstream)[:, column - start :])
    return ops.concatenate(strips, axis=1)
