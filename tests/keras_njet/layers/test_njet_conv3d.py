"""Guards what is special to `NJetConv3D`: volumes cut into tiles, sizes along three axes. See `test_njet_conv.py`."""

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_njet import NJetConv3D
from keras_njet._convolution import evaluations
from tests.helpers import njet_convolution, to_numpy


@pytest.mark.parametrize("mixing", [0, 1, 3, "together"])
def test_volumes_that_are_cut_into_tiles_are_convolved_as_by_scipy(monkeypatch, mixing):
    tiled = evaluations.Matrices(mixing, reach=3, block=6)  # tiles of 12 voxels along depth and width
    monkeypatch.setattr(evaluations, "choose", lambda *args: (tiled, tiled))
    sigma = (1.2, 0.6, 1.5)
    layer = NJetConv3D(2, order=2, sigma=sigma, isotropic=False, use_bias=False)
    x = np.random.default_rng(0).normal(size=(2, 20, 7, 17, 2)).astype("float32")
    ours = to_numpy(layer(x))
    expected = njet_convolution(x, to_numpy(layer.coefficients), sigma, 2)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(None, None, None, None, 3), (2, None, 7, None, 3), (None, 8, None, 5, 3)])
def test_symbolic_calls_with_unknown_sizes(shape):
    layer = NJetConv3D(5, strides=(1, 2, 3))
    outputs = layer(keras.KerasTensor(shape))
    sizes = [None if size is None else -(-size // stride) for size, stride in zip(shape[1:4], (1, 2, 3), strict=True)]
    assert outputs.shape == (shape[0], *sizes, 5)
    assert layer.compute_output_shape(shape) == outputs.shape


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer: serialisation, symbolic calls, dtypes, a step of `fit`."""

    def run_all(self, shape, output_shape, **arguments):
        self.run_layer_test(
            NJetConv3D,
            init_kwargs={"filters": 4, "order": 1, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 5, 6, 7, 2), (2, 5, 6, 7, 4))

    def test_strides_and_groups(self):
        self.run_all((2, 5, 6, 7, 2), (2, 5, 3, 3, 4), strides=(1, 2, 3), groups=2)

    def test_channels_first_and_a_sigma_for_each_axis(self):
        arguments = {"isotropic": False, "sigma": (0.5, 1.0, 1.5), "data_format": "channels_first"}
        self.run_all((2, 2, 5, 6, 7), (2, 4, 5, 6, 7), **arguments)

    def test_subsampled(self):
        self.run_all((2, 5, 6, 7, 2), (2, None, None, None, 4), subsample_rate=4.0, isotropic=False)
