"""What an N-Jet convolution is, the ways to evaluate it, and the choice between them.

`Convolution` says what is to be computed. An evaluation says how: `Matrices` by products with band matrices, whole or
in tiles of the feature map, `Dense` by a composed filter. Each has a reach, the radius of the largest filter for which
it is right, a cost, and a way to evaluate; all give the same numbers. `choices` lists those worth taking, and `choose`
takes one.

Everything here takes and gives "channels_last" feature maps of any number of axes. A σ is a tensor of the shape of the
variable that holds it: the shape of `Convolution.sharing`, and one more axis for the axes of the map unless the filters
are isotropic.
"""

import dataclasses
import functools
from collections.abc import Callable

import keras
from keras import ops

from keras_njet import _backend
from keras_njet._convolution import costs, dense, products, sizes
from keras_njet._convolution.sampling import Axis, resample
from keras_njet._convolution.scale_space import (
    compose_filters,
    gaussian_derivatives,
    integrated_derivatives,
    njet_basis,
)
from keras_njet._convolution.sharing import SHARED_BY_ALL, Sharing
from keras_njet._convolution.tiles import Tiling


@dataclasses.dataclass(frozen=True)
class Convolution:
    """What an N-Jet convolution computes, apart from its weights and its input.

    Attributes:
        axes: Where the output pixels lie along each axis.
        channels, filters, groups: Integers.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives.
        extent: Number k > 0, half-width of the filters in units of σ.
        isotropic: Whether one σ serves all axes.
        sharing: Which filters share a σ.
        unit: Number u > 0 in pixels, by which the support is rounded, or one for each axis.
        discretization: "sampled" or "integrated".
        dtype: The dtype of the output. Gaussian derivatives are computed in float32, in float64 for "float64".
    """

    axes: tuple[Axis, ...]
    channels: int
    filters: int
    groups: int
    order: int
    extent: float
    isotropic: bool = True
    sharing: Sharing = SHARED_BY_ALL
    unit: float | tuple[float, ...] = 1.0
    discretization: str = "sampled"
    dtype: str = "float32"

    @property
    def workload(self) -> costs.Workload:
        """What counts for the cost."""
        known = [
            tuple(size if isinstance(size, int) else None for size in found)
            for found in zip(*((axis.size, axis.count, axis.new_size) for axis in self.axes), strict=True)
        ]
        return costs.Workload(*known, self.channels, self.filters, self.groups, self.order)

    @property
    def basis_dtype(self) -> str:
        """The dtype in which Gaussian derivatives are computed."""
        return "float64" if self.dtype == "float64" else "float32"

    def matrices(self, sigma):
        """For each axis the matrix of each order, of shape `(new_size, size)`, for one σ or one for each axis."""
        made = []
        for index, axis in enumerate(self.axes):
            if made and self.isotropic and axis.is_known and self.axes[0].is_known and axis == self.axes[0]:
                made.append(made[0])
                continue
            derivatives = self._derivatives(axis.offsets(self.basis_dtype), sigma, index)
            if axis.is_subsampled:
                subsampling = axis.subsampling(self.basis_dtype)
                derivatives = [ops.matmul(subsampling, matrix) for matrix in derivatives]
            made.append([ops.cast(matrix, self.dtype) for matrix in derivatives])
        return made

    def kernel(self, coefficients, sigma, radii):
        """The composed filters, of shape `(*sizes, channels / groups, filters)`, for a radius along each axis."""

        def compose(coefficients, sigma):
            @functools.cache  # axes that have the same filter share it
            def derivatives(radius, index):
                pixels = ops.arange(-radius, radius + 1, dtype=self.basis_dtype)
                return self._derivatives(pixels, sigma, index, is_filter=True)

            of_axes = [derivatives(radius, 0 if self.isotropic else index) for index, radius in enumerate(radii)]
            return compose_filters(coefficients, njet_basis(of_axes))

        coefficients = ops.cast(coefficients, self.basis_dtype)
        return self.sharing.compose(compose, coefficients, ops.cast(sigma, self.basis_dtype))

    def largest_radius(self, sigma):
        """The radius of the largest filter along any axis, a tensor."""
        return ops.max(sizes.filter_radius(sigma, self.extent, ops.convert_to_tensor(self.unit, sigma.dtype)))

    def _derivatives(self, x, sigma, index, is_filter=False):
        sigma = ops.cast(sigma if self.isotropic else sigma[index], self.basis_dtype)
        unit = self.unit if isinstance(self.unit, float) else self.unit[index]
        radius = sizes.filter_radius(sigma, self.extent, unit)
        if self.discretization == "integrated":
            return integrated_derivatives(x, sigma, self.order, radius)
        return gaussian_derivatives(x, sigma, self.order, radius, covers_support=is_filter)


