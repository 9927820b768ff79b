"""The learned scale of a layer: a variable that holds log2 σ, so that σ = 2^s is positive by construction."""

import math

import keras
import numpy as np
from keras import ops

from keras_njet._backend import read_value


class ScaleVariable(keras.Variable):
    """Float32 variable holding log2 σ: one scale, or several where filters or axes have scales of their own.

    On JAX a variable has no value while a function is traced or between the batches of `fit`. All its changes outside a
    compiled function go through `assign`, though, so this variable keeps the last value it saw there.

    A rate ρ makes σ learn ρ times as fast by any optimizer: the variable holds log2(σ) / ρ, and its gradient is that of
    log2 σ. So an optimizer takes the same steps as before, and each moves log2 σ ρ times as far, whether its length
    follows the size of the gradient (gradient descent) or not (Adam).

    Args:
        sigma: Initial σ > 0 in pixels, a number or an array that can be broadcast to `shape`.
        trainable: Whether σ is learned.
        regularizer: Keras regulariser of σ in units, or None.
        constraint: Keras constraint on σ in units, or None.
        name: Name of the variable.
        shape: `()` for one scale; else the number of scales, or of axes, or both.
        per_axis: Whether the last axis of `shape` stands for the axes of the feature map.
        unit: Number > 0 in pixels, or one for each axis, of the regulariser, the constraint and `largest`.
        rate: Number ρ > 0, by which the learning rate of σ is multiplied.
        largest: Number > 0 in units, which σ does not exceed by training; "auto" for half the feature map; or None.
    """

    def __init__(
        self,
        sigma,
        trainable: bool = True,
        regularizer=None,
        constraint=None,
        name: str = "log2_sigma",
        shape: tuple[int, ...] = (),
        per_axis: bool = False,
        unit: float | tuple[float, ...] = 1.0,
        rate: float = 1.0,
        largest: float | str | None = None,
    ):
        self.per_axis = per_axis
        self.rate = rate
        initial = np.broadcast_to(sigma, shape)
        self._last_seen = np.log2(initial) / rate
        initializer = keras.initializers.Constant(np.log2(sigma) / rate)
        super().__init__(
            initializer,
            shape=shape,
            dtype="float32",
            trainable=trainable,
            autocast=False,
            aggregation="only_first_replica",  # for constraints: all replicas of a model assign the same
            name=name,
        )
        start = np.max(initial, axis=tuple(range(initial.ndim - 1)) if per_axis else None)
        self.bound = None if largest is None else _Bound(start, largest, unit)
        self.regularizer = None if regularizer is None else _OfSigma(regularizer, unit, rate)
        self.constraint = None if constraint is self.bound is None else _OnSigma(constraint, self.bound, unit, rate)

    def assign(self, value):
        value = super().assign(value)
        self.numbers()
        return value

    def remember(self, value: np.ndarray):
        """Stores the value that this variable has now, for when it cannot be read."""
        self._last_seen = value

    def assign_sigma(self, sigma):
        """Sets σ, in pixels."""
        self.assign(np.log2(sigma) / self.rate)

    def multiply(self, factor):
        """Multiplies σ by a number, or by one for each axis; σ keeps the precision that it has."""
        self.assign(self.value + ops.convert_to_tensor(np.log2(factor) / self.rate, self.dtype))

    def log2(self):
        """Computes log2 σ as a differentiable tensor of the shape of the variable."""
        return _log2_sigma(self.value, self.rate)

    def sigma(self, dtype: str = "float32"):
        """Computes σ as a differentiable tensor of the shape of the variable, in pixels."""
        return ops.exp(math.log(2.0) * ops.cast(self.log2(), dtype))

    def numbers(self) -> np.ndarray:
        """Reads σ as float64 numbers, in pixels, in the shape of the variable; also while a function is traced."""
        value = read_value(self)
        if value is not None:
            self._last_seen = value
        return 2.0 ** np.minimum(self.rate * self._last_seen, 1023.0)

    def largest(self, axis: int | None = None) -> float:
        """Reads the largest σ, which decides the support: of all, or along one axis of the feature map, from 0 on."""
        numbers = self.numbers()
        return float(np.max(numbers[..., axis] if self.per_axis and axis is not None else numbers))


class _Bound:
    """The largest σ that training may reach: by default half of the feature map.

    A wider filter tells hardly more: at this bound, with the usual extent of 2, a filter covers the whole map from each
    of its pixels. Of a photograph's contrast, filters leave 27 % if σ is an eighth of the map, 10 % if it is half of
    it, 2 % if it is all of it (measured in the tests). A scale that starts larger is its own bound.

    Args:
        start: The largest initial σ, in pixels, or one along each axis.
        largest: Number > 0 in units, or "auto".
        unit: Number > 0 in pixels, or one for each axis.
    """

    def __init__(self, start, largest, unit):
        self.start = start
        self.follows_map = largest == "auto"
        self.seen, self.moment = {}, None  # maps seen at `moment`, with half the size of each; and `moment`
        self.pixels = None if self.follows_map else np.maximum(np.multiply(largest, unit), start)

    def see(self, sizes, factor, per_axis, moment):
        """Notes a feature map. If a layer is called on several maps in one step, the largest counts.

        Args:
            sizes: Its known sizes along all axes.
            factor: What σ is multiplied by on this map.
            per_axis: Whether each axis has a σ.
            moment: Number of the step, or None: a new value means a new step.
        """
        if not self.follows_map or not all(isinstance(size, int) for size in sizes):
            return
        if moment != self.moment and self.seen.keys() != {(sizes, factor)}:
            self.seen = {}
        self.moment = moment
        if (sizes, factor) not in self.seen:
            self.seen[sizes, factor] = np.array(sizes if per_axis else max(sizes)) / (2.0 * factor)
            self.pixels = np.maximum(np.max([*self.seen.values()], axis=0), self.start)


def _log2_sigma(value, rate):
    """log2 σ of the value of a variable that learns at a rate; its gradient is that of the value."""
    return value if rate == 1.0 else value + ops.stop_gradient((rate - 1.0) * value)


class _OfSigma:
    """Turns a regulariser of σ into one of the variable."""

    def __init__(self, regularizer, unit, rate):
        self.regularizer = regularizer
        self.log2_unit = np.log2(unit).astype("float32")
        self.rate = rate

    def __call__(self, value):
        return self.regularizer(ops.power(2.0, _log2_sigma(value, self.rate) - self.log2_unit))


class _OnSigma:
    """Turns a constraint on σ, a bound on σ, or both into one constraint on the variable.

    Keras applies it after each step of an optimizer. So σ has its gradient on the bound, too, and can come back.
    """

    def __init__(self, constraint, bound, unit, rate):
        self.constraint = constraint
        self.bound = bound
        self.log2_unit = np.log2(unit).astype("float32")
        self.rate = rate

    def __call__(self, value):
        if self.constraint is not None:
            sigma = self.constraint(ops.power(2.0, self.rate * value - self.log2_unit))
            value = (ops.log2(ops.maximum(sigma, keras.config.epsilon())) + self.log2_unit) / self.rate
        if self.bound is not None and self.bound.pixels is not None:
            value = ops.minimum(value, (np.log2(self.bound.pixels) / self.rate).astype("float32"))
        return value
