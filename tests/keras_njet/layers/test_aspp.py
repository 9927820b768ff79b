"""Guards `ASPP`: the sum of Keras' own dilated convolutions, and the paper's numbers of weights."""

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_njet.layers import ASPP
from tests.helpers import to_numpy

RNG = np.random.default_rng(0)


def test_images_of_integers():
    images = RNG.integers(0, 256, (1, 9, 9, 3)).astype("uint8")
    layer = ASPP(2, rates=(1, 3))
    np.testing.assert_array_equal(to_numpy(layer(images)), to_numpy(layer(images.astype("float32"))))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_it_is_the_sum_of_dilated_convolutions(tied, data_format):
    x = RNG.normal(size=(2, 11, 14, 5)).astype("float32")
    layer = ASPP(3, rates=(1, 4, 6), tied=tied, data_format=data_format)
    ours = layer(x if data_format == "channels_last" else x.transpose(0, 3, 1, 2))
    ours = to_numpy(ours) if data_format == "channels_last" else to_numpy(ours).transpose(0, 2, 3, 1)
    layer.bias.assign([1.0, 2.0, 3.0])
    expected = 0.0
    for rate, kernel in zip((1, 4, 6), layer.kernels * 3 if tied else layer.kernels, strict=True):
        convolution = keras.layers.Conv2D(3, 3, padding="same", dilation_rate=rate, use_bias=False)
        convolution.build(x.shape)
        convolution.kernel.assign(kernel)
        expected = expected + to_numpy(convolution(x))
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    again = layer(x if data_format == "channels_last" else x.transpose(0, 3, 1, 2))
    axis = 3 if data_format == "channels_last" else 1
    np.testing.assert_allclose(np.moveaxis(to_numpy(again), axis, -1), expected + np.array([1.0, 2.0, 3.0]), atol=1e-5)


@pytest.mark.parametrize(("tied", "weights"), [(False, 1_548_288), (True, 387_072)])
def test_numbers_of_weights_are_the_papers(tied, weights):
    layer = ASPP(21, tied=tied, use_bias=False)
    layer.build((None, 41, 41, 2048))
    assert layer.count_params() == weights


def test_branches_do_not_start_alike():
    layer = ASPP(2)
    layer.build((None, 9, 9, 3))
    assert not np.array_equal(to_numpy(layer.kernels[0]), to_numpy(layer.kernels[1]))


class LayerTest(TestCase):
    """Keras' own tests of a layer."""

    def test_channels_last(self):
        self.run_layer_test(
            ASPP,
            init_kwargs={"filters": 3, "rates": (1, 2), "kernel_regularizer": "l2"},
            input_shape=(2, 7, 6, 4),
            expected_output_shape=(2, 7, 6, 3),
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_num_losses=2,
            supports_masking=False,
        )

    def test_channels_first(self):
        self.run_layer_test(
            ASPP,
            init_kwargs={"filters": 3, "rates": (1, 2), "tied": True, "data_format": "channels_first"},
            input_shape=(2, 4, 7, 6),
            expected_output_shape=(2, 3, 7, 6),
            expected_num_trainable_weights=2,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
        )


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"filters": 0}, "filters=0"),
        ({"rates": ()}, r"rates=\(\)"),
        ({"rates": (1, 0)}, "rates=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"data_format": "x"}, "data_format='x'"),
    ],
)
def test_bad_arguments_are_named_in_the_error(arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        ASPP(**{"filters": 2, **arguments})
    with pytest.raises(ValueError, match=r"Received: input_shape=\(None, 8, 8, None\)$"):
        ASPP(2).build((None, 8, 8, None))
