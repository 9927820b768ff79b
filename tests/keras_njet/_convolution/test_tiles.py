"""Guards tiles: what is evaluated tile by tile is what whole matrices give."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_njet._convolution.evaluations import Convolution, Matrices
from keras_njet._convolution.sampling import Axis, strided_positions
from keras_njet._convolution.scale_space import derivative_orders
from keras_njet._convolution.tiles import Tiling
from tests.helpers import examples, to_numpy

RNG = np.random.default_rng(0)


@given(
    sizes=st.lists(st.integers(5, 40), min_size=1, max_size=3),
    sigma=st.floats(0.3, 2.0),
    mixing=st.sampled_from([0, 1, "together"]),
    stride=st.integers(1, 3),
    margin=st.sampled_from(["same", 0, 2]),
    share=st.sampled_from([1.0, 0.7]),
)
@settings(max_examples=examples(25), deadline=None)
def test_tiles_give_what_whole_matrices_give(sizes, sigma, mixing, stride, margin, share):
    axes = []
    for size in sizes:
        start, count = strided_positions(size, stride, margin)
        axes.append(Axis(size, start, stride, count, max(1, int(share * count))))
    convolution = Convolution(tuple(axes), 3, 4, groups=1, order=2, extent=2.0)
    x = ops.convert_to_tensor(RNG.normal(size=(2, *sizes, 3)), "float32")
    coefficients = ops.convert_to_tensor(RNG.normal(size=(len(derivative_orders(2, len(axes))), 3, 4)), "float32")
    scales = [ops.convert_to_tensor(sigma, "float32")]
    expected = to_numpy(Matrices(mixing).evaluate(convolution, x, coefficients, scales))
    ours = to_numpy(Matrices(mixing, reach=4, block=5).evaluate(convolution, x, coefficients, scales))
    np.testing.assert_allclose(ours, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))


def test_only_axes_that_are_longer_than_a_tile_are_cut():
    axes = tuple(Axis(size, 0, 1, size, size) for size in (100, 12))
    tiling = Tiling(axes, block=8, halo=2)
    assert tiling.is_cut == (True, False)
    assert [axis.size for axis in tiling.axes_of_tile] == [12, 12]
    x = ops.convert_to_tensor(RNG.normal(size=(2, 100, 12, 3)), "float32")
    assert tuple(tiling.cut(x).shape) == (2 * 13, 12, 12, 3)


def test_a_long_signal_has_no_matrix_of_its_length():
    axis = Axis(16_000, 0, 1, 16_000, 16_000)
    (of_tile,) = Tiling((axis,), Matrices(0).block, Matrices(0).reach).axes_of_tile
    assert of_tile.size <= 4096
