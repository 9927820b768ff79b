"""How long the evaluations of an N-Jet convolution take, counted in multiplications, and which one is chosen.

Everything is counted for one image. Nothing is timed when a layer runs: the constants below are fitted to benchmarks/.
"""

import dataclasses
import functools
import math

import keras

from keras_njet.convolution.scale_space import derivative_orders
from keras_njet.convolution.sizes import MAX_RADIUS

# Times in units of a multiply-accumulate of mixing channels, fitted by benchmarks/fit_costs.py. One along an axis of n
# pixels takes 1 + SMALL_AXIS / n + FEW_CHANNELS / c, as products of small or narrow matrices are slow; writing a number
# takes WRITING; a multiply-accumulate of a dense convolution takes DENSE·(1 + NARROW / c). That differs between
# backends, and between training and inference, as the gradients of convolutions are slow in some libraries.
SMALL_AXIS = 23
FEW_CHANNELS = 35
WRITING = 75
NARROW = {"training": 5.1, "inference": 1.8}
DENSE = {
    "training": {"tensorflow": 1.15, "jax": 1.99, "torch": 1.23},
    "inference": {"tensorflow": 1.36, "jax": 1.10, "torch": 1.37},
}
# The same of a depthwise convolution, by benchmarks/layers.py.
DEPTHWISE = {"tensorflow": 3.8, "jax": 350.0, "torch": 2.3}
# What an evaluation must save for each image, where a model is compiled anew when σ outgrows it.
WORTH_COMPILING = {"tensorflow": 1e8, "jax": 1e8, "torch": 0.0}
LARGEST_DENSE_RADIUS = 12
TILES = ((8, 32), (16, 64), (32, 128))  # halo and block, in pixels
_UNKNOWN_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a convolution has to do.

    Attributes:
        in_size, out_size: Pairs (height, width), before and after; None where a size is not known.
        channels, filters, groups, order: Integers, of the layer.
    """

    in_size: tuple[int | None, int | None]
    out_size: tuple[int | None, int | None]
    channels: int
    filters: int
    groups: int
    order: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A way to evaluate a convolution.

    Attributes:
        kind: "dense", "tiles" or "matrices".
        reach: Radius of the largest filter for which it is right, in pixels.
        cost: Estimated time.
        mixing: When channels are mixed, see `evaluation.convolve_by_matrices`; None if it is dense.
        block: Size of a tile, in pixels; None without tiles.
    """

    kind: str
    reach: int
    cost: float = 0.0
    mixing: str | None = None
    block: int | None = None


# Where filters are to be composed whatever it costs.
DENSE_EVALUATIONS = tuple(Evaluation("dense", radius) for radius in range(1, MAX_RADIUS + 1))


@functools.lru_cache(maxsize=1024)
def evaluations(
    workload: Workload, tiles: bool, mixing: str | None = None, phase: str = "training"
) -> tuple[Evaluation, ...]:
    """Lists the evaluations that pay, from the shortest reach to the longest: by matrices, which reach any distance.

    Each is cheaper than all that reach farther. So the first one that reaches far enough is the one to take. On small
    feature maps none but the last pays, and nothing is compiled anew.

    Args:
        workload: What the convolution has to do.
        tiles: Whether it can be done in tiles: where the output has the pixels of the input.
        mixing: When channels are mixed by matrices; by default when it is cheapest.
        phase: "training" or "inference", which is without gradients.
    """
    paying = [by_matrices(workload, mixing)]
    enough = paying[0].cost - WORTH_COMPILING.get(keras.config.backend(), 1e8)
    shorter = [by_tiles(workload, halo, block, mixing) for halo, block in TILES] if tiles else []
    shorter += [densely(workload, radius, phase) for radius in range(1, LARGEST_DENSE_RADIUS + 1)]
    for candidate in sorted(shorter, key=lambda one: (-one.reach, one.cost)):
        if candidate.cost < min(enough, paying[-1].cost):
            paying.append(candidate)
    return tuple(sorted(paying, key=lambda evaluation: evaluation.reach))


