"""How long the evaluations of an N-Jet convolution take, counted in multiplications.

Everything is counted for one image. Nothing is timed when a layer runs: benchmarks/fit_costs.py has fitted the prices
for a CPU; those for an accelerator are computed from its data sheet.
"""

import dataclasses
import functools
import math

import keras

from keras_njet._backend import is_on_accelerator
from keras_njet._convolution.scale_space import derivative_orders

TILES = tuple((halo, blocks * halo) for halo in (8, 16, 32, 64, 128, 256, 512) for blocks in (2, 4))
"""Halo and block of the tiles that are considered, in pixels."""

_UNKNOWN_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a convolution has to do.

    Attributes:
        in_size: Tuple with the size of the input along each axis, in pixels; None where it is not known.
        count: Likewise the number of output pixels, before they are subsampled.
        out_size: Likewise the size of the output.
        channels, filters, groups, order: Integers, of the layer.
    """

    in_size: tuple[int | None, ...]
    count: tuple[int | None, ...]
    out_size: tuple[int | None, ...]
    channels: int
    filters: int
    groups: int
    order: int


@dataclasses.dataclass(frozen=True)
class Prices:
    """Times in units of a multiply-accumulate of mixing channels.

    Attributes:
        small_axis, few_channels: A multiply-accumulate along an axis of n pixels and c channels takes
            1 + small_axis / n + few_channels / c, as products of small or narrow matrices are slow.
        writing: What writing a number takes.
        dense, narrow: A multiply-accumulate of a dense convolution takes dense·(1 + narrow / c).
        depthwise: A multiply-accumulate of a dense depthwise convolution.
        least_share: Matrices are taken if they take at most this share of the time of a composed filter, which needs
            far less memory while a model is trained.
        worth_compiling: What an evaluation must save for each image, if the model is compiled again whenever σ outgrows
            it: half a second, shared by ten thousand images.
        rate: How many multiply-accumulates of mixing channels take a second, roughly.
    """

    small_axis: float = 20
    few_channels: float = 27
    writing: float = 66
    dense: float = 2.0
    narrow: float = 5.5
    depthwise: float = 2.0
    least_share: float = 1.0
    worth_compiling: float = 2.5e6
    rate: float = 5e10


# Dense convolutions differ between backends, and between training and inference, as the gradients of convolutions are
# slow in some libraries. Prices of depthwise ones come from benchmarks/layers.py.
_DENSE = {
    "training": {"tensorflow": 1.12, "jax": 1.77, "torch": 1.02},
    "inference": {"tensorflow": 1.29, "jax": 1.17, "torch": 1.12},
}
_NARROW = {"training": 5.5, "inference": 2.3}
_DEPTHWISE = {"tensorflow": 3.8, "jax": 350.0, "torch": 2.3}
_LEAST_SHARE = {"training": 0.8, "inference": 1.0}
_WORTH_COMPILING = {"torch": 0.0}  # which compiles nothing


# By arithmetic, of an H100 with TensorFloat-32 (247·10¹² multiply-accumulates and 3.35·10¹² bytes a second), see
# benchmarks/roofline.py; nothing was timed. A number is written and read again; depthwise convolutions use no tensor
# cores; half a second of compiling is shared by a million images.
_ACCELERATOR = Prices(writing=590, dense=1.0, narrow=8.0, depthwise=7.4, worth_compiling=1.2e8, rate=2.5e14)


def prices(phase: str, backend: str | None = None) -> Prices:
    """What things cost on the device in use.

    Args:
        phase: "training" or "inference", which is without gradients.
        backend: Name of a backend, by default the one in use.
    """
    return _prices(phase, backend or keras.config.backend(), is_on_accelerator())


@functools.lru_cache
def _prices(phase, backend, on_accelerator):
    of_device = _ACCELERATOR
    if not on_accelerator:
        dense, depthwise = _DENSE[phase].get(backend, Prices.dense), _DEPTHWISE.get(backend, Prices.depthwise)
        of_device = Prices(dense=dense, narrow=_NARROW[phase], depthwise=depthwise)
    worth_compiling = _WORTH_COMPILING.get(backend, of_device.worth_compiling)
    return dataclasses.replace(of_device, least_share=_LEAST_SHARE[phase], worth_compiling=worth_compiling)


def largest_dense_radius(workload: Workload) -> int:
    """The radius of the largest composed filter that is considered, in pixels.

    Libraries have fast convolutions of images for filters of up to 13 pixels a side; those of signals, and those of
    each channel by itself, may be longer.
    """
    is_depthwise = workload.groups == workload.channels > 1
    return 12 if is_depthwise or len(workload.count) == 1 else 6


def of_dense(workload: Workload, radius: int, prices: Prices) -> float:
    """The time of a convolution with a composed filter."""
    channels = workload.channels // workload.groups
    done = (2 * radius + 1) ** len(workload.count) * math.prod(_known(workload.count)) * channels * workload.filters
    if workload.groups == workload.channels > 1:
        return prices.depthwise * done
    return prices.dense * (1 + prices.narrow / channels if workload.groups == 1 else 1.0) * done


def of_matrices(workload: Workload, mixing: int | str, block: int, halo: int, prices: Prices) -> float:
    """The time of products with matrices, in tiles of `block` output pixels where an axis is longer than a tile."""
    strides = [
        max(1, size // count) for size, count in zip(_known(workload.in_size), _known(workload.count), strict=True)
    ]
    windows = [stride * (block - 1) + 1 + 2 * halo for stride in strides]
    cut = [size > window for size, window in zip(_known(workload.in_size), windows, strict=True)]
    if not any(cut):
        return _of_whole_matrices(workload, mixing, prices)

    def of_tile(sizes, of_cut):
        return tuple(size if is_cut else whole for size, is_cut, whole in zip(of_cut, cut, sizes, strict=True))

    blocks = [block] * len(cut)
    tile = dataclasses.replace(
        workload, in_size=of_tile(workload.in_size, windows), out_size=of_tile(workload.out_size, blocks)
    )
    count = math.prod(-(-size // block) for size, is_cut in zip(_known(workload.count), cut, strict=True) if is_cut)
    copied = 2 * math.prod(_known(tile.in_size)) * tile.channels + math.prod(_known(tile.out_size)) * tile.filters
    return count * (_of_whole_matrices(tile, mixing, prices) + prices.writing * copied)


def multiplications(workload: Workload, mixing: int | str) -> tuple[list[tuple[int, int, int]], int]:
    """Counts the multiply-accumulates of `products.convolve`.

    Returns:
        For each axis a triple of the multiply-accumulates along it, its size, and the channels that lie side by side;
        and the multiply-accumulates of mixing channels.
    """
    counted, mixed_at = _along_axes(workload, mixing)
    basis = _basis(workload, len(workload.in_size))
    return (
        [(basis_before * pixels * size * channels, size, channels) for basis_before, pixels, size, channels in counted],
        basis * mixed_at * workload.channels // workload.groups * workload.filters,
    )


def _of_whole_matrices(workload, mixing, prices):
    along_axes, mixed = multiplications(workload, mixing)
    is_one_product = mixing == "together" or (len(along_axes) == 1 == mixing)  # with all channels of all images
    done = sum(
        (1 + prices.small_axis / size + (0 if is_one_product else prices.few_channels / channels)) * count
        for count, size, channels in along_axes
    )
    return mixed + done + prices.writing * _numbers_written(workload, mixing)


def _numbers_written(workload, mixing):
    """The results of all products, sums and transpositions."""
    axes, filters = len(workload.in_size), workload.filters
    counted, mixed_at = _along_axes(workload, mixing)
    basis = _basis(workload, axes)
    of_blocks = _basis(workload, axes - 1)  # what sums over the orders of the last axis
    if mixing == "together":
        *before, (_, pixels, _, channels) = counted
        return (
            sum(2 * count * at * c for count, at, _, c in before) + 5 * basis * pixels * channels + mixed_at * filters
        )
    along = sum(count * pixels * channels for count, pixels, _, channels in counted)
    if mixing == axes:
        return along + of_blocks * mixed_at * filters
    if mixing == 0:
        _, pixels, _, _ = counted[0]
        return along - (basis - of_blocks) * pixels * filters + basis * mixed_at * filters
    return along + basis * mixed_at * filters


def _along_axes(workload, mixing):
    """For each axis in the order in which they are worked on: the number of products, their pixels, the size, channels.

    And the number of pixels at which channels are mixed.
    """
    sizes, new = list(_known(workload.in_size)), _known(workload.out_size)
    axes = len(sizes)
    mixing = axes if mixing == "together" else mixing
    counted = []
    differentiated = range(axes) if mixing == axes else range(axes - 1, axes - 1 - mixing, -1)
    for done, axis in enumerate(differentiated, start=1):
        size, sizes[axis] = sizes[axis], new[axis]
        counted.append((_basis(workload, done), math.prod(sizes), size, workload.channels))
    mixed_at = math.prod(sizes)
    for axis in range(axes - 1 - mixing, -1, -1):
        size, sizes[axis] = sizes[axis], new[axis]
        counted.append((_basis(workload, axis + 1), math.prod(sizes), size, workload.filters))
    return counted, mixed_at


def _basis(workload, axes):
    return len(derivative_orders(workload.order, axes))


def _known(sizes):
    return tuple(_UNKNOWN_SIZE if size is None else size for size in sizes)
