"""Guards what is special to `NJetDepthwiseConv1D`: its numbers beside Keras' layer. See also `test_njet_conv.py`."""

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_njet import NJetDepthwiseConv1D
from tests.helpers import njet_convolution, to_numpy


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 3])
def test_strides_and_padding_are_those_of_depthwise_conv1d(strides, padding, implementation):
    x = np.random.default_rng(0).normal(size=(2, 14, 3)).astype("float32")
    arguments = {"strides": strides, "padding": padding, "depth_multiplier": 2, "use_bias": False}
    layer = NJetDepthwiseConv1D(implementation=implementation, **arguments)
    layer.build(x.shape)
    plain = keras.layers.DepthwiseConv1D(layer.kernel_size, **arguments)
    plain.build(x.shape)
    plain.kernel.assign(layer.kernel)
    np.testing.assert_allclose(to_numpy(layer(x)), to_numpy(plain(x)), atol=1e-5)


@pytest.mark.parametrize("implementation", ["matrix", "auto"])
def test_long_signals_are_convolved_as_by_scipy(implementation):
    layer = NJetDepthwiseConv1D(order=2, sigma=6.0, implementation=implementation, use_bias=False)
    x = np.random.default_rng(0).normal(size=(2, 16000, 3)).astype("float32")
    ours = to_numpy(layer(x))
    expected = njet_convolution(x, to_numpy(layer.coefficients), 6.0, 2, groups=3)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer: serialisation, symbolic calls, dtypes, a step of `fit`."""

    def run_all(self, shape, output_shape, **arguments):
        self.run_layer_test(
            NJetDepthwiseConv1D,
            init_kwargs={"depth_multiplier": 2, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 9, 4), (2, 9, 8))

    def test_strides(self):
        self.run_all((2, 9, 4), (2, 5, 8), strides=2)

    def test_channels_first(self):
        self.run_all((2, 4, 9), (2, 8, 9), data_format="channels_first")

    def test_subsampled(self):
        self.run_all((2, 9, 4), (2, None, 8), subsample_rate=4.0)
