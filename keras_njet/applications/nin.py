"""Network in Network (Lin et al., 2014) and N-Jet-NIN (section IV-A of the paper)."""

import keras

from keras_njet import _arguments
from keras_njet.applications import _building as building
from keras_njet.applications._data_sets import decode_predictions as decode_predictions
from keras_njet.applications._data_sets import preprocess_input as preprocess_input
from keras_njet.applications._documentation import documented
from keras_njet.applications._images import image_input

# Filters of the spatial and of the two pointwise convolutions of each block; the last are the classes.
_BLOCKS = ((192, 160, 96), (192, 192, 192), (192, 192, None))
_ARGUMENTS = {
    "weights": 'None (random), "cifar10" or "fashion_mnist" (released with `width=0.25`), or the path of a weights '
    "file.",
    "dropout": "Share of activations that is dropped between the blocks.",
}


@documented(
    **_ARGUMENTS,
    kernel_sizes="Sizes of the spatial convolutions in pixels (experiment 1.1A of the paper).",
    subsample="Whether to pool between the blocks.",
)
def NIN(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation="softmax",
    kernel_sizes: tuple[int, int, int] = (5, 5, 3),
    subsample: bool = True,
    width: float = 1.0,
    dropout: float = 0.5,
    name: str = "nin",
) -> keras.Model:
    """Network in Network for small images, the baseline of the paper's experiments: 968,404 weights.

    Three blocks of a spatial and two pointwise convolutions, each with batch normalisation and ReLU, between them
    3×3 pooling with strides 2 and dropout; at the end one feature map for each class, which is averaged.

    Example:

    >>> keras_njet.applications.NIN(classes=100).output_shape
    (None, 100)
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    sizes = list(_arguments.integers("kernel_sizes", kernel_sizes, axes=3))
    arguments = {"kernel_sizes": sizes, "subsample": subsample, "width": width, "dropout": dropout}
    return building.application("NIN", name, weights, build, inputs, building.PlainConvolutions(), top, **arguments)


@documented(
    **_ARGUMENTS,
    subsample_rate="Number r > 0, the σ at which a feature map has half its size, or None to pool as the baseline "
    "does.",
)
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
    sigma_learning_rate: float = 1.0,
    subsample_rate: float | None = 4.0,
    width: float = 1.0,
    dropout: float = 0.5,
    name: str = "njet_nin",
) -> keras.Model:
    """Network in Network whose three spatial convolutions are N-Jet layers: 720,151 weights at order 3.

    Nothing in it fixes a resolution: the N-Jet layers learn the size of their filters and, subsampling safely, of their
    feature maps (section IV-A of the paper). Its pooling layers are left out, unless `subsample_rate` is None.

    Example:

    >>> keras_njet.applications.NJetNIN(order=2).count_params()
    499499
    """
    inputs = image_input(input_tensor, input_shape)
    top = building.Top(include_top, pooling, classes, classifier_activation)
    scales = (order, sigma, extent, learn_sigma, sigma_learning_rate)
    convolutions = building.NJetConvolutions(*scales, subsample_rate, everywhere=True)
    arguments = {"subsample": subsample_rate is None, "width": width, "dropout": dropout}
    return building.application("NJetNIN", name, weights, build, inputs, convolutions, top, **arguments)


def build(inputs, convolutions, top, kernel_sizes=(5, 5, 3), subsample=True, width=1.0, dropout=0.5):
    """The architecture, with the convolutions it is given. Returns the output tensor."""
    x = inputs
    poolings = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
    for index, ((spatial, first, second), size) in enumerate(zip(_BLOCKS, kernel_sizes, strict=True)):
        block = f"block{index + 1}"
        filters = building.scaled(spatial, width)
        x = convolutions.layer(filters, size, name=f"{block}_conv")(x)
        x = building.normalize(x, block)
        x = building.pointwise(x, building.scaled(first, width), f"{block}_mix1")
        if index < 2:
            x = building.pointwise(x, building.scaled(second, width), f"{block}_mix2")
            if subsample:
                # Padded by hand: the backends do not agree on what an average does with "same" padding.
                x = keras.layers.ZeroPadding2D(1, name=f"{block}_pad")(x)
                x = poolings[index](3, 2, name=f"{block}_pool")(x)
            x = keras.layers.Dropout(dropout, name=f"{block}_dropout")(x)
    return top.of_maps(x)
