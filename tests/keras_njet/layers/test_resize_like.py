"""Guards `ResizeLike`: bilinear, to the other map's size, whatever that is."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.testing import TestCase

from keras_njet.layers import ResizeLike
from tests.helpers import bilinear_resize, examples, to_numpy


@given(
    sizes=st.tuples(*[st.integers(1, 12)] * 4),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
@settings(max_examples=examples(20), deadline=None)
def test_it_is_bilinear(sizes, data_format):
    x = np.random.default_rng(sum(sizes)).normal(size=(2, *sizes[:2], 3)).astype("float32")
    like = np.zeros((2, *sizes[2:], 1), "float32")
    if data_format == "channels_first":
        ours = ResizeLike(data_format)([x.transpose(0, 3, 1, 2), like.transpose(0, 3, 1, 2)])
        ours = to_numpy(ours).transpose(0, 2, 3, 1)
    else:
        ours = to_numpy(ResizeLike(data_format)([x, like]))
    np.testing.assert_allclose(ours, bilinear_resize(x, *sizes[2:]), atol=1e-5)


class LayerTest(TestCase):
    """Keras' own tests of a layer."""

    def test_channels_last(self):
        self.run_layer_test(
            ResizeLike,
            init_kwargs={},
            input_shape=[(2, 4, 3, 2), (2, 8, 9, 1)],
            expected_output_shape=(2, 8, 9, 2),
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
            run_training_check=False,  # there is nothing to train
        )


def test_sizes_may_be_unknown_until_it_runs():
    small, large = keras.Input((None, None, 2)), keras.Input((None, None, 1))
    outputs = ResizeLike()([small, large])
    assert outputs.shape == (None, None, None, 2)
    model = keras.Model([small, large], outputs)
    assert model.predict([np.zeros((1, 3, 4, 2)), np.zeros((1, 7, 5, 1))], verbose=0).shape == (1, 7, 5, 2)


def test_it_wants_two_maps():
    with pytest.raises(ValueError, match="Received: inputs="):
        ResizeLike()(keras.Input((4, 4, 1)))
    maps = [np.zeros((1, 4, 4, 2), "float32"), np.zeros((1, 8, 2), "float32")]
    with pytest.raises(ValueError, match=r"same number of axes\. .*ranks=\[4, 3\]"):
        ResizeLike()(maps)
    with pytest.raises(ValueError, match=r"ranks=\[4, 3\]"):
        ResizeLike().compute_output_shape([each.shape for each in maps])


def test_maps_of_integers_give_fractions():
    x = np.random.default_rng(0).integers(0, 256, size=(1, 8, 8, 1)).astype("uint8")
    like = np.zeros((1, 4, 6, 1), "float32")
    expected = to_numpy(ResizeLike()([x.astype("float32"), like]))
    np.testing.assert_allclose(to_numpy(ResizeLike()([x, like])), expected, atol=1e-3)
