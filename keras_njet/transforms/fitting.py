"""`fit_filters`, the best N-Jet approximation of given filters."""

import dataclasses
import functools

import numpy as np

from keras_njet import _arguments
from keras_njet._convolution.scale_space import derivative_orders, sampled_derivatives
from keras_njet._convolution.sizes import filter_radius

_STEPS_AN_OCTAVE = 24
_SWEEPS = 5  # over the axes, at most
_TIE = 1e-6  # share of the energy of the filters
_TIE_OF_AXES = 1e-10  # smaller, as what is lost adds up over axes and sweeps
_RANK = 1e-6  # singular values below this share of the largest count as 0
_RANK_NULL = 1e-12  # the same, for coefficients that compose filters of zeros
_ENLARGEMENT = 3  # of the images on which free coefficients are chosen, see `_responses`
_FREQUENCIES = 15  # along an axis
_RANK_ENLARGED = 0.03  # as _RANK, for enlarged filters: to fit what matters less would need large coefficients


@dataclasses.dataclass(frozen=True)
class FittedFilters:
    """An N-Jet approximation of filters.

    Attributes:
        coefficients: Array α of shape `(basis, channels, filters)`, as of `keras_njet.NJetConv2D`.
        sigma: Scale σ in pixels: a number, or an array of shape `(filters,)` with a scale for each filter; with a scale
            for each axis an array of shape `(axes,)` or `(filters, axes)`.
        reconstruction: Array of shape `(*sizes, channels, filters)`: the approximation, on a grid that holds both the
            filters that were given and the N-Jet's.
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
        return _relative(self.reconstruction - self.target, self.target, axis=tuple(range(self.target.ndim - 1)))


def fit_filters(
    kernels,
    order: int = 3,
    extent: float = 2.0,
    sigma=None,
    sigma_sharing: str = "layer",
    isotropic: bool = True,
    margin: float = 0.0,
):
    """Approximates filters by an N-Jet: coefficients by least squares, the scale by a search (section III-B, figure 3).

    The squared error over all σ on a fine grid, with steps of 3 %, is compared. Around the smallest one the grid is
    refined, unless each filter has a scale that is the same along all axes. Where the filters are matched exactly at
    many scales, the largest is taken, as it needs the smallest coefficients. What an N-Jet filter has outside of the
    given ones counts as an error, too. Scales for each axis are searched for one axis at a time, in turn, from the best
    common scale on; the error is never larger than with that one.

    At a high order, several sets of coefficients can give the same filters. Then the set is taken whose filters, once σ
    is enlarged, respond to enlarged images most like the given filters respond to the images (`keras_njet.rescale`).
    This is why a higher order than the filters need can help.

    Args:
        kernels: Array or tensor of shape `(*sizes, channels, filters)` with one to three sizes, as the kernel of
            `keras.layers.Conv1D`, `Conv2D` or `Conv3D`. An even size is centred as by Keras' "same" padding.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. At order 4 every 3×3 filter is matched
            exactly. Defaults to 3.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        sigma: Number σ > 0 in pixels, or with `isotropic=False` a tuple of one for each axis, to fit the coefficients
            alone. By default σ is searched for, between 1/4 pixel and the size of the filters.
        sigma_sharing: "layer" for one scale, "filter" for a scale for each filter. Defaults to "layer".
        isotropic: Whether all axes have the same scale. If False, there is a σ for each axis, in the order of the axes
            of the array: (depth, height, width). Together with "filter", each filter is searched for by itself, which
            takes some tenths of a second in three dimensions. Defaults to True.
        margin: Number of at least 0 and below ½, in pixels: how far at least kσ, half the width of a filter, stays from
            the whole numbers, where filters gain or lose pixels. The best scale often lies right there, and a σ that is
            learned then changes the filters abruptly as soon as it grows. Without effect where `sigma` is given.
            Defaults to 0.

    Returns:
        A `FittedFilters`.

    Raises:
        ValueError: If `kernels` does not have three to five axes or is not finite, or an argument is out of its range.

    Example:

    >>> kernels = numpy.random.default_rng(0).normal(size=(3, 3, 8, 16))
    >>> fitted = fit_filters(kernels, order=4)
    >>> fitted.coefficients.shape, round(fitted.sigma, 2), fitted.error < 1e-5
    ((15, 8, 16), 0.5, True)
    """
    order = _arguments.integer("order", order, least=0)
    extent = _arguments.positive("extent", extent)
    _arguments.one_of("sigma_sharing", sigma_sharing, ("layer", "filter"))
    margin = _arguments.share("margin", margin, below=0.5)
    filters = _arguments.finite_numbers(kernels)
    if filters is None or not 3 <= filters.ndim <= 5:
        received = f".shape={tuple(kernels.shape)}" if hasattr(kernels, "shape") else f"={kernels!r}"
        raise ValueError(
            "`kernels` must be finite numbers of shape (*sizes, channels, filters), with one to three sizes. "
            f"Received: kernels{received}"
        )
    axes = filters.ndim - 2
    kernels = _centred(filters, isotropic)
    parts = [kernels] if sigma_sharing == "layer" else np.split(kernels, kernels.shape[-1], axis=-1)
    if sigma is not None:
        found = np.tile(_given(sigma, axes, isotropic), (len(parts), 1))
    elif isotropic:
        found = _search(parts, order, extent, margin, refine=sigma_sharing == "layer")
    else:
        found = np.stack([_search_each_axis(part, order, extent, margin) for part in parts])
    own = [max(filter_radius(float(one), extent) for one in along) for along in found.T]
    radii = np.maximum(_radii(kernels), own)
    fits = [_fit(part, sigmas, order, extent, radii) for part, sigmas in zip(parts, found, strict=True)]
    coefficients, composed = (np.concatenate(arrays, axis=-1) for arrays in zip(*fits, strict=True))
    scales = found[:, 0] if isotropic else found
    first = float(scales[0]) if isotropic else scales[0]
    sigma = first if sigma_sharing == "layer" else scales
    return FittedFilters(coefficients, sigma, composed, _padded(kernels, radii))


def _given(sigma, axes, isotropic):
    """The scales that are given, one for each axis."""
    sigmas = _arguments.positives("sigma", sigma)
    if sigmas.shape != () and (isotropic or sigmas.shape != (axes,)):
        raise ValueError(
            f"`sigma` must be a number, or with isotropic=False a tuple of {axes}, one for each axis. "
            f"Received: sigma={sigma!r}, isotropic={isotropic}"
        )
    return np.broadcast_to(sigmas, axes)


def _search(parts, order, extent, margin, refine):
    """The best scale of each part of the filters, the same along all axes: an array of shape (parts, axes)."""
    radii = _radii(parts[0])
    best_of = _comparison(parts, order, extent, _TIE)
    grid = _grid(max(radii), extent, margin)

    def best_on(grid):
        return best_of(np.repeat(grid[:, None], len(radii), axis=1))

    best = best_on(grid)
    for _ in range(2 if refine else 0):
        grid = _finer(grid, best[0], extent, margin)
        best = best_on(grid)
    return np.repeat(grid[best][:, None], len(radii), axis=1)


def _search_each_axis(kernels, order, extent, margin):
    """The best scales of filters, one for each axis: an array of shape (axes,)."""
    (sigmas,) = _search([kernels], order, extent, margin, refine=True)
    best_of = _comparison([kernels], order, extent, _TIE_OF_AXES)
    grids = [_grid(radius, extent, margin) for radius in _radii(kernels)]
    for _ in range(3):
        grids = [np.union1d(grid, sigma) for grid, sigma in zip(grids, sigmas, strict=True)]
        for _ in range(_SWEEPS):
            before = sigmas.copy()
            for axis, grid in enumerate(grids):
                candidates = np.repeat(sigmas[None], len(grid), axis=0)
                candidates[:, axis] = grid
                sigmas = candidates[best_of(candidates)[0]]
            if np.array_equal(sigmas, before):
                break
        places = [np.searchsorted(grid, sigma) for grid, sigma in zip(grids, sigmas, strict=True)]
        grids = [_finer(grid, place, extent, margin) for grid, place in zip(grids, places, strict=True)]
    return sigmas


def _grid(radius, extent, margin):
    """The scales that are compared first, from the smallest to the largest."""
    least, most = 0.25, 2.0 * radius + 1.0
    sigmas = np.geomspace(least, most, 1 + int(np.ceil(_STEPS_AN_OCTAVE * np.log2(most / least))))
    whole = np.arange(1, int(extent * most) + 1)
    ends = np.concatenate([whole - margin, whole + margin]) / extent  # of the scales that give filters of a size
    return _with_margin(np.union1d(sigmas, ends[(ends > least) & (ends <= most)]), extent, margin)


def _with_margin(sigmas, extent, margin):
    """Those of the scales at which filters keep their size while kσ changes by less than the margin."""
    half_widths = extent * sigmas
    changes_at = np.maximum(np.round(half_widths), 1.0)
    return sigmas[np.abs(half_widths - changes_at) >= margin - 1e-9]


def _finer(grid, best, extent, margin):
    """A finer grid around the scale with an index, which it holds."""
    around = np.linspace(grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)], 33)
    return _with_margin(np.union1d(grid[best], around), extent, margin)


def _comparison(parts, order, extent, tie):
    """A function from scales, of shape (candidates, axes), to the index of the best ones for each part of the filters.

    The best explain the largest share of the energy. Where several do, up to the share `tie`, it is the last of them.
    """
    radii = _radii(parts[0])
    filters = np.stack([part.reshape(-1, part.shape[-2] * part.shape[-1]).T for part in parts])
    filters = np.linalg.qr(filters, mode="r")  # fewer rows, with the same energy in every direction
    total = np.sum(filters**2, axis=(1, 2))
    factors = functools.cache(functools.partial(_factors, order=order, extent=extent))
    used = np.ravel_multi_index(np.transpose(derivative_orders(order, len(radii))), (order + 1,) * len(radii))

    def explained(sigmas):
        rows, triangles = zip(*map(factors, sigmas, radii), strict=True)
        basis = functools.reduce(np.kron, rows) @ _orthonormal(functools.reduce(np.kron, triangles)[:, used])
        return np.sum((filters @ basis) ** 2, axis=(1, 2))

    def best_of(candidates):
        values = np.stack([explained(sigmas) for sigmas in candidates])
        ties = values >= values.max(axis=0) - tie * total
        ties[1:, total == 0] = False  # filters of zeros fit every scale: take the smallest, which enlarges no grid
        return len(candidates) - 1 - np.argmax(ties[::-1], axis=0)

    return best_of


def _factors(sigma, radius, order, extent):
    """A QR decomposition of the derivatives along an axis: the rows for the pixels of the given filters, and R.

    An N-Jet is separable. So the Kronecker product of these is a decomposition of all its products of derivatives.
    """
    orthonormal, triangle = np.linalg.qr(_derivatives(sigma, order, extent, radius).T)
    border = len(orthonormal) // 2 - radius
    return orthonormal[border : len(orthonormal) - border], triangle


def _orthonormal(matrix):
    """Orthonormal columns that span those of a matrix."""
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, singular > _RANK * singular[0]]


def _fit(kernels, sigmas, order, extent, radii):
    """Coefficients, and the filters they compose on a grid of the given radii."""
    along = [_derivatives(sigma, order, extent, radius) for sigma, radius in zip(sigmas, radii, strict=True)]
    basis = _products(along, order).reshape(-1, len(derivative_orders(order, len(radii))))
    target = _padded(kernels, radii)
    coefficients = np.linalg.lstsq(basis, target.reshape(len(basis), -1), rcond=_RANK)[0]
    free = _null_space(basis)
    if free.size:
        of_basis, of_pixels = _responses(_radii(kernels), sigmas, order, extent)
        choice = free @ np.linalg.pinv(of_basis @ free, rcond=_RANK_ENLARGED)
        wanted = (choice @ of_pixels) @ kernels.reshape(of_pixels.shape[1], -1)
        coefficients += wanted - (choice @ of_basis) @ coefficients
    return coefficients.reshape(-1, *kernels.shape[-2:]), (basis @ coefficients).reshape(target.shape)


def _products(along, order):
    """The basis filters, or their spectra: products of derivatives, of shape (*sizes, basis)."""
    products = [
        functools.reduce(np.multiply.outer, [derivatives[m] for derivatives, m in zip(along, orders, strict=True)])
        for orders in derivative_orders(order, len(along))
    ]
    return np.stack(products, axis=-1)


def _null_space(basis):
    """Orthonormal columns: the coefficients that compose filters of zeros."""
    _, singular, right = np.linalg.svd(np.linalg.qr(basis, mode="r"))
    return right[np.sum(singular > _RANK_NULL * singular[0]) :].T


def _responses(radii, sigmas, order, extent):
    """How filters respond to waves of the frequencies that images hold, weighted by how much of each they hold.

    Returns:
        The responses of the basis filters, enlarged by `_ENLARGEMENT`, to waves that are enlarged likewise, of shape
        (waves, basis); and those of single pixels of filters with the given radii, of shape (waves, pixels).
    """
    frequencies = 2.0 * np.pi / _FREQUENCIES * np.arange(-(_FREQUENCIES // 2), _FREQUENCIES // 2 + 1)
    along = []
    for sigma in _ENLARGEMENT * np.asarray(sigmas):
        radius = filter_radius(float(sigma), extent, unit=_ENLARGEMENT)
        along.append(sampled_derivatives(sigma, radius, order) @ _waves(radius, frequencies / _ENLARGEMENT))
    distances = np.sqrt(sum(np.square(np.meshgrid(*[frequencies] * len(radii), indexing="ij"))))
    weights = 1.0 / np.maximum(distances, 2.0 * np.pi / _FREQUENCIES).reshape(-1, 1)  # the amplitudes in photographs
    of_basis = weights * _products(along, order).reshape(weights.size, -1)
    of_pixels = weights * functools.reduce(np.kron, [_waves(radius, frequencies).T for radius in radii])
    return (np.concatenate([responses.real, responses.imag]) for responses in (of_basis, of_pixels))


def _waves(radius, frequencies):
    """exp(-iωx) on the pixels of a filter, of shape (size, frequencies)."""
    return np.exp(-1j * np.outer(np.arange(-radius, radius + 1), frequencies))


def _derivatives(sigma, order, extent, radius):
    """Gaussian derivatives along an axis, of shape (order + 1, size), on a grid of at least the given radius."""
    own = filter_radius(float(sigma), extent)
    return np.pad(sampled_derivatives(sigma, own, order), ((0, 0), (max(0, radius - own),) * 2))


def _centred(kernels, isotropic):
    """Zeros around the filters, such that their centre is that of the array; and all sizes are equal if isotropic."""
    sizes = kernels.shape[:-2]
    radii = [(max(sizes) if isotropic else size) // 2 for size in sizes]
    before = [radius - (size - 1) // 2 for size, radius in zip(sizes, radii, strict=True)]
    after = [2 * radius + 1 - size - start for size, radius, start in zip(sizes, radii, before, strict=True)]
    return np.pad(kernels, [*zip(before, after, strict=True), (0, 0), (0, 0)])


def _padded(kernels, radii):
    borders = np.subtract(radii, _radii(kernels))
    return np.pad(kernels, [*((border, border) for border in borders), (0, 0), (0, 0)])


def _radii(kernels):
    """The radius of centred filters along each axis."""
    return [size // 2 for size in kernels.shape[:-2]]


def _relative(difference, target, axis):
    norm = np.sqrt(np.sum(target**2, axis=axis))
    return np.sqrt(np.sum(difference**2, axis=axis)) / np.where(norm > 0, norm, 1.0)
