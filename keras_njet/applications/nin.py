"""Network in Network (Lin et al., 2014) and N-Jet-NIN (sections IV-A of the paper)."""

import keras

from keras_njet.applications import _building as building
from keras_njet.applications import _weights
from keras_njet.applications._data_sets import decode_predictions as decode_predictions
from keras_njet.applications._data_sets import preprocess_input as preprocess_input

_MIN_SIZE = 8
# Filters of the spatial and of the two pointwise convolutions of each block; the last are the classes.
_BLOCKS = ((192, 160, 96), (192, 192, 192), (192, 192, None))


def NIN(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    filter_sizes: tuple[int, int, int] = (5, 5, 3),
    subsample: bool = True,
    width: float = 1.0,
    dropout: float = 0.5,
    name: str = "nin",
) -> keras.Model:
    """Network in Network for small images, the baseline of the paper's experiments: 968,404 weights.

    Three blocks of a spatial and two pointwise convolutions, each with batch normalisation and ReLU, between them
    pooling 3×3 with strides 2 and dropout; global average pooling of one feature map a class.

    Args:
        include_top: Whether to include the last convolution, of as many filters as classes. Defaults to True.
        weights: None (random), "fashion_mnist" (released with `width=0.25`), or the path of a weights file.
            Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None and else are at least 8. Defaults
            to 32×32 pixels with 3 channels.
        pooling: Without the top: None for feature maps, "avg" or "max" for global pooling. Defaults to None.
        classes: Integer, number of classes. Defaults to 10.
        classifier_activation: Activation of the last layer; None for logits. Defaults to "softmax".
        filter_sizes: Sizes of the spatial convolutions in pixels (experiment 1.1A). Defaults to (5, 5, 3).
        subsample: Whether to pool between the blocks. Defaults to True.
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        dropout: Share of activations that is dropped between the blocks. Defaults to 0.5.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `weights` do not fit the other arguments, or the input is too small.

    Example:

    >>> keras_njet.applications.NIN(classes=100).output_shape
    (None, 100)
    """
    given = {"width": width, "filter_sizes": list(filter_sizes), "subsample": subsample}
    _weights.check("NIN", weights, include_top, classes, classifier_activation, given)
    inputs, outputs = build(
        building.PlainConvolutions(), include_top, input_tensor, input_shape, pooling, classes, classifier_activation,
        filter_sizes, subsample, width, dropout,
    )  # fmt: skip
    _weights.load(inputs, outputs, "NIN", weights)
    return building.make_model(inputs, outputs, name)


def NJetNIN(  # noqa: N802
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
    dropout: float = 0.5,
    name: str = "njet_nin",
) -> keras.Model:
    """Network in Network whose three spatial convolutions are N-Jet layers: 720,151 weights at order 3.

    Nothing in it fixes a resolution: the N-Jet layers learn the size of their filters and, subsampling safely, of their
    feature maps (section IV-A of the paper). The poolings of the baseline go.

    Args:
        include_top: Whether to include the last convolution, of as many filters as classes. Defaults to True.
        weights: None (random), "fashion_mnist" (released with `width=0.25`), or the path of a weights file.
            Defaults to None.
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
        subsample_rate: Number r > 0, the σ at which a feature map has half its size, or None to pool as the baseline
            does. Defaults to 4.
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        dropout: Share of activations that is dropped between the blocks. Defaults to 0.5.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `weights` do not fit the other arguments, or the input is too small.

    Example:

    >>> keras_njet.applications.NJetNIN(order=2).count_params()
    499499
    """
    given = {"width": width, "order": order, "extent": extent, "subsample_rate": subsample_rate}
    _weights.check("NJetNIN", weights, include_top, classes, classifier_activation, given)
    convolutions = building.NJetConvolutions(order, sigma, extent, learn_sigma, subsample_rate, everywhere=True)
    inputs, outputs = build(
        convolutions, include_top, input_tensor, input_shape, pooling, classes, classifier_activation,
        subsample=subsample_rate is None, width=width, dropout=dropout,
    )  # fmt: skip
    _weights.load(inputs, outputs, "NJetNIN", weights)
    return building.make_model(inputs, outputs, name)


def build(
    convolutions,
    include_top=True,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    filter_sizes=(5, 5, 3),
    subsample=True,
    width=1.0,
    dropout=0.5,
):
    """The architecture, for the convolutions it is given. Returns its input and output tensors."""
    inputs = x = building.image_input(input_tensor, input_shape, _MIN_SIZE)
    poolings = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
    for number, ((spatial, first, second), size) in enumerate(zip(_BLOCKS, filter_sizes, strict=True)):
        block = f"block{number + 1}"
        filters = building.scaled(spatial, width)
        x = convolutions.layer(filters, size, name=f"{block}_conv")(x)
        x = building.normalize(x, block)
        x = building.pointwise(x, building.scaled(first, width), f"{block}_mix1")
        if number < 2:
            x = building.pointwise(x, building.scaled(second, width), f"{block}_mix2")
            if subsample:
                # Padded by hand: the backends do not agree on what an average does with "same" padding.
                x = keras.layers.ZeroPadding2D(1, name=f"{block}_pad")(x)
                x = poolings[number](3, 2, name=f"{block}_pool")(x)
            x = keras.layers.Dropout(dropout, name=f"{block}_dropout")(x)
    if not include_top:
        return inputs, building.pool(x, pooling)
    x = building.pointwise(x, classes, "top")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return inputs, keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(x)
