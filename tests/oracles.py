"""What the tests compare with: NumPy and SciPy in float64, and each backend's own differentiation."""

import itertools
import warnings

import keras
import numpy as np
import scipy.ndimage


def njet_convolution(x, coefficients, sigma, order, extent=2.0, groups=1):
    """An N-Jet convolution with "same" padding, by `scipy.ndimage.gaussian_filter`, for a "channels_last" map.

    Of any number of axes; `sigma` is a number, or one for each axis. SciPy convolves with the derivatives; a
    convolutional layer correlates, hence the sign (-1)^m.
    """
    x = np.asarray(x, "float64")
    batch, *sizes, channels = x.shape
    filters = coefficients.shape[-1]
    sigmas = np.broadcast_to(sigma, len(sizes))
    radii = [max(1, int(np.ceil(extent * one - 1e-4))) for one in sigmas]
    # SciPy limits a filter to the size of the map only in "reflect" modes; zeros around make it work for any radius.
    x = np.pad(x, [(0, 0), *((radius, radius) for radius in radii), (0, 0)])
    kept = tuple(slice(radius, radius + size) for radius, size in zip(radii, sizes, strict=True))
    out = np.zeros((batch, *sizes, filters))
    for index, orders in enumerate(orders_by_hand(order, len(sizes))):
        filtered = np.zeros_like(x)
        for b in range(batch):
            for c in range(channels):
                filtered[b, ..., c] = scipy.ndimage.gaussian_filter(
                    x[b, ..., c], sigmas, order=orders, mode="constant", radius=radii
                )
        filtered = filtered[(slice(None), *kept)] * np.prod((-sigmas) ** np.array(orders))
        for g in range(groups):
            ins = slice(g * channels // groups, (g + 1) * channels // groups)
            outs = slice(g * filters // groups, (g + 1) * filters // groups)
            out[..., outs] += filtered[..., ins] @ np.asarray(coefficients, "float64")[index][:, outs]
    return out


def orders_by_hand(order, axes=2):
    return [orders for orders in itertools.product(range(order + 1), repeat=axes) if sum(orders) <= order]


def bilinear_resize(x, height, width):
    """Bilinear resampling of a "channels_last" map with pixel centres at half-integers, pixel by pixel."""
    x = np.asarray(x, "float64")
    for axis, new in ((1, height), (2, width)):
        old = x.shape[axis]
        slices = []
        for index in range(new):
            position = min(max((index + 0.5) * old / new - 0.5, 0), old - 1)
            low = int(np.floor(position))
            high = min(low + 1, old - 1)
            slices.append((1 - position + low) * x.take(low, axis) + (position - low) * x.take(high, axis))
        x = np.stack(slices, axis)
    return x


def gradients(function, *arrays):
    """Gradients of a scalar function of tensors, by the backend, as NumPy arrays."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            for tensor in tensors:
                tape.watch(tensor)
            value = function(*tensors)
        return [np.asarray(part) for part in tape.gradient(value, tensors)]
    if keras.backend.backend() == "jax":
        import jax

        return [np.asarray(part) for part in jax.grad(function, argnums=tuple(range(len(arrays))))(*arrays)]
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    function(*tensors).backward()
    return [tensor.grad.numpy() for tensor in tensors]


def layer_gradients(layer, x, weights):
    """Gradients of Σ weights·layer(x) with respect to x and the layer's trainable variables, in this order."""
    trainable = layer.trainable_variables
    values = [keras.ops.convert_to_numpy(variable) for variable in trainable]

    def loss(x, *values):
        outputs, _ = layer.stateless_call(values, [v.value for v in layer.non_trainable_variables], x)
        return keras.ops.sum(keras.ops.cast(outputs, "float32") * keras.ops.convert_to_tensor(weights))

    with warnings.catch_warnings():
        # JAX's differentiation is a function of our own, of which a layer that subsamples rightly warns.
        warnings.filterwarnings("ignore", "The size of the feature map", UserWarning)
        return gradients(loss, np.asarray(x), *values)


def to_numpy(tensor):
    """A float32 array, of tensors of any float type."""
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
