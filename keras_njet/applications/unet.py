"""U-Net and N-Jet-U-Net, for segmentation (section IV-B of the paper, experiments 1.1(B) and 1.2(B))."""

import keras

from keras_njet import _arguments
from keras_njet.applications import _building as building
from keras_njet.applications._documentation import documented
from keras_njet.applications._images import channel_axis, image_input
from keras_njet.layers import ResizeLike

_ARGUMENTS = {
    "input_shape": "Shape of an image, three integers; height and width may be None, and then images may have any size "
    "of at least `2 ** (levels - 1)` pixels along each axis. Defaults to images of any size with one channel.",
    "classes": "Integer, number of classes, background included.",
    "levels": "Integer, number of resolutions.",
    "filters": "Integer, number of filters of the first level; it doubles with every level.",
}


@documented(**_ARGUMENTS, kernel_size="Integer, size of the filters in pixels.")
def UNet(  # noqa: N802
    weights=None,
    input_tensor=None,
    input_shape=None,
    classes: int = 11,
    classifier_activation=None,
    levels: int = 3,
    filters: int = 64,
    kernel_size: int = 3,
    name: str = "unet",
) -> keras.Model:
    """U-Net (Ronneberger et al., 2015), in the small version of the paper's experiments.

    On each level two convolutions with a ReLU; 2×2 max pooling on the way down, bilinear upsampling and skip
    connections on the way up, no batch normalisation. The output has logits for each pixel. The padding is "same", so
    the output is as large as the input.

    Example:

    >>> keras_njet.applications.UNet(filters=8).compute_output_shape((1, 40, 52, 1))
    (1, 40, 52, 11)
    """
    inputs = _image_input(input_tensor, input_shape, levels)
    top = building.Top(classes=classes, activation=classifier_activation)
    arguments = {"levels": levels, "filters": filters, "kernel_size": kernel_size}
    return building.application("UNet", name, weights, build, inputs, building.PlainConvolutions(), top, **arguments)


@documented(
    **_ARGUMENTS,
    weights='None (random), "multiscale_fashion_mnist" (released with `filters=16`), or the path of a weights file.',
    order="Integer N ≥ 0, highest order of the Gaussian derivatives. Defaults to 2, as in the paper.",
    implementation="As in `keras_njet.NJetConv2D`.",
)
def NJetUNet(  # noqa: N802
    weights=None,
    input_tensor=None,
    input_shape=None,
    classes: int = 11,
    classifier_activation=None,
    levels: int = 3,
    filters: int = 64,
    order: int = 2,
    sigma: float = 1.0,
    extent: float = 2.0,
    learn_sigma: bool = True,
    sigma_learning_rate: float = 1.0,
    implementation: str = "auto",
    name: str = "njet_unet",
) -> keras.Model:
    """U-Net whose convolutions are N-Jet layers: they learn the receptive field that the objects' sizes ask for.

    Example:

    >>> keras_njet.applications.NJetUNet(filters=8).compute_output_shape((1, 40, 52, 1))
    (1, 40, 52, 11)
    """
    inputs = _image_input(input_tensor, input_shape, levels)
    top = building.Top(classes=classes, activation=classifier_activation)
    scales = (order, sigma, extent, learn_sigma, sigma_learning_rate)
    njet = building.NJetConvolutions(*scales, implementation=implementation)
    return building.application("NJetUNet", name, weights, build, inputs, njet, top, levels=levels, filters=filters)


def _image_input(input_tensor, input_shape, levels):
    levels = _arguments.integer("levels", levels, least=1)
    if input_shape is None:
        input_shape = (None, None, 1) if channel_axis() == 3 else (1, None, None)
    return image_input(input_tensor, input_shape, 2 ** (levels - 1))


def build(inputs, convolutions, top, levels, filters, kernel_size=3):
    """The architecture, with the convolutions it is given. Returns the output tensor."""
    filters = _arguments.integer("filters", filters, least=1)

    def two_convolutions(x, level, way):
        for number in (1, 2):
            layer = convolutions.layer(
                filters * 2**level, kernel_size, name=f"{way}{level + 1}_conv{number}", use_bias=True, activation="relu"
            )
            x = layer(x)
        return x

    x, skips = inputs, []
    for level in range(levels - 1):
        x = two_convolutions(x, level, "down")
        skips.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = two_convolutions(x, levels - 1, "bottom")
    for level in reversed(range(levels - 1)):
        x = ResizeLike(name=f"up{level + 1}_resize")([x, skips[level]])
        x = keras.layers.Concatenate(channel_axis(), name=f"up{level + 1}_concat")([skips[level], x])
        x = two_convolutions(x, level, "up")
    x = keras.layers.Conv2D(top.classes, 1, name="logits")(x)
    return keras.layers.Activation(top.activation, dtype="float32", name="predictions")(x)
