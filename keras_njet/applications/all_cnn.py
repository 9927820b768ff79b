"""All-CNN-C (Springenberg et al., 2015) and N-Jet-ALLCNN (section IV-A of the paper)."""

import keras

from keras_njet.applications import _building as building
from keras_njet.applications import _weights
from keras_njet.applications._data_sets import decode_predictions as decode_predictions
from keras_njet.applications._data_sets import preprocess_input as preprocess_input

_MIN_SIZE = 8
_SPATIAL = ((96, 1), (96, 1), (96, 2), (192, 1), (192, 1), (192, 2), (192, 1))  # filters and strides
_POINTWISE = 192


def AllCNN(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    width: float = 1.0,
    dropout: float = 0.5,
    name: str = "all_cnn",
) -> keras.Model:
    """All-CNN-C for small images: nothing but convolutions, two of them with strides.

    Seven 3×3 convolutions, a pointwise one and one feature map a class, which is averaged; batch normalisation and ReLU
    after each; dropout on the input and after the strides.

    Args:
        include_top: Whether to include the last convolution, of as many filters as classes. Defaults to True.
        weights: None (random), or the path of a weights file. Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None and else are at least 8. Defaults
            to 32×32 pixels with 3 channels.
        pooling: Without the top: None for feature maps, "avg" or "max" for global pooling. Defaults to None.
        classes: Integer, number of classes. Defaults to 10.
        classifier_activation: Activation of the last layer; None for logits. Defaults to "softmax".
        width: Number by which all numbers of filters are multiplied. Defaults to 1.
        dropout: Share of activations that is dropped after the strides, 0.4 times as many of the input. Defaults
            to 0.5.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.AllCNN(width=0.25).output_shape
    (None, 10)
    """
    _weights.check("AllCNN", weights, include_top, classes, classifier_activation, {"width": width})
    inputs, outputs = build(
        building.PlainConvolutions(), include_top, input_tensor, input_shape, pooling, classes, classifier_activation,
        width, dropout,
    )  # fmt: skip
    _weights.load(inputs, outputs, "AllCNN", weights)
    return building.make_model(inputs, outputs, name)


def NJetAllCNN(  # noqa: N802
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
    name: str = "njet_all_cnn",
) -> keras.Model:
    """All-CNN-C whose seven spatial convolutions are N-Jet layers, each of which subsamples safely.

    Where the baseline halves its feature maps twice, here every layer shrinks them smoothly, as far as its learned σ
    allows (section IV-A of the paper, figure 8).

    Args:
        include_top: Whether to include the last convolution, of as many filters as classes. Defaults to True.
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
        dropout: Share of activations that is dropped after the strides, 0.4 times as many of the input. Defaults
            to 0.5.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.NJetAllCNN(width=0.25, order=2).output_shape
    (None, 10)
    """
    given = {"width": width, "order": order, "extent": extent, "subsample_rate": subsample_rate}
    _weights.check("NJetAllCNN", weights, include_top, classes, classifier_activation, given)
    convolutions = building.NJetConvolutions(order, sigma, extent, learn_sigma, subsample_rate, everywhere=True)
    inputs, outputs = build(
        convolutions, include_top, input_tensor, input_shape, pooling, classes, classifier_activation, width, dropout
    )
    _weights.load(inputs, outputs, "NJetAllCNN", weights)
    return building.make_model(inputs, outputs, name)


def build(
    convolutions,
    include_top=True,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    width=1.0,
    dropout=0.5,
):
    """The architecture, for the convolutions it is given. Returns its input and output tensors."""
    inputs = building.image_input(input_tensor, input_shape, _MIN_SIZE)
    x = keras.layers.Dropout(0.4 * dropout, name="input_dropout")(inputs)
    for number, (filters, strides) in enumerate(_SPATIAL, start=1):
        name = f"conv{number}"
        x = convolutions.layer(building.scaled(filters, width), 3, strides, name=name)(x)
        x = building.normalize(x, name)
        if strides > 1:
            x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = building.pointwise(x, building.scaled(_POINTWISE, width), "mix")
    if not include_top:
        return inputs, building.pool(x, pooling)
    x = building.pointwise(x, classes, "top")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return inputs, keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(x)
