"""An N-Jet convolution as products with matrices.

Correlating an axis of n pixels with a filter is a product with an n×n band matrix. The N-Jet is separable, so the whole
convolution is a product along each axis, and a mixing of channels between, before or after them:

    out = Σ_m T_{m_1} · T_{m_2} · ... · x · α_m

over the orders m of `scale_space.derivative_orders`, T_{m_a} acting along the a-th axis. No shape depends on σ, and the
cost does not grow with it. The result is the same whenever channels are mixed; what it costs is not.

Feature maps are "channels_last" here. Coefficients have the shape `(basis, channels / groups, filters)`, and for each
axis there is a list with the matrix of each order, of shape `(new_size, size)`.
"""

import functools
import itertools
import operator

from keras import ops

from keras_njet._convolution.scale_space import derivative_orders


def convolve(x, coefficients, scales, groups: int = 1, mixing: int | str = 0):
    """Sums convolutions at one or several scales, with the same coefficients.

    Args:
        x: Tensor of shape `(batch, *sizes, channels)`.
        coefficients: Tensor of shape `(basis, channels / groups, filters)`.
        scales: For each scale a list with the matrices of each axis. All scales have matrices of the same shapes.
        groups: Integer, number of groups of channels that are mixed separately.
        mixing: Along how many axes, the last ones, the map is differentiated before its channels are mixed: 0 is
            cheapest for few filters, 1 for large feature maps, all of them for few channels. Or "together": along all,
            with the channels leading and all basis filters mixed in one product, cheapest for very few channels.

    Returns:
        A tensor of shape `(batch, *new_sizes, filters)`.
    """
    axes = len(scales[0])
    if mixing == "together":
        return mix_responses(add_up(basis_responses(x, matrices) for matrices in scales), coefficients, groups)
    if mixing == 0:
        return _mix_first(x, coefficients, scales, groups)
    if mixing == axes:
        return (_of_signals if axes == 1 else _mix_last)(x, coefficients, scales, groups)
    return add_up(_mix_between(x, coefficients, matrices, groups, axes - mixing) for matrices in scales)


def convolve_few_filters(x, coefficients, matrices):
    """Convolves with channels mixed first, and the filters leading from then on: for one or few of them.

    Args:
        x, coefficients: As in `convolve`, without groups.
        matrices: The matrices of each axis.

    Returns:
        A tensor of shape `(batch, *new_sizes, filters)`.
    """
    *sizes, channels = ops.shape(x)[1:]
    last, filters = len(matrices), _shape(coefficients)[-1]
    new_sizes = _new_sizes(matrices)
    blocks = _blocks(coefficients, matrices)

    def differentiated(axis, orders):
        """The map, differentiated along the axes from `axis` on."""
        if axis < last:
            return add_up(
                _along_leading(matrices[axis - 1][m], differentiated(axis + 1, orders - m), new_sizes[axis:])
                for m in range(orders)
            )
        mixing = ops.reshape(ops.transpose(next(blocks), (1, 2, 0)), (channels, -1))
        mixed = ops.matmul(ops.reshape(x, (-1, channels)), mixing)
        mixed = ops.reshape(mixed, (-1, *sizes, filters, orders))
        mixed = ops.transpose(mixed, (0, last + 1, *range(1, last + 1), last + 2))
        across = ops.transpose(ops.stack(matrices[-1][:orders], axis=1), (2, 1, 0))
        across = ops.reshape(across, (sizes[-1] * orders, new_sizes[-1]))
        return ops.matmul(ops.reshape(mixed, (-1, sizes[-1] * orders)), across)

    outputs = ops.reshape(differentiated(1, len(matrices[0])), (-1, filters, *new_sizes))
    return ops.transpose(outputs, (0, *range(2, last + 2), 1))


