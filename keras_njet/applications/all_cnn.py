"""All-CNN-C (Springenberg et al., 2015) and N-Jet-ALLCNN (section IV-A of the paper)."""

import keras

from keras_njet.applications import _building as building
from keras_njet.applications._data_sets import decode_predictions as decode_predictions
from keras_njet.applications._data_sets import preprocess_input as preprocess_input
from keras_njet.applications._documentation import documented
from keras_njet.applications._images import image_input

_SPATIAL = ((96, 1), (96, 1), (96, 2), (192, 1), (192, 1), (192, 2), (192, 1))  # filters and strides
_POINTWISE = 192
_DROPOUT = "Share of activations that is dropped after layers with strides; of the input, 0.4 times this share."


@documented(dropout=_DROPOUT)
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
    """All-CNN-C (Springenberg et al., 2015) for small images: convolutions without pooling, two of them with strides.

    Seven 3×3 convolutions, a pointwise one, and one feature map for each class, which is averaged; batch normalisation
    and ReLU after each; dropout on the input and after the strides.

    Example:

    >>> keras_njet.applications.AllCNN(width=0.25).output_shape
    (None, 10)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    arguments = {"width": width, "dropout": dropout}
    return building.application("AllCNN", name, weights, build, inputs, building.PlainConvolutions(), top, **arguments)


@documented(dropout=_DROPOUT)
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
    sigma_learning_rate: float = 1.0,
    subsample_rate: float | None = 4.0,
    width: float = 1.0,
    dropout: float = 0.5,
    name: str = "njet_all_cnn",
) -> keras.Model:
    """All-CNN-C whose seven spatial convolutions are N-Jet layers, each of which subsamples safely.

    Where the baseline halves its feature maps twice, here every layer shrinks them smoothly, as far as its learned σ
    allows (section IV-A of the paper, figure 8).

    Example:

    >>> keras_njet.applications.NJetAllCNN(width=0.25, order=2).output_shape
    (None, 10)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    scales = (order, sigma, extent, learn_sigma, sigma_learning_rate)
    convolutions = building.NJetConvolutions(*scales, subsample_rate, everywhere=True)
    arguments = {"width": width, "dropout": dropout}
    return building.application("NJetAllCNN", name, weights, build, inputs, convolutions, top, **arguments)


def build(inputs, convolutions, top, width=1.0, dropout=0.5):
    """The architecture, with the convolutions it is given. Returns the output tensor."""
    x = keras.layers.Dropout(0.4 * dropout, name="input_dropout")(inputs)
    for number, (filters, strides) in enumerate(_SPATIAL, start=1):
        name = f"conv{number}"
        x = convolutions.layer(building.scaled(filters, width), 3, strides, name=name)(x)
        x = building.normalize(x, name)
        if strides > 1:
            x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return top.of_maps(building.pointwise(x, building.scaled(_POINTWISE, width), "mix"))
