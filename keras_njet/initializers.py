"""Initialisation of the coefficients α."""

import functools
import itertools
import math

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._convolution.scale_space import derivative_orders, sampled_derivatives
from keras_njet._convolution.sizes import filter_radius


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetVarianceScaling(keras.initializers.RandomNormal):
    """Draws coefficients α such that a stack of N-Jet layers keeps the variance of its activations.

    The coefficients are normally distributed with mean 0 and variance `1 / (fan_in·g)`, the fan-in being the number of
    input channels of a group. g is the share of the variance of a layer's input that its basis filters, Σ_m |G^m|², let
    through. It depends on the spectrum of the input: a Gaussian leaves smooth maps as they are, but removes most of
    white noise. g is therefore computed for the spectrum that feature maps have inside a stack of such layers, for this
    order and σ, see `transmitted_variance`.

    The authors' code draws α (equation 5 of the paper) from N(0, 1), `keras.initializers.RandomNormal(stddev=1.0)`, and
    relies on batch normalisation; the paper does not say how α is initialised.

    Args:
        sigma: Number σ > 0 in pixels, the scale the layer starts with, or one for each axis. Defaults to 1.
        extent: Number k > 0, half-width of the support in units of σ. Defaults to 2.
        rectified: Whether a rectifier follows, which halves the variance (He et al., 2015). Defaults to False.
        axes: Integer, how many axes the feature maps of the layer have: 1, 2 or 3. Defaults to 2.
        seed: Integer or `keras.random.SeedGenerator`. Defaults to a random seed.

    Raises:
        ValueError: If an argument is out of its range, or the shape to draw is not that of coefficients.

    Example:

    >>> initializer = NJetVarianceScaling(sigma=2.0, rectified=True, seed=0)
    >>> layer = keras_njet.NJetConv2D(16, sigma=2.0, coefficient_initializer=initializer)
    """

    def __init__(self, sigma=1.0, extent: float = 2.0, rectified: bool = False, axes: int = 2, seed=None):
        super().__init__(mean=0.0, seed=seed)
        self.axes = _arguments.integer("axes", axes, least=1)
        self.sigma = _arguments.scale(sigma, self.axes, isotropic=False)
        self.extent = _arguments.positive("extent", extent)
        self.rectified = bool(rectified)

    def __call__(self, shape, dtype=None):
        """Draws coefficients of shape `(basis, channels / groups, filters)`."""
        basis, fan_in = shape[:2] if len(shape) == 3 else (0, 0)
        order = next(order for order in itertools.count() if math.comb(order + self.axes, self.axes) >= basis)
        if len(derivative_orders(order, self.axes)) != basis:
            raise ValueError(
                "The coefficients must have the shape (basis, channels, filters), with as many basis filters as an "
                f"N-Jet of some order has along {self.axes} axes. Received: shape={tuple(shape)}"
            )
        gain = 2.0 if self.rectified else 1.0
        sigmas = tuple(np.broadcast_to(self.sigma, self.axes).tolist())
        variance = gain / (fan_in * transmitted_variance(sigmas, self.extent, order, self.rectified))
        return keras.random.normal(shape, stddev=math.sqrt(variance), dtype=dtype, seed=self.seed)

    def get_config(self):
        config = {"sigma": self.sigma, "extent": self.extent, "rectified": self.rectified, "axes": self.axes}
        return {**config, "seed": super().get_config()["seed"]}


@functools.lru_cache
def transmitted_variance(
    sigmas: tuple[float, ...], extent: float, order: int, rectified: bool, depth: int = 10
) -> float:
    """Share of the variance that the basis filters let through, inside a stack of N-Jet layers.

    Follows the power spectrum S of a wide network's activations from white noise through `depth` layers. A layer turns
    S(ω) into S(ω)·Σ_m |G^m(ω)|². A rectifier turns the autocorrelation ρ of a normal field into
    (√(1 - ρ²) + ρ·(π - arccos ρ)) / π (Cho & Saul, 2009). All in NumPy, as layers may be built while a backend traces.

    Args:
        sigmas: The scale along each axis, in pixels. One above 4 pixels, in volumes above 2, counts as that: the shares
            hardly depend on it any longer.
        extent, order: Of the layer.
        rectified: Whether a rectifier follows each layer.
        depth: Number of layers after which the share is taken.

    Returns:
        A number > 0.
    """
    axes = len(sigmas)
    powers = []
    for sigma in sigmas:
        sigma = min(sigma, 4.0 if axes < 3 else 2.0)
        radius = filter_radius(sigma, extent)
        size = 2 ** math.ceil(math.log2(16 * radius))
        powers.append(np.abs(np.fft.fft(sampled_derivatives(sigma, radius, order), size)) ** 2)
    transfer = sum(
        functools.reduce(np.multiply.outer, [power[m] for power, m in zip(powers, orders, strict=True)])
        for orders in derivative_orders(order, axes)
    )
    spectrum, share = np.ones_like(transfer), 0.0
    for _ in range(depth):
        share = np.sum(spectrum * transfer) / np.sum(spectrum)
        spectrum = spectrum * transfer / np.sum(spectrum * transfer)
        if rectified:
            correlation = np.fft.ifftn(spectrum).real
            correlation = np.clip(correlation / correlation.flat[0], -1.0, 1.0)
            angle = np.arccos(correlation)
            spectrum = np.fft.fftn((np.sin(angle) + correlation * (np.pi - angle)) / np.pi).real.clip(0.0)
    return float(share)
