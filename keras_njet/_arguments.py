"""Checks of constructor arguments. Most return the value in its standard form, or raise ValueError.

`finite_numbers`, which some of them use, returns None instead; `another`, `input_shapes` and `of_a_convolution`
check nothing.
"""

import functools
import inspect
import math
import numbers
from collections.abc import Callable

import keras
import numpy as np


def integer(name: str, value, least: int) -> int:
    """An integer that is at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}")
    return int(value)


def positive(name: str, value) -> float:
    """A finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be a finite number above 0. Received: {name}={value!r}")
    return float(value)


def max_sigma(value) -> float | str | None:
    """The largest σ: a number, "auto" or None."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return value
    if isinstance(value, str):
        raise ValueError(f'`max_sigma` must be a number above 0, "auto" or None. Received: max_sigma={value!r}')
    return positive("max_sigma", value)


def share(name: str, value, below: float = 1) -> float:
    """A number of at least 0 and below `below`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < below:
        raise ValueError(f"`{name}` must be a number of at least 0 and below {below}. Received: {name}={value!r}")
    return float(value)


def finite_numbers(value) -> np.ndarray | None:
    """The numbers of a list, an array or a tensor; None if there are none, or some are not finite."""
    try:
        values = np.asarray(keras.ops.convert_to_numpy(value), "float64")
    except (TypeError, ValueError):  # no numbers at all
        return None
    return values if values.size and np.isfinite(values).all() else None


def positives(name: str, value) -> np.ndarray:
    """Finite numbers above zero: a number, or several in a list, an array or a tensor."""
    values = finite_numbers(value)
    if values is None or not (values > 0).all():
        raise ValueError(f"`{name}` must be finite numbers above 0. Received: {name}={value!r}")
    return values


def sigmas(value, shape: tuple[int, ...]) -> np.ndarray:
    """Scales for a variable of a shape: a number for all of them, or one for each."""
    values = positives("sigma", value)
    if values.shape not in ((), shape):
        raise ValueError(f"`sigma` must be a number or have the shape {shape}. Received: sigma={value!r}")
    return np.broadcast_to(values, shape)


def integers(name: str, value, axes: int) -> tuple[int, ...]:
    """An integer of at least 1, or one for each axis."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"`{name}` must be an integer, or {axes} of them, one per axis. Received: {name}={value!r}")
    return tuple(integer(name, one, least=1) for one in values)


def scale(value, axes: int, isotropic: bool) -> float | tuple[float, ...]:
    """The scale a layer starts with: a number, drawn if it is a Keras initializer, or one for each axis."""
    if isinstance(value, (str, dict, keras.initializers.Initializer)):
        value = float(keras.ops.convert_to_numpy(keras.initializers.get(value)(())))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (tuple, list)):
        return positive("sigma", value)
    if isotropic or len(value) != axes:
        expected = "a number, as `isotropic` is True" if isotropic else f"a number, or {axes} of them, one per axis"
        raise ValueError(f"`sigma` must be {expected}. Received: sigma={value!r}")
    return tuple(positive("sigma", one) for one in value)


def factors(name: str, value, axes: int | None = None) -> float | tuple[float, ...]:
    """A finite number above zero, or a tuple of several that are not all equal, one per axis if `axes` is given."""
    if not isinstance(value, (tuple, list)):
        return positive(name, value)
    values = several(name, value, positive)
    if len(set(values)) == 1:
        return values[0]
    if axes not in (None, len(values)):
        raise ValueError(f"`{name}` must be a number, or {axes} of them, one per axis. Received: {name}={value!r}")
    return values


def unit(value, axes: int, isotropic: bool) -> float | tuple[float, ...]:
    """The size of a unit in pixels: a number, or one for each axis."""
    values = factors("unit", value)
    if isinstance(values, tuple) and (isotropic or len(values) != axes):
        expected = "a number, as `isotropic` is True" if isotropic else f"a number, or {axes} of them, one per axis"
        raise ValueError(f"`unit` must be {expected}. Received: unit={value!r}")
    return values


def sigma_sharing(value) -> str | int:
    """Which filters share a scale: "layer", "filter", "input", or a number of groups."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1:
        return int(value)
    if value not in ("layer", "filter", "input"):
        raise ValueError(
            '`sigma_sharing` must be "layer", "filter", "input" or an integer of at least 1. '
            f"Received: sigma_sharing={value!r}"
        )
    return value


