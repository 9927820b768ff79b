"""Guards the mathematics of section III against SciPy, NumPy's polynomials, finite differences and moments."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_njet._convolution import scale_space
from tests.helpers import gradients, to_numpy


def stacked(tensors):
    return np.stack([to_numpy(tensor) for tensor in tensors])


def derivatives_at(x, sigma, order, radius):
    x = ops.convert_to_tensor(np.asarray(x, "float32"))
    return stacked(scale_space.gaussian_derivatives(x, ops.convert_to_tensor(sigma, "float32"), order, radius))


@pytest.mark.parametrize(("order", "count"), [(0, 1), (1, 3), (2, 6), (3, 10), (4, 15)])
def test_there_are_as_many_basis_filters_as_the_paper_has(order, count):
    orders = scale_space.derivative_orders(order, axes=2)
    assert len(orders) == len(set(orders)) == count
    assert all(i >= 0 and j >= 0 and i + j <= order for i, j in orders)
    assert orders == sorted(orders)


@pytest.mark.parametrize(("order", "count"), [(0, 1), (1, 4), (2, 10), (3, 20)])
def test_there_are_as_many_of_volumes(order, count):
    orders = scale_space.derivative_orders(order, axes=3)
    assert len(orders) == len(set(orders)) == count
    assert orders == sorted(one for one in itertools.product(range(order + 1), repeat=3) if sum(one) <= order)


@pytest.mark.parametrize("order", range(9))
def test_derivatives_are_the_hermite_polynomials_of_numpy_times_a_gaussian(order):
    x, sigma = np.arange(-5, 6), 2.3
    derivatives = derivatives_at(x, sigma, order, radius=5)
    assert derivatives.shape == (order + 1, 11)
    gaussian = np.exp(-((x / sigma) ** 2) / 2)
    polynomial = np.polynomial.hermite.hermval(x / (sigma * math.sqrt(2)), [0] * order + [1])
    expected = (-1 / math.sqrt(2)) ** order * polynomial * gaussian / gaussian.sum()
    np.testing.assert_allclose(derivatives[order], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_a_whole_filter_says_itself_what_the_gaussian_adds_up_to(radius):
    x, sigma = ops.arange(-5.0, 6.0), ops.convert_to_tensor(2.3, "float32")
    of_filter = scale_space.gaussian_derivatives(x, sigma, 3, radius, covers_support=True)
    np.testing.assert_allclose(
        stacked(of_filter), stacked(scale_space.gaussian_derivatives(x, sigma, 3, radius)), atol=1e-6
    )


@pytest.mark.parametrize("order", range(5))
def test_a_support_that_ends_inside_of_a_pixel_is_that_of_the_integral(order):
    """Sums of samples are integrals over the support, by the midpoint rule: also for the pixel in which it ends."""
    sigma, half_width = 12.0, 25.3
    derivatives = derivatives_at(np.arange(-30, 31), sigma, order, radius=half_width - 0.5)[order]
    z = np.linspace(-half_width, half_width, 200001) / sigma
    gaussian = np.exp(-(z**2) / 2)
    hermite = np.polynomial.hermite_e.hermeval(z, [0] * order + [1]) * (-1) ** order
    for power in range(4):
        expected = np.mean(z**power * hermite * gaussian) / np.mean(gaussian)
        found = np.sum((np.arange(-30, 31) / sigma) ** power * derivatives)
        assert found == pytest.approx(expected, abs=0.004 * max(1, abs(expected)))


@given(sigma=st.floats(0.4, 12.0), order=st.integers(0, 6), extent=st.floats(1.0, 5.0))
@settings(max_examples=40, deadline=None)
def test_gaussian_derivatives_are_the_impulse_response_of_scipy(sigma, order, extent):
    radius = math.ceil(extent * sigma)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1.0
    expected = scipy.ndimage.gaussian_filter1d(impulse, sigma, order=order, mode="constant", radius=radius)
    ours = derivatives_at(np.arange(-radius, radius + 1), sigma, order, radius)[order]
    np.testing.assert_allclose(ours, expected * sigma**order, atol=1e-5 * max(1, np.abs(ours).max()))


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.7, 64.0])
def test_gaussian_adds_up_to_one_within_its_support_and_is_zero_outside(sigma):
    radius = math.ceil(2 * sigma)
    x = np.arange(-200, 201)
    gaussian = derivatives_at(x, sigma, 0, radius)[0]
    assert gaussian.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.all(gaussian[np.abs(x) > radius] == 0)


@pytest.mark.parametrize("order", range(1, 5))
def test_moments_of_the_derivatives_are_those_of_the_continuous_ones(order):
    # ∫ x^m G^m dx = (-1)^m m!, which the discrete sum over a wide support approaches.
    sigma, x = 3.0, np.arange(-24, 25)
    derivative = derivatives_at(x, sigma, order, 24)[order]
    assert np.sum((x / sigma) ** order * derivative) == pytest.approx((-1) ** order * math.factorial(order), rel=1e-3)
    lower = [np.sum((x / sigma) ** m * derivative) for m in range(order)]
    np.testing.assert_allclose(lower, 0, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.4, 1.2, 4.9])
@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
def test_gradient_with_respect_to_sigma_is_that_of_finite_differences(sigma, order):
    radius = math.ceil(2 * sigma)
    x = np.arange(-radius, radius + 1)
    weights = np.random.default_rng(order).normal(size=x.size)

    def in_numpy(sigma):
        gaussian = np.exp(-(x**2) / (2 * sigma**2))
        hermite = np.polynomial.hermite.hermval(x / (sigma * np.sqrt(2)), [0] * order + [1])
        return np.sum(weights * (-1 / np.sqrt(2)) ** order * hermite * gaussian / gaussian.sum())

    def in_keras(sigma):
        x_tensor = ops.convert_to_tensor(x, "float32")
        derivative = scale_space.gaussian_derivatives(x_tensor, sigma, order, radius)[order]
        return ops.sum(derivative * ops.convert_to_tensor(weights, "float32"))

    (ours,) = gradients(in_keras, np.float32(sigma))
    expected = (in_numpy(sigma + 1e-5) - in_numpy(sigma - 1e-5)) / 2e-5
    assert ours == pytest.approx(expected, rel=1e-4, abs=1e-4)


def integrals_by_scipy(x, sigma, order, radius):
    """Of the derivative over each pixel, as far as it lies within the support; divided by that of the Gaussian."""

    def derivative(t, order=order):
        z = t / sigma
        return (-1) ** order * np.polynomial.hermite_e.hermeval(z, [0] * order + [1]) * np.exp(-(z**2) / 2)

    edges = [np.clip([pixel - 0.5, pixel + 0.5], -radius - 0.5, radius + 0.5) for pixel in x]
    total = scipy.integrate.quad(derivative, -radius - 0.5, radius + 0.5, args=(0,))[0]
    return np.array([scipy.integrate.quad(derivative, *pair)[0] for pair in edges]) / total


@pytest.mark.parametrize("radius", [3, 4.3])
@pytest.mark.parametrize("sigma", [0.3, 0.8, 2.1])
@pytest.mark.parametrize("order", range(6))
def test_integrated_derivatives_are_the_integrals_of_scipy_over_pixels(sigma, order, radius):
    x = np.arange(-6, 7)
    tensor = ops.convert_to_tensor(x, "float32")
    found = scale_space.integrated_derivatives(tensor, ops.convert_to_tensor(sigma, "float32"), order, radius)
    expected = integrals_by_scipy(x, sigma, order, radius)
    np.testing.assert_allclose(to_numpy(found[order]), expected, atol=2e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("order", range(5))
def test_integrated_and_sampled_derivatives_agree_at_large_scales(order):
    x, sigma = ops.arange(-30.0, 31.0), ops.convert_to_tensor(14.0, "float32")
    integrated = to_numpy(scale_space.integrated_derivatives(x, sigma, order, 28)[order])
    sampled = to_numpy(scale_space.gaussian_derivatives(x, sigma, order, 28)[order])
    np.testing.assert_allclose(integrated, sampled, atol=0.005 * np.abs(sampled).max())


@pytest.mark.parametrize("sigma", [0.4, 1.2])
@pytest.mark.parametrize("order", range(4))
def test_gradient_of_integrated_derivatives_is_that_of_finite_differences_of_scipy(sigma, order):
    x, weights = np.arange(-3, 4), np.random.default_rng(order).normal(size=7)

    def in_keras(sigma):
        values = scale_space.integrated_derivatives(ops.convert_to_tensor(x, "float32"), sigma, order, 3)[order]
        return ops.sum(values * ops.convert_to_tensor(weights, "float32"))

    (ours,) = gradients(in_keras, np.float32(sigma))
    ends = [np.sum(weights * integrals_by_scipy(x, sigma + step, order, 3)) for step in (1e-4, -1e-4)]
    assert ours == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("sigmas", [(1.3,), (1.3, 0.8), (0.7, 1.3, 0.9)])
def test_composed_filters_are_sums_of_scipys_derivatives(order, sigmas):
    axes, radius = len(sigmas), 3
    orders_of = scale_space.derivative_orders(order, axes)
    coefficients = np.random.default_rng(0).normal(size=(len(orders_of), 2, 4))
    x = ops.arange(-radius, radius + 1, dtype="float32")
    derivatives = [
        scale_space.gaussian_derivatives(x, ops.convert_to_tensor(sigma, "float32"), order, radius) for sigma in sigmas
    ]
    basis = scale_space.njet_basis(derivatives)
    filters = scale_space.compose_filters(ops.convert_to_tensor(coefficients, "float32"), basis)
    impulse = np.zeros((7,) * axes)
    impulse[(3,) * axes] = 1.0
    expected = np.zeros((*impulse.shape, 2, 4))
    for orders, alpha in zip(orders_of, coefficients, strict=True):
        response = scipy.ndimage.gaussian_filter(impulse, sigmas, order=orders, mode="constant", radius=radius)
        expected += np.prod(np.power(sigmas, orders)) * response[..., None, None] * alpha
    np.testing.assert_allclose(to_numpy(filters), expected, atol=1e-5)


def test_no_gradient_passes_through_the_support():
    x = ops.arange(-9.0, 10.0)

    def second_moment(sigma, radius):
        return ops.sum(ops.square(x) * scale_space.gaussian_derivatives(x, sigma, 0, radius)[0])

    # 2σ is no whole number, so that the share of the last pixels depends on σ.
    (ours,) = gradients(lambda sigma: second_moment(sigma, 2.0 * sigma), np.float32(1.7))
    (expected,) = gradients(lambda sigma: second_moment(sigma, 3.4), np.float32(1.7))
    assert abs(expected) > 0.1
    assert ours == pytest.approx(expected, rel=1e-5)


def test_the_numpy_derivatives_are_those_of_the_layer():
    ours = derivatives_at(np.arange(-5, 6), 2.3, 5, 5)
    np.testing.assert_allclose(scale_space.sampled_derivatives(2.3, 5, 5), ours, atol=1e-5)


def test_at_the_finest_detail_small_odd_derivatives_see_nothing_and_even_ones_twice_as_much():
    """What the card of any_size says of pixels that change their sign one by one."""
    sigma, radius, order = 0.66, 12, 4
    seen = scale_space.sampled_derivatives(sigma, radius, order) @ (-1.0) ** np.arange(-radius, radius + 1)
    continuous = (sigma * np.pi) ** np.arange(order + 1) * np.exp(-((sigma * np.pi) ** 2) / 2)
    np.testing.assert_allclose(seen[1::2], 0.0, atol=1e-12)
    np.testing.assert_allclose(np.abs(seen[::2]), 2 * continuous[::2], rtol=1e-3)