def basis_responses(x, matrices):
    """The responses of each channel to all basis filters; channels lead while they are computed, as they are few.

    Args:
        x: As in `convolve`.
        matrices: The matrices of each axis.

    Returns:
        A tensor of shape `(batch, *new_sizes, basis, channels)`.
    """
    *sizes, channels = ops.shape(x)[1:]
    last, new_sizes = len(matrices), _new_sizes(matrices)

    def differentiated(x, axis, orders):
        """A list with the responses to each choice of the orders along the axes from `axis` on but the last."""
        if axis < last:
            along = (_along_leading(matrices[axis - 1][m], x, sizes[axis:]) for m in range(orders))
            return [part for m, map_ in enumerate(along) for part in differentiated(map_, axis + 1, orders - m)]
        across = ops.transpose(ops.concatenate(matrices[-1][:orders], axis=0))
        rows = ops.matmul(ops.reshape(x, (-1, sizes[-1])), across)
        return [ops.reshape(rows, (-1, _product(new_sizes[:-1]), orders, new_sizes[-1]))]

    x = ops.transpose(x, (0, last + 1, *range(1, last + 1)))
    parts = differentiated(x, 1, len(matrices[0]))
    basis = len(derivative_orders(len(matrices[0]) - 1, last))
    responses = ops.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
    responses = ops.reshape(responses, (-1, channels, _product(new_sizes[:-1]), basis, new_sizes[-1]))
    responses = ops.transpose(responses, (0, 2, 4, 3, 1))
    return ops.reshape(responses, (-1, *new_sizes, basis, channels))


def mix_responses(responses, coefficients, groups: int = 1):
    """Convolves with the filters that `coefficients` compose, given the responses to the basis filters."""
    *sizes, basis, channels = ops.shape(responses)[1:]
    mixed = _mix(ops.reshape(responses, (-1, basis * channels)), coefficients, groups)
    return ops.reshape(mixed, (-1, *sizes, _shape(coefficients)[-1]))


def along_axis(matrix, x, axis: int):
    """The product of a matrix of shape `(new_size, size)` with a feature map, along one of its axes, from 1 on."""
    shape = ops.shape(x)
    before, (size, *after) = shape[1:axis], shape[axis:]
    products = _times_each(matrix, ops.reshape(x, (-1, size, _product(after))))
    return ops.reshape(products, (-1, *before, ops.shape(matrix)[0], *after))


def _mix_first(x, coefficients, scales, groups):
    """Products along the last axis sum over its orders; those along the others do not."""
    *sizes, channels = ops.shape(x)[1:]
    last, filters = len(sizes), _shape(coefficients)[-1]
    pixels = ops.reshape(x, (-1, channels))
    blocks = _blocks(coefficients, scales[0])

    def differentiated(axis, orders):
        """The map of each scale, differentiated along the axes from `axis` on."""
        if axis < last:
            terms = [differentiated(axis + 1, orders - m) for m in range(orders)]
            return [
                add_up(along_axis(matrices[axis - 1][m], term[index], axis) for m, term in enumerate(terms))
                for index, matrices in enumerate(scales)
            ]
        mixed = _mix_each(pixels, next(blocks), groups)
        mixed = ops.reshape(mixed, (-1, sizes[-1] * orders, filters))
        maps = []
        for matrices in scales:
            new_size = ops.shape(matrices[-1][0])[0]
            across = ops.reshape(ops.stack(matrices[-1][:orders], axis=2), (new_size, sizes[-1] * orders))
            maps.append(ops.reshape(_times_each(across, mixed), (-1, *sizes[:-1], new_size, filters)))
        return maps

    return add_up(differentiated(1, len(scales[0][0])))


def _mix_between(x, coefficients, matrices, groups, mixed):
    """Differentiates along the axes after the first `mixed` ones, mixes channels, then differentiates along those."""
    orders, last = len(matrices[0]), len(matrices)
    responses = {(): x}
    for axis in range(last, mixed, -1):
        responses = {
            (m, *others): along_axis(matrices[axis - 1][m], response, axis)
            for others, response in responses.items()
            for m in range(orders - sum(others))
        }
    *sizes, channels = ops.shape(responses[(0,) * (last - mixed)])[1:]
    pixels = {others: ops.reshape(response, (-1, channels)) for others, response in responses.items()}
    each = iter(ops.split(coefficients, _length(coefficients), axis=0))

    def differentiated(axis, orders):
        if axis <= mixed:
            return add_up(
                along_axis(matrices[axis - 1][m], differentiated(axis + 1, orders - m), axis) for m in range(orders)
            )
        terms = (_mix(pixels[others], next(each), groups) for others in derivative_orders(orders - 1, last - mixed))
        return ops.reshape(add_up(terms), (-1, *sizes, _shape(coefficients)[-1]))

    return differentiated(1, orders)


