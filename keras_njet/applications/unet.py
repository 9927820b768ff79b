"""U-Net and N-Jet-U-Net, for segmentation (section IV-B of the paper, experiments 1.1(B) and 1.2(B))."""

import keras

from keras_njet import _arguments
from keras_njet.applications import _building as building
from keras_njet.applications import _weights
from keras_njet.layers import ResizeLike


def UNet(  # noqa: N802
    weights=None,
    input_tensor=None,
    input_shape=None,
    classes: int = 11,
    classifier_activation=None,
    levels: int = 3,
    width: int = 64,
    kernel_size: int = 3,
    name: str = "unet",
) -> keras.Model:
    """U-Net (Ronneberger et al., 2015), in the small version of the paper's experiments.

    Two convolutions with a ReLU a level, 2×2 max pooling on the way down, bilinear upsampling and skip connections on
    the way up, no batch normalisation, a pixel's logits out. "same" padding, so the output is as large as the input.

    Args:
        weights: None (random), or the path of a weights file. Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None, and then any images will do that
            have at least `2 ** (levels - 1)` pixels an axis. Defaults to images of any size with one channel.
        classes: Integer, number of classes, background included. Defaults to 11.
        classifier_activation: Activation of the last layer; None for logits. Defaults to None.
        levels: Integer, number of resolutions. Defaults to 3.
        width: Integer, number of filters of the first level; it doubles with every level. Defaults to 64.
        kernel_size: Integer, size of the filters. Defaults to 3.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range or the input is too small.

    Example:

    >>> keras_njet.applications.UNet(width=8).compute_output_shape((1, 40, 52, 1))
    (1, 40, 52, 11)
    """
    given = {"levels": levels, "width": width, "kernel_size": kernel_size}
    _weights.check("UNet", weights, True, classes, classifier_activation, given)
    convolutions = building.PlainConvolutions()
    inputs, outputs = build(
        convolutions, input_tensor, input_shape, classes, classifier_activation, levels, width, kernel_size
    )
    _weights.load(inputs, outputs, "UNet", weights)
    return building.make_model(inputs, outputs, name)


def NJetUNet(  # noqa: N802
    weights=None,
    input_tensor=None,
    input_shape=None,
    classes: int = 11,
    classifier_activation=None,
    levels: int = 3,
    width: int = 64,
    order: int = 2,
    sigma: float = 1.0,
    extent: float = 2.0,
    learn_sigma: bool = True,
    implementation: str = "auto",
    name: str = "njet_unet",
) -> keras.Model:
    """U-Net whose convolutions are N-Jet layers: they learn the receptive field that the objects' sizes ask for.

    Args:
        weights: None (random), "multiscale_fashion_mnist" (released with `width=16`), or the path of a weights file.
            Defaults to None.
        input_tensor: Keras tensor to build the model on, instead of a new input.
        input_shape: Shape of an image, three integers; height and width may be None, and then any images will do that
            have at least `2 ** (levels - 1)` pixels an axis. Defaults to images of any size with one channel.
        classes: Integer, number of classes, background included. Defaults to 11.
        classifier_activation: Activation of the last layer; None for logits. Defaults to None.
        levels: Integer, number of resolutions. Defaults to 3.
        width: Integer, number of filters of the first level; it doubles with every level. Defaults to 64.
        order: Integer N ≥ 0, highest order of the Gaussian derivatives. Defaults to 2, the paper's choice.
        sigma: Number σ > 0 the scales start with, in pixels. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        learn_sigma: Whether the scales are trained. Defaults to True.
        implementation: As in `keras_njet.NJetConv2D`. Defaults to "auto".
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If an argument is out of its range, the weights do not fit the others, or the input is too small.

    Example:

    >>> keras_njet.applications.NJetUNet(width=8).compute_output_shape((1, 40, 52, 1))
    (1, 40, 52, 11)
    """
    given = {"levels": levels, "width": width, "order": order, "extent": extent}
    _weights.check("NJetUNet", weights, True, classes, classifier_activation, given)
    convolutions = building.NJetConvolutions(order, sigma, extent, learn_sigma, implementation=implementation)
    inputs, outputs = build(convolutions, input_tensor, input_shape, classes, classifier_activation, levels, width)
    _weights.load(inputs, outputs, "NJetUNet", weights)
    return building.make_model(inputs, outputs, name)


def build(convolutions, input_tensor, input_shape, classes, classifier_activation, levels, width, kernel_size=3):
    """The architecture, for the convolutions it is given. Returns its input and output tensors."""
    levels = _arguments.integer("levels", levels, least=1)
    width = _arguments.integer("width", width, least=1)
    axis = building.channel_axis()
    if input_shape is None:
        input_shape = (None, None, 1) if axis == 3 else (1, None, None)
    inputs = x = building.image_input(input_tensor, input_shape, 2 ** (levels - 1))

    def two_convolutions(x, level, way):
        for number in (1, 2):
            layer = convolutions.layer(
                width * 2**level, kernel_size, name=f"{way}{level + 1}_conv{number}", use_bias=True, activation="relu"
            )
            x = layer(x)
        return x

    skips = []
    for level in range(levels - 1):
        x = two_convolutions(x, level, "down")
        skips.append(x)
        x = keras.layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = two_convolutions(x, levels - 1, "bottom")
    for level in reversed(range(levels - 1)):
        x = ResizeLike(name=f"up{level + 1}_resize")([x, skips[level]])
        x = keras.layers.Concatenate(axis, name=f"up{level + 1}_concat")([skips[level], x])
        x = two_convolutions(x, level, "up")
    x = keras.layers.Conv2D(classes, 1, name="logits")(x)
    return inputs, keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(x)
