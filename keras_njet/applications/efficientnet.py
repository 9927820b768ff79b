"""EfficientNet-B0 (Tan & Le, 2019), as in `keras.applications`, and its N-Jet version."""

import keras

from keras_njet.applications import _building as building
from keras_njet.applications import _weights
from keras_njet.applications._documentation import documented
from keras_njet.applications._images import image_input
from keras_njet.layers import NJetConv2D, NJetDepthwiseConv2D
from keras_njet.transforms._rebuilding import Rebuilding

_MIN_SIZE = 32

EfficientNetB0 = keras.applications.EfficientNetB0
preprocess_input = keras.applications.efficientnet.preprocess_input
decode_predictions = keras.applications.efficientnet.decode_predictions


@documented(
    input_shape="Shape of an image, three integers of which height and width are at least 32. Defaults to 224×224 "
    "pixels with 3 channels, and without the top to images of any size. Pixels are in [0, 255]: the model scales them "
    "itself."
)
def NJetEfficientNetB0(  # noqa: N802
    include_top: bool = True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation="softmax",
    order: int = 2,
    sigma: float = 1.0,
    extent: float = 2.0,
    learn_sigma: bool = True,
    sigma_learning_rate: float = 1.0,
    name: str = "njet_efficientnetb0",
) -> keras.Model:
    """EfficientNet-B0 whose spatial convolutions, most of them depthwise, are N-Jet layers of order 2.

    Made of `keras.applications.EfficientNetB0`, layer by layer. It keeps the strides of the baseline: so many safely
    subsampling layers would shrink the feature maps too much (section IV-A of the paper).

    Example:

    >>> keras_njet.applications.NJetEfficientNetB0(input_shape=(32, 32, 3), classes=10).output_shape
    (None, 10)
    """
    top = building.Top(include_top, pooling, classes, classifier_activation)
    _weights.check("NJetEfficientNetB0", weights, top, {})
    if input_tensor is not None:
        input_shape = tuple(image_input(input_tensor, input_shape, _MIN_SIZE).shape[1:])
    baseline = EfficientNetB0(include_top, None, None, input_shape, pooling, classes, classifier_activation, name=name)
    inputs = keras.Input(baseline.input_shape[1:]) if input_tensor is None else input_tensor
    scales = {"sigma": sigma, "learn_sigma": learn_sigma, "sigma_learning_rate": sigma_learning_rate}
    twin = _Twin(order=order, extent=extent, use_bias=False, **scales)
    outputs = twin.outputs(baseline, inputs)
    _weights.load(inputs, outputs, "NJetEfficientNetB0", weights)
    return building.make_model(inputs, outputs, name)


class _Twin(Rebuilding):
    """Puts N-Jet layers, with these arguments, in the place of spatial convolutions."""

    def __init__(self, **arguments):
        super().__init__()
        self.arguments = arguments

    def layer(self, layer):
        if isinstance(layer, keras.layers.ZeroPadding2D):  # of the convolutions with strides, which now pad themselves
            return keras.layers.Identity(name=layer.name)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            return NJetDepthwiseConv2D(strides=layer.strides, name=layer.name, **self.arguments)
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size != (1, 1):
            return NJetConv2D(layer.filters, strides=layer.strides, name=layer.name, **self.arguments)
        return super().layer(layer)