def _of_signals(x, coefficients, scales, groups):
    """Channels of signals are mixed last. Their only axis leads: all signals and channels stand in one product."""
    size, channels = ops.shape(x)[1:]
    orders, new_size = len(scales[0][0]), ops.shape(scales[0][0][0])[0]
    columns = ops.reshape(ops.transpose(x, (1, 0, 2)), (size, -1))
    responses = add_up(ops.matmul(ops.concatenate(matrices, axis=0), columns) for (matrices,) in scales)
    of_orders = ops.split(ops.reshape(responses, (orders, -1, channels)), orders, axis=0)
    outputs = add_up(
        _mix(ops.reshape(response, (-1, channels)), coefficient, groups)
        for response, coefficient in zip(of_orders, ops.split(coefficients, orders, axis=0), strict=True)
    )
    return ops.transpose(ops.reshape(outputs, (new_size, -1, _shape(coefficients)[-1])), (1, 0, 2))


def _mix_last(x, coefficients, scales, groups):
    """Products of mixing sum over the orders of the last axis; the results for all other orders are added up."""
    *_, size, channels = ops.shape(x)
    last, new_sizes = len(scales[0]), _new_sizes(scales[0])
    blocks = _blocks(coefficients, scales[0])

    def mixed(maps, axis, orders):
        """The result for all orders along the axes from `axis` on; there is a map for each scale."""
        if axis < last:
            return add_up(
                mixed(
                    [
                        along_axis(matrices[axis - 1][m], map_, axis)
                        for matrices, map_ in zip(scales, maps, strict=True)
                    ],
                    axis + 1,
                    orders - m,
                )
                for m in range(orders)
            )
        responses = []
        for matrices, map_ in zip(scales, maps, strict=True):
            across = ops.reshape(ops.stack(matrices[-1][:orders], axis=1), (new_sizes[-1] * orders, size))
            responses.append(_times_each(across, ops.reshape(map_, (-1, size, channels))))
        responses = ops.reshape(add_up(responses), (-1, orders * channels))
        return _mix(responses, next(blocks), groups)

    outputs = mixed([x] * len(scales), 1, len(scales[0][0]))
    return ops.reshape(outputs, (-1, *new_sizes, _shape(coefficients)[-1]))


def _blocks(coefficients, matrices):
    """For each choice of the orders along all axes but the last: the coefficients for the orders along the last.

    Taken apart by `split`, as gradients of slices take long, into parts of one size: torch can't export others.
    """
    each = iter(ops.split(coefficients, _length(coefficients), axis=0))
    order = len(matrices[0]) - 1
    for others in derivative_orders(order, len(matrices) - 1):
        yield ops.concatenate(list(itertools.islice(each, order + 1 - sum(others))), axis=0)


def _along_leading(matrix, x, sizes_after):
    """The product along an axis of a map whose channels lead, given the sizes of the axes after it."""
    return ops.matmul(matrix, ops.reshape(x, (-1, ops.shape(matrix)[1], _product(sizes_after))))


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
        return add_up(
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


def _new_sizes(matrices):
    return [ops.shape(of_orders[0])[0] for of_orders in matrices]


def _product(sizes):
    """The product of sizes, integers or integer tensors."""
    return functools.reduce(lambda one, other: one * other, sizes, 1)


def _shape(x):
    """A shape that is known, in integers: TorchScript, through which torch exports to ONNX, has tensors for sizes."""
    return tuple(int(size) for size in x.shape)


def _length(x):
    """The size of the first axis, which is known."""
    return int(x.shape[0])


def add_up(terms):
    """The sum of tensors of one shape. Not by `ops.add`, which takes some maps of one pixel's width for a bias."""
    return functools.reduce(operator.add, terms)