def input_shapes(value) -> list:
    """The shapes of a model's inputs: one shape, which may be a list, or a list of them."""
    is_list = isinstance(value, list) and not all(size is None or isinstance(size, numbers.Integral) for size in value)
    return value if is_list else [value]


def one_of(name: str, value, allowed: tuple):
    """One of several values."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {allowed}. Received: {name}={value!r}")
    return value


def padding(value) -> str | int:
    """A padding: "same", "valid", or a margin, which is an integer of at least 0."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 0:
        return int(value)
    if value not in ("same", "valid"):
        raise ValueError(f'`padding` must be "same", "valid" or an integer of at least 0. Received: padding={value!r}')
    return value


def data_format(value: str | None) -> str:
    """A data format, by default that of the Keras configuration."""
    value = keras.config.image_data_format() if value is None else value
    return one_of("data_format", value, ("channels_last", "channels_first"))


def another(initializer):
    """An initializer for another variable; a function serves all of them."""
    return initializer.clone() if isinstance(initializer, keras.initializers.Initializer) else initializer


def several(name: str, values, check) -> tuple:
    """A tuple of at least one value, each of which passes a check of this module."""
    if not isinstance(values, (tuple, list)) or not values:
        raise ValueError(f"`{name}` must be a tuple of at least one value. Received: {name}={values!r}")
    return tuple(check(name, value) for value in values)


def channels(input_shape, data_format: str) -> int:
    """The number of channels of an input, which must be known."""
    count = input_shape[-1 if data_format == "channels_last" else 1]
    if count is None:
        raise ValueError(
            "The channel axis of the input must have a known size, but it is None. Received: "
            f"input_shape={tuple(input_shape)}"
        )
    return count


_INSTEAD = {
    "kernel_size": "the size of the filters is learned; set its initial value by `sigma` and `extent`",
    "dilation_rate": "take a larger `sigma`, whose filters reach as far without gaps",
    "kernel_initializer": "use `coefficient_initializer`",
    "kernel_regularizer": "use `coefficient_regularizer`",
    "kernel_constraint": "use `coefficient_constraint`",
    "depthwise_initializer": "use `coefficient_initializer`",
    "depthwise_regularizer": "use `coefficient_regularizer`",
    "depthwise_constraint": "use `coefficient_constraint`",
}


def of_a_convolution(positional: int) -> Callable:
    """Decorates the constructor of an N-Jet layer: calls with Keras' arguments raise an error that helps.

    Args:
        positional: How many arguments may be given without a name.
    """

    def decorate(init):
        _, *names = inspect.signature(init).parameters

        @functools.wraps(init)
        def explaining(self, *args, **kwargs):
            kind = type(self).__name__
            if len(args) > positional:
                allowed = "".join(f"but `{name}` " for name in names[:positional])
                raise ValueError(
                    f"All arguments {allowed}of {kind} must be given by name. There is no kernel_size: the size of the "
                    "filters is learned, and starts at 2⌈extent·sigma⌉ + 1 pixels by `sigma` and `extent`. Received: "
                    f"args={args!r}"
                )
            for name, instead in _INSTEAD.items():
                if name in kwargs:
                    raise ValueError(f"{kind} has no `{name}`: {instead}. Received: {name}={kwargs[name]!r}")
            init(self, *args, **kwargs)

        explaining.__signature__ = inspect.signature(init)  # Keras asks for it, without following wrappers
        return explaining

    return decorate
