"""Converts between the data formats of Keras and "channels_last", in which everything is computed."""

import keras
from keras import ops


def floating(x, dtype: str):
    """Casts a tensor of integers, such as an image, to a dtype; returns a floating-point tensor as it is."""
    return x if keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)) else ops.cast(x, dtype)


def channels_last(x, data_format: str):
    """A feature map of a data format as a "channels_last" one."""
    return x if data_format == "channels_last" else ops.moveaxis(x, 1, -1)


def feature_map(x, data_format: str, dtype: str):
    """What a layer is called with as a "channels_last" feature map of floating-point numbers."""
    return channels_last(floating(x, dtype), data_format)


def from_channels_last(x, data_format: str):
    """A "channels_last" feature map as one of a data format."""
    return x if data_format == "channels_last" else ops.moveaxis(x, -1, 1)


def spatial(shape, data_format: str) -> tuple:
    """The sizes of a feature map along its axes, given the shape of a batch."""
    return tuple(shape[1:-1] if data_format == "channels_last" else shape[2:])


def shape_of(batch, sizes, channels, data_format: str) -> tuple:
    """The shape of a batch of feature maps."""
    return (batch, *sizes, channels) if data_format == "channels_last" else (batch, channels, *sizes)
