"""Checks of constructor arguments. Each returns the value it was given, in its standard form, or raises ValueError."""

import math
import numbers

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


def positives(name: str, value) -> np.ndarray:
    """Finite numbers above zero: a number, or several in a list, an array or a tensor."""
    values = np.asarray(keras.ops.convert_to_numpy(value), "float64")
    if not (values.size and np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"`{name}` must be finite numbers above 0. Received: {name}={value!r}")
    return values


def pair_of_integers(name: str, value) -> tuple[int, int]:
    """An integer of at least 1, or a pair of them."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"`{name}` must be an integer or a pair of integers. Received: {name}={value!r}")
    return integer(name, pair[0], least=1), integer(name, pair[1], least=1)


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


def one_of(name: str, value, allowed: tuple[str, ...]) -> str:
    """One of several strings."""
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


def drawn(value):
    """A number, drawn if it is given as a Keras initializer."""
    if isinstance(value, (str, dict, keras.initializers.Initializer)):
        return float(keras.ops.convert_to_numpy(keras.initializers.get(value)(())))
    return value


def several(name: str, values, check) -> tuple:
    """A tuple of at least one value, each of which passes a check of this module."""
    if not isinstance(values, (tuple, list)) or not values:
        raise ValueError(f"`{name}` must be a tuple of at least one value. Received: {name}={values!r}")
    return tuple(check(name, value) for value in values)


def channels(input_shape, data_format: str) -> int:
    """The number of channels of an input, which must be known."""
    count = input_shape[3 if data_format == "channels_last" else 1]
    if count is None:
        raise ValueError(
            "The channel axis of the input must have a known size, but it is None. Received: "
            f"input_shape={tuple(input_shape)}"
        )
    return count
