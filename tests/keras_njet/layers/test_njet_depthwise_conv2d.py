"""Guards `NJetDepthwiseConv2D`: its numbers against SciPy and Keras' own layer, its gradients, its manners."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.testing import TestCase

from keras_njet import NJetConv2D, NJetDepthwiseConv2D
from tests.helpers import examples, layer_gradients, njet_convolution, to_numpy

RNG = np.random.default_rng(0)


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    sigma=st.floats(0.3, 4.0),
    order=st.integers(0, 4),
    channels=st.integers(1, 4),
    depth_multiplier=st.integers(1, 3),
    implementation=st.sampled_from(["matrix", "dense", "auto"]),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
@settings(max_examples=examples(25), deadline=None)
def test_output_is_that_of_scipys_gaussian_filter(
    height, width, sigma, order, channels, depth_multiplier, implementation, data_format
):
    layer = NJetDepthwiseConv2D(
        depth_multiplier=depth_multiplier,
        order=order,
        sigma=sigma,
        implementation=implementation,
        data_format=data_format,
        use_bias=False,
    )
    x = np.random.default_rng(height * width).normal(size=(2, height, width, channels)).astype("float32")
    ours = to_numpy(layer(x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)))
    ours = ours if data_format == "channels_last" else ours.transpose(0, 2, 3, 1)
    expected = njet_convolution(x, to_numpy(layer.coefficients), sigma, order, groups=channels)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
def test_gradients_are_those_of_finite_differences_of_scipy(implementation):
    sigma, order, channels = 1.2, 2, 3
    layer = NJetDepthwiseConv2D(
        depth_multiplier=2, order=order, sigma=sigma, implementation=implementation, use_bias=False
    )
    x = RNG.normal(size=(2, 7, 6, channels)).astype("float32")
    weights = RNG.normal(size=(2, 7, 6, 2 * channels)).astype("float32")
    layer.build(x.shape)
    alpha = to_numpy(layer.coefficients)
    gradients = dict(zip(("x", "alpha", "log2_sigma"), layer_gradients(layer, x, weights), strict=True))
    point = {"x": x.astype("float64"), "alpha": alpha.astype("float64"), "log2_sigma": math.log2(sigma)}

    def outputs(x, alpha, log2_sigma):
        return njet_convolution(x, alpha, 2.0**log2_sigma, order, groups=channels)

    for name, gradient in gradients.items():
        direction = RNG.normal(size=np.shape(point[name]))
        ends = [outputs(**{**point, name: point[name] + step * direction}) for step in (1e-4, -1e-4)]
        change = (ends[0] - ends[1]) / 2e-4
        scale = np.linalg.norm(weights) * np.linalg.norm(change)
        assert abs(np.sum(gradient * direction) - np.sum(weights * change)) < 1e-4 * scale, name


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(12, 12), (11, 14)])
def test_strides_and_padding_are_those_of_depthwise_conv2d(implementation, padding, strides, size):
    x = RNG.normal(size=(2, *size, 3)).astype("float32")
    layer = NJetDepthwiseConv2D(
        depth_multiplier=2, strides=strides, padding=padding, implementation=implementation, use_bias=False
    )
    outputs = to_numpy(layer(x))
    assert layer.kernel.shape == (5, 5, 3, 2)
    convolution = keras.layers.DepthwiseConv2D(layer.kernel_size, strides, padding, depth_multiplier=2, use_bias=False)
    convolution.build(x.shape)
    convolution.kernel.assign(layer.kernel)
    np.testing.assert_allclose(outputs, to_numpy(convolution(x)), atol=1e-5)


def test_it_is_njet_conv2d_with_a_group_a_channel():
    x = RNG.normal(size=(2, 9, 8, 4)).astype("float32")
    depthwise, grouped = (
        NJetDepthwiseConv2D(depth_multiplier=3, subsample_rate=4.0),
        NJetConv2D(12, groups=4, subsample_rate=4.0),
    )
    depthwise.build(x.shape)
    grouped.build(x.shape)
    assert [v.shape for v in depthwise.weights] == [v.shape for v in grouped.weights]
    for layer in (depthwise, grouped):
        layer.sigma = 2.0
    grouped.coefficients.assign(depthwise.coefficients)
    outputs = to_numpy(depthwise(x))
    assert outputs.shape == (2, 6, 5, 12)
    np.testing.assert_allclose(outputs, to_numpy(grouped(x)), atol=1e-6)


@pytest.mark.parametrize("exponent", range(-6, 7))
def test_outputs_and_gradients_are_finite_from_tiny_to_huge_sigma(exponent):
    layer = NJetDepthwiseConv2D(depth_multiplier=2, order=4, sigma=2.0**exponent)
    x = RNG.normal(size=(1, 9, 11, 2)).astype("float32")
    layer.build(x.shape)
    outputs = to_numpy(layer(x))
    assert np.abs(outputs).max() > 0
    for array in (outputs, *layer_gradients(layer, x, np.ones_like(outputs))):
        assert np.all(np.isfinite(array))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype):
    layer = NJetDepthwiseConv2D(sigma=1.5, dtype=dtype, use_bias=False)
    x = RNG.normal(size=(2, 10, 8, 3)).astype("float32")
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    assert layer.log2_sigma.dtype == "float32"
    expected = njet_convolution(x, to_numpy(layer.coefficients), 1.5, 3, groups=3)
    tolerance = {"mixed_float16": 5e-3, "mixed_bfloat16": 4e-2}[dtype]
    np.testing.assert_allclose(to_numpy(outputs), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("order", [0, 3])
@pytest.mark.parametrize("sigma", [0.3, 5.0])
def test_ten_layers_neither_explode_nor_die(order, sigma):
    keras.utils.set_random_seed(order)
    x = np.random.default_rng(1).normal(size=(4, 48, 48, 128)).astype("float32")
    mean_squares = []
    for _ in range(10):
        x = to_numpy(NJetDepthwiseConv2D(order=order, sigma=sigma, use_bias=False)(x))
        mean_squares.append(np.mean(x[:, 8:-8, 8:-8] ** 2))
    assert 1 / 100 < mean_squares[-1] / mean_squares[0] < 100


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer: serialisation, symbolic calls, dtypes, a step of `fit`."""

    def run_all(self, shape, output_shape, **arguments):
        self.run_layer_test(
            NJetDepthwiseConv2D,
            init_kwargs={"depth_multiplier": 2, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 8, 9, 4), (2, 8, 9, 8))

    def test_strides(self):
        self.run_all((2, 8, 9, 4), (2, 4, 5, 8), strides=2)

    def test_channels_first(self):
        self.run_all((2, 4, 8, 9), (2, 8, 8, 9), data_format="channels_first")

    def test_subsampled(self):
        self.run_all((2, 8, 9, 4), (2, None, None, 8), subsample_rate=4.0)


