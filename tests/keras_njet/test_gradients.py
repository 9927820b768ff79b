"""Guards the gradients that have a path for each backend, against what is known of them."""

import keras
import numpy as np
import pytest

from keras_njet import _gradients


def test_the_gradient_and_none_of_the_weights():
    layer = keras.layers.Dense(1, use_bias=False)
    layer.build((1, 3))
    layer.set_weights([np.array([[2.0], [-3.0], [0.5]])])
    x = np.array([[1.0, 2.0, 4.0]], "float32")
    found = _gradients.gradient(lambda x: layer(x)[0, 0] ** 2, x)
    np.testing.assert_allclose(found, 2 * (2.0 - 6.0 + 2.0) * np.array([[2.0, -3.0, 0.5]]))
    assert isinstance(found, np.ndarray)
    assert getattr(layer.kernel.value, "grad", None) is None


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no need of it")
@pytest.mark.parametrize("size", [(3, 3), (5, 3), (3, 4)])
def test_the_gradient_of_depthwise_filters_is_the_sum_over_pixels(size):
    rng = np.random.default_rng(0)
    height, width = size
    x, upstream = rng.normal(size=(2, 9, 8, 3)), rng.normal(size=(2, 10 - height, 9 - width, 3))
    tensors = [keras.ops.convert_to_tensor(array, "float32") for array in (x, upstream)]
    found = keras.ops.convert_to_numpy(_gradients.depthwise_kernel_gradient(tensors[0], size, tensors[1]))
    expected = [
        [np.sum(x[:, i : i + upstream.shape[1], j : j + upstream.shape[2]] * upstream, (0, 1, 2)) for j in range(width)]
        for i in range(height)
    ]
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)
