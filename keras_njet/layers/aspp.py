"""`ASPP`, atrous spatial pyramid pooling as in DeepLabv2."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet.layers._data_formats import feature_map, from_channels_last, shape_of, spatial


@keras.saving.register_keras_serializable(package="keras_njet")
class ASPP(keras.layers.Layer):
    """Atrous spatial pyramid pooling: the sum of convolutions at several dilation rates.

    The output layer of DeepLabv2 (Chen et al., 2018), and the baseline of `keras_njet.NJetASPP` in section IV-B of the
    paper. The rates have to be chosen; `NJetASPP` learns its scales instead.

    Args:
        filters: Integer > 0, the number of filters: of classes, in DeepLabv2. All other arguments are given by name.
        rates: Dilation rates, integers > 0, in pixels. Defaults to (6, 12, 18, 24).
        kernel_size: Integer > 0, or a pair of them: size of the filters before dilation. Defaults to 3.
        tied: Whether all rates share one filter. Defaults to False.
        use_bias: Whether to add a bias. Defaults to True.
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        kernel_initializer: Keras initializer. Defaults to a normal distribution with standard deviation 0.01, as in
            DeepLabv2.
        kernel_regularizer: Keras regularizer of the kernels.
        **kwargs: `name`, `dtype`, `trainable` of the layer.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first".

    Output shape:
        `(batch, height, width, filters)`, or `(batch, filters, height, width)`.

    Returns:
        A tensor: the sum of the convolutions plus bias.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> layer = keras_njet.layers.ASPP(21)
    >>> layer(numpy.zeros((1, 41, 41, 64), "float32")).shape
    (1, 41, 41, 21)
    """

    def __init__(
        self,
        filters: int,
        *,
        rates=(6, 12, 18, 24),
        kernel_size: int = 3,
        tied: bool = False,
        use_bias: bool = True,
        data_format: str | None = None,
        kernel_initializer=None,
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = _arguments.integer("filters", filters, least=1)
        self.rates = _arguments.several("rates", rates, lambda name, rate: _arguments.integer(name, rate, least=1))
        self.kernel_size = _arguments.integers("kernel_size", kernel_size, axes=2)
        self.tied = bool(tied)
        self.use_bias = bool(use_bias)
        self.data_format = _arguments.data_format(data_format)
        self.kernel_initializer = keras.initializers.get(
            kernel_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = _arguments.channels(input_shape, self.data_format)
        self.kernels = [
            self.add_weight(
                name="kernel" if self.tied else f"kernel_{index}",
                shape=(*self.kernel_size, channels, self.filters),
                initializer=_arguments.another(self.kernel_initializer),
                regularizer=self.kernel_regularizer,
            )
            for index in range(1 if self.tied else len(self.rates))
        ]
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        self.built = True

    def call(self, inputs):
        kernels = self.kernels * len(self.rates) if self.tied else self.kernels
        x = feature_map(inputs, self.data_format, self.compute_dtype)
        outputs = sum(
            ops.conv(x, kernel, padding="same", data_format="channels_last", dilation_rate=rate)
            for rate, kernel in zip(self.rates, kernels, strict=True)
        )
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return from_channels_last(outputs, self.data_format)

    def compute_output_shape(self, input_shape):
        return shape_of(input_shape[0], spatial(input_shape, self.data_format), self.filters, self.data_format)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "rates": self.rates,
            "kernel_size": self.kernel_size,
            "tied": self.tied,
            "use_bias": self.use_bias,
            "data_format": self.data_format,
            "kernel_initializer": keras.saving.serialize_keras_object(self.kernel_initializer),
            "kernel_regularizer": keras.saving.serialize_keras_object(self.kernel_regularizer),
        }
