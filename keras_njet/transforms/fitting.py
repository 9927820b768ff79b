"""`fit_filters`, the best N-Jet approximation of given filters."""

import dataclasses

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet.convolution.scale_space import derivative_orders, sampled_derivatives
from keras_njet.convolution.sizes import filter_radius

_STEPS_AN_OCTAVE = 24
_TIE = 1e-6  # share of the energy of the filters
_RANK = 1e-6  # singular values below this share of the largest count as 0


@dataclasses.dataclass(frozen=True)
class FittedFilters:
    """An N-Jet approximation of filters.

    Attributes:
        coefficients: Array α of shape `(basis, channels, filters)`, as of `keras_njet.NJetConv2D`.
        sigma: Scale σ in pixels: a number, or an array of shape `(filters,)` with a scale for each filter.
        reconstruction: Array of shape `(size, size, channels, filters)`: the approximation, on a grid that holds both
            the filters that were given and the N-Jet's.
        target: The filters that were given, on the same grid.
    """

    coefficients: np.ndarray
    sigma: float | np.ndarray
    reconstruction: np.ndarray
    target: np.ndarray

    @property
    def error(self) -> float:
        """Relative error ‖approximation - filters‖ / ‖filters‖; 0 where all filters are 0."""
        return float(_relative(self.reconstruction - self.target, self.target, axis=None))

    @property
    def errors(self) -> np.ndarray:
        """The relative error of each filter: an array of shape `(filters,)`."""
        return _relative(self.reconstruction - self.target, self.target, axis=(0, 1, 2))


