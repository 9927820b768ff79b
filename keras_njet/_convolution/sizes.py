"""From σ to sizes: the only place where a scale becomes a number of pixels.

Each function takes the scale either as a Python number, and returns an `int`, or as a tensor, and returns a tensor:
the first decides the shape of an array, the second follows σ inside a compiled function. Values within one part in a
hundred thousand of a whole number count as that number, so that rounding in σ = 2^s does not change a size.
"""

import math

from keras import ops

MAX_RADIUS = 1024
"""Largest radius of a filter, in pixels. Wider Gaussians are cut off there, at 2049 pixels."""

_TOLERANCE = 1e-5
_PARTS = 2**24


def filter_radius(sigma, extent, unit=1.0):
    """Radius of the support of a filter, at most `MAX_RADIUS` pixels: ⌈kσ⌉, at least 1 (section III-C).

    That is so for a unit u of one pixel. In general the support is as long as 2⌈kσ/u⌉ + 1 units, at least 3.

    Args:
        sigma: σ > 0 in pixels, a number or a tensor.
        extent: Number k > 0, the half-width of the support in units of σ.
        unit: Number u > 0, in pixels; for a tensor also a tensor.

    Returns:
        For a tensor a tensor r of its shape and dtype: the support ends at a distance of r + ½ pixels from the centre,
        which may be inside of a pixel. For a number an `int`, the distance of the last pixel that has a part in it, at
        least 1.
    """
    if ops.is_tensor(sigma):
        units = ops.clip(ops.ceil(extent * (1.0 - _TOLERANCE) / unit * sigma), 1.0, float(MAX_RADIUS))
        return ops.clip((units + 0.5) * unit - 0.5, 0.0, float(MAX_RADIUS))
    _check(sigma)
    radius = (_units(sigma, extent, unit) + 0.5) * unit - 0.5
    return max(1, math.ceil(min(radius, MAX_RADIUS) * (1.0 - _TOLERANCE)))


def valid_margin(sigma: float, extent: float, unit: float = 1.0) -> int:
    """The distance from the border ⌈kσ⌉ that an output without padding keeps: whole units, rounded to pixels.

    Example:

    >>> valid_margin(sigma=3.0, extent=2.0, unit=2.0)
    6
    """
    _check(sigma)
    return rounded(min(unit * _units(sigma, extent, unit), MAX_RADIUS), least=1)


def first_that_reaches(sigma: float, extent: float, reaches: tuple[int, ...], units: tuple[float, ...] = (1.0,)) -> int:
    """Index of the first of some increasing radii, in pixels, that is not smaller than the filter's; or of the last.

    Example:

    >>> first_that_reaches(sigma=1.0, extent=2.0, reaches=(1, 4, 16))
    1
    """
    radius = max(filter_radius(sigma, extent, unit) for unit in units)
    return next((index for index, reach in enumerate(reaches) if radius <= reach), len(reaches) - 1)


def kernel_size(sigma: float, extent: float, unit: float = 1.0) -> int:
    """Size s = 2⌈kσ⌉ + 1 of a filter, in pixels (section III-C), for a unit of one pixel.

    Example:

    >>> kernel_size(sigma=1.0, extent=2.0)
    5
    """
    return 2 * filter_radius(sigma, extent, unit) + 1


def rounded(size: float, least: int = 0) -> int:
    """A number of pixels as a whole one, half a pixel up.

    Example:

    >>> rounded(4.5)
    5
    """
    return max(least, math.floor(size + 0.5))


def subsampled_size(sigma: float, size: int, rate: float, unit: float = 1.0) -> int:
    """Size ⌊s·½^(σ/r)⌋ of a safely subsampled feature map, at least 1 pixel (section IV).

    It is rounded down to whole units, and then to whole pixels, half a pixel up.

    Args:
        sigma: Number σ > 0, in pixels.
        size: Integer, the size s of the feature map along one axis, in pixels.
        rate: Number r > 0, the σ at which the feature map has half its size.
        unit: Number u > 0, in pixels.

    Example:

    >>> subsampled_size(sigma=4.0, size=32, rate=4.0)
    16
    """
    _check(sigma)
    units = math.floor(size / unit * 0.5 ** (sigma / rate) * (1.0 + _TOLERANCE))
    return rounded(unit * max(1, units), least=1)


def kept_parts(sigma: float, rate: float) -> int:
    """The share ½^(σ/r) of an axis that safe subsampling keeps, as a whole number of parts of 2^-24.

    Example:

    >>> kept_parts(sigma=4.0, rate=4.0) == 2**23
    True
    """
    _check(sigma)
    return max(1, round(_PARTS * 0.5 ** (sigma / rate)))


def size_of_parts(size, parts: int, unit: float = 1.0):
    """The size of a subsampled axis whose size is not known when a function is compiled, by `kept_parts`.

    Args:
        size: Integer tensor, the size s of the feature map along one axis, in pixels.
        parts: Integer, the share that is kept.
        unit: As in `subsampled_size`.

    Returns:
        A tensor of dtype "int32", at least 1.
    """
    units = ops.floor(ops.cast(size, "float32") * (parts / _PARTS * (1.0 + _TOLERANCE) / unit))
    return ops.cast(ops.maximum(ops.floor(unit * ops.maximum(units, 1.0) + 0.5), 1.0), "int32")


def _units(sigma, extent, unit):
    return max(1, math.ceil(min(extent * sigma / unit, MAX_RADIUS) * (1.0 - _TOLERANCE)))


def _check(sigma):
    if not sigma > 0:
        raise ValueError(
            f"A scale must be a positive number; NaN means that training diverged. Received: sigma={sigma}"
        )
