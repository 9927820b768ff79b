"""Guards strides, padding and bilinear resampling against Keras' own convolution and resize."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_njet._convolution import sampling
from tests.helpers import bilinear_resize, examples, to_numpy


@given(size=st.integers(1, 30), stride=st.integers(1, 5), radius=st.integers(2, 5))
@settings(max_examples=examples(60), deadline=None)
def test_positions_are_the_centres_of_keras_convolutions(size, stride, radius):
    kernel = np.zeros((2 * radius + 1, 1, 1), "float32")
    kernel[radius] = 1.0
    pixels = np.arange(size, dtype="float32").reshape(1, size, 1)
    for padding in ("same", "valid"):
        if padding == "valid" and size < 2 * radius + 1:
            continue
        if padding == "same" and stride > 2 * radius + 1:
            continue
        expected = to_numpy(keras.ops.conv(pixels, kernel, strides=stride, padding=padding)).ravel()
        start, count = sampling.strided_positions(size, stride, "same" if padding == "same" else radius)
        np.testing.assert_array_equal(start + stride * np.arange(count), expected)


@given(size=st.integers(1, 40), new_size=st.integers(1, 40))
@settings(max_examples=examples(60), deadline=None)
def test_rows_of_the_linear_matrix_add_up_to_one(size, new_size):
    matrix = to_numpy(sampling.linear_matrix(size, new_size))
    assert matrix.shape == (new_size, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-5)
    ramp = matrix @ np.arange(size)
    assert np.all(np.diff(ramp) >= -1e-5)


@pytest.mark.parametrize(("old", "new"), [((9, 14), (7, 11)), ((8, 8), (4, 4)), ((5, 7), (1, 2)), ((6, 5), (6, 5))])
def test_resampling_is_keras_bilinear_resize(old, new):
    x = np.random.default_rng(0).normal(size=(2, *old, 3)).astype("float32")
    along_height, along_width = (to_numpy(sampling.linear_matrix(o, n)) for o, n in zip(old, new, strict=True))
    ours = np.einsum("ph,qw,bhwc->bpqc", along_height, along_width, x)
    np.testing.assert_allclose(ours, bilinear_resize(x, *new), atol=1e-5)
    resized = keras.ops.image.resize(x, new, interpolation="bilinear", antialias=False, data_format="channels_last")
    np.testing.assert_allclose(ours, to_numpy(resized), atol=1e-5)
    np.testing.assert_allclose(to_numpy(sampling.resample(keras.ops.convert_to_tensor(x), new)), ours, atol=1e-5)


def test_long_axes_are_resampled_without_a_matrix(monkeypatch):
    x = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 50, 7, 3)), "float32")
    expected = to_numpy(sampling.resample(x, (33, None)))
    monkeypatch.setattr(sampling, "_LARGEST_MATRIX", 0)
    for new_size in (33, 1, 50, 81):
        found = to_numpy(sampling.resample(x, (new_size, None)))
        assert found.shape == (2, new_size, 7, 3)
        np.testing.assert_allclose(found, bilinear_resize(to_numpy(x), new_size, 7), atol=1e-5)
    np.testing.assert_allclose(to_numpy(sampling.resample(x, (33, None))), expected, atol=1e-5)


def test_valid_padding_of_a_map_smaller_than_the_filter_says_so():
    with pytest.raises(ValueError, match=r"at least 5 pixels. Received: size=4"):
        sampling.strided_positions(4, 1, 2)
