"""The ways to evaluate an N-Jet convolution; `keras_njet.convolution.costs` has the rule that chooses between them.

By matrices: correlating an axis of n pixels with a filter is a product with an n×n band matrix. The N-Jet is separable,
so the whole convolution is a product along one axis, one along the other, and a mixing of channels between, after or
before them. No shape depends on σ and the cost does not grow with it. By tiles: the same on tiles of the feature map,
each with a halo as wide as the filter, so that the cost of a pixel does not grow with the map, either. Densely: the
filter is composed and convolved with, which is cheaper while it is small and the feature map is large.

Feature maps are "channels_last" in this module. Coefficients have the shape `(basis, channels / groups, filters)` and
the order of `derivative_orders`; matrices have the shape `(order + 1, new size, size)`.
"""

import functools
import itertools

from keras import ops

from keras_njet.convolution.depthwise import depthwise_conv


def convolve_by_matrices(x, coefficients, along_height, along_width, groups: int = 1, mixing: str = "between"):
    """Convolves by Gaussian-derivative matrices: out = Σ_{ij} T_j · (T_i · x · α_{ij}).

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        coefficients: Tensor of shape `(basis, channels / groups, filters)`.
        along_height: Tensor of shape `(order + 1, new_height, height)`.
        along_width: Tensor of shape `(order + 1, new_width, width)`.
        groups: Integer, number of groups of channels that are mixed separately.
        mixing: When channels are mixed: "first" (cheapest for few filters), "between" the products along the width and
            the height (cheapest for large feature maps), "last", or "together", which is last, for all basis filters in
            one product (cheapest for very few channels). The result is the same.

    Returns:
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    if mixing in ("first", "last"):
        return convolve_at_scales(x, coefficients, [(along_height, along_width)], groups, mixing)
    if mixing == "together":
        return mix_responses(basis_responses(x, along_height, along_width), coefficients, groups)
    return _mix_between(x, coefficients, along_height, along_width, groups)


def convolve_at_scales(x, coefficients, matrices, groups: int = 1, mixing: str = "first"):
    """Sums convolutions at several scales, with the same coefficients: channels are mixed once for all scales.

    Args:
        x, coefficients, groups: As in `convolve_by_matrices`.
        matrices: List of a pair `(along_height, along_width)` for each scale, all of one shape.
        mixing: "first" or "last".

    Returns:
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    convolve = {"first": _mix_first, "last": _mix_last}[mixing]
    return convolve(x, coefficients, matrices, groups)


def convolve_few_filters(x, coefficients, along_height, along_width):
    """Convolves by matrices, channels mixed first, with the filters leading from then on: for one or few of them.

    Args:
        x, coefficients, along_height, along_width: As in `convolve_by_matrices`, without groups.

    Returns:
        A tensor of shape `(batch, new_height, new_width, filters)`.
    """
    _, height, width, channels = ops.shape(x)
    new_width, filters = ops.shape(along_width)[1], _shape(coefficients)[-1]

    def term(j, block):
        orders = len(block)
        mixing = ops.reshape(ops.transpose(ops.concatenate(block, axis=0), (1, 2, 0)), (channels, filters * orders))
        mixed = ops.reshape(ops.matmul(ops.reshape(x, (-1, channels)), mixing), (-1, height, width, filters, orders))
        rows = ops.reshape(ops.transpose(mixed, (0, 3, 1, 2, 4)), (-1, width * orders))
        across = ops.reshape(ops.transpose(along_width[:orders], (2, 0, 1)), (width * orders, new_width))
        return ops.matmul(along_height[j], ops.reshape(ops.matmul(rows, across), (-1, filters, height, new_width)))

    terms = (term(j, block) for j, block in enumerate(_blocks_of_equal_j(coefficients, _length(along_width))))
    return ops.transpose(_sum(terms), (0, 2, 3, 1))


def basis_responses(x, along_height, along_width):
    """The responses of each channel to all basis filters; channels lead while they are computed, for they are few.

    Args:
        x, along_height, along_width: As in `convolve_by_matrices`.

    Returns:
        A tensor of shape `(batch, new_height, new_width, basis, channels)`.
    """
    _, height, width, channels = ops.shape(x)
    orders, new_height, new_width = _length(along_width), ops.shape(along_height)[1], ops.shape(along_width)[1]
    across = ops.transpose(ops.reshape(along_width, (-1, width)))
    rows = ops.matmul(ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, width)), across)
    rows = ops.reshape(rows, (-1, height, orders * new_width))
    responses = [ops.matmul(along_height[j], rows[..., : (orders - j) * new_width]) for j in range(orders)]
    basis = orders * (orders + 1) // 2
    responses = ops.reshape(ops.concatenate(responses, axis=-1), (-1, channels, new_height, basis, new_width))
    return ops.transpose(responses, (0, 2, 4, 3, 1))