def fit_filters(kernels, order: int = 3, extent: float = 2.0, sigma: float | None = None, sharing: str = "layer"):
    """Approximates filters by an N-Jet: coefficients by least squares, the scale by a search (section III-B, figure 3).

    The squared error over all σ on a fine grid is compared, and the grid is refined around the smallest one. Where the
    filters are met exactly by many scales, the largest of these is taken: its coefficients are the smallest. What an
    N-Jet filter has outside of the given ones counts as an error, too.

    Args:
        kernels: Array or tensor of shape `(height, width, channels, filters)`, as the kernel of `keras.layers.Conv2D`.
            The centre of an even size is where "same" padding of Keras has it.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. Order 4 meets every 3×3 filter exactly.
            Defaults to 3.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        sigma: Number σ > 0 in pixels, to fit the coefficients alone. By default σ is searched for, between 1/4 pixel
            and the size of the filters.
        sharing: "layer" for one scale, "filter" for a scale for each filter. Defaults to "layer".

    Returns:
        A `FittedFilters`.

    Raises:
        ValueError: If `kernels` has not four axes or is not finite, or an argument is out of its range.

    Example:

    >>> kernels = numpy.random.default_rng(0).normal(size=(3, 3, 8, 16))
    >>> fitted = fit_filters(kernels, order=4)
    >>> fitted.coefficients.shape, round(fitted.sigma, 2), fitted.error < 1e-5
    ((15, 8, 16), 0.5, True)
    """
    order = _arguments.integer("order", order, least=0)
    extent = _arguments.positive("extent", extent)
    _arguments.one_of("sharing", sharing, ("layer", "filter"))
    kernels = np.asarray(keras.ops.convert_to_numpy(kernels), "float64")
    if kernels.ndim != 4 or not kernels.size or not np.isfinite(kernels).all():
        raise ValueError(
            "`kernels` must be finite and of shape (height, width, channels, filters). "
            f"Received: kernels.shape={kernels.shape}"
        )
    kernels = _centred(kernels)
    if sigma is not None:
        found = np.full(kernels.shape[3], _arguments.positive("sigma", sigma))
    else:
        found = _search(kernels, order, extent, shared=sharing == "layer")
    if sharing == "layer":
        coefficients, grid = _fit(kernels, found[0], order, extent, kernels.shape[0] // 2)
        return FittedFilters(coefficients, float(found[0]), grid, _padded(kernels, grid.shape[0] // 2))
    radius = max(kernels.shape[0] // 2, *(filter_radius(one, extent) for one in found))
    each = [_fit(kernels[..., [number]], one, order, extent, radius) for number, one in enumerate(found)]
    coefficients, grids = (np.concatenate(parts, axis=-1) for parts in zip(*each, strict=True))
    return FittedFilters(coefficients, found, grids, _padded(kernels, radius))


def _search(kernels, order, extent, shared):
    """The best scale of each filter."""
    radius, filters = kernels.shape[0] // 2, kernels.shape[3]
    columns = kernels.reshape(-1, *kernels.shape[2:])
    energies = np.einsum("pcf,qcf->fpq", columns, columns)
    if shared:
        energies = energies.sum(axis=0, keepdims=True)
    total = np.einsum("fpp->f", energies)

    def explained(sigma):
        inside = _orthonormal_basis(sigma, order, extent, radius)
        return np.einsum("pb,fpq,qb->f", inside, energies, inside, optimize=True)

    def best_of(sigmas):
        values = np.stack([explained(sigma) for sigma in sigmas])
        ties = values >= values.max(axis=0) - _TIE * total
        ties[1:, total == 0] = False  # a filter of zeros keeps no other from being small
        return len(sigmas) - 1 - np.argmax(ties[::-1], axis=0)

    least, most = 0.25, 2.0 * radius + 1.0
    sigmas = np.geomspace(least, most, 1 + int(np.ceil(_STEPS_AN_OCTAVE * np.log2(most / least))))
    whole = np.arange(1, int(extent * most) + 1) / extent  # the largest scales for each size of the support
    sigmas = np.unique(np.concatenate([sigmas, whole[whole > least]]))
    best = best_of(sigmas)
    if not shared:
        return sigmas[best]
    for _ in range(2):
        sigmas = np.linspace(sigmas[max(0, best[0] - 1)], sigmas[min(len(sigmas) - 1, best[0] + 1)], 33)
        best = best_of(sigmas)
    return np.full(filters, sigmas[best[0]])


def _orthonormal_basis(sigma, order, extent, radius):
    """Orthonormal columns that span the N-Jet filters: their rows for the pixels of the given filters."""
    basis = _basis(sigma, order, extent, radius)
    left, singular, _ = np.linalg.svd(basis, full_matrices=False)
    left = left[:, singular > _RANK * singular[0]]
    size = int(np.sqrt(len(left)))
    border = size // 2 - radius
    return left.reshape(size, size, -1)[border : size - border, border : size - border].reshape(
        (2 * radius + 1) ** 2, -1
    )


def _fit(kernels, sigma, order, extent, radius):
    """Coefficients, and the filters they compose on a grid of at least the given radius."""
    basis = _basis(sigma, order, extent, radius)
    size = int(np.sqrt(len(basis)))
    columns = _padded(kernels, size // 2).reshape(size * size, -1)
    coefficients = np.linalg.lstsq(basis, columns, rcond=_RANK)[0]
    composed = (basis @ coefficients).reshape(size, size, *kernels.shape[2:])
    return coefficients.reshape(-1, *kernels.shape[2:]), composed


def _basis(sigma, order, extent, radius):
    """The basis filters as columns, on a grid of at least the given radius."""
    own = filter_radius(float(sigma), extent)
    derivatives = sampled_derivatives(sigma, own, order)
    derivatives = np.pad(derivatives, ((0, 0), (max(0, radius - own),) * 2))
    return np.stack(
        [np.outer(derivatives[j], derivatives[i]).ravel() for j, i in derivative_orders(order, axes=2)], axis=1
    )


def _centred(kernels):
    """Zeros around the filters, such that they are square and their centre is that of the array."""
    height, width = kernels.shape[:2]
    radius = max(height, width) // 2
    before = [radius - (size - 1) // 2 for size in (height, width)]
    after = [2 * radius + 1 - size - start for size, start in zip((height, width), before, strict=True)]
    return np.pad(kernels, ((before[0], after[0]), (before[1], after[1]), (0, 0), (0, 0)))


def _padded(kernels, radius):
    border = radius - kernels.shape[0] // 2
    return np.pad(kernels, ((border, border), (border, border), (0, 0), (0, 0)))


def _relative(difference, target, axis):
    norm = np.sqrt(np.sum(target**2, axis=axis))
    return np.sqrt(np.sum(difference**2, axis=axis)) / np.where(norm > 0, norm, 1.0)