def by_matrices(workload: Workload, mixing: str | None = None) -> Evaluation:
    """The evaluation by matrices, by default with the cheapest order of the three products."""
    costs = matrix_costs(workload)
    mixing = mixing or min(costs, key=costs.get)
    return Evaluation("matrices", MAX_RADIUS, costs[mixing], mixing)


def by_tiles(workload: Workload, halo: int, block: int, mixing: str | None = None) -> Evaluation:
    """The evaluation by matrices in tiles of `block` pixels, with a halo around them."""
    height, width = workload.in_size
    window = block + 2 * halo
    tile = dataclasses.replace(workload, in_size=(window, window), out_size=(block, block))
    of_one = by_matrices(tile, mixing)
    copied = WRITING * (2 * window**2 * workload.channels + block**2 * workload.filters)
    count = -(-height // block) * -(-width // block)
    return Evaluation("tiles", halo, count * (of_one.cost + copied), of_one.mixing, block)


def densely(workload: Workload, radius: int, phase: str = "training") -> Evaluation:
    """The dense evaluation, of filters up to a radius."""
    is_depthwise = workload.groups == workload.channels > 1
    one = (DEPTHWISE if is_depthwise else DENSE[phase]).get(keras.config.backend(), 2.0)
    return Evaluation("dense", radius, one * dense_multiplications(workload, radius, phase))


def dense_multiplications(workload: Workload, radius: int, phase: str = "training") -> float:
    """Counts the multiply-accumulates of a dense convolution; those of few channels count more."""
    height, width = _known(workload.out_size)
    channels = workload.channels // workload.groups
    few = 1 + NARROW[phase] / channels if workload.groups == 1 else 1.0
    return few * (2 * radius + 1) ** 2 * height * width * channels * workload.filters


def matrix_costs(workload: Workload) -> dict[str, float]:
    """Estimates the time of `evaluation.convolve_by_matrices` for each `mixing`."""
    done, written = multiplications(workload), numbers_written(workload)
    by_size = 1 + SMALL_AXIS / min(_known(workload.in_size))
    channels, filters = workload.channels, workload.filters
    few = {"first": filters, "between": min(channels, filters), "last": channels, "together": math.inf}
    return {
        mixing: mixed + (by_size + FEW_CHANNELS / few[mixing]) * along_axes + WRITING * written[mixing]
        for mixing, (mixed, along_axes) in done.items()
    }


def multiplications(workload: Workload) -> dict[str, tuple[int, int]]:
    """Counts the multiply-accumulates for each `mixing`: a pair (of mixing channels, along the axes)."""
    channels, filters, orders, basis = _counts(workload)
    height, width, columns, rows, new_pixels = _pixels(workload)
    mix = basis * channels // workload.groups * filters
    return {
        "first": (height * width * mix, (basis * columns * width + orders * new_pixels * height) * filters),
        "between": (columns * mix, orders * columns * width * channels + orders * new_pixels * height * filters),
        "last": (new_pixels * mix, (orders * rows * height + basis * new_pixels * width) * channels),
        "together": (new_pixels * mix, (orders * columns * width + basis * new_pixels * height) * channels),
    }


def numbers_written(workload: Workload) -> dict[str, int]:
    """Counts the numbers that are written for each `mixing`: the results of all products, sums and transpositions."""
    channels, filters, orders, basis = _counts(workload)
    height, width, columns, rows, new_pixels = _pixels(workload)
    return {
        "first": (basis * height * width + orders * columns + orders * new_pixels) * filters,
        "between": orders * columns * channels + (basis * columns + orders * new_pixels) * filters,
        "last": (orders * rows + basis * new_pixels) * channels + orders * new_pixels * filters,
        "together": (2 * orders * columns + 5 * basis * new_pixels) * channels + new_pixels * filters,
    }


def _counts(workload):
    return workload.channels, workload.filters, workload.order + 1, len(derivative_orders(workload.order, axes=2))


def _pixels(workload):
    (height, width), (new_height, new_width) = _known(workload.in_size), _known(workload.out_size)
    return height, width, height * new_width, new_height * width, new_height * new_width


def _known(sizes):
    return [_UNKNOWN_SIZE if size is None else size for size in sizes]