@dataclasses.dataclass(frozen=True)
class Matrices:
    """Evaluation by band matrices; any σ up to its reach costs the same.

    Attributes:
        mixing: When channels are mixed, see `products.convolve`.
        reach: Integer, the radius of the largest filter, in pixels.
        block: Integer, how many output pixels a tile has. Axes that are longer than a tile and its halo, which is as
            wide as the reach, are cut into tiles; the others have a matrix for the whole axis.
    """

    mixing: int | str
    reach: int = sizes.MAX_RADIUS
    block: int = sizes.MAX_RADIUS // 2

    def cost(self, workload: costs.Workload, prices: costs.Prices) -> float:
        """Estimates the time."""
        return costs.of_matrices(workload, self.mixing, self.block, self.reach, prices)

    def evaluate(self, convolution: Convolution, x, coefficients, scales):
        """Sums the convolutions with each σ of a list, with the same coefficients."""
        tiling = Tiling(convolution.axes, self.block, self.reach)
        if not any(tiling.is_cut):
            return self._evaluate_whole(convolution, x, coefficients, scales)
        of_tile = dataclasses.replace(convolution, axes=tiling.axes_of_tile)
        outputs = tiling.join(self._evaluate_whole(of_tile, tiling.cut(x), coefficients, scales))
        return _subsample(outputs, convolution.axes, tiling.is_cut)

    def _evaluate_whole(self, convolution, x, coefficients, scales):
        coefficients = ops.cast(coefficients, convolution.dtype)
        sharing = convolution.sharing
        if sharing.count is None:
            matrices = [convolution.matrices(sigma) for sigma in scales]
            return products.convolve(x, coefficients, matrices, convolution.groups, self.mixing)
        if sharing.of_inputs:

            def responses(x, sigma):
                return products.basis_responses(x, convolution.matrices(sigma))

            summed = products.add_up(sharing.of_each_input(responses, x, sigma) for sigma in scales)
            return products.mix_responses(summed, coefficients, convolution.groups)

        def convolve(coefficients, sigma):
            return products.convolve_few_filters(x, coefficients, convolution.matrices(sigma))

        return products.add_up(sharing.of_each_filter(convolve, coefficients, sigma) for sigma in scales)


@dataclasses.dataclass(frozen=True)
class Dense:
    """Evaluation by a composed filter; needs sizes that are known, or an output pixel on each pixel.

    Attributes:
        reach: Integer, the radius of the filter that is composed, in pixels.
    """

    reach: int

    def cost(self, workload: costs.Workload, prices: costs.Prices) -> float:
        """Estimates the time."""
        return costs.of_dense(workload, self.reach, prices)

    def evaluate(self, convolution: Convolution, x, coefficients, scales):
        """Sums the convolutions with each σ of a list, with the same coefficients."""
        axes = convolution.axes
        kernel = products.add_up(convolution.kernel(coefficients, sigma, [self.reach] * len(axes)) for sigma in scales)
        outputs = dense.convolve(x, ops.cast(kernel, convolution.dtype), axes, convolution.groups)
        return _subsample(outputs, axes, [True] * len(axes))


def choose(convolution: Convolution, implementation: str, phase: str, reach: Callable) -> tuple:
    """Chooses an evaluation for filters of the present size, and one that reaches everywhere.

    Args:
        convolution: What is to be computed.
        implementation: "auto", "matrix" or "dense".
        phase: "training" or "inference", which is without gradients.
        reach: Function of the reaches of some evaluations, and of the seconds that they take for an image, that returns
            the index of the one to take for the present σ.

    Returns:
        A pair of evaluations.
    """
    workload, prices = convolution.workload, costs.prices(phase)
    if not all(axis.is_known or axis.has_each_pixel for axis in convolution.axes):
        implementation = "matrix"
    found = choices(workload, prices, convolution.sharing, implementation)
    if len(found) == 1:
        return found[0], found[-1]
    seconds = tuple(evaluation.cost(workload, prices) / prices.rate for evaluation in found)
    return found[reach(tuple(evaluation.reach for evaluation in found), seconds)], found[-1]


