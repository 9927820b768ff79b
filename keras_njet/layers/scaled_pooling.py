"""`ScaledPooling`, which pools a map of another resolution as a layer of Keras pools the original one."""

import keras
import numpy as np
from keras import ops

from keras_njet import _arguments
from keras_njet._convolution.sizes import rounded
from keras_njet.layers._data_formats import feature_map, from_channels_last

MAX_POOLINGS = (keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D)
POOLINGS = (
    *MAX_POOLINGS,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
)


@keras.saving.register_keras_serializable(package="keras_njet")
class ScaledPooling(keras.layers.Layer):
    """Pools with the windows of a pooling layer of Keras, enlarged by a factor, at the same places.

    `keras_njet.rescale` replaces the pooling layers of a network by it, since their feature maps have become larger by
    the factor. Strides stay, and so does the size of the output for an input of a given size: each window has its
    centre where that of the original layer has it, up to half a pixel. Where a window reaches beyond the map, the map
    is continued by the pixels of its border.

    Args:
        pooling: `keras.layers.MaxPooling1D`, `MaxPooling2D`, `MaxPooling3D`, `AveragePooling1D`, `AveragePooling2D` or
            `AveragePooling3D`, which is not changed.
        factor: Number > 0, or one for each axis. The size of a window is rounded to whole pixels, half a pixel up, and
            is at least one.
        **kwargs: `name`, `dtype` of the layer.

    Input shape:
        As that of `pooling`.

    Output shape:
        As that of `pooling`.

    Returns:
        A tensor: the maximum or the mean over each window.

    Raises:
        ValueError: If `pooling` is none of these layers, or `factor` is not above 0.

    Example:

    >>> pooling = keras_njet.layers.ScaledPooling(keras.layers.MaxPooling2D(2), factor=3.0)
    >>> pooling.pool_size, pooling.strides
    ((6, 6), (2, 2))
    >>> pooling(numpy.zeros((1, 24, 24, 8), "float32")).shape
    (1, 12, 12, 8)
    """

    def __init__(self, pooling, factor, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(pooling, POOLINGS):
            raise ValueError(
                f"`pooling` must be a max or average pooling layer of Keras. Received: pooling={pooling!r}"
            )
        self.pooling = pooling
        self.factor = _arguments.factors("factor", factor, axes=len(pooling.pool_size))
        sizes = np.multiply(self.factor, pooling.pool_size)
        self.pool_size = tuple(rounded(float(size), least=1) for size in sizes)
        self.strides = pooling.strides
        self.input_spec = pooling.input_spec
        self.built = True

    def call(self, inputs):
        x = feature_map(inputs, self.pooling.data_format, self.compute_dtype)
        pool = ops.max_pool if isinstance(self.pooling, MAX_POOLINGS) else ops.average_pool
        x = pool(self.windows(x), self.pool_size, self.strides, "valid", "channels_last")
        return from_channels_last(x, self.pooling.data_format)

    def windows(self, x):
        """The pixels of a "channels_last" map that the windows cover, from the first one to the last."""
        for index, size in enumerate(ops.shape(x)[1:-1]):
            stride, window, own = self.strides[index], self.pool_size[index], self.pooling.pool_size[index]
            before = (window - own) // 2  # pixels by which the first window begins earlier
            if self.pooling.padding == "same":
                count = (size + stride - 1) // stride
                least = max if isinstance(size, int) else ops.maximum
                before = before + least((count - 1) * stride + own - size, 0) // 2
            else:
                count = (size - own) // stride + 1
            x = _continued(x, 1 + index, before, (count - 1) * stride + window)
        return x

    def compute_output_shape(self, input_shape):
        return self.pooling.compute_output_shape(input_shape)

    def get_config(self):
        pooling = keras.saving.serialize_keras_object(self.pooling)
        return {**super().get_config(), "pooling": pooling, "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "pooling": keras.saving.deserialize_keras_object(config["pooling"])})


def _continued(x, axis, before, length):
    """Pixels along an axis of a map that is continued by its border: `length` of them, the first ones before it."""
    size = ops.shape(x)[axis]
    if not isinstance(size, int):
        pixels = ops.arange(length) - before
        return ops.take(x, ops.clip(pixels, 0, size - 1), axis=axis)
    after = length - before - size  # by slices, as `ops.take` is not exported to ONNX
    within = (slice(None),) * axis
    kept = x[(*within, slice(max(0, -before), size - max(0, -after)))]
    first, last = x[(*within, slice(0, 1))], x[(*within, slice(size - 1, size))]
    parts = [first] * before + [kept] + [last] * after
    return ops.concatenate(parts, axis=axis) if len(parts) > 1 else kept
