"""The two ways to evaluate an N-Jet convolution, and the rule that chooses between them.

By matrices: correlating an axis of n pixels with a filter is a product with an n×n band matrix. The N-Jet is separable,
so the whole convolution is a product along the width, one along the height, and a mixing of channels between, after or
before them. No shape depends on σ and the cost does not grow with it. Densely: the filter is composed and convolved
with, which is cheaper while it is small and the feature map is large.

Feature maps are "channels_last" in this module. Coefficients have the shape `(basis, channels / groups, filters)` and
the order of `derivative_orders`; matrices have the shape `(order + 1, new size, size)`.
"""

from keras import ops

from keras_njet.scale_space import derivative_orders

# Time of a multiply-accumulate of a dense convolution over that of one of the evaluation by matrices: the geometric
# mean over the workloads and backends of benchmarks/README.md at σ = 1, where it lies between 0.3 and 2.1.
DENSE_COST = 0.6
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
        mixing: When channels are mixed: "between" the products along the width and the height, "last" (cheapest for
            few input channels) or "first" (cheapest for few filters). The result is the same.

    Returns:
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    if mixing == "last":
        return _mix_last(x, coefficients, along_height, along_width, groups)
    order, height, new_width = along_width.shape[0] - 1, ops.shape(x)[1], ops.shape(along_width)[1]
    channels, filters = x.shape[-1], coefficients.shape[-1]
    blocks = _blocks_of_equal_j(coefficients, order)
    if mixing == "first":
        mixed = [_mix_then_width(x, block, along_width, groups) for block in blocks]
    else:
        rows = _all_orders_along_width(x, along_width)
        mixed = [_mix(rows[:, : block.shape[0] * channels], block, channels, groups) for block in blocks]
    mixed = [ops.reshape(part, (-1, height, new_width, filters)) for part in mixed]
    terms = [_along_height(along_height[j], mixed[j]) for j in range(order + 1)]
    return sum(terms[1:], terms[0])


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
    """Chooses when to mix channels: the order of the three products with the fewest multiply-accumulates."""
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
    by_matrices = min(matrix_costs(in_size, out_size, channels, filters, groups, order).values())
    height, width = _known(out_size)
    one_pixel = DENSE_COST * height * width * channels // groups * filters
    radii = range(LARGEST_DENSE_RADIUS, 0, -1)
    return next((radius for radius in radii if (2 * radius + 1) ** 2 * one_pixel < by_matrices), 0)


def matrix_costs(in_size, out_size, channels: int, filters: int, groups: int, order: int) -> dict[str, int]:
    """Counts the multiply-accumulates of `convolve_by_matrices` for one image and each `mixing`."""
    (height, width), (new_height, new_width) = _known(in_size), _known(out_size)
    basis = len(derivative_orders(order))
    mix = basis * channels // groups * filters
    across = (order + 1) * height * new_width * width * channels
    down = (order + 1) * new_height * new_width * height * filters
    return {
        "between": across + height * new_width * mix + down,
        "last": across + basis * new_height * new_width * height * channels + new_height * new_width * mix,
        "first": height * width * mix + basis * height * new_width * width * filters + down,
    }


def _known(sizes):
    return [size if isinstance(size, int) else _UNKNOWN_SIZE for size in sizes]


def _blocks_of_equal_j(coefficients, order):
    starts = [derivative_orders(order).index((0, j)) for j in range(order + 1)]
    return [coefficients[start : start + order + 1 - j] for j, start in enumerate(starts)]


def _all_orders_along_width(x, matrices):
    """(b, h, w, c) -> (b·h·new w, orders·c)."""
    width, channels = ops.shape(x)[2:]
    orders, new_width = matrices.shape[0], ops.shape(matrices)[1]
    matrices = ops.reshape(ops.transpose(matrices, (1, 0, 2)), (new_width * orders, width))
    rows = _times_each(matrices, ops.reshape(x, (-1, width, channels)))
    return ops.reshape(rows, (-1, orders * channels))


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
    x = ops.transpose(ops.reshape(x, (-1, orders, groups, size)), (2, 0, 1, 3))
    coefficients = ops.reshape(coefficients, (orders, size, groups, filters // groups))
    coefficients = ops.reshape(ops.transpose(coefficients, (2, 0, 1, 3)), (groups, orders * size, -1))
    mixed = ops.matmul(ops.reshape(x, (groups, -1, orders * size)), coefficients)
    return ops.reshape(ops.transpose(mixed, (1, 0, 2)), (-1, filters))


def _mix_last(x, coefficients, along_height, along_width, groups):
    """All basis responses of the input channels, then one mixing; channels lead until then since they are few."""
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
    """(b, h, w, c) -> (b·h, new w, filters): Σ_i T_i · x · α_i for the orders i of one block."""
    width, channels = ops.shape(x)[2:]
    orders, _, filters = coefficients.shape
    pixels = ops.reshape(x, (-1, channels))
    mixed = [_mix(pixels, coefficients[i : i + 1], channels, groups) for i in range(orders)]
    mixed = ops.concatenate([ops.reshape(part, (-1, width, filters)) for part in mixed], axis=1)
    joined = ops.reshape(ops.transpose(matrices[:orders], (1, 0, 2)), (-1, orders * width))
    return ops.matmul(joined, mixed)
