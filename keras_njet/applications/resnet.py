"""ResNets for small images (He et al., 2016, section 4.2) and their N-Jet twins (section IV-A of the paper)."""

import keras
from keras import ops

from keras_njet.applications import _building as building
from keras_njet.applications import _weights
from keras_njet.applications._data_sets import decode_predictions as decode_predictions
from keras_njet.applications._data_sets import preprocess_input as preprocess_input

_MIN_SIZE = 8
_STAGES = ((16, 1), (32, 2), (64, 2))  # filters, and strides of the first block


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

    Args:
        include_top: Whether to include the dense layer at the end. Defaults to True.
        weights: None (random), or the path of a weights file. Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None and else are at least 8. Defaults
            to 32×32 pixels with 3 channels.
        pooling: Without the top: None for feature maps, "avg" or "max" for global pooling. Defaults to None.
        classes: Integer, number of classes. Defaults to 10.
        classifier_activation: Activation of the last layer; None for logits. Defaults to "softmax".
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.ResNet32(width=0.25).output_shape
    (None, 10)
    """
    convolutions = building.PlainConvolutions()
    return _model(
        "ResNet32", 32, convolutions, include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, width, name,
    )  # fmt: skip


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
    """ResNet of 110 layers for small images: three stages of 18 residual blocks.

    Otherwise as `keras_njet.applications.ResNet32`.

    Args:
        include_top: Whether to include the dense layer at the end. Defaults to True.
        weights: None (random), or the path of a weights file. Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None and else are at least 8. Defaults
            to 32×32 pixels with 3 channels.
        pooling: Without the top: None for feature maps, "avg" or "max" for global pooling. Defaults to None.
        classes: Integer, number of classes. Defaults to 10.
        classifier_activation: Activation of the last layer; None for logits. Defaults to "softmax".
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.ResNet110(width=0.25).output_shape
    (None, 10)
    """
    convolutions = building.PlainConvolutions()
    return _model(
        "ResNet110", 110, convolutions, include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, width, name,
    )  # fmt: skip


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
    subsample_rate: float | None = 4.0,
    width: float = 1.0,
    name: str = "njet_resnet32",
) -> keras.Model:
    """ResNet of 32 layers whose 3×3 convolutions are N-Jet layers.

    It subsamples safely where the baseline has strides, and the shortcut there follows σ of the convolution beside it
    (section IV-A of the paper).

    Args:
        include_top: Whether to include the dense layer at the end. Defaults to True.
        weights: None (random), or the path of a weights file. Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None and else are at least 8. Defaults
            to 32×32 pixels with 3 channels.
        pooling: Without the top: None for feature maps, "avg" or "max" for global pooling. Defaults to None.
        classes: Integer, number of classes. Defaults to 10.
        classifier_activation: Activation of the last layer; None for logits. Defaults to "softmax".
        order: Integer N ≥ 0, highest order of the Gaussian derivatives. Defaults to 3.
        sigma: Number σ > 0 the scales start with, in pixels. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        learn_sigma: Whether the scales are trained. Defaults to True.
        subsample_rate: Number r > 0, the σ at which a feature map has half its size, or None for the strides of the
            baseline. Defaults to 4.
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.NJetResNet32(width=0.25).output_shape
    (None, 10)
    """
    convolutions = building.NJetConvolutions(order, sigma, extent, learn_sigma, subsample_rate)
    return _model(
        "NJetResNet32", 32, convolutions, include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, width, name,
    )  # fmt: skip


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
    subsample_rate: float | None = None,
    width: float = 1.0,
    name: str = "njet_resnet110",
) -> keras.Model:
    """ResNet of 110 layers whose 3×3 convolutions are N-Jet layers, of order 2.

    It keeps the strides of the baseline: so many safely subsampling layers would shrink the feature maps too much
    (section IV-A of the paper).

    Args:
        include_top: Whether to include the dense layer at the end. Defaults to True.
        weights: None (random), or the path of a weights file. Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None and else are at least 8. Defaults
            to 32×32 pixels with 3 channels.
        pooling: Without the top: None for feature maps, "avg" or "max" for global pooling. Defaults to None.
        classes: Integer, number of classes. Defaults to 10.
        classifier_activation: Activation of the last layer; None for logits. Defaults to "softmax".
        order: Integer N ≥ 0, highest order of the Gaussian derivatives. Defaults to 2.
        sigma: Number σ > 0 the scales start with, in pixels. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        learn_sigma: Whether the scales are trained. Defaults to True.
        subsample_rate: Number r > 0, the σ at which a feature map has half its size, or None for the strides of the
            baseline. Defaults to None, as in the paper.
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.NJetResNet110(width=0.25).output_shape
    (None, 10)
    """
    convolutions = building.NJetConvolutions(order, sigma, extent, learn_sigma, subsample_rate)
    return _model(
        "NJetResNet110", 110, convolutions, include_top, weights, input_tensor, input_shape, pooling, classes,
        classifier_activation, width, name,
    )  # fmt: skip


def _model(
    application, depth, convolutions, include_top, weights, input_tensor, input_shape, pooling, classes,
    classifier_activation, width, name,
):  # fmt: skip
    given = {"width": width}
    if isinstance(convolutions, building.NJetConvolutions):
        given |= {name: getattr(convolutions, name) for name in ("order", "extent", "subsample_rate")}
    _weights.check(application, weights, include_top, classes, classifier_activation, given)
    inputs, outputs = build(
        convolutions, depth, include_top, input_tensor, input_shape, pooling, classes, classifier_activation, width
    )
    _weights.load(inputs, outputs, application, weights)
    return building.make_model(inputs, outputs, name)


def build(
    convolutions,
    depth,
    include_top=True,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    width=1.0,
):
    """The architecture, for the convolutions it is given. Returns its input and output tensors."""
    inputs = building.image_input(input_tensor, input_shape, _MIN_SIZE)
    x = convolutions.layer(building.scaled(_STAGES[0][0], width), 3, name="conv")(inputs)
    x = building.normalize(x, "conv")
    for stage, (filters, strides) in enumerate(_STAGES, start=1):
        for block in range((depth - 2) // 6):
            name = f"stage{stage}_block{block + 1}"
            x = _residual_block(x, convolutions, building.scaled(filters, width), strides if block == 0 else 1, name)
    if not include_top:
        return inputs, building.pool(x, pooling)
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return inputs, keras.layers.Dense(classes, classifier_activation, dtype="float32", name="predictions")(x)


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
    axis = building.channel_axis()
    missing = filters - x.shape[axis]
    if missing == 0:
        return x
    padding = [[0, 0] for _ in range(4)]
    padding[axis] = [missing // 2, missing - missing // 2]
    return ops.pad(x, padding)
