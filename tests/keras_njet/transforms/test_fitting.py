"""Guards `fit_filters`: against filters that are N-Jets, SciPy's least squares, and training by Adam."""

import itertools
import math

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_njet import NJetConv1D, NJetConv2D, NJetConv3D, fit_filters
from keras_njet._convolution.scale_space import derivative_orders, sampled_derivatives
from keras_njet._convolution.sizes import filter_radius
from tests.helpers import on_torch, to_numpy

pytestmark = [pytest.mark.usefixtures("little_is_compiled"), on_torch]  # it is computed by NumPy

RNG = np.random.default_rng(0)


def gabor_filters(size=11, filters=6):
    """Oriented waves under a Gaussian, in three channels, as in the first layer of AlexNet."""
    rng = np.random.default_rng(filters)
    y, x = np.mgrid[:size, :size] - size // 2
    angles, phases = np.linspace(0, np.pi, filters, endpoint=False), rng.uniform(0, np.pi, filters)
    waves = [np.cos(0.9 * (x * np.cos(a) + y * np.sin(a)) + phase) for a, phase in zip(angles, phases, strict=True)]
    envelope = np.exp(-(x**2 + y**2) / (2 * 2.2**2))
    return np.stack(waves, axis=-1)[:, :, None] * envelope[..., None, None] * rng.normal(size=(1, 1, 3, filters))


@given(sigma=st.floats(0.6, 3.0), order=st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_filters_that_are_an_njet_are_found_again(sigma, order):
    layer = NJetConv2D(4, order=order, sigma=sigma)
    layer.build((None, 8, 8, 2))
    fitted = fit_filters(layer.kernel, order)
    assert fitted.error < 2e-3
    again = NJetConv2D(4, order=order, sigma=fitted.sigma)
    again.build((None, 8, 8, 2))
    again.coefficients.assign(fitted.coefficients)
    x = RNG.normal(size=(1, 8, 8, 2)).astype("float32")
    again.bias.assign(layer.bias)
    expected = to_numpy(layer(x))
    np.testing.assert_allclose(to_numpy(again(x)), expected, atol=5e-3 * np.abs(expected).max())


@given(st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_order_4_meets_every_3x3_filter_in_float32(channels, filters):
    kernels = RNG.normal(size=(3, 3, channels, filters)).astype("float32")
    fitted = fit_filters(kernels, order=4)
    assert fitted.error < 1e-6
    layer = NJetConv2D(filters, order=4, sigma=fitted.sigma, use_bias=False)
    layer.build((None, 8, 8, channels))
    layer.coefficients.assign(fitted.coefficients)
    np.testing.assert_allclose(to_numpy(layer.kernel), kernels, atol=1e-4 * np.abs(kernels).max())


def test_the_error_is_the_smallest_that_scipy_finds():
    kernels = gabor_filters()
    impulse = np.zeros((41, 41))
    impulse[20, 20] = 1.0
    target = np.pad(kernels, ((15, 15), (15, 15), (0, 0), (0, 0))).reshape(41 * 41, -1)

    def error(sigma):
        radius = int(np.ceil(2 * sigma))
        basis = [
            scipy.ndimage.gaussian_filter(impulse, sigma, order=(j, i), radius=radius).ravel()
            for j, i in derivative_orders(3, axes=2)
        ]
        residual = target - np.stack(basis, 1) @ np.linalg.lstsq(np.stack(basis, 1), target, rcond=None)[0]
        return np.linalg.norm(residual) / np.linalg.norm(target)

    fitted = fit_filters(kernels, order=3)
    assert fitted.error == pytest.approx(error(fitted.sigma), rel=1e-6)
    assert fitted.error <= min(error(sigma) for sigma in np.linspace(0.5, 6.0, 200)) * (1 + 1e-4)


@given(size=st.integers(2, 12), order=st.integers(0, 8), extent=st.floats(1.0, 6.0), margin=st.floats(0.0, 0.49))
@settings(max_examples=20, deadline=None)
def test_filters_keep_their_size_within_the_margin(size, order, extent, margin):
    kernels = np.random.default_rng(size).normal(size=(size, size, 1, 2))
    change = max(0.0, margin - 1e-3) / extent  # ⌈kσ⌉ is rounded down where kσ is a whole number, but for rounding
    for sharing in ("layer", "filter"):
        for sigma in np.ravel(fit_filters(kernels, order, extent, sigma_sharing=sharing, margin=margin).sigma):
            smaller, larger = max(float(sigma) - change, 1e-3), float(sigma) + change
            assert filter_radius(smaller, extent) == filter_radius(larger, extent)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.4])