def mix_responses(responses, coefficients, groups: int = 1):
    """Convolves with the filters that `coefficients` compose, given the responses to the basis filters."""
    _, height, width, basis, channels = ops.shape(responses)
    mixed = _mix(ops.reshape(responses, (-1, basis * channels)), coefficients, groups)
    return ops.reshape(mixed, (-1, height, width, _shape(coefficients)[-1]))


def convolve_by_tiles(x, coefficients, along_height, along_width, groups: int = 1, mixing: str = "between"):
    """Convolves tile by tile, so that the cost of a pixel does not grow with the feature map.

    Args:
        x: Tensor of shape `(batch, height, width, channels)` with known height and width.
        coefficients, groups, mixing: As in `convolve_by_matrices`.
        along_height, along_width: Tensors of shape `(order + 1, block, window)`. The tiles of the output have `block`
            pixels a side, those of the input `window`: a halo of (window - block) / 2 around the former.

    Returns:
        A tensor of shape `(batch, height, width, filters)`; pixels outside the input count as 0.
    """
    _, height, width, channels = x.shape
    _, block, window = along_height.shape
    down, across = -(-height // block), -(-width // block)
    rows = _windows(ops.reshape(x, (-1, height, width * channels)), down, block, window)
    tiles = _windows(ops.reshape(rows, (-1, width, channels)), across, block, window)
    tiles = ops.transpose(ops.reshape(tiles, (-1, window, across, window, channels)), (0, 2, 1, 3, 4))
    tiles = ops.reshape(tiles, (-1, window, window, channels))
    outputs = convolve_by_matrices(tiles, coefficients, along_height, along_width, groups, mixing)
    filters = coefficients.shape[-1]
    outputs = ops.transpose(ops.reshape(outputs, (-1, across, block, block, filters)), (0, 2, 1, 3, 4))
    return ops.reshape(outputs, (-1, down * block, across * block, filters))[:, :height, :width]


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
        return _convolve(x, kernel, strides, "same", groups)
    before = [radius - start for start in starts]
    after = [
        start + (count - 1) * stride + radius - (size - 1)
        for start, count, stride, size in zip(starts, counts, strides, sizes, strict=True)
    ]
    x = x[:, max(0, -before[0]) : sizes[0] - max(0, -after[0]), max(0, -before[1]) : sizes[1] - max(0, -after[1])]
    padding = [[max(0, b), max(0, a)] for b, a in zip(before, after, strict=True)]
    x = ops.pad(x, [[0, 0], *padding, [0, 0]])
    return _convolve(x, kernel, strides, "valid", groups)


def resample(x, along_height, along_width):
    """Resamples a feature map by one matrix an axis.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        along_height: Tensor of shape `(new_height, height)`.
        along_width: Tensor of shape `(new_width, width)`.

    Returns:
        A tensor of shape `(batch, new_height, new_width, channels)`.
    """
    _, height, width, channels = ops.shape(x)
    columns = _times_each(along_width, ops.reshape(x, (-1, width, channels)))
    return _along_height(along_height, ops.reshape(columns, (-1, height, ops.shape(along_width)[0], channels)))


def _windows(x, count, block, window):
    """(b, size, c) -> (b, count, window, c): blocks of an axis, with what lies around them; 0 outside of the axis."""
    _, size, channels = x.shape
    overlap = window - block
    x = ops.pad(x, [[0, 0], [overlap // 2, (count + 1) * block - overlap // 2 - size], [0, 0]])
    blocks = ops.reshape(x, (-1, count + 1, block, channels))
    return ops.concatenate([blocks[:, :-1], blocks[:, 1:, :overlap]], axis=2)


def _convolve(x, kernel, strides, padding, groups):
    options = {"strides": strides, "padding": padding, "data_format": "channels_last"}
    if 1 < groups == x.shape[-1] and strides[0] == strides[1]:  # TensorFlow has no depthwise one with unequal strides
        kernel = ops.reshape(kernel, (*kernel.shape[:2], groups, -1))
        if strides == (1, 1) and padding == "same" and kernel.shape[-1] == 1:
            return depthwise_conv(x, kernel)
        return ops.depthwise_conv(x, kernel, **options)
    return ops.conv(x, kernel, **options)


def _mix_first(x, coefficients, matrices, groups):
    """Σ_j T_j · [T_0 T_1 ...] · (x · [α_0j α_1j ...]): products along the width sum over i, too."""
    _, height, width, channels = ops.shape(x)
    filters, pixels = _shape(coefficients)[-1], ops.reshape(x, (-1, channels))

    def at_one_scale(j, orders, mixed, along_height, along_width):
        new_width = ops.shape(along_width)[1]
        across = ops.reshape(ops.transpose(along_width[:orders], (1, 2, 0)), (new_width, width * orders))
        columns = ops.reshape(_times_each(across, mixed), (-1, height, new_width, filters))
        return _along_height(along_height[j], columns)

    def term(j, block):
        orders = len(block)
        mixed = _mix_each(pixels, ops.concatenate(block, axis=0), groups)
        mixed = ops.reshape(mixed, (-1, width * orders, filters))
        return _sum(at_one_scale(j, orders, mixed, *pair) for pair in matrices)

    return _sum(term(j, block) for j, block in enumerate(_blocks_of_equal_j(coefficients, _length(matrices[0][0]))))


def _mix_between(x, coefficients, along_height, along_width, groups):
    """Σ_j T_j · Σ_i (T_i · x) · α_ij, with a product of mixing for each pair of orders."""
    _, height, width, channels = ops.shape(x)
    orders, new_width, filters = _length(along_width), ops.shape(along_width)[1], _shape(coefficients)[-1]
    x = ops.reshape(x, (-1, width, channels))
    rows = [ops.reshape(_times_each(along_width[i], x), (-1, channels)) for i in range(orders)]

    def term(j, block):
        columns = _sum(_mix(row, coefficient, groups) for row, coefficient in zip(rows, block, strict=False))
        return _along_height(along_height[j], ops.reshape(columns, (-1, height, new_width, filters)))

    return _sum(term(j, block) for j, block in enumerate(_blocks_of_equal_j(coefficients, orders)))


def _mix_last(x, coefficients, matrices, groups):
    """Σ_j [T_0 T_1 ...] · (T_j · x) · [α_0j α_1j ...]: products of mixing sum over i, too."""
    _, _, width, channels = ops.shape(x)
    new_height, new_width = [ops.shape(matrix)[1] for matrix in matrices[0]]

    def at_one_scale(j, orders, along_height, along_width):
        rows = ops.reshape(_along_height(along_height[j], x), (-1, width, channels))
        across = ops.reshape(ops.transpose(along_width[:orders], (1, 0, 2)), (new_width * orders, width))
        return _times_each(across, rows)

    def term(j, block):
        responses = _sum(at_one_scale(j, len(block), *pair) for pair in matrices)
        responses = ops.reshape(responses, (-1, len(block) * channels))
        return _mix(responses, ops.concatenate(block, axis=0), groups)

    blocks = _blocks_of_equal_j(coefficients, _length(matrices[0][0]))
    outputs = _sum(term(j, block) for j, block in enumerate(blocks))
    return ops.reshape(outputs, (-1, new_height, new_width, _shape(coefficients)[-1]))


def _shape(x):
    """A shape that is known, in integers: TorchScript, through which torch exports to ONNX, has tensors for sizes."""
    return tuple(int(size) for size in x.shape)


def _length(x):
    """The size of the first axis, which is known."""
    return int(x.shape[0])


def _sum(terms):
    return functools.reduce(ops.add, terms)


def _blocks_of_equal_j(coefficients, orders):
    """The coefficients [α_0j, α_1j, ...] for each j; split, as gradients of slices take long."""
    each = iter(ops.split(coefficients, _length(coefficients), axis=0))
    return [list(itertools.islice(each, orders - j)) for j in range(orders)]


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


def _mix(x, coefficients, groups):
    """(pixels, orders·c) -> (pixels, filters), with coefficients of shape (orders, c / groups, filters)."""
    orders, size, filters = _shape(coefficients)
    if groups == 1:
        return ops.matmul(x, ops.reshape(coefficients, (orders * size, filters)))
    if size == 1:
        return _sum(
            (row if filters == groups else ops.repeat(row, filters // groups, axis=-1))
            * ops.reshape(coefficient, (-1,))
            for row, coefficient in zip(
                ops.split(x, orders, axis=-1), ops.split(coefficients, orders, axis=0), strict=True
            )
        )
    x = ops.transpose(ops.reshape(x, (-1, orders, groups, size)), (2, 0, 1, 3))
    coefficients = ops.reshape(coefficients, (orders, size, groups, filters // groups))
    coefficients = ops.reshape(ops.transpose(coefficients, (2, 0, 1, 3)), (groups, orders * size, -1))
    mixed = ops.matmul(ops.reshape(x, (groups, -1, orders * size)), coefficients)
    return ops.reshape(ops.transpose(mixed, (1, 0, 2)), (-1, filters))


def _mix_each(x, coefficients, groups):
    """(pixels, c) -> (pixels, orders, filters), with coefficients of shape (orders, c / groups, filters)."""
    orders, size, filters = _shape(coefficients)
    of_groups = ops.reshape(coefficients, (orders, size, groups, filters // groups))
    widened = ops.reshape(ops.transpose(of_groups, (1, 2, 0, 3)), (1, size, orders * filters))
    mixed = ops.reshape(_mix(x, widened, groups), (-1, groups, orders, filters // groups))
    return ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, orders, filters))
