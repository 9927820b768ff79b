"""ResNets for small images (He et al., 2016, section 4.2) and their N-Jet versions (section IV-A of the paper)."""

import keras
from keras import ops

from keras_njet.applications import _building as building
from keras_njet.applications._data_sets import decode_predictions as decode_predictions
from keras_njet.applications._data_sets import preprocess_input as preprocess_input
from keras_njet.applications._documentation import documented
from keras_njet.applications._images import channel_axis, image_input

_STAGES = ((16, 1), (32, 2), (64, 2))  # filters, and strides of the first block


@documented()
def ResNet32(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    width: float = 1.0,
    name: str = "resnet32",
) -> keras.Model:
    """ResNet of 32 layers for small images: 464,154 weights.

    A 3×3 convolution and three stages of five residual blocks with 16, 32 and 64 filters; the second and third stage
    start with strides 2. Shortcuts have no weights: they skip pixels and add channels of zeros.

    Example:

    >>> keras_njet.applications.ResNet32(width=0.25).output_shape
    (None, 10)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    plain = building.PlainConvolutions()
    return building.application("ResNet32", name, weights, build, inputs, plain, top, depth=32, width=width)


@documented()
def ResNet110(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    width: float = 1.0,
    name: str = "resnet110",
) -> keras.Model:
    """ResNet of 110 layers for small images: as `ResNet32`, with 18 residual blocks in each stage.

    Example:

    >>> keras_njet.applications.ResNet110(width=0.25).output_shape
    (None, 10)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    plain = building.PlainConvolutions()
    return building.application("ResNet110", name, weights, build, inputs, plain, top, depth=110, width=width)


@documented()
def NJetResNet32(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    order: int = 3,
    sigma: float = 1.0,
    extent: float = 2.0,
    learn_sigma: bool = True,
    sigma_learning_rate: float = 1.0,
    subsample_rate: float | None = 4.0,
    width: float = 1.0,
    name: str = "njet_resnet32",
) -> keras.Model:
    """ResNet of 32 layers whose 3×3 convolutions are N-Jet layers.

    It subsamples safely where the baseline has strides, and the shortcut there follows σ of the convolution beside it
    (section IV-A of the paper).

    Example:

    >>> keras_njet.applications.NJetResNet32(width=0.25).output_shape
    (None, 10)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    njet = building.NJetConvolutions(order, sigma, extent, learn_sigma, sigma_learning_rate, subsample_rate)
    return building.application("NJetResNet32", name, weights, build, inputs, njet, top, depth=32, width=width)


@documented(
    subsample_rate="Number r > 0, the σ at which a feature map has half its size, or None for the strides of the "
    "baseline. Defaults to None, as in the paper."
)
def NJetResNet110(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    order: int = 2,
    sigma: float = 1.0,
    extent: float = 2.0,
    learn_sigma: bool = True,
    sigma_learning_rate: float = 1.0,
    subsample_rate: float | None = None,
    width: float = 1.0,
    name: str = "njet_resnet110",
) -> keras.Model:
    """ResNet of 110 layers whose 3×3 convolutions are N-Jet layers, of order 2.

    By default it keeps the strides of the baseline: so many safely subsampling layers would shrink the feature maps too
    much (section IV-A of the paper).

    Example:

    >>> keras_njet.applications.NJetResNet110(width=0.25).output_shape
    (None, 10)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    njet = building.NJetConvolutions(order, sigma, extent, learn_sigma, sigma_learning_rate, subsample_rate)
    return building.application("NJetResNet110", name, weights, build, inputs, njet, top, depth=110, width=width)


def build(inputs, convolutions, top, depth, width=1.0):
    """The architecture, with the convolutions it is given. Returns the output tensor."""
    x = convolutions.layer(building.scaled(_STAGES[0][0], width), 3, name="conv")(inputs)
    x = building.normalize(x, "conv")
    for stage, (filters, strides) in enumerate(_STAGES, start=1):
        for block in range((depth - 2) // 6):
            name = f"stage{stage}_block{block + 1}"
            x = _residual_block(x, convolutions, building.scaled(filters, width), strides if block == 0 else 1, name)
    if not top.include:
        return top.pooled(x)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.Dense(top.classes, top.activation, dtype="float32", name="predictions")(x)


def _residual_block(x, convolutions, filters, strides, name):
    convolution = convolutions.layer(filters, 3, strides, name=f"{name}_conv1")
    y = building.normalize(convolution(x), f"{name}_1")
    y = convolutions.layer(filters, 3, name=f"{name}_conv2")(y)
    y = building.normalize(y, f"{name}_2", relu=False)
    if strides > 1:
        x = convolutions.shortcut(convolution, strides, name=f"{name}_shortcut")(x)
    x = keras.layers.Add(name=f"{name}_add")([y, _with_channels(x, filters)])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _with_channels(x, filters):
    """Adds channels of zeros on both sides."""
    axis = channel_axis()
    missing = filters - x.shape[axis]
    if missing == 0:
        return x
    padding = [[0, 0] for _ in range(4)]
    padding[axis] = [missing // 2, missing - missing // 2]
    return ops.pad(x, padding)