def test_a_margin_is_as_wide_as_was_asked_for_and_not_wider(margin):
    kernels = RNG.normal(size=(5, 5, 2, 3))  # which order 8 meets exactly at many scales, of which it takes the largest
    for isotropic in (True, False):
        fitted = fit_filters(kernels, order=8, isotropic=isotropic, margin=margin)
        assert fitted.sigma == pytest.approx((2 - margin) / 2)
        assert fitted.error < 1e-6


def test_it_is_at_least_as_good_as_a_thousand_steps_of_adam():
    kernels = gabor_filters(filters=4)
    target = np.pad(kernels, ((10, 10), (10, 10), (0, 0), (0, 0))).reshape(31 * 31, -1)

    def loss(alpha, sigma, radius):
        derivatives = np.pad(sampled_derivatives(sigma, radius, 3), ((0, 0), (15 - radius,) * 2))
        basis = np.stack([np.outer(derivatives[j], derivatives[i]).ravel() for j, i in derivative_orders(3, axes=2)], 1)
        residual = basis @ alpha - target
        return np.sum(residual**2), 2 * basis.T @ residual

    alpha, log_sigma, mean, square = np.zeros((10, target.shape[1])), 0.0, 0.0, 0.0
    for number in range(1, 1001):
        radius = filter_radius(2**log_sigma, 2.0)  # through which no gradient passes
        of_alpha = loss(alpha, 2**log_sigma, radius)[1]
        of_sigma = (
            loss(alpha, 2 ** (log_sigma + 1e-4), radius)[0] - loss(alpha, 2 ** (log_sigma - 1e-4), radius)[0]
        ) / 2e-4
        slope = np.append(of_alpha.ravel(), of_sigma)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        step = 0.05 * (mean / (1 - 0.9**number)) / (np.sqrt(square / (1 - 0.999**number)) + 1e-8)
        alpha, log_sigma = alpha - step[:-1].reshape(alpha.shape), log_sigma - step[-1]
    by_adam = np.sqrt(loss(alpha, 2**log_sigma, filter_radius(2**log_sigma, 2.0))[0]) / np.linalg.norm(target)
    assert by_adam < 0.9  # it has learned something
    assert fit_filters(kernels, order=3).error <= by_adam * (1 + 1e-6)


def test_a_scale_for_each_filter():
    small, large = gabor_filters(5), np.zeros((15, 15, 3, 6))
    large += gabor_filters(15) * 3
    kernels = np.concatenate([np.pad(small, ((5, 5), (5, 5), (0, 0), (0, 0))), large], axis=-1)
    each, one = fit_filters(kernels, sigma_sharing="filter"), fit_filters(kernels)
    assert each.sigma.shape == each.errors.shape == (12,)
    assert each.sigma[:6].max() < each.sigma[6:].min()
    assert np.all(each.errors <= one.errors + 1e-3)
    alone = fit_filters(kernels[..., [7]])
    assert each.sigma[7] == pytest.approx(alone.sigma, rel=0.02)
    assert each.errors[7] == pytest.approx(alone.error, rel=0.02)


def test_a_given_scale_is_kept():
    kernels = gabor_filters()
    fitted = fit_filters(kernels, sigma=1.5)
    assert fitted.sigma == 1.5
    assert fitted.error > fit_filters(kernels).error


SHAPES = [(2, 2, 3, 4), (3, 5, 2, 2), (4, 1, 1, 1), (1, 1, 2, 2), (4, 2, 3), (1, 2, 5, 2, 3)]


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_is_centred_as_same_padding_of_keras_has_it(shape, isotropic):
    *sizes, channels, filters = shape
    kind = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[len(sizes)]
    kernels = RNG.normal(size=shape).astype("float32")
    convolution = kind(filters, sizes, padding="same", use_bias=False)
    convolution.build((None, *[9] * len(sizes), channels))
    convolution._kernel.assign(kernels)
    target = fit_filters(kernels, isotropic=isotropic).target
    centred = kind(filters, target.shape[:-2], padding="same", use_bias=False)
    centred.build((None, *[9] * len(sizes), channels))
    centred._kernel.assign(target)
    x = RNG.normal(size=(1, *[9] * len(sizes), channels)).astype("float32")
    np.testing.assert_allclose(to_numpy(centred(x)), to_numpy(convolution(x)), atol=1e-5)


