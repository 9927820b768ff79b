"""Initialisation of the coefficients α."""

import math

import keras
import numpy as np

from keras_njet.scale_space import derivative_orders
from keras_njet.sizes import filter_radius


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetVarianceScaling(keras.initializers.RandomNormal):
    """Draws coefficients α such that an N-Jet layer keeps the variance of its input, for any order, σ and fan-in.

    The coefficients are normally distributed with mean 0 and variance `scale / (fan_in·E)`. The fan-in is the number
    of input channels of a group. E = Σ_{ij} E_ij sums the share of the input's variance that each basis filter lets
    through. A feature map inside a network has been smoothed by the layers before, so E_ij is taken for white noise
    smoothed at the scale σ: E_ij = ‖G^{i,j} * G‖² / ‖G‖². For small σ that is white noise itself.

    The paper draws α from N(0, 1) and leans on batch normalisation (section IV); that is
    `keras.initializers.RandomNormal(stddev=1.0)`.

    Args:
        sigma: Number σ > 0 in pixels, the scale the layer starts with. Defaults to 1.
        extent: Number k > 0, half-width of the support in units of σ. Defaults to 2.
        scale: Number > 0 that multiplies the variance: 1 for a layer without activation, 2 for one followed by a
            rectifier (He et al., 2015). Defaults to 1.
        seed: Integer or `keras.random.SeedGenerator`. Defaults to a random seed.

    Example:

    >>> initializer = NJetVarianceScaling(sigma=2.0, seed=0)
    >>> layer = keras_njet.NJetConv2D(16, sigma=2.0, coefficient_initializer=initializer)
    """

    def __init__(self, sigma: float = 1.0, extent: float = 2.0, scale: float = 1.0, seed=None):
        super().__init__(mean=0.0, seed=seed)
        for name, value in (("sigma", sigma), ("extent", extent), ("scale", scale)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number. Received: {name}={value}")
        self.sigma = sigma
        self.extent = extent
        self.scale = scale

    def __call__(self, shape, dtype=None):
        """Draws coefficients of shape `(basis, channels / groups, filters)`."""
        basis, fan_in, _ = shape
        order = (math.isqrt(8 * basis + 1) - 3) // 2
        if len(derivative_orders(order)) != basis:
            raise ValueError(
                "The coefficients must have the shape (basis, channels, filters), with (N + 1)(N + 2) / 2 basis filters "
                f"for an order N. Received: shape={tuple(shape)}"
            )
        stddev = math.sqrt(self.scale / (fan_in * _transmitted_variance(self.sigma, self.extent, order)))
        return keras.random.normal(shape, stddev=stddev, dtype=dtype, seed=self.seed)

    def get_config(self):
        config = {"sigma": self.sigma, "extent": self.extent, "scale": self.scale}
        return {**config, "seed": super().get_config()["seed"]}


def _transmitted_variance(sigma, extent, order):
    """E = Σ_{ij} ‖G^{i,j} * G‖² / ‖G‖², in NumPy since a layer may be built while a backend traces.

    Both norms are products of one over x and one over y.
    """
    radius = filter_radius(sigma, extent)
    x = np.arange(-radius, radius + 1)
    gaussian = np.exp(-((x / sigma) ** 2) / 2)
    norms = []
    for m in range(order + 1):
        polynomial = np.polynomial.hermite.hermval(x / (sigma * math.sqrt(2)), [0] * m + [1])
        derivative = (-1 / math.sqrt(2)) ** m * polynomial * gaussian / gaussian.sum()
        norms.append(np.sum(np.convolve(derivative, gaussian) ** 2) / np.sum(gaussian**2))
    return sum(norms[i] * norms[j] for i, j in derivative_orders(order))
