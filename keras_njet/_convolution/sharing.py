"""Which filters share a scale: how a convolution is split into parts, each with a σ of its own."""

import dataclasses
from collections.abc import Callable

from keras import ops


@dataclasses.dataclass(frozen=True)
class Sharing:
    """Computes each part of a convolution with its own σ, all of them at once, and joins the results.

    Attributes:
        count: Integer, the number of groups that have a scale of their own; None for one that all filters share.
        of_inputs: Whether the scales belong to channels of the input; otherwise to filters.
        is_depthwise: Whether each filter has one channel of the input, and so its scale.
    """

    count: int | None = None
    of_inputs: bool = False
    is_depthwise: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the variable that holds the scales."""
        return () if self.count is None else (self.count,)

    def of_each_input(self, function: Callable, x, sigma):
        """Joins `function(channels of x, their σ)` of each group; channels are the last axis of `x` and results."""
        return _join(ops.vectorized_map(lambda part: function(*part), (_split(x, self.count), sigma)))

    def of_each_filter(self, function: Callable, coefficients, sigma):
        """Joins `function(coefficients, σ)` of each group of filters, which are the last axis of both."""
        if self.count is None:
            return function(coefficients, sigma)
        return _join(ops.vectorized_map(lambda part: function(*part), (_split(coefficients, self.count), sigma)))

    def compose(self, composition: Callable, coefficients, sigma):
        """The filters `composition(coefficients, σ)`, of shape `(*sizes, channels / groups, filters)`."""
        if not self.of_inputs or self.is_depthwise:
            return self.of_each_filter(composition, coefficients, sigma)

        def swapped(channels_last, sigma):
            return ops.swapaxes(composition(ops.swapaxes(channels_last, -1, -2), sigma), -1, -2)

        return ops.swapaxes(self.of_each_filter(swapped, ops.swapaxes(coefficients, -1, -2), sigma), -1, -2)


SHARED_BY_ALL = Sharing()


def _split(x, count):
    """(..., n) -> (count, ..., n / count)."""
    *others, size = ops.shape(x)
    return ops.moveaxis(ops.reshape(x, (*others, count, size // count)), -2, 0)


def _join(x):
    """(count, ..., n) -> (..., count·n)."""
    count, *others, size = ops.shape(x)
    return ops.reshape(ops.moveaxis(x, 0, -2), (*others, count * size))
