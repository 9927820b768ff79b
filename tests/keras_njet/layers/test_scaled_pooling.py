"""Guards `ScaledPooling`: larger windows at the places of the original ones, compared with SciPy."""

import keras
import numpy as np
import pytest
import scipy.ndimage

from keras_njet.layers import ScaledPooling
from tests.helpers import to_numpy

RNG = np.random.default_rng(0)
KINDS = {
    (1, "max"): keras.layers.MaxPooling1D,
    (2, "max"): keras.layers.MaxPooling2D,
    (3, "max"): keras.layers.MaxPooling3D,
    (1, "mean"): keras.layers.AveragePooling1D,
    (2, "mean"): keras.layers.AveragePooling2D,
    (3, "mean"): keras.layers.AveragePooling3D,
}


def by_scipy(x, window, first, stride, count, kind):
    """Windows of some pixels, the first from `first` on, on a map that its border pixels continue."""
    for axis in range(1, x.ndim - 1):
        padded = np.pad(x, [(20, 20) if other == axis else (0, 0) for other in range(x.ndim)], "edge")
        filter_ = scipy.ndimage.maximum_filter1d if kind == "max" else scipy.ndimage.uniform_filter1d
        filtered = filter_(padded, window, axis, origin=-((window - 1) // 2) if window % 2 else -(window // 2))
        x = filtered.take(20 + first + stride * np.arange(count), axis)
    return x


@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("own", "padding", "factor", "window", "first"),
    [
        (2, "valid", 2.0, 4, -1),
        (2, "valid", 3.0, 6, -2),
        (3, "valid", 1.5, 5, -1),  # 4.5 is rounded up
        (3, "same", 2.0, 6, -1),  # of 12 pixels "same" adds one at the end
        (3, "valid", 0.5, 2, 1),
        (2, "valid", 0.5, 1, 1),
    ],
)
def test_windows_grow_in_their_places(axes, kind, own, padding, factor, window, first):
    x = RNG.normal(size=(2, *(12,) * axes, 3)).astype("float32")
    pooling = KINDS[axes, kind](own, 2, padding)
    layer = ScaledPooling(pooling, factor)
    assert layer.pool_size == (window,) * axes
    outputs = to_numpy(layer(x))
    assert outputs.shape == tuple(pooling(x).shape) == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(outputs, by_scipy(x, window, first, 2, outputs.shape[1], kind), atol=1e-6)


def test_a_factor_of_one_pools_as_the_original():
    x = RNG.normal(size=(2, 11, 9, 3)).astype("float32")
    pooling = keras.layers.MaxPooling2D(3, 2)
    np.testing.assert_array_equal(to_numpy(ScaledPooling(pooling, 1.0)(x)), to_numpy(pooling(x)))


def test_means_of_integers():
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 2)).astype("uint8")
    layer = ScaledPooling(keras.layers.AveragePooling2D(2), 2.0)
    np.testing.assert_array_equal(to_numpy(layer(images)), to_numpy(layer(images.astype("float32"))))


def test_a_factor_for_each_axis_and_channels_first():
    x = RNG.normal(size=(2, 3, 12, 12)).astype("float32")
    first = ScaledPooling(keras.layers.MaxPooling2D(2, data_format="channels_first"), (2, 3))
    last = ScaledPooling(keras.layers.MaxPooling2D(2, data_format="channels_last"), (2, 3))
    assert first.pool_size == (4, 6)
    np.testing.assert_array_equal(to_numpy(first(x)), np.moveaxis(to_numpy(last(np.moveaxis(x, 1, -1).copy())), -1, 1))


def test_sizes_that_are_not_known_when_a_function_is_compiled():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, ScaledPooling(keras.layers.AveragePooling2D(3, 2, "same"), 2.0)(inputs))
    x = RNG.normal(size=(2, 13, 8, 2)).astype("float32")
    layer = ScaledPooling(keras.layers.AveragePooling2D(3, 2, "same"), 2.0)
    np.testing.assert_allclose(model.predict(x, verbose=0), to_numpy(layer(x)), atol=1e-6)


def test_its_configuration_is_complete():
    layer = ScaledPooling(keras.layers.MaxPooling2D(3, 2, "same"), 1.5, name="pool")
    copy = ScaledPooling.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.name, copy.pool_size, copy.strides, copy.pooling.padding) == ("pool", (5, 5), (2, 2), "same")


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"pooling layer of Keras. Received: pooling="):
        ScaledPooling(keras.layers.GlobalMaxPooling2D(), 2.0)
    with pytest.raises(ValueError, match=r"`factor` must be a finite number above 0. Received: factor=0"):
        ScaledPooling(keras.layers.MaxPooling2D(2), 0)
    with pytest.raises(ValueError, match=r"2 of them, one per axis. Received: factor=\(1, 2, 3\)"):
        ScaledPooling(keras.layers.MaxPooling2D(2), (1, 2, 3))
