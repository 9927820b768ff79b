"""Guards the one place where σ becomes a size: section III-C's ⌈kσ⌉ and section IV's ⌊s·½^(σ/r)⌋."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_njet._convolution import sizes
from tests.helpers import to_numpy


@given(sigma=st.floats(2**-6, 2**6), extent=st.floats(0.5, 4.0))
def test_radius_is_the_ceiling_up_to_rounding(sigma, extent):
    radius = sizes.filter_radius(sigma, extent)
    assert radius >= 1
    assert extent * sigma * (1 - 2e-5) <= radius < max(extent * sigma, 1e-9) + 1


@pytest.mark.parametrize("exponent", range(-6, 7))
def test_numbers_and_tensors_agree_at_powers_of_two(exponent):
    # Here ⌈kσ⌉ jumps, and a rounding error in σ = 2^s would be seen.
    radius = sizes.filter_radius(2.0**exponent, 2.0)
    assert radius == max(1, math.ceil(2.0 ** (exponent + 1)))
    sigma = ops.power(2.0, ops.convert_to_tensor(exponent, "float32"))
    assert int(to_numpy(sizes.filter_radius(sigma, 2.0))) == radius


@given(sigma=st.floats(2**-6, 2**6), size=st.integers(1, 512), rate=st.floats(0.5, 16.0))
def test_subsampled_size_is_the_floor_up_to_rounding_and_at_least_one(sigma, size, rate):
    new_size = sizes.subsampled_size(sigma, size, rate)
    exact = size * 0.5 ** (sigma / rate)
    assert 1 <= new_size <= size
    assert new_size == 1 or exact - 1 < new_size <= exact * (1 + 2e-5)


@pytest.mark.parametrize(("sigma", "expected"), [(4.0, 16), (8.0, 8), (1.0, 26), (64.0, 1)])
def test_a_map_of_32_pixels_halves_whenever_sigma_grows_by_the_rate(sigma, expected):
    assert sizes.subsampled_size(sigma, 32, 4.0) == expected


@given(sigma=st.floats(2**-6, 2**6), size=st.integers(1, 4096), rate=st.floats(0.5, 16.0))
@settings(deadline=None)
def test_sizes_that_are_not_known_follow_by_whole_parts_of_an_axis(sigma, size, rate):
    parts = sizes.kept_parts(sigma, rate)
    assert isinstance(parts, int)
    found = int(ops.convert_to_numpy(sizes.size_of_parts(ops.convert_to_tensor(size, "int32"), parts)))
    exact = size * 0.5 ** (sigma / rate)
    assert found == sizes.subsampled_size(sigma, size, rate) or abs(exact - round(exact)) < 1e-3 + 2e-5 * exact


def test_kernel_size_is_odd_and_cut_off_at_the_largest_radius():
    assert sizes.kernel_size(1.0, 2.0) == 5
    assert sizes.kernel_size(1e9, 2.0) == 2 * sizes.MAX_RADIUS + 1


def test_a_scale_that_diverged_says_so():
    with pytest.raises(ValueError, match=r"diverged. Received: sigma=nan$"):
        sizes.filter_radius(math.nan, 2.0)
    with pytest.raises(ValueError, match=r"diverged. Received: sigma=nan$"):
        sizes.subsampled_size(math.nan, 32, 4.0)


@given(sigma=st.floats(2**-6, 2**6), reaches=st.lists(st.integers(1, 200), min_size=1, unique=True).map(sorted))
def test_the_first_that_reaches_is_the_first_that_reaches(sigma, reaches):
    index = sizes.first_that_reaches(sigma, 2.0, tuple(reaches))
    radius = sizes.filter_radius(sigma, 2.0)
    assert all(reach < radius for reach in reaches[:index])
    assert reaches[index] >= radius or index == len(reaches) - 1


@given(sigma=st.floats(0.3, 20.0), size=st.integers(1, 300), times=st.integers(1, 5), rate=st.floats(1.0, 8.0))
@settings(deadline=None)
def test_all_sizes_are_as_much_larger_as_the_unit(sigma, size, times, rate):
    unit = float(times)
    # A support of 2r + 1 pixels becomes one of (2r + 1)·times, whose last pixel may be cut.
    radius = sizes.filter_radius(sigma, 2.0)
    support = (2 * min(radius, 100) + 1) * times
    new_radius = sizes.filter_radius(times * sigma, 2.0, unit)
    assert new_radius == math.ceil((support - 1) / 2)
    tensor = sizes.filter_radius(ops.convert_to_tensor(times * sigma, "float32"), 2.0, unit)
    assert float(to_numpy(tensor)) == pytest.approx((support - 1) / 2) or abs(2 * sigma % 1) < 1e-3
    new_size = sizes.subsampled_size(times * sigma, times * size, times * rate, unit)
    assert new_size == times * sizes.subsampled_size(sigma, size, rate)
    parts = sizes.kept_parts(times * sigma, times * rate)
    found = int(to_numpy(sizes.size_of_parts(ops.convert_to_tensor(times * size, "int32"), parts, unit)))
    exact = size * 0.5 ** (sigma / rate)
    assert found == new_size or abs(exact - round(exact)) < 1e-3 + 2e-5 * exact


@pytest.mark.parametrize(("size", "rounded"), [(4.5, 5), (4.49, 4), (0.2, 0), (3, 3)])
def test_half_a_pixel_is_rounded_up(size, rounded):
    assert sizes.rounded(size) == rounded
    assert sizes.rounded(size, least=2) == max(2, rounded)
