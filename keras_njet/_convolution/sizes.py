"""From σ to sizes: the only place where a scale becomes a number of pixels.

Each function takes the scale either as a Python number, and returns an `int`, or as a tensor, and returns a tensor:
the first decides the shape of an array, the second follows σ inside a compiled function. Values within one part in a
hundred thousand of a whole number count as that number, so that rounding in σ = 2^s does not change a size.
"""

import math

from keras import ops

MAX_RADIUS = 1024
"""Largest radius of a filter, in pixels. Wider Gaussians are cut off there: 2049 pixels outgrow any feature map."""

_TOLERANCE = 1e-5
_PARTS = 2**24


def filter_radius(sigma, extent):
    """Radius ⌈kσ⌉ of the support of a filter, at least 1 and at most `MAX_RADIUS` pixels (section III-C).

    Args:
        sigma: σ > 0 in pixels, a number or a scalar tensor.
        extent: Number k > 0, the half-width of the support in units of σ.

    Returns:
        An `int` for a number, a scalar tensor of the dtype of `sigma` for a tensor.
    """
    if ops.is_tensor(sigma):
        return ops.clip(ops.ceil(extent * (1.0 - _TOLERANCE) * sigma), 1.0, float(MAX_RADIUS))
    _check(sigma)
    return max(1, math.ceil(min(extent * sigma, MAX_RADIUS) * (1.0 - _TOLERANCE)))


def first_that_reaches(sigma: float, extent: float, reaches: tuple[int, ...]) -> int:
    """Index of the first of some increasing radii, in pixels, that is not smaller than the filter's; or of the last.

    Example:

    >>> first_that_reaches(sigma=1.0, extent=2.0, reaches=(1, 4, 16))
    1
    """
    radius = filter_radius(sigma, extent)
    return next((index for index, reach in enumerate(reaches) if radius <= reach), len(reaches) - 1)


def kernel_size(sigma: float, extent: float) -> int:
    """Size s = 2⌈kσ⌉ + 1 of a filter, in pixels (section III-C).

    Example:

    >>> kernel_size(sigma=1.0, extent=2.0)
    5
    """
    return 2 * filter_radius(sigma, extent) + 1


def subsampled_size(sigma: float, size: int, rate: float) -> int:
    """Size ⌊s·½^(σ/r)⌋ of a safely subsampled feature map, at least 1 pixel (section IV).

    Args:
        sigma: Number σ > 0, in pixels.
        size: Integer, the size s of the feature map along one axis, in pixels.
        rate: Number r > 0, the σ at which the feature map has half its size.

    Example:

    >>> subsampled_size(sigma=4.0, size=32, rate=4.0)
    16
    """
    _check(sigma)
    return max(1, math.floor(size * 0.5 ** (sigma / rate) * (1.0 + _TOLERANCE)))


def kept_parts(sigma: float, rate: float) -> int:
    """The share ½^(σ/r) of an axis that safe subsampling keeps, as a whole number of parts of 2^-24.

    Example:

    >>> kept_parts(sigma=4.0, rate=4.0) == 2**23
    True
    """
    _check(sigma)
    return max(1, round(_PARTS * 0.5 ** (sigma / rate)))


def size_of_parts(size, parts: int):
    """The size of a subsampled axis whose size is not known when a function is compiled, by `kept_parts`.

    Args:
        size: Integer tensor, the size s of the feature map along one axis, in pixels.
        parts: Integer, the share that is kept.

    Returns:
        A tensor of dtype "int32", at least 1.
    """
    exact = ops.cast(size, "float32") * (parts / _PARTS * (1.0 + _TOLERANCE))
    return ops.cast(ops.maximum(ops.floor(exact), 1.0), "int32")


def _check(sigma):
    if not sigma > 0:
        raise ValueError(
            f"A scale must be a positive number; NaN means that training diverged. Received: sigma={sigma}"
        )
