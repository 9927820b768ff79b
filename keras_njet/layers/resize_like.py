"""`ResizeLike`, which brings a feature map to the size of another."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet._convolution.sampling import resample
from keras_njet.layers._data_formats import feature_map, from_channels_last, shape_of, spatial


@keras.saving.register_keras_serializable(package="keras_njet")
class ResizeLike(keras.layers.Layer):
    """Resizes a feature map bilinearly to the height and width of another one.

    It makes the logits of a network as large as its input, of whatever size (section IV-B of the paper). One axis after
    the other is resized, with the same result on every backend, also where sizes are only known at run time.

    Args:
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` of the layer.

    Input shape:
        A list of two: the feature map to resize, `(batch, height, width, channels)` or `(batch, channels, height,
        width)` with "channels_first", and one that has the height and width to give it.

    Output shape:
        `(batch, new_height, new_width, channels)`, or `(batch, channels, new_height, new_width)`.

    Returns:
        A tensor: the resized feature map.

    Raises:
        ValueError: If it is not called on a list of two feature maps.

    Example:

    >>> small, large = numpy.zeros((1, 10, 15, 8), "float32"), numpy.zeros((1, 80, 120, 3), "float32")
    >>> keras_njet.layers.ResizeLike()([small, large]).shape
    (1, 80, 120, 8)
    """

    def __init__(self, data_format: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = _arguments.data_format(data_format)
        self.built = True

    def call(self, inputs):
        x, like = self._pair(inputs)
        new_sizes = spatial(ops.shape(like), self.data_format)
        x = feature_map(x, self.data_format, self.compute_dtype)
        return from_channels_last(resample(x, new_sizes), self.data_format)

    def compute_output_shape(self, input_shape):
        shape, like = self._pair(input_shape)
        channels = shape[-1 if self.data_format == "channels_last" else 1]
        return shape_of(shape[0], spatial(like, self.data_format), channels, self.data_format)

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}

    def _pair(self, inputs):
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            raise ValueError(
                "ResizeLike must be called on a list of two feature maps: one to resize, and one that has the size. "
                f"Received: inputs={inputs}"
            )
        ranks = [len(getattr(each, "shape", each)) for each in inputs]
        if ranks[0] != ranks[1]:
            raise ValueError(f"Both feature maps must have the same number of axes. Received: ranks={ranks}")
        return inputs
