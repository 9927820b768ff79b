"""What all applications are built of: the convolutions they are given, their top, their weights."""

import dataclasses
import typing

import keras

from keras_njet import _arguments
from keras_njet.applications import _weights
from keras_njet.applications._images import channel_axis
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
    """The convolutions of an N-Jet version: layers that learn the size of their filters.

    With a `subsample_rate` they subsample safely instead of by strides: all of them if `everywhere`, else those that
    have strides in the baseline.
    """

    order: int
    sigma: float
    extent: float
    learn_sigma: bool
    sigma_learning_rate: float
    subsample_rate: float | None = None
    everywhere: bool = False
    implementation: str = "auto"

    def layer(self, filters, size, strides=1, name=None, **arguments):
        subsamples = self.everywhere or strides > 1
        return NJetConv2D(
            filters,
            order=self.order,
            sigma=self.sigma,
            extent=self.extent,
            learn_sigma=self.learn_sigma,
            sigma_learning_rate=self.sigma_learning_rate,
            strides=strides if self.subsample_rate is None else 1,
            subsample_rate=self.subsample_rate if subsamples else None,
            implementation=self.implementation,
            name=name,
            **{"use_bias": False, **arguments},
        )

    def shortcut(self, convolution, strides, name=None):
        if convolution.subsample_rate is None:
            return super().shortcut(convolution, strides, name)
        return SafeSubsample(convolution, rate=convolution.subsample_rate, name=name)


@dataclasses.dataclass(frozen=True)
class Top:
    """The arguments of `keras.applications` that say how a network ends."""

    include: bool = True
    pooling: str | None = None
    classes: int = 10
    activation: typing.Any = "softmax"

    def __post_init__(self):
        _arguments.one_of("pooling", self.pooling, (None, "avg", "max"))

    def of_maps(self, x):
        """The top of fully convolutional classifiers: a feature map for each class, which is averaged."""
        if not self.include:
            return self.pooled(x)
        x = pointwise(x, self.classes, "top")
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        return keras.layers.Activation(self.activation, dtype="float32", name="predictions")(x)

    def pooled(self, x):
        """What `pooling` asks for in a model without its top."""
        if self.pooling == "avg":
            return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        if self.pooling == "max":
            return keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
        return x


def application(kind: str, name: str, weights, build, inputs, convolutions, top: Top, **arguments) -> keras.Model:
    """The network that `build` makes of the arguments after it, with its weights.

    Args:
        kind: Name of the application, by which its released weights are found.
        name: Name of the model.
        weights: None, the name of released weights, or the path of a weights file.
        build: Function of all that follows, which returns the output tensor.
        inputs: Tensor that the network is built on.
        convolutions: `PlainConvolutions` or `NJetConvolutions`.
        top: What it ends with.
        **arguments: What else `build` takes.
    """
    _weights.check(kind, weights, top, {**vars(convolutions), **arguments})
    outputs = build(inputs, convolutions, top, **arguments)
    _weights.load(inputs, outputs, kind, weights)
    return make_model(inputs, outputs, name)


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
    return max(1, round(filters * _arguments.positive("width", width)))


def make_model(inputs, outputs, name: str) -> keras.Model:
    """The model from the source of `inputs`, which may itself be the output of a layer, to `outputs`."""
    sources = keras.utils.get_source_inputs(inputs)
    return keras.Model(sources[0] if len(sources) == 1 else sources, outputs, name=name)
