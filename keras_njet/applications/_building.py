"""What all applications are built of: the image they start from, the convolutions they are given, and their head."""

import dataclasses

import keras

from keras_njet.layers import NJetConv2D, SafeSubsample


class PlainConvolutions:
    """The convolutions of a baseline: `keras.layers.Conv2D` with filters of a chosen size, and strides."""

    def layer(self, filters: int, size: int, strides: int = 1, name: str | None = None, **arguments) -> keras.Layer:
        """A spatial convolution, without a bias if `arguments` do not say otherwise."""
        arguments = {"use_bias": False, "kernel_initializer": "he_normal", **arguments}
        return keras.layers.Conv2D(filters, size, strides, "same", name=name, **arguments)

    def shortcut(self, convolution: keras.Layer, strides: int, name: str | None = None) -> keras.Layer:
        """A layer without weights that shrinks a second branch as much as `convolution` shrinks the first."""
        return keras.layers.MaxPooling2D(1, strides, "same", name=name)


@dataclasses.dataclass(frozen=True)
class NJetConvolutions(PlainConvolutions):
    """The convolutions of a twin: N-Jet layers, which learn the size of their filters.

    With a `subsample_rate` they subsample safely instead of by strides: all of them if `everywhere`, else those that
    have strides in the baseline.
    """

    order: int
    sigma: float
    extent: float
    learn_sigma: bool
    subsample_rate: float | None = None
    everywhere: bool = False
    implementation: str = "auto"

    def layer(self, filters, size, strides=1, name=None, **arguments):
        subsamples = self.everywhere or strides > 1
        return NJetConv2D(
            filters,
            self.order,
            self.sigma,
            self.extent,
            self.learn_sigma,
            strides=strides if self.subsample_rate is None else 1,
            subsample_rate=self.subsample_rate if subsamples else None,
            implementation=self.implementation,
            name=name,
            **{"use_bias": False, **arguments},
        )

    def shortcut(self, convolution, strides, name=None):
        if convolution.subsample_rate is None:
            return super().shortcut(convolution, strides, name)
        return SafeSubsample(convolution, convolution.subsample_rate, name=name)


def image_input(input_tensor, input_shape, min_size: int):
    """The tensor an application starts from: a new input, by default for images of 32×32 pixels and 3 channels."""
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                "`input_tensor` must be a Keras tensor: the output of `keras.Input` or of a layer called on one. "
                f"Received: input_tensor={input_tensor!r}"
            )
        _check_shape(tuple(input_tensor.shape[1:]), min_size)
        return input_tensor
    if input_shape is None:
        input_shape = (32, 32, 3) if channel_axis() == 3 else (3, 32, 32)
    _check_shape(tuple(input_shape), min_size)
    return keras.Input(tuple(input_shape))


def _check_shape(shape, min_size):
    if len(shape) != 3:
        raise ValueError(f"`input_shape` must be a tuple of three integers. Received: input_shape={shape}")
    if shape[channel_axis() - 1] is None:
        raise ValueError(f"The number of channels of the input must be known. Received: input_shape={shape}")
    spatial = shape[:2] if channel_axis() == 3 else shape[1:]
    if any(size is not None and size < min_size for size in spatial):
        raise ValueError(f"Input size must be at least {min_size}x{min_size}. Received: input_shape={shape}")


def channel_axis() -> int:
    """The axis of the channels in a batch of images, by the Keras configuration."""
    return 3 if keras.config.image_data_format() == "channels_last" else 1


def normalize(x, name: str, relu: bool = True):
    """Batch normalisation as in the original networks, and a ReLU."""
    x = keras.layers.BatchNormalization(channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def pointwise(x, filters: int, name: str):
    """A 1×1 convolution, batch normalisation and ReLU."""
    x = keras.layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return normalize(x, name)


def scaled(filters: int, width: float) -> int:
    """A number of filters times the width of the network."""
    return max(1, round(filters * width))


def pool(x, pooling: str | None):
    """What `pooling` asks for in a model without its top."""
    if checked(pooling) == "avg":
        return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def checked(pooling: str | None) -> str | None:
    """The argument `pooling`, or an error if it is none of the three that there are."""
    if pooling not in (None, "avg", "max"):
        raise ValueError(f'`pooling` must be None, "avg" or "max". Received: pooling={pooling!r}')
    return pooling


def make_model(inputs, outputs, name: str) -> keras.Model:
    """The model from the source of `inputs`, which may itself be the output of a layer, to `outputs`."""
    sources = keras.utils.get_source_inputs(inputs)
    return keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name)
