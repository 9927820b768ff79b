"""The learned scale of a layer: a variable that holds log2 σ, so that σ = 2^s is positive by construction."""

import math

import keras
from keras import ops

from keras_njet._backend import read_largest


class ScaleVariable(keras.Variable):
    """Float32 variable holding log2 σ: a scalar, or a vector where filters have scales of their own.

    On JAX a variable has no value while a function is traced or between the batches of `fit`. All its changes outside a
    compiled function go through `assign`, though, so this variable keeps the last value it saw there.

    Args:
        sigma: Initial σ > 0, in pixels.
        trainable: Whether σ is learned.
        regularizer: Keras regulariser of σ, or None.
        constraint: Keras constraint on σ, or None.
        name: Name of the variable.
        shape: `()`, or the number of scales as a tuple of one integer.
    """

    def __init__(
        self, sigma: float, trainable: bool = True, regularizer=None, constraint=None, name="log2_sigma", shape=()
    ):
        initializer = keras.initializers.Constant(math.log2(sigma))
        super().__init__(initializer, shape=shape, dtype="float32", trainable=trainable, autocast=False, name=name)
        self.regularizer = None if regularizer is None else _OfSigma(regularizer)
        self.constraint = None if constraint is None else _OnSigma(constraint)
        self._last_seen = math.log2(sigma)

    def assign(self, value):
        value = super().assign(value)
        self.current()
        return value

    def current(self) -> float:
        """Reads σ as a number, in pixels: the largest, if there are several, which decides the support."""
        value = read_largest(self)
        if value is not None:
            self._last_seen = value
        return 2.0 ** min(self._last_seen, 1023.0)

    def sigma(self, dtype: str = "float32"):
        """Computes σ as a differentiable tensor of the shape of the variable, in pixels."""
        return ops.power(ops.cast(2.0, dtype), ops.cast(self.value, dtype))


class _OfSigma:
    """Makes a regulariser of σ one of log2 σ."""

    def __init__(self, regularizer):
        self.regularizer = regularizer

    def __call__(self, log2_sigma):
        return self.regularizer(ops.power(2.0, log2_sigma))


class _OnSigma:
    """Makes a constraint on σ one on log2 σ."""

    def __init__(self, constraint):
        self.constraint = constraint

    def __call__(self, log2_sigma):
        sigma = self.constraint(ops.power(2.0, log2_sigma))
        return ops.log2(ops.maximum(sigma, keras.config.epsilon()))
