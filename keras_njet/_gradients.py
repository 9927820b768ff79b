"""Gradients that Keras has no common function for, one backend at a time."""

import keras
import numpy as np
from keras import ops


def gradient(function, x) -> np.ndarray:
    """Gradient of a scalar function of one tensor, at the array `x`. Keras has none that all backends share."""
    x = ops.convert_to_tensor(x)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return ops.convert_to_numpy(tape.gradient(value, x))
    if keras.backend.backend() == "jax":
        import jax

        return ops.convert_to_numpy(jax.grad(function)(x))
    import torch

    x = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(function(x), x)  # unlike `backward` it leaves the weights' gradients alone
    return ops.convert_to_numpy(found)


def depthwise_kernel_gradient(x, size: tuple[int, int], upstream):
    """Gradient with respect to the filters of a depthwise convolution without padding, on TensorFlow and torch.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        size: Pair of integers, height and width of the filters.
        upstream: Gradient with respect to the output, `(batch, new height, new width, channels)`.

    Returns:
        A tensor of shape `(*size, channels, 1)`.
    """
    channels = x.shape[-1]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.depthwise_conv2d_backprop_filter(x, (*size, channels, 1), upstream, (1, 1, 1, 1), "VALID")
    import torch

    x, upstream = x.permute(0, 3, 1, 2), upstream.permute(0, 3, 1, 2)
    found = torch.nn.grad.conv2d_weight(x, (channels, 1, *size), upstream, groups=channels)
    return found.permute(2, 3, 0, 1)
