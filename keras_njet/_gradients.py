"""Gradients that Keras has no common function for, one backend at a time."""

import functools

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


def with_gradients(function, gradients):
    """A function of tensors with gradients of its own, on TensorFlow and torch; these can be differentiated again.

    Args:
        function: Function of tensors that returns a tensor.
        gradients: For each of the tensors a function of all of them and of the gradient with respect to the output,
            that returns the gradient with respect to this tensor.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.custom_gradient
        def differentiable(*tensors):
            return function(*tensors), lambda upstream: [gradient(*tensors, upstream) for gradient in gradients]

        return differentiable
    return functools.partial(_torch_function().apply, function, gradients)


@functools.cache
def _torch_function():
    """Keras' own custom gradient on torch has no `setup_context`, which `torch.func` needs."""
    import torch

    class WithGradients(torch.autograd.Function):
        @staticmethod
        def forward(function, gradients, *tensors):
            return function(*tensors)

        @staticmethod
        def setup_context(ctx, inputs, output):
            _, ctx.gradients, *tensors = inputs
            ctx.save_for_backward(*tensors)

        @staticmethod
        def backward(ctx, upstream):
            wanted = zip(ctx.gradients, ctx.needs_input_grad[2:], strict=True)
            found = [gradient(*ctx.saved_tensors, upstream) if is_wanted else None for gradient, is_wanted in wanted]
            return None, None, *found

    return WithGradients


def depthwise_input_gradient(kernel, upstream):
    """Gradient with respect to the input of a depthwise convolution with "same" padding, on TensorFlow and torch.

    Args:
        kernel: Filters of shape `(size, size, channels, 1)`, size odd.
        upstream: Gradient with respect to the output, `(batch, height, width, channels)`.

    Returns:
        A tensor of the shape of `upstream`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.depthwise_conv2d_backprop_input(tf.shape(upstream), kernel, upstream, (1, 1, 1, 1), "SAME")
    # On torch a convolution with the turned filters is faster than torch.nn.grad.conv2d_input.
    turned = ops.flip(kernel, (0, 1))
    return ops.depthwise_conv(upstream, turned, padding="same", data_format="channels_last")


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
