"""Guards the depthwise convolution with a gradient in strips against the gradient of Keras' own."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_njet._convolution.depthwise import depthwise_conv
from tests.helpers import gradients, to_numpy

RNG = np.random.default_rng(0)


def plain(x, kernel):
    return ops.depthwise_conv(x, kernel, padding="same", data_format="channels_last")


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 13])  # one strip, strips that overlap, that do not, wider than the map
def test_outputs_and_gradients_are_those_of_keras(size):
    x, kernel = RNG.normal(size=(2, 8, 11, 3)).astype("float32"), RNG.normal(size=(size, size, 3, 1)).astype("float32")
    weights = ops.convert_to_tensor(RNG.normal(size=x.shape), "float32")
    ours = to_numpy(depthwise_conv(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)))
    np.testing.assert_allclose(ours, to_numpy(plain(x, kernel)), atol=1e-5)
    found = gradients(lambda x, kernel: ops.sum(weights * depthwise_conv(x, kernel)), x, kernel)
    expected = gradients(lambda x, kernel: ops.sum(weights * plain(x, kernel)), x, kernel)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="on JAX it is the convolution of Keras itself")
@pytest.mark.parametrize("size", [5, 13])
def test_gradients_of_gradients_are_those_of_keras(size):
    """A penalty on the gradient of the feature map, as in the training of some generative networks."""
    x, kernel = RNG.normal(size=(2, 8, 11, 3)).astype("float32"), RNG.normal(size=(size, size, 3, 1)).astype("float32")

    def penalty(convolve):
        def loss(x, kernel):
            return ops.sum(ops.square(convolve(x, kernel)))

        def of_both(x, kernel):
            return sum(ops.sum(ops.square(each)) for each in differentiable_gradients(loss, x, kernel))

        return gradients(of_both, x, kernel)

    for ours, theirs in zip(penalty(depthwise_conv), penalty(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def differentiable_gradients(function, *tensors):
    """Gradients of a scalar function, which can be differentiated again."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return tape.gradient(value, tensors)
    import torch

    return torch.autograd.grad(function(*tensors), tensors, create_graph=True)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch's own differentiation")
def test_the_functional_gradient_of_torch_goes_through():
    import torch

    x, kernel = torch.randn(2, 8, 11, 3), torch.randn(5, 5, 3, 1)
    ours, keras_own = (
        torch.func.grad(lambda x, kernel, convolve=convolve: convolve(x, kernel).square().sum(), (0, 1))(x, kernel)
        for convolve in (depthwise_conv, plain)
    )
    for found, expected in zip(ours, keras_own, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_a_filter_is_trained_in_fit_with_any_batch_and_in_half_precision():
    class Layer(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(5, 5, shape[-1], 1))

        def call(self, x):
            return depthwise_conv(x, ops.cast(self.kernel, x.dtype))

    x = RNG.normal(size=(6, 8, 8, 3)).astype("float32")
    target = to_numpy(plain(x, RNG.normal(size=(5, 5, 3, 1)).astype("float32")))
    for policy, most in (("float32", 1e-3), ("mixed_bfloat16", 0.1)):
        model = keras.Sequential([keras.Input((8, 8, 3)), Layer(dtype=policy)])
        model.compile(keras.optimizers.Adam(0.05), "mse")
        history = model.fit(x, target, batch_size=4, epochs=100, verbose=0).history["loss"]
        assert history[-1] < most * history[0]