def basis_of_scipy(sigmas, order, size, extent=2.0):
    """The basis filters as columns, on a grid with the same odd size along each axis."""
    impulse = np.zeros((size,) * len(sigmas))
    impulse[(size // 2,) * len(sigmas)] = 1.0
    radius = [max(1, int(np.ceil(extent * sigma - 1e-4))) for sigma in sigmas]
    return np.stack(
        [
            np.prod(np.power(sigmas, orders))
            * scipy.ndimage.gaussian_filter(impulse, sigmas, order=orders, radius=radius, mode="constant").ravel()
            for orders in itertools.product(range(order + 1), repeat=len(sigmas))
            if sum(orders) <= order
        ],
        axis=1,
    )


def error_of_scipy(kernels, sigmas, order, size=25):
    axes = kernels.ndim - 2
    border = [((size - length) // 2,) * 2 for length in kernels.shape[:axes]]
    target = np.pad(kernels, [*border, (0, 0), (0, 0)]).reshape(size**axes, -1)
    basis = basis_of_scipy(sigmas, order, size)
    residual = target - basis @ np.linalg.lstsq(basis, target, rcond=1e-6)[0]
    return np.linalg.norm(residual) / np.linalg.norm(target)


@pytest.mark.parametrize(
    ("sizes", "isotropic"), [((9,), True), ((9,), False), ((7, 3), False), ((5, 5, 5), True), ((3, 7, 5), False)]
)
def test_along_any_axes_no_other_scales_have_a_smaller_error(sizes, isotropic):
    rng = np.random.default_rng(len(sizes))
    # Smooth along all axes, but not equally: the scales are none of those at the ends of the search.
    smoothness = np.linspace(0.8, 1.3, len(sizes)) * np.array(sizes) / 5
    kernels = rng.normal(size=(*sizes, 2, 4))
    kernels = scipy.ndimage.gaussian_filter(kernels, (*smoothness, 0, 0), mode="constant")
    fitted = fit_filters(kernels, order=2, isotropic=isotropic)
    best = np.broadcast_to(fitted.sigma, len(sizes))
    assert fitted.error == pytest.approx(error_of_scipy(kernels, best, 2), rel=1e-6)
    others = np.exp(rng.uniform(np.log(0.3), np.log(5.0), size=(60, 1 if isotropic else len(sizes))))
    near = best * rng.uniform(0.9, 1.1, size=(30, 1 if isotropic else len(sizes)))
    for sigmas in [*np.broadcast_to(others, (60, len(sizes))), *near]:
        assert fitted.error <= error_of_scipy(kernels, sigmas, 2) * (1 + 1e-4)


@pytest.mark.parametrize(
    ("shape", "order"), [((3, 2, 4), 2), ((5, 2, 4), 4), ((3, 3, 3, 2, 4), 6), ((1, 3, 3, 1, 2), 6)]
)
@pytest.mark.parametrize("isotropic", [True, False])
def test_an_order_that_meets_every_filter_meets_these(shape, order, isotropic):
    kernels = np.random.default_rng(0).normal(size=shape).astype("float32")
    fitted = fit_filters(kernels, order, isotropic=isotropic)
    assert fitted.error < 1e-4  # high orders are badly conditioned
    assert fitted.coefficients.shape == (math.comb(order + len(shape) - 2, order), *shape[-2:])
    np.testing.assert_allclose(fitted.reconstruction, fitted.target, atol=1e-5)
    if min(shape[:-2]) > 1:
        assert fit_filters(kernels, order - 1, isotropic=isotropic).error > 1e-3


@pytest.mark.parametrize("sigmas", [(2.2,), (0.7, 1.9), (2.3, 0.8), (1.3, 1.3, 1.3), (0.7, 1.8, 1.4), (0.6, 0.9, 2.4)])
def test_the_scales_of_filters_that_are_an_njet_are_found_again(sigmas):
    size = 2 * int(np.ceil(2 * max(sigmas))) + 1
    basis = basis_of_scipy(sigmas, 3, size)
    alpha = np.random.default_rng(0).normal(size=(basis.shape[1], 2, 4))
    kernels = np.tensordot(basis, alpha, axes=1).reshape((size,) * len(sigmas) + (2, 4))
    fitted = fit_filters(kernels, isotropic=False)
    np.testing.assert_allclose(fitted.sigma, sigmas, rtol=5e-3)
    assert fitted.error < 5e-3
    same = fit_filters(kernels, sigma=sigmas, isotropic=False)
    np.testing.assert_array_equal(same.sigma, sigmas)
    np.testing.assert_allclose(same.coefficients, alpha, atol=1e-6)
    if len(set(sigmas)) == 1:
        assert fit_filters(kernels).sigma == pytest.approx(sigmas[0], rel=5e-3)
    else:
        assert fit_filters(kernels).error > 0.1


@pytest.mark.parametrize("shape", [(3, 3, 2, 4), (1, 5, 5, 2, 3), (3, 7, 7, 1, 2)])
def test_scales_for_each_axis_are_no_worse_than_one(shape):
    kernels = RNG.normal(size=shape)
    one, each = fit_filters(kernels), fit_filters(kernels, isotropic=False)
    assert each.sigma.shape == (len(shape) - 2,)
    assert each.error <= one.error * (1 + 1e-5)


def test_scales_for_each_filter_and_axis_are_those_of_each_filter_alone():
    basis = [basis_of_scipy(sigmas, 2, 13) for sigmas in ((0.7, 2.1), (1.6, 1.6), (2.8, 0.9))]
    alpha = RNG.normal(size=(6, 2))
    kernels = np.stack([(one @ alpha).reshape(13, 13, 2) for one in basis], axis=-1)
    fitted = fit_filters(kernels, order=2, sigma_sharing="filter", isotropic=False)
    np.testing.assert_allclose(fitted.sigma, [(0.7, 2.1), (1.6, 1.6), (2.8, 0.9)], rtol=5e-3)
    assert fitted.errors.shape == (3,)
    assert fitted.error < 5e-3
    alone = fit_filters(kernels[..., [2]], order=2, isotropic=False)
    np.testing.assert_array_equal(fitted.sigma[2], alone.sigma)
    np.testing.assert_allclose(fitted.coefficients[..., 2], alone.coefficients[..., 0], atol=1e-9)


def test_filters_of_zeros_have_no_error():
    fitted = fit_filters(np.zeros((3, 3, 1, 2)))
    assert fitted.error == 0.0
    assert not fitted.coefficients.any()


@pytest.mark.parametrize(
    ("kernels", "arguments", "received"),
    [
        (np.zeros((3, 3)), {}, r"kernels.shape=\(3, 3\)"),
        (np.zeros((2, 2, 2, 2, 1, 1)), {}, r"kernels.shape=\(2, 2, 2, 2, 1, 1\)"),
        (np.full((3, 3, 1, 1), np.nan), {}, r"kernels.shape=\(3, 3, 1, 1\)"),
        ("a", {}, "kernels='a'"),
        (np.ones((3, 3, 1, 1)), {"order": -1}, "order=-1"),
        (np.ones((3, 3, 1, 1)), {"sigma": 0.0}, "sigma=0.0"),
        (np.ones((3, 3, 1, 1)), {"sigma": (1.0, 2.0)}, r"sigma=\(1.0, 2.0\), isotropic=True"),
        (np.ones((3, 1, 1)), {"sigma": (1.0, 2.0), "isotropic": False}, r"sigma=\(1.0, 2.0\), isotropic=False"),
        (np.ones((3, 3, 1, 1)), {"sigma_sharing": "input"}, "sigma_sharing='input'"),
        (np.ones((3, 3, 1, 1)), {"margin": 0.5}, "margin=0.5"),
        (np.ones((3, 3, 1, 1)), {"margin": -0.1}, "margin=-0.1"),
    ],
)
def test_errors(kernels, arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        fit_filters(kernels, **arguments)


def test_a_filter_of_zeros_takes_the_smallest_scale_of_its_own():
    kernels = RNG.normal(size=(3, 3, 2, 4))
    kernels[..., 1] = 0.0
    fitted = fit_filters(kernels, order=4, sigma_sharing="filter")
    assert fitted.sigma[1] <= fitted.sigma.min()
    np.testing.assert_array_equal(fitted.coefficients[..., 1], 0.0)
    assert fit_filters(np.zeros((3, 3, 1, 1)), order=2).error == 0.0


def photograph(size):
    """A periodic image with the amplitudes of photographs: those of waves are the inverse of their frequency."""
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    spectrum = np.fft.fft2(np.random.default_rng(1).normal(size=(size, size)))
    return np.fft.ifft2(spectrum / np.maximum(frequencies, 1 / size)).real


def enlarged(image, factor):
    """The same waves on a finer grid."""
    for axis in range(2):
        image = scipy.signal.resample(image, factor * image.shape[axis], axis=axis)
    return image


def enlarged_filters(coefficients, sigma, order, factor):
    """The filters of a layer as `rescale` makes it, on pixels of the enlarged image."""
    axes = next(axes for axes in (1, 2, 3) if len(derivative_orders(order, axes)) == len(coefficients))
    kind = (NJetConv1D, NJetConv2D, NJetConv3D)[axes - 1]
    isotropic = np.ndim(sigma) == 0
    sigma = factor * sigma if isotropic else tuple(factor * float(one) for one in sigma)
    layer = kind(coefficients.shape[-1], order=order, sigma=sigma, unit=factor, isotropic=isotropic)
    layer.build((None, *(9,) * axes, coefficients.shape[1]))
    layer.coefficients.assign(coefficients)
    return to_numpy(layer.kernel)


def errors_enlarged(kernels, coefficients, sigma, order, factor):
    """Relative errors of filters of a larger σ on an enlarged image; the given filters see the image."""
    image, large = photograph(32), enlarged_filters(coefficients, sigma, order, factor)
    for i in range(kernels.shape[-1]):
        expected = enlarged(scipy.ndimage.correlate(image, kernels[:, :, 0, i], mode="wrap"), factor)
        found = scipy.ndimage.correlate(enlarged(image, factor), large[:, :, 0, i], mode="wrap")
        yield np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(("order", "least", "most"), [(4, 0.7, 0.25), (6, 0.7, 0.25), (8, 0.14, 0.12)])
@pytest.mark.parametrize("factor", [2, 3])
def test_of_all_coefficients_those_are_taken_that_serve_enlarged_images(order, least, most, factor):
    kernels = np.random.default_rng(5).normal(size=(3, 3, 1, 12))
    fitted = fit_filters(kernels, order)
    assert fitted.error < 2e-3
    radius = max(1, filter_radius(fitted.sigma, 2.0))
    derivatives = sampled_derivatives(fitted.sigma, radius, order)
    basis = np.stack([np.outer(derivatives[m], derivatives[n]).ravel() for m, n in derivative_orders(order, axes=2)])
    target = fitted.target[:, :, 0].reshape(-1, kernels.shape[-1])
    smallest = np.linalg.lstsq(basis.T, target, rcond=1e-6)[0]
    taken = fitted.coefficients[:, 0]
    np.testing.assert_allclose(basis.T @ taken, basis.T @ smallest, atol=1e-5)  # they compose the same filters
    assert np.linalg.norm(taken) < 2 * np.linalg.norm(smallest)
    found = [
        np.mean(list(errors_enlarged(kernels, each[:, None], fitted.sigma, order, factor)))
        for each in (smallest, taken)
    ]
    assert found[0] > least
    assert found[1] < most


@pytest.mark.parametrize(
    ("shape", "order", "isotropic"), [((5,), 8, True), ((3, 3, 3), 6, True), ((3, 5), 6, False), ((5, 3), 6, False)]
)
def test_waves_along_any_axes_are_seen_alike_when_they_are_enlarged(shape, order, isotropic):
    kernels = np.random.default_rng(2).normal(size=(*shape, 2, 3))
    fitted = fit_filters(kernels, order, isotropic=isotropic)
    large = enlarged_filters(fitted.coefficients, fitted.sigma, order, 3)
    for frequencies in ((0.0, 0.0, 0.0), (0.6, 0.2, -0.4), (-0.3, 0.7, 0.5)):
        found, expected = response(large, frequencies, 3), response(kernels, frequencies, 1)
        assert np.linalg.norm(found - expected) < 0.3 * np.linalg.norm(expected)


def response(filters, frequencies, enlargement):
    """What filters see of a wave, with a frequency for each axis."""
    for frequency, size in zip(frequencies, filters.shape[:-2], strict=False):
        wave = np.exp(1j * frequency * (np.arange(size) - size // 2) / enlargement)
        filters = np.tensordot(wave, filters, axes=1)
    return filters


def test_filters_of_least_squares_stay_at_a_scale_that_does_not_suit_them():
    kernels = np.random.default_rng(1).normal(size=(3, 3, 1, 4))
    fitted = fit_filters(kernels, order=10, sigma=(2.0, 3.4), isotropic=False)
    along = [sampled_derivatives(sigma, filter_radius(sigma, 2.0), 10) for sigma in (2.0, 3.4)]
    basis = np.stack([np.outer(along[0][m], along[1][n]).ravel() for m, n in derivative_orders(10, axes=2)])
    target = fitted.target.reshape(-1, 4)
    expected = basis.T @ np.linalg.lstsq(basis.T, target, rcond=1e-6)[0]
    np.testing.assert_allclose(fitted.reconstruction.reshape(-1, 4), expected, atol=1e-6)
