"""How long the evaluations of an N-Jet convolution take, counted in multiplications, and which one is chosen.

The sizes are those of one image. Nothing is timed when a layer runs: the constants below are fitted to benchmarks/.
"""

from keras_njet.scale_space import derivative_orders

# Times in units of a multiply-accumulate of mixing channels: one along an axis of n pixels takes 1 + SMALL_AXIS / n, as
# small products are slow, and fewer than VECTOR channels take as long as VECTOR; writing a number takes WRITING; a
# multiply-accumulate of a dense convolution takes DENSE, the geometric mean over the workloads and backends of
# benchmarks/README.md at σ = 1, between 0.5 and 5. The others are such that they order the measured times of the
# convolutions there and in N-Jet-NIN.
SMALL_AXIS = 30
VECTOR = 16
WRITING = 40
DENSE = 1.5
LARGEST_DENSE_RADIUS = 4
_UNKNOWN_SIZE = 64


def choose_mixing(in_size, out_size, channels: int, filters: int, groups: int, order: int) -> str:
    """Chooses when to mix channels: the cheapest order of the three products."""
    costs = matrix_costs(in_size, out_size, channels, filters, groups, order)
    return min(costs, key=costs.get)


def largest_dense_radius(in_size, out_size, channels: int, filters: int, groups: int, order: int) -> int:
    """Radius up to which the dense evaluation is cheaper than the one by matrices, 0 if it never is.

    Args:
        in_size, out_size: Pairs (height, width), before and after; None where a size is not known.
        channels, filters, groups, order: Of the layer.

    Returns:
        An integer between 0 and `LARGEST_DENSE_RADIUS`.
    """
    if groups == channels > 1:
        return 0  # a depthwise convolution does little work, but slowly
    by_matrices = min(matrix_costs(in_size, out_size, channels, filters, groups, order).values())
    height, width = _known(out_size)
    one_pixel = DENSE * height * width * channels // groups * filters
    radii = range(LARGEST_DENSE_RADIUS, 0, -1)
    return next((radius for radius in radii if (2 * radius + 1) ** 2 * one_pixel < by_matrices), 0)


def matrix_costs(in_size, out_size, channels: int, filters: int, groups: int, order: int) -> dict[str, float]:
    """Estimates the time of `evaluation.convolve_by_matrices` for each `mixing`."""
    (height, width), (new_height, new_width) = _known(in_size), _known(out_size)
    orders, basis = order + 1, len(derivative_orders(order))
    pixels, columns, rows, new_pixels = height * width, height * new_width, new_height * width, new_height * new_width
    written = {
        "first": (basis * pixels + orders * columns + orders * new_pixels) * filters,
        "between": orders * columns * channels + (basis * columns + orders * new_pixels) * filters,
        "last": (orders * rows + basis * new_pixels) * channels + orders * new_pixels * filters,
        "together": (2 * orders * columns + 5 * basis * new_pixels) * channels + new_pixels * filters,
    }
    vectors = {"first": filters, "last": channels}
    done = multiplications(in_size, out_size, channels, filters, groups, order)
    return {
        mixing: mixed
        + (1 + SMALL_AXIS / min(height, width)) * max(1, VECTOR / vectors.get(mixing, VECTOR)) * along_axes
        + WRITING * written[mixing]
        for mixing, (mixed, along_axes) in done.items()
    }


def multiplications(in_size, out_size, channels: int, filters: int, groups: int, order: int):
    """Counts the multiply-accumulates for each `mixing`: a pair (of mixing channels, along the axes)."""
    (height, width), (new_height, new_width) = _known(in_size), _known(out_size)
    orders, basis = order + 1, len(derivative_orders(order))
    columns, rows, new_pixels = height * new_width, new_height * width, new_height * new_width
    mix = basis * channels // groups * filters
    return {
        "first": (height * width * mix, (basis * columns * width + orders * new_pixels * height) * filters),
        "between": (columns * mix, orders * columns * width * channels + orders * new_pixels * height * filters),
        "last": (new_pixels * mix, (orders * rows * height + basis * new_pixels * width) * channels),
        "together": (new_pixels * mix, (orders * columns * width + basis * new_pixels * height) * channels),
    }


def _known(sizes):
    return [size if isinstance(size, int) else _UNKNOWN_SIZE for size in sizes]