def test_symbolic_calls_with_unknown_height_and_width():
    outputs = NJetDepthwiseConv2D(depth_multiplier=2, strides=2)(keras.KerasTensor((None, None, 7, 3)))
    assert outputs.shape == (None, None, 4, 6)


def test_fit_makes_its_size_follow_sigma():
    layer = NJetDepthwiseConv2D(
        depth_multiplier=2, subsample_rate=4.0, sigma_regularizer=lambda sigma: -keras.ops.log(sigma)
    )
    model = keras.Sequential([keras.Input((16, 16, 2)), layer, keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(0.3), "mse")
    model.fit(np.zeros((8, 16, 16, 2)), np.zeros((8, 4)), epochs=8, verbose=0)
    model.evaluate(np.zeros((8, 16, 16, 2)), np.zeros((8, 4)), verbose=0)
    size = math.floor(16 * 0.5 ** (float(to_numpy(layer.sigma)) / 4))
    assert size < 13
    assert layer.feature_map_size == (size, size)


def test_bad_arguments_are_named_in_the_error():
    for value in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=f"Received: depth_multiplier={value!r}$"):
            NJetDepthwiseConv2D(depth_multiplier=value)
    with pytest.raises(ValueError, match=r"Received: input_shape=\(None, 8, 8, None\)$"):
        NJetDepthwiseConv2D().build((None, 8, 8, None))
