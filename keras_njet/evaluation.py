"""The two ways to evaluate an N-Jet convolution, and the rule that chooses between them.

By matrices: correlating an axis of n pixels with a filter is a product with an n×n band matrix. The N-Jet is separable,
so the whole convolution is a product along the width, one along the height, and a mixing of channels between, after or
before them. No shape depends on σ and the cost does not grow with it. Densely: the filter is composed and convolved
with, which is cheaper while it is small and the feature map is large.

Feature maps are "channels_last" in this module. Coefficients have the shape `(basis, channels / groups, filters)` and
the order of `derivative_orders`; matrices have the shape `(order + 1, new size, size)`.
"""

import functools

from keras import ops

from keras_njet.scale_space import derivative_orders

# Times in units of a multiply-accumulate of mixing channels: one along an axis of n pixels takes 1 + SMALL_AXIS / n, as
# small products are slow; writing a number takes WRITING; a multiply-accumulate of a dense convolution takes DENSE, the
# geometric mean over the workloads and backends of benchmarks/README.md at σ = 1, between 0.5 and 5. The first two are
# such that they order the measured times of the three convolutions of N-Jet-NIN.
SMALL_AXIS = 100
WRITING = 40
DENSE = 1.5
LARGEST_DENSE_RADIUS = 4
_UNKNOWN_SIZE = 64