def evaluate(
    chosen, fallback, convolution: Convolution, x, coefficients, sigma, may_outgrow: bool, is_training_step: bool
):
    """Evaluates a convolution, whatever σ is by now.

    Args:
        chosen: The evaluation to use as long as it reaches.
        fallback: One that reaches everywhere.
        convolution: What is to be computed.
        x: Tensor of shape `(batch, *sizes, channels)`.
        coefficients: Tensor α of shape `(basis, channels / groups, filters)`.
        sigma: Tensor σ, in pixels.
        may_outgrow: Whether the filters may have outgrown the reach since the evaluation was chosen.
        is_training_step: Whether this is a step of a training by Keras.

    Returns:
        A tensor of shape `(batch, *new_sizes, filters)`.
    """
    tensors = (x, coefficients, sigma)
    outputs = _evaluated(chosen, convolution, *tensors)
    if not may_outgrow or chosen.reach >= fallback.reach:
        return outputs
    # The chosen evaluation stands outside of the conditional, where XLA would run its convolution on a single thread.
    # The fallback is computed again for its gradient: else a conditional keeps memory for it even when it is not run.
    # What is not a training step may be exported, and ONNX cannot always be made of a function within a conditional.
    compute = _evaluated if is_training_step else _computed
    otherwise = keras.remat(functools.partial(compute, fallback, convolution))
    fits = convolution.largest_radius(sigma) <= chosen.reach
    return ops.cond(fits, lambda: outputs, lambda: otherwise(*tensors))


@functools.lru_cache(maxsize=1024)
def choices(
    workload: costs.Workload,
    prices: costs.Prices,
    sharing: Sharing = SHARED_BY_ALL,
    implementation: str = "auto",
    scales: int = 1,
) -> tuple:
    """Lists the evaluations worth taking, from the shortest reach to the longest. The last one reaches everywhere.

    Each is cheaper than all that reach farther, or takes less memory and little more time. So the first one that
    reaches far enough is the one to take. On small feature maps only the last is listed, and nothing is compiled again.

    Args:
        workload: What the convolution has to do.
        prices: What things cost.
        sharing: Which filters share a σ. With several σ there is one way of mixing, and there are no small tiles.
        implementation: "auto"; or "dense" for composed filters, whatever they cost; or "matrix" for the evaluation that
            reaches everywhere alone, which "auto" takes, too, where sizes are not known.
        scales: Integer, how many convolutions with the same coefficients are summed. Channels of several are mixed at
            once, before or after all products with matrices.
    """
    axes = len(workload.in_size)
    if sharing.count is not None:
        mixings = ("together" if sharing.of_inputs else 0,)
    else:
        mixings = (*range(axes + 1), "together") if scales == 1 else (0, axes)

    def cost(evaluation):
        return evaluation.cost(workload, prices) * (prices.least_share if isinstance(evaluation, Dense) else 1.0)

    everywhere = min((Matrices(mixing) for mixing in mixings), key=cost)
    if implementation == "dense":
        return (*(Dense(radius) for radius in range(1, sizes.MAX_RADIUS)), everywhere)
    if implementation == "matrix" or None in workload.in_size + workload.out_size:
        return (everywhere,)
    shorter = [Dense(radius) for radius in range(1, costs.largest_dense_radius(workload) + 1)]
    if sharing.count is None:
        shorter += [Matrices(mixing, halo, block) for mixing in mixings for halo, block in costs.TILES]
    enough, paying = cost(everywhere) - prices.worth_compiling, [everywhere]
    for candidate in sorted(shorter, key=lambda one: (-one.reach, cost(one))):
        if cost(candidate) < min(enough, cost(paying[-1])):
            paying.append(candidate)
    return tuple(reversed(paying))


def _evaluated(evaluation, convolution, *tensors):
    if all(axis.is_known for axis in convolution.axes):
        return _backend.traced_once(_computed, (evaluation, convolution), tensors)
    return _computed(evaluation, convolution, *tensors)


def _computed(evaluation, convolution, x, coefficients, sigma):
    return ops.cast(evaluation.evaluate(convolution, x, coefficients, [sigma]), convolution.dtype)


def _subsample(x, axes, computed):
    """Subsamples the axes of which all pixels have been computed."""
    new_sizes = [
        axis.new_size if is_computed and axis.is_subsampled else None
        for axis, is_computed in zip(axes, computed, strict=True)
    ]
    return resample(x, new_sizes)
