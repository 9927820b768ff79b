"""Scale-space theory: section III of the paper as plain functions.

Everything here is mathematics on `keras.ops` tensors and knows nothing of layers, feature maps or memory layouts.
`x` is a distance in pixels, `sigma` the scale in pixels, `order` the order of differentiation.

Reference: Pintea et al., "Resolution learning in deep convolutional networks using scale-space theory", IEEE
Transactions on Image Processing, 2021.
"""

import math

import numpy as np
from keras import ops

from keras_njet.sizes import MAX_RADIUS


def derivative_orders(order: int) -> list[tuple[int, int]]:
    """Lists the orders (i, j) of the basis filters G^{i,j} of an N-Jet.

    These are all pairs with 0 ≤ i + j ≤ `order` (equation 4), i along the width (x) and j along the height (y):
    (N + 1)(N + 2) / 2 of them. Pairs of equal j stand together, with i = 0, 1, ..., N - j.

    Args:
        order: Integer N ≥ 0, the highest total order of differentiation.

    Returns:
        A list of tuples (i, j).

    Example:

    >>> derivative_orders(2)
    [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)]
    """
    return [(i, j) for j in range(order + 1) for i in range(order + 1 - j)]


def hermite_polynomials(x, order: int) -> list:
    """Evaluates the physicists' Hermite polynomials H_0, ..., H_order by their recursion (section III-A).

    H_0 = 1, H_1 = 2x, H_i = 2x·H_{i-1} - 2(i - 1)·H_{i-2}.

    Args:
        x: Tensor of any shape.
        order: Integer ≥ 0, the highest degree.

    Returns:
        A list of `order + 1` tensors of the shape of `x`.
    """
    polynomials = [ops.ones_like(x), 2.0 * x]
    for i in range(2, order + 1):
        polynomials.append(2.0 * x * polynomials[-1] - 2.0 * (i - 1) * polynomials[-2])
    return polynomials[: order + 1]


def discrete_gaussian_sum(sigma, radius):
    """Sums exp(-t² / 2σ²) over the pixels t = -radius, ..., radius.

    A Gaussian that is divided by this sum adds up to one on the pixel grid.

    Args:
        sigma: Scalar tensor σ > 0, in pixels.
        radius: Scalar tensor or integer, in pixels; at most `keras_njet.sizes.MAX_RADIUS`.

    Returns:
        A scalar tensor.
    """
    distance = ops.arange(1, MAX_RADIUS + 1, dtype=sigma.dtype)
    inside = ops.cast(distance <= ops.cast(radius, sigma.dtype), sigma.dtype)
    return 1.0 + 2.0 * ops.sum(inside * ops.exp(-ops.square(distance / sigma) / 2.0))


def gaussian_derivatives(x, sigma, order: int, radius):
    """Evaluates the scale-normalised Gaussian derivatives of orders 0, ..., `order` (equation 2, section III-C).

    G^m(x; σ)·σ^m = (-1/√2)^m · H_m(x / σ√2) · G(x; σ), where G adds up to one on the pixels within the support. The
    factor σ^m makes the magnitude of the derivatives independent of the scale. Outside the support, |x| > `radius`,
    the values are 0. No gradient passes through the support, only through the values inside it.

    Args:
        x: Tensor of any shape: distances from the centre of the filter, in pixels.
        sigma: Scalar tensor σ > 0 of the dtype of `x`, in pixels.
        order: Integer N ≥ 0, the highest order.
        radius: Scalar tensor or integer, half-width of the support in pixels.

    Returns:
        A tensor of shape `(order + 1,) + x.shape`.

    Example:

    >>> x = keras.ops.arange(-2.0, 3.0)
    >>> derivatives = gaussian_derivatives(x, keras.ops.ones(()), order=1, radius=2)
    >>> float(keras.ops.round(keras.ops.sum(derivatives[0]), 5))
    1.0
    """
    inside = ops.abs(x) <= ops.cast(radius, x.dtype)
    z = ops.where(inside, x, ops.zeros_like(x)) / (sigma * math.sqrt(2.0))
    gaussian = ops.cast(inside, x.dtype) * ops.exp(-ops.square(z)) / discrete_gaussian_sum(sigma, radius)
    polynomials = hermite_polynomials(z, order)
    return ops.stack([(-1.0 / math.sqrt(2.0)) ** m * polynomial * gaussian for m, polynomial in enumerate(polynomials)])


def sampled_derivatives(sigma: float, radius: int, order: int) -> np.ndarray:
    """The same on the pixel grid, in NumPy: for what is computed outside of a model.

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


def njet_basis(derivatives):
    """Builds the two-dimensional basis filters G^{i,j}(x, y) = G^i(x)·G^j(y) (equation 3).

    Args:
        derivatives: Tensor of shape `(order + 1, size)`: one-dimensional Gaussian derivatives on the pixel grid.

    Returns:
        A tensor of shape `(basis, size, size)`, its axes being basis filter, y and x, ordered as
        `derivative_orders(order)`.
    """
    i, j = zip(*derivative_orders(derivatives.shape[0] - 1), strict=True)
    along_x, along_y = ops.take(derivatives, i, axis=0), ops.take(derivatives, j, axis=0)
    return ops.expand_dims(along_y, 2) * ops.expand_dims(along_x, 1)


def compose_filters(coefficients, basis):
    """Composes filters as linear combinations of basis filters, F = Σ α_{ij}·G^{i,j} (equation 5).

    Args:
        coefficients: Tensor α of shape `(basis, channels, filters)`.
        basis: Tensor of shape `(basis, size, size)`.

    Returns:
        A tensor of shape `(size, size, channels, filters)`, the layout of the kernel of `keras.layers.Conv2D`.
    """
    return ops.tensordot(ops.transpose(basis, (1, 2, 0)), coefficients, axes=1)