def convolve_by_matrices(x, coefficients, along_height, along_width, groups: int = 1, mixing: str = "between"):
    """Convolves by Gaussian-derivative matrices: out = Σ_{ij} T_j · (T_i · x · α_{ij}).

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        coefficients: Tensor of shape `(basis, channels / groups, filters)`.
        along_height: Tensor of shape `(order + 1, new_height, height)`.
        along_width: Tensor of shape `(order + 1, new_width, width)`.
        groups: Integer, number of groups of channels that are mixed separately.
        mixing: When channels are mixed: "first" (cheapest for few filters), "between" the products along the width and
            the height, "last", or "together", which is last, for all basis filters in one product (cheapest for very
            few channels). The result is the same.

    Returns:
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    if mixing == "together":
        return _mix_together(x, coefficients, along_height, along_width, groups)
    if mixing == "last":
        return _mix_last(x, coefficients, along_height, along_width, groups)
    order, new_width, filters = along_width.shape[0] - 1, ops.shape(along_width)[1], coefficients.shape[-1]
    mix_columns = _mix_then_width if mixing == "first" else _width_then_mix
    columns = mix_columns(x, coefficients, along_width, groups)
    columns = [ops.reshape(column, (-1, ops.shape(x)[1], new_width, filters)) for column in columns]
    return _sum(_along_height(along_height[j], columns[j]) for j in range(order + 1))


def convolve_densely(x, kernel, starts, counts, strides, groups: int = 1):
    """Convolves with a composed filter, its centre at the pixels `start + stride·(0, ..., count - 1)` of each axis.

    Args:
        x: Tensor of shape `(batch, height, width, channels)` with known height and width.
        kernel: Tensor of shape `(size, size, channels / groups, filters)`, size odd.
        starts, counts, strides: Pairs of integers, for height and width.
        groups: Integer, number of groups of channels.

    Returns:
        A tensor of shape `(batch, counts[0], counts[1], filters)`; pixels outside the input count as 0.
    """
    radius = kernel.shape[0] // 2
    sizes = x.shape[1:3]
    if strides == (1, 1) and starts == (0, 0) and counts == tuple(sizes):
        return ops.conv(x, kernel, padding="same", data_format="channels_last")
    before = [radius - start for start in starts]
    after = [
        start + (count - 1) * stride + radius - (size - 1)
        for start, count, stride, size in zip(starts, counts, strides, sizes, strict=True)
    ]
    x = x[:, max(0, -before[0]) : sizes[0] - max(0, -after[0]), max(0, -before[1]) : sizes[1] - max(0, -after[1])]
    padding = [[max(0, b), max(0, a)] for b, a in zip(before, after, strict=True)]
    x = ops.pad(x, [[0, 0], *padding, [0, 0]])
    return ops.conv(x, kernel, strides=strides, padding="valid", data_format="channels_last")


def resample(x, along_height, along_width):
    """Resamples a feature map by one matrix an axis.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        along_height: Tensor of shape `(new_height, height)`.
        along_width: Tensor of shape `(new_width, width)`.

    Returns:
        A tensor of shape `(batch, new_height, new_width, channels)`.
    """
    return _along_height(along_height, ops.matmul(along_width, x))


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
    """Estimates the time of `convolve_by_matrices` for one image, for each `mixing`."""
    (height, width), (new_height, new_width) = _known(in_size), _known(out_size)
    orders, basis = order + 1, len(derivative_orders(order))
    pixels, columns, new_pixels = height * width, height * new_width, new_height * new_width
    written = {
        "first": (basis * pixels + basis * columns + orders * new_pixels) * filters,
        "between": orders * columns * channels + (basis * columns + orders * new_pixels) * filters,
        "last": (orders * columns + basis * new_pixels) * channels + basis * new_pixels * filters,
        "together": (2 * orders * columns + 5 * basis * new_pixels) * channels + new_pixels * filters,
    }
    done = multiplications(in_size, out_size, channels, filters, groups, order)
    along_axis = 1 + SMALL_AXIS / min(height, width)
    return {
        mixing: mixed + along_axis * along_axes + WRITING * written[mixing]
        for mixing, (mixed, along_axes) in done.items()
    }


def multiplications(in_size, out_size, channels: int, filters: int, groups: int, order: int):
    """Counts the multiply-accumulates for one image and each `mixing`: a pair (of mixing channels, along the axes)."""
    (height, width), (new_height, new_width) = _known(in_size), _known(out_size)
    orders, basis = order + 1, len(derivative_orders(order))
    columns, new_pixels = height * new_width, new_height * new_width
    mix = basis * channels // groups * filters
    across, down = orders * columns * width * channels, orders * new_pixels * height * filters
    all_down = basis * new_pixels * height * channels
    return {
        "first": (height * width * mix, basis * columns * width * filters + down),
        "between": (columns * mix, across + down),
        "last": (new_pixels * mix, across + all_down),
        "together": (new_pixels * mix, across + all_down),
    }


def _sum(terms):
    return functools.reduce(ops.add, terms)


def _known(sizes):
    return [size if isinstance(size, int) else _UNKNOWN_SIZE for size in sizes]


def _blocks_of_equal_j(coefficients, order):
    starts = [derivative_orders(order).index((0, j)) for j in range(order + 1)]
    return [coefficients[start : start + order + 1 - j] for j, start in enumerate(starts)]


def _width_then_mix(x, coefficients, matrices, groups):
    """Σ_i (T_i · x) · α_{ij} for each j, of shape (b·h·new w, filters).

    A product for each pair of orders: torch and TensorFlow take long for the gradients of slices and of concatenation.
    """
    order, channels = matrices.shape[0] - 1, x.shape[-1]
    rows = _along_width(matrices, x)
    return [
        _sum(_mix(rows[i], block[i : i + 1], channels, groups) for i in range(block.shape[0]))
        for block in _blocks_of_equal_j(coefficients, order)
    ]


def _along_width(matrices, x):
    """T_i · x for each i, of shape (b·h·new w, c)."""
    _, _, width, channels = ops.shape(x)
    x = ops.reshape(x, (-1, width, channels))
    return [ops.reshape(_times_each(matrices[i], x), (-1, channels)) for i in range(matrices.shape[0])]


def _along_height(matrix, x):
    """(b, h, w, c) -> (b, new h, w, c)."""
    _, height, width, channels = ops.shape(x)
    columns = _times_each(matrix, ops.reshape(x, (-1, height, width * channels)))
    return ops.reshape(columns, (-1, ops.shape(matrix)[0], width, channels))


def _times_each(matrix, x):
    """The product of one matrix with each of a batch of matrices.

    The batch axis is written out, without a copy, since torch transposes all of `x` for the gradient otherwise.
    """
    return ops.matmul(ops.broadcast_to(matrix, (ops.shape(x)[0], *ops.shape(matrix))), x)


def _mix(x, coefficients, channels, groups):
    """(pixels, orders·c) -> (pixels, filters), with coefficients of shape (orders, c / groups, filters).

    On matrices, not maps: TensorFlow and torch take much longer for the gradient of a slice of a four-dimensional map.
    """
    orders, _, filters = coefficients.shape
    if groups == 1:
        return ops.matmul(x, ops.reshape(coefficients, (orders * channels, filters)))
    size = channels // groups
    if size == 1:
        x = ops.reshape(x, (-1, orders, channels, 1))
        return ops.reshape(ops.sum(x * ops.reshape(coefficients, (orders, channels, -1)), axis=1), (-1, filters))
    x = ops.transpose(ops.reshape(x, (-1, orders, groups, size)), (2, 0, 1, 3))
    coefficients = ops.reshape(coefficients, (orders, size, groups, filters // groups))
    coefficients = ops.reshape(ops.transpose(coefficients, (2, 0, 1, 3)), (groups, orders * size, -1))
    mixed = ops.matmul(ops.reshape(x, (groups, -1, orders * size)), coefficients)
    return ops.reshape(ops.transpose(mixed, (1, 0, 2)), (-1, filters))


def _mix_last(x, coefficients, along_height, along_width, groups):
    """Σ_ij (T_j · T_i · x) · α_{ij}: both products, then one of mixing for each pair of orders."""
    _, height, _, channels = ops.shape(x)
    order, new_height, new_width = along_width.shape[0] - 1, ops.shape(along_height)[1], ops.shape(along_width)[1]
    rows = [ops.reshape(row, (-1, height, new_width, channels)) for row in _along_width(along_width, x)]

    def term(index, i, j):
        response = ops.reshape(_along_height(along_height[j], rows[i]), (-1, channels))
        return _mix(response, coefficients[index : index + 1], channels, groups)

    outputs = _sum(term(index, i, j) for index, (i, j) in enumerate(derivative_orders(order)))
    return ops.reshape(outputs, (-1, new_height, new_width, coefficients.shape[-1]))


def _mix_together(x, coefficients, along_height, along_width, groups):
    """The responses to all basis filters, then one mixing of them; channels lead until then since they are few."""
    _, height, width, channels = ops.shape(x)
    order, new_height, new_width = along_width.shape[0] - 1, ops.shape(along_height)[1], ops.shape(along_width)[1]
    across = ops.transpose(ops.reshape(along_width, (-1, width)))
    rows = ops.matmul(ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, width)), across)
    rows = ops.reshape(rows, (-1, height, (order + 1) * new_width))
    responses = [ops.matmul(along_height[j], rows[..., : (order + 1 - j) * new_width]) for j in range(order + 1)]
    basis, _, filters = coefficients.shape
    responses = ops.reshape(ops.concatenate(responses, axis=-1), (-1, channels, new_height, basis, new_width))
    responses = ops.reshape(ops.transpose(responses, (0, 2, 4, 3, 1)), (-1, basis * channels))
    return ops.reshape(_mix(responses, coefficients, channels, groups), (-1, new_height, new_width, filters))


def _mix_then_width(x, coefficients, matrices, groups):
    """Σ_i T_i · (x · α_{ij}) for each j, of shape (b·h, new w, filters)."""
    width, channels = ops.shape(x)[2:]
    filters = coefficients.shape[-1]
    pixels = ops.reshape(x, (-1, channels))

    def term(i, block):
        mixed = _mix(pixels, block[i : i + 1], channels, groups)
        return _times_each(matrices[i], ops.reshape(mixed, (-1, width, filters)))

    blocks = _blocks_of_equal_j(coefficients, matrices.shape[0] - 1)
    return [_sum(term(i, block) for i in range(block.shape[0])) for block in blocks]
