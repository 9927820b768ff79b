"""`DeformableConv2D`, a convolution that learns where to read its input."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet.layers._data_formats import feature_map, from_channels_last


@keras.saving.register_keras_serializable(package="keras_njet")
class DeformableConv2D(keras.layers.Layer):
    """Deformable convolution: every filter tap reads the input at a learned offset from its place on the grid.

    The layer of Dai et al., "Deformable Convolutional Networks" (ICCV 2017), with which experiment 4(A) of the paper
    compares the N-Jet. A convolution of the same geometry predicts the offsets, two numbers of pixels for each filter
    tap at each output pixel. Between pixels the input is interpolated bilinearly, outside of it is zero. The offsets
    start at zero, so that the layer starts as `keras.layers.Conv2D`.

    Args:
        filters: Integer > 0, the number of filters.
        kernel_size: Integer > 0 or pair of them, size of the filters in pixels. Defaults to 3.
        strides: Integer > 0 or pair of them. Defaults to 1.
        padding: "same" (zeros around the input) or "valid". Defaults to "same".
        dilation_rate: Integer > 0 or pair of them, the distance of the filter taps in pixels. Defaults to 1.
        deformable_groups: Integer > 0, number of groups of channels that have offsets of their own. Defaults to 1.
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        activation: Keras activation. Defaults to none.
        use_bias: Whether to add a bias to each filter's output. Defaults to True.
        kernel_initializer: Keras initializer of the filters. Defaults to "glorot_uniform".
        bias_initializer: Keras initializer of the bias. Defaults to "zeros".
        kernel_regularizer, bias_regularizer: Keras regularizers of the filters and the bias.
        **kwargs: `name`, `dtype`, `trainable` of the layer. Positions are float32 under mixed precision.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first".

    Output shape:
        `(batch, new_height, new_width, filters)`, or `(batch, filters, new_height, new_width)`.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range, if both strides and dilation rate are above 1, or if the
            channels of the input are unknown or not divisible by `deformable_groups`.

    Example:

    >>> layer = keras_njet.layers.DeformableConv2D(16)
    >>> layer(numpy.zeros((1, 32, 32, 3), "float32")).shape
    (1, 32, 32, 16)
    >>> layer.offsets(numpy.zeros((1, 32, 32, 3), "float32")).shape
    (1, 32, 32, 18)
    """

    def __init__(
        self,
        filters: int,
        kernel_size=3,
        strides=1,
        padding: str = "same",
        dilation_rate=1,
        deformable_groups: int = 1,
        data_format: str | None = None,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = _arguments.integer("filters", filters, least=1)
        self.kernel_size = _arguments.integers("kernel_size", kernel_size, axes=2)
        self.strides = _arguments.integers("strides", strides, axes=2)
        self.padding = _arguments.one_of("padding", padding, ("same", "valid"))
        self.dilation_rate = _arguments.integers("dilation_rate", dilation_rate, axes=2)
        self.deformable_groups = _arguments.integer("deformable_groups", deformable_groups, least=1)
        self.data_format = _arguments.data_format(data_format)
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.offset_convolution = keras.layers.Conv2D(
            2 * self.deformable_groups * self.kernel_size[0] * self.kernel_size[1],
            self.kernel_size,
            self.strides,
            self.padding,
            "channels_last",
            self.dilation_rate,
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="offset_convolution",
        )

    def build(self, input_shape):
        channels = _arguments.channels(input_shape, self.data_format)
        if channels % self.deformable_groups != 0:
            raise ValueError(
                "The number of input channels must be divisible by the number of deformable groups. Received: "
                f"channels={channels}, deformable_groups={self.deformable_groups}"
            )
        self.input_spec = keras.layers.InputSpec(
            ndim=4, axes={3 if self.data_format == "channels_last" else 1: channels}
        )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )
        self.offset_convolution.build(self._channels_last(input_shape))
        self.built = True

    def call(self, inputs):
        x = feature_map(inputs, self.data_format, self.compute_dtype)
        geometry = (self.strides, self.padding, self.dilation_rate)
        outputs = deformable_convolution(x, self.offsets(x), self.kernel, *geometry)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(from_channels_last(outputs, self.data_format))

    def offsets(self, x):
        """Predicts the offsets for a "channels_last" feature map, in the order of `deformable_convolution`."""
        return self.offset_convolution(x)

    def compute_output_shape(self, input_shape):
        shape = self.offset_convolution.compute_output_shape(self._channels_last(input_shape))
        if self.data_format == "channels_last":
            return (*shape[:3], self.filters)
        return (shape[0], self.filters, *shape[1:3])

    def _channels_last(self, shape):
        return tuple(shape) if self.data_format == "channels_last" else (shape[0], *shape[2:4], shape[1])

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "deformable_groups": self.deformable_groups,
            "data_format": self.data_format,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
        }


def deformable_convolution(x, offsets, kernel, strides=(1, 1), padding="same", dilation_rate=(1, 1)):
    """Convolves a feature map that is read at given offsets.

    Args:
        x: Tensor of shape `(batch, height, width, channels)`.
        offsets: Tensor of shape `(batch, new_height, new_width, 2·groups·kernel_height·kernel_width)`, in pixels: for
            each group of channels and each filter tap, row by row, the offsets down and to the right.
        kernel: Tensor of shape `(kernel_height, kernel_width, channels, filters)`.
        strides: Pair of integers.
        padding: "same" or "valid".
        dilation_rate: Pair of integers.

    Returns:
        Tensor of shape `(batch, new_height, new_width, filters)` and the dtype of `x`.
    """
    batch, height, width, _ = ops.shape(x)
    new_height, new_width = ops.shape(offsets)[1:3]
    tall, wide, channels, filters = kernel.shape
    groups = offsets.shape[3] // (2 * tall * wide)
    # bfloat16 would have no room for fractions of a pixel on a large map.
    dtype = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
    offsets = ops.reshape(ops.cast(offsets, dtype), (batch, new_height, new_width, groups, tall, wide, 2))
    rows = _taps(height, new_height, tall, strides[0], dilation_rate[0], padding, dtype)
    columns = _taps(width, new_width, wide, strides[1], dilation_rate[1], padding, dtype)
    row, down = _split(ops.reshape(rows, (new_height, 1, 1, tall, 1)) + offsets[..., 0], height)
    column, right = _split(ops.reshape(columns, (new_width, 1, 1, wide)) + offsets[..., 1], width)

    # All squares of 2×2 pixels of the map, padded by zeros, side by side: a tap then reads its four in one access.
    x = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    x = ops.reshape(x, (batch, height + 2, width + 2, groups, channels // groups))
    squares = ops.concatenate([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], axis=-1)
    # Without an axis in front the gradient on TensorFlow is sparse, with a warning.
    squares = ops.reshape(squares, (1, -1, 4 * channels // groups))
    image = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1, 1, 1, 1))
    group = ops.reshape(ops.arange(groups, dtype="int32"), (-1, 1, 1))
    index = ((image * (height + 1) + row) * (width + 1) + column) * groups + group
    neighbours = ops.reshape(ops.take(squares, ops.reshape(index, (-1,)), axis=1), (-1, 4, channels // groups))
    weights = ops.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=-1)
    sampled = ops.matmul(ops.cast(ops.reshape(weights, (-1, 1, 4)), x.dtype), neighbours)

    # The rows of the filters in the order of what was sampled: groups, taps, channels of a group.
    kernel = ops.transpose(ops.reshape(kernel, (tall * wide, groups, -1, filters)), (1, 0, 2, 3))
    sampled = ops.reshape(sampled, (-1, tall * wide * channels))
    outputs = ops.matmul(sampled, ops.reshape(kernel, (-1, filters)))
    # On torch, `keras.ops.matmul` of float64 gives float32.
    return ops.reshape(ops.cast(outputs, x.dtype), (batch, new_height, new_width, filters))


def _taps(size, new_size, kernel_size, stride, dilation_rate, padding, dtype):
    """Positions of the filter taps along one axis without offsets, shape `(new_size, kernel_size)`."""
    start = 0
    if padding == "same":
        missing = (new_size - 1) * stride + (kernel_size - 1) * dilation_rate + 1 - size
        start = -(ops.maximum(missing, 0) // 2)
    firsts = start + stride * ops.arange(new_size, dtype="int32")
    taps = dilation_rate * ops.arange(kernel_size, dtype="int32")
    return ops.cast(ops.expand_dims(firsts, 1) + taps, dtype)


def _split(positions, size):
    """The pixel before each position along an axis with one pixel of zeros at either end, and the distance from it."""
    positions = ops.clip(positions, -1.0, ops.cast(size, positions.dtype))
    # Clipped once more as integers, because an offset that has diverged to NaN must not read out of range.
    before = ops.clip(ops.cast(ops.floor(positions), "int32"), -1, size - 1)
    return before + 1, positions - ops.cast(before, positions.dtype)
