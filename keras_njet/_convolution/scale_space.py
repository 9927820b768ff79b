"""Scale-space theory: section III of the paper as plain functions.

Everything here is mathematics on `keras.ops` tensors and knows nothing of layers, feature maps or memory layouts.
`x` is a distance in pixels, `sigma` the scale in pixels, `order` the order of differentiation.

Reference: Pintea et al., "Resolution learning in deep convolutional networks using scale-space theory", IEEE
Transactions on Image Processing, 2021.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_njet._convolution.sizes import MAX_RADIUS

DISCRETIZATIONS = ("sampled", "integrated")
"""What a pixel of a filter is: `gaussian_derivatives` at its centre, or `integrated_derivatives` over it."""

LEAST_SIGMA = {"sampled": 0.6, "integrated": 0.5}
"""σ in pixels below which a Gaussian cannot show its derivatives on the pixel grid, for each discretization."""


def derivative_orders(order: int, axes: int) -> list[tuple[int, ...]]:
    """Lists the orders of the basis filters of an N-Jet on a grid of any number of axes.

    These are all tuples with 0 ≤ m_1 + m_2 + ... ≤ `order` (equation 4), m_a being the order of differentiation along
    the a-th axis of the array: (depth, height, width) in three dimensions. They stand in lexicographic order, the last
    axis running first.

    Args:
        order: Integer N ≥ 0, the highest total order of differentiation.
        axes: Integer ≥ 1, the number of axes.

    Returns:
        A list of tuples: N + 1, (N + 1)(N + 2) / 2 and (N + 1)(N + 2)(N + 3) / 6 of them for one, two and three axes.

    Example:

    >>> derivative_orders(2, axes=2)
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    """
    if axes == 0:
        return [()]
    return [(m, *others) for m in range(order + 1) for others in derivative_orders(order - m, axes - 1)]


def discrete_gaussian_sum(sigma, radius):
    """Sums exp(-t² / 2σ²) over the pixels t = -radius, ..., radius.

    A Gaussian that is divided by this sum adds up to one on the pixel grid.

    Args:
        sigma: Scalar tensor σ > 0, in pixels.
        radius: As in `gaussian_derivatives`; at most `keras_njet._convolution.sizes.MAX_RADIUS`.

    Returns:
        A scalar tensor.
    """
    distance = ops.arange(1, MAX_RADIUS + 1, dtype=sigma.dtype)
    gaussian, _ = _gaussian(distance, ops.reciprocal(sigma), radius)
    return _share(ops.zeros_like(sigma), radius) + 2.0 * ops.sum(gaussian)


def gaussian_derivatives(x, sigma, order: int, radius, covers_support: bool = False):
    """Evaluates the scale-normalised Gaussian derivatives of orders 0, ..., `order` (equation 2, section III-C).

    G^m(x; σ)·σ^m = (-1/√2)^m · H_m(x / σ√2) · G(x; σ), where G adds up to one on the pixels within the support. The
    factor σ^m makes the magnitude of the derivatives independent of the scale. The support ends half a pixel beyond
    `radius`. Outside the values are 0, and a pixel in which it ends counts by its share. No gradient passes through
    the support, only through the values inside it.

    With D_m for G^m·σ^m, the recursion of the Hermite polynomials, H_{m+1}(z) = 2z·H_m(z) - 2m·H_{m-1}(z), becomes
    D_{m+1} = -(x / σ)·D_m - m·D_{m-1}.

    Args:
        x: Tensor of any shape: distances from the centre of the filter, in pixels.
        sigma: Scalar tensor σ > 0 of the dtype of `x`, in pixels.
        order: Integer N ≥ 0, the highest order.
        radius: Scalar tensor or number, in pixels: distance of the last pixel of the support, if it is whole.
        covers_support: Whether `x` are all pixels of the support once, and others at will: a filter. Then the values
            themselves say what the Gaussian adds up to.

    Returns:
        A list of order + 1 tensors of the shape of `x`.

    Example:

    >>> x = keras.ops.arange(-2.0, 3.0)
    >>> derivatives = gaussian_derivatives(x, keras.ops.ones(()), order=1, radius=2)
    >>> float(keras.ops.round(keras.ops.sum(derivatives[0]), 5))
    1.0
    """
    minus = -ops.reciprocal(sigma)
    gaussian, centre = _gaussian(x, minus, radius)
    summed = ops.sum(gaussian) if covers_support else discrete_gaussian_sum(sigma, radius)
    derivatives, scaled = [gaussian * ops.reciprocal(summed)], centre * minus
    for m in range(order):
        higher = scaled * derivatives[m]
        if m > 0:
            lower = derivatives[m - 1]
            higher = higher - (lower if m == 1 else float(m) * lower)
        derivatives.append(higher)
    return derivatives


def integrated_derivatives(x, sigma, order: int, radius):
    """Averages the scale-normalised Gaussian derivatives over each pixel, instead of sampling them at its centre.

    The value at x is ∫ G^m(t; σ)·σ^m dt over the pixel from x - ½ to x + ½, which is a difference of the derivative of
    order m - 1 between its edges; for m = 0 of the error function. Of a pixel in which the support ends, the part
    within counts. At a σ of a third of a pixel, where a sampled first derivative nearly vanishes, these filters still
    tell edges from blobs.

    Args:
        x: Tensor of distances in pixels, the last axis of which runs over neighbouring pixels.
        sigma, order, radius: As in `gaussian_derivatives`.

    Returns:
        A list of order + 1 tensors of the shape of `x`. The first adds up to one over the support.

    Example:

    >>> derivatives = integrated_derivatives(keras.ops.arange(-2.0, 3.0), keras.ops.ones(()), order=1, radius=2)
    >>> float(keras.ops.round(keras.ops.sum(derivatives[0]), 5))
    1.0
    """
    inverse, end = ops.reciprocal(sigma), ops.stop_gradient(ops.convert_to_tensor(radius, x.dtype) + 0.5)
    edges = ops.clip(ops.concatenate([x - 0.5, x[..., -1:] + 0.5], axis=-1), -end, end) * inverse
    inverse_total = ops.reciprocal(ops.erf(math.sqrt(0.5) * end * inverse))
    at_edges = [ops.erf(math.sqrt(0.5) * edges) * (0.5 * inverse_total)]
    if order > 0:
        at_edges.append(ops.exp(-0.5 * ops.square(edges)) * (inverse_total / math.sqrt(2 * math.pi)))
    for m in range(1, order):
        at_edges.append(-edges * at_edges[m] - (float(m - 1) * at_edges[m - 1] if m > 1 else 0.0))
    return [values[..., 1:] - values[..., :-1] for values in at_edges]


def sampled_derivatives(sigma: float, radius: int, order: int) -> np.ndarray:
    """What `gaussian_derivatives` computes, on the pixel grid and in NumPy: for what is computed outside of a model.

    Args:
        sigma: Number σ > 0, in pixels.
        radius: Integer, half-width of the support in pixels.
        order: Integer N ≥ 0, the highest order.

    Returns:
        An array of shape `(order + 1, 2·radius + 1)`.
    """
    x = np.arange(-radius, radius + 1)
    gaussian = np.exp(-((x / sigma) ** 2) / 2)
    z = x / (sigma * math.sqrt(2))
    hermite = [np.polynomial.hermite.hermval(z, [0] * m + [1]) for m in range(order + 1)]
    return np.stack([(-1 / math.sqrt(2)) ** m * hermite[m] * gaussian / gaussian.sum() for m in range(order + 1)])


def njet_basis(derivatives: Sequence):
    """Builds the basis filters as products of one-dimensional ones, G^{m_1, m_2}(y, x) = G^{m_1}(y)·G^{m_2}(x).

    That is equation 3, for any number of axes.

    Args:
        derivatives: For each axis a list with the Gaussian derivative of each order on the pixel grid, tensors of shape
            `(size,)`.

    Returns:
        A tensor of shape `(basis, *sizes)`, the basis filters ordered as `derivative_orders(order, axes)`.
    """
    axes = len(derivatives)
    orders = derivative_orders(len(derivatives[0]) - 1, axes)
    factors = []
    for axis, values in enumerate(derivatives):
        shape = [len(orders)] + [1] * axes
        shape[1 + axis] = values[0].shape[0]
        factors.append(ops.reshape(ops.stack([values[of_axes[axis]] for of_axes in orders]), shape))
    return functools.reduce(ops.multiply, factors)


def compose_filters(coefficients, basis):
    """Composes filters as linear combinations of basis filters, F = Σ α_m·G^m (equation 5).

    Args:
        coefficients: Tensor α of shape `(basis, channels, filters)`.
        basis: Tensor of shape `(basis, *sizes)`.

    Returns:
        A tensor of shape `(*sizes, channels, filters)`, the layout of the kernel of Keras' convolutions.
    """
    return ops.tensordot(basis, coefficients, axes=((0,), (0,)))


def _share(x, radius):
    """The share of a pixel at a distance x that lies within the support."""
    return ops.stop_gradient(ops.clip(radius + 1.0 - ops.abs(x), 0.0, 1.0))


def _gaussian(x, inverse_sigma, radius):
    """share·exp(-c² / 2σ²) for each pixel, and c: share is its part within the support, c the centre of that part."""
    share = _share(x, radius)
    centre = x - 0.5 * (1.0 - share) * ops.sign(x)
    return share * ops.exp(ops.square(centre) * (-0.5 * ops.square(inverse_sigma))), centre
