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

    Args:
        sigma: Initial σ > 0 in pixels, a number or an array that can be broadcast to `shape`.
        trainable: Whether σ is learned.
        regularizer: Keras regulariser of σ in units, or None.
        constraint: Keras constraint on σ in units, or None.
        name: Name of the variable.
        shape: `()` for one scale; else the number of scales, or of axes, or both.
        per_axis: Whether the last axis of `shape` stands for the axes of the feature map.
        unit: Number > 0 in pixels, or one for each axis, of the regulariser and the constraint.
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
    ):
        self.per_axis = per_axis
        self._last_seen = np.broadcast_to(np.log2(sigma), shape)
        initializer = keras.initializers.Constant(np.log2(sigma))
        super().__init__(initializer, shape=shape, dtype="float32", trainable=trainable, autocast=False, name=name)
        self.regularizer = None if regularizer is None else _OfSigma(regularizer, unit)
        self.constraint = None if constraint is None else _OnSigma(constraint, unit)

    def assign(self, value):
        value = super().assign(value)
        self.numbers()
        return value

    def remember(self, value: np.ndarray):
        """Takes note of the value that this variable has, though it can't be read at present."""
        self._last_seen = value

    def sigma(self, dtype: str = "float32"):
        """Computes σ as a differentiable tensor of the shape of the variable, in pixels."""
        return ops.exp(math.log(2.0) * ops.cast(self.value, dtype))

    def numbers(self) -> np.ndarray:
        """Reads σ as float64 numbers, in pixels, in the shape of the variable; also while a function is traced."""
        value = read_value(self)
        if value is not None:
            self._last_seen = value
        return 2.0 ** np.minimum(self._last_seen, 1023.0)

    def largest(self, axis: int | None = None) -> float:
        """Reads the largest σ, which decides the support: of all, or along one axis of the feature map, from 0 on."""
        numbers = self.numbers()
        return float(np.max(numbers[..., axis] if self.per_axis and axis is not None else numbers))


class _OfSigma:
    """Makes a regulariser of σ one of log2 σ."""

    def __init__(self, regularizer, unit):
        self.regularizer = regularizer
        self.log2_unit = np.log2(unit).astype("float32")

    def __call__(self, log2_sigma):
        return self.regularizer(ops.power(2.0, log2_sigma - self.log2_unit))


class _OnSigma:
    """Makes a constraint on σ one on log2 σ."""

    def __init__(self, constraint, unit):
        self.constraint = constraint
        self.log2_unit = np.log2(unit).astype("float32")

    def __call__(self, log2_sigma):
        sigma = self.constraint(ops.power(2.0, log2_sigma - self.log2_unit))
        return ops.log2(ops.maximum(sigma, keras.config.epsilon())) + self.log2_unit
