"""Guards `fit_filters`: against filters that are N-Jets, SciPy's least squares, and training by Adam."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_njet import NJetConv2D, fit_filters
from keras_njet.convolution.scale_space import derivative_orders, sampled_derivatives
from keras_njet.convolution.sizes import filter_radius
from tests.oracles import to_numpy

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
    layer = NJetConv2D(4, order, sigma)
    layer.build((None, 8, 8, 2))
    fitted = fit_filters(layer.kernel, order)
    assert fitted.error < 2e-3
    again = NJetConv2D(4, order, fitted.sigma)
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
    layer = NJetConv2D(filters, 4, fitted.sigma, use_bias=False)
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
    each, one = fit_filters(kernels, sharing="filter"), fit_filters(kernels)
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


@pytest.mark.parametrize("shape", [(2, 2, 3, 4), (3, 5, 2, 2), (4, 1, 1, 1), (1, 1, 2, 2)])
def test_any_shape_is_centred_as_same_padding_of_keras_has_it(shape):
    kernels = RNG.normal(size=shape).astype("float32")
    convolution = keras.layers.Conv2D(shape[3], shape[:2], padding="same", use_bias=False)
    convolution.build((None, 9, 9, shape[2]))
    convolution._kernel.assign(kernels)
    target = fit_filters(kernels).target
    centred = keras.layers.Conv2D(shape[3], target.shape[:2], padding="same", use_bias=False)
    centred.build((None, 9, 9, shape[2]))
    centred._kernel.assign(target)
    x = RNG.normal(size=(1, 9, 9, shape[2])).astype("float32")
    np.testing.assert_allclose(to_numpy(centred(x)), to_numpy(convolution(x)), atol=1e-5)


def test_filters_of_zeros_have_no_error():
    fitted = fit_filters(np.zeros((3, 3, 1, 2)))
    assert fitted.error == 0.0
    assert not fitted.coefficients.any()


@pytest.mark.parametrize(
    ("kernels", "arguments", "received"),
    [
        (np.zeros((3, 3, 1)), {}, r"kernels.shape=\(3, 3, 1\)"),
        (np.full((3, 3, 1, 1), np.nan), {}, r"kernels.shape=\(3, 3, 1, 1\)"),
        (np.ones((3, 3, 1, 1)), {"order": -1}, "order=-1"),
        (np.ones((3, 3, 1, 1)), {"sigma": 0.0}, "sigma=0.0"),
        (np.ones((3, 3, 1, 1)), {"sharing": "input"}, "sharing='input'"),
    ],
)
def test_errors(kernels, arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        fit_filters(kernels, **arguments)


def test_a_filter_of_zeros_takes_the_smallest_scale_of_its_own():
    kernels = RNG.normal(size=(3, 3, 2, 4))
    kernels[..., 1] = 0.0
    fitted = fit_filters(kernels, order=4, sharing="filter")
    assert fitted.sigma[1] <= fitted.sigma.min()
    np.testing.assert_array_equal(fitted.coefficients[..., 1], 0.0)
    assert fit_filters(np.zeros((3, 3, 1, 1)), order=2).error == 0.0
