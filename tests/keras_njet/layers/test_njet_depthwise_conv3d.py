"""Guards what is special to `NJetDepthwiseConv3D`, of which Keras has none. See also `test_njet_conv.py`."""

import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_njet import NJetConv3D, NJetDepthwiseConv3D
from tests.helpers import to_numpy


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
@pytest.mark.parametrize("arguments", [{"subsample_rate": 4.0}, {"strides": (2, 1, 3), "padding": "valid"}])
def test_it_is_njet_conv3d_with_a_group_a_channel(arguments, implementation):
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 7, 2)).astype("float32")
    arguments = {"order": 1, "sigma": (1.5, 0.7, 1.1), "isotropic": False, **arguments}
    depthwise = NJetDepthwiseConv3D(depth_multiplier=3, implementation=implementation, **arguments)
    grouped = NJetConv3D(6, groups=2, implementation="matrix", **arguments)
    depthwise.build(x.shape)
    grouped.build(x.shape)
    assert [v.shape for v in depthwise.weights] == [v.shape for v in grouped.weights]
    grouped.coefficients.assign(depthwise.coefficients)
    np.testing.assert_allclose(to_numpy(depthwise(x)), to_numpy(grouped(x)), atol=1e-5)


def test_each_channel_may_have_a_sigma_for_each_axis():
    x = np.random.default_rng(0).normal(size=(1, 7, 8, 9, 2)).astype("float32")
    layer = NJetDepthwiseConv3D(order=1, sigma_sharing="input", isotropic=False, use_bias=False)
    layer.build(x.shape)
    layer.sigma = [[0.5, 1.0, 1.5], [2.0, 0.7, 0.4]]
    assert layer.kernel_size == (9, 5, 7)
    outputs = to_numpy(layer(x))
    for channel, sigma in enumerate(to_numpy(layer.sigma)):
        alone = NJetDepthwiseConv3D(order=1, sigma=tuple(sigma.tolist()), isotropic=False, use_bias=False)
        alone.build((None, None, None, None, 1))
        alone.coefficients.assign(to_numpy(layer.coefficients)[..., channel : channel + 1])
        part = slice(channel, channel + 1)
        np.testing.assert_allclose(outputs[..., part], to_numpy(alone(x[..., part])), atol=1e-5)


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer: serialisation, symbolic calls, dtypes, a step of `fit`."""

    def run_all(self, shape, output_shape, **arguments):
        self.run_layer_test(
            NJetDepthwiseConv3D,
            init_kwargs={"depth_multiplier": 2, "order": 1, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 5, 6, 7, 2), (2, 5, 6, 7, 4))

    def test_strides(self):
        self.run_all((2, 5, 6, 7, 2), (2, 5, 3, 3, 4), strides=(1, 2, 3))

    def test_channels_first(self):
        self.run_all((2, 2, 5, 6, 7), (2, 4, 5, 6, 7), data_format="channels_first")

    def test_subsampled(self):
        self.run_all((2, 5, 6, 7, 2), (2, None, None, None, 4), subsample_rate=4.0, isotropic=False)
