"""Guards the matrix products against the sum that they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_njet.convolution import evaluation
from keras_njet.convolution.sampling import Axis
from keras_njet.convolution.scale_space import gaussian_derivatives
from tests.oracles import to_numpy

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("mixing", ["first", "between", "last", "together"])
@pytest.mark.parametrize(("channels", "filters", "groups"), [(1, 7, 1), (6, 4, 1), (6, 4, 2), (4, 12, 4)])
@pytest.mark.parametrize("order", [0, 2])
def test_every_order_of_the_matrix_products_gives_the_same(mixing, channels, filters, groups, order):
    pairs = [(i, j) for j in range(order + 1) for i in range(order + 1 - j)]
    x = RNG.normal(size=(2, 5, 7, channels))
    coefficients = RNG.normal(size=(len(pairs), channels // groups, filters))
    down, across = RNG.normal(size=(order + 1, 4, 5)), RNG.normal(size=(order + 1, 6, 7))
    expected = []
    for x_of_group, of_group in zip(np.split(x, groups, -1), np.split(coefficients, groups, -1), strict=True):
        terms = [
            np.einsum("pu,qv,buvc,cf->bpqf", down[j], across[i], x_of_group, coefficient, optimize=True)
            for (i, j), coefficient in zip(pairs, of_group, strict=True)
        ]
        expected.append(np.sum(terms, axis=0))
    expected = np.concatenate(expected, axis=-1)
    tensors = [ops.convert_to_tensor(array, "float32") for array in (x, coefficients, down, across)]
    ours = to_numpy(evaluation.convolve_by_matrices(*tensors, groups, mixing))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    sigma=st.floats(0.3, 4.0),
    mixing=st.sampled_from(["first", "between", "last", "together"]),
)
@settings(max_examples=15, deadline=None)
def test_tiles_give_what_whole_matrices_give(height, width, sigma, mixing):
    x = RNG.normal(size=(2, height, width, 3)).astype("float32")
    coefficients = ops.convert_to_tensor(RNG.normal(size=(6, 3, 4)), "float32")
    radius = int(np.ceil(2 * sigma))

    def matrices(axis):
        return gaussian_derivatives(axis.offsets("float32"), ops.convert_to_tensor(sigma, "float32"), 2, radius)

    whole = [matrices(Axis(size, 0, 1, size, size)) for size in (height, width)]
    tile = matrices(Axis.of_tile(block=16, halo=8))
    ours = evaluation.convolve_by_tiles(ops.convert_to_tensor(x), coefficients, tile, tile, mixing=mixing)
    expected = to_numpy(evaluation.convolve_by_matrices(ops.convert_to_tensor(x), coefficients, *whole, mixing=mixing))
    np.testing.assert_allclose(to_numpy(ours), expected, atol=1e-5 * np.abs(expected).max())
