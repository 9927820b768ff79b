"""DeepLabv2 and N-Jet-DeepLabv2: a spatial pyramid on any backbone (section IV-B of the paper, experiment 2(B))."""

import typing

import keras

from keras_njet._backend import inner_layers, is_graph
from keras_njet.applications._documentation import documented
from keras_njet.applications._images import channel_axis
from keras_njet.layers import ASPP, NJetASPP, ResizeLike
from keras_njet.transforms._rebuilding import Rebuilding

_RAISES = "If the backbone has no such stage, does not return a feature map, or cannot be dilated."
_ARGUMENTS = {
    "backbone": "`keras.Model` from images to feature maps: of `keras.applications`, keras-cv, keras-hub or your own. "
    "Defaults to `keras.applications.ResNet101`, with images of any size and 3 channels.",
    "backbone_weights": 'Weights of the default backbone, "imagenet" or None.',
    "stage": "Name of the layer of the backbone whose output is used. Defaults to the last one.",
    "output_stride": "Integer, how many pixels of the image, along each axis, become one of the feature map: later "
    "strides become dilations (`dilate`), in a copy. None to take the layers of the backbone themselves; N-Jet layers "
    "need this, as they can't be dilated.",
    "classes": "Integer, number of classes, background included.",
    "freeze_batch_normalization": "Whether the backbone's batch normalisation keeps its statistics and weights, as in "
    "fine-tuning. With `output_stride=None` this changes the backbone that was given.",
    "resize": "Whether the output is resized bilinearly to the size of the image.",
}


@documented(
    _RAISES,
    **_ARGUMENTS,
    rates="Tuple of integers, the dilation rates of the pyramid, in pixels of the feature map.",
    tied="Whether the pyramid's filters share their weights.",
)
def DeepLabV2(  # noqa: N802
    backbone: keras.Model | None = None,
    backbone_weights=None,
    stage: str | None = None,
    output_stride: int | None = 8,
    classes: int = 21,
    classifier_activation=None,
    rates=(6, 12, 18, 24),
    tied: bool = False,
    freeze_batch_normalization: bool = True,
    resize: bool = True,
    name: str = "deeplab_v2",
) -> keras.Model:
    """DeepLabv2 (Chen et al., 2018): dilated convolutions on the features of a backbone, summed to the logits.

    Its pyramid is the layer "head". Fine-tune it with `keras_njet.LayerwiseSGD(multipliers={"head": 10.0})` and a
    `keras.optimizers.schedules.PolynomialDecay` of power 0.9.

    Example:

    >>> backbone = keras_njet.applications.ResNet32(include_top=False, input_shape=(None, None, 3))
    >>> model = keras_njet.applications.DeepLabV2(backbone, output_stride=4, classes=11)
    >>> model.compute_output_shape((1, 60, 80, 3))
    (1, 60, 80, 11)
    """
    head = ASPP(classes, rates=rates, tied=tied, name="head")
    backbone = _prepared(backbone, backbone_weights, stage, output_stride, freeze_batch_normalization)
    return _segmenter(backbone, head, classifier_activation, resize, name)


@documented(
    _RAISES,
    **_ARGUMENTS,
    sigma="Tuple of numbers σ > 0, the scales that the pyramid starts with, in pixels of the feature map.",
    tied="Whether the pyramid's scales share their coefficients. Defaults to True, as in the paper.",
)
def NJetDeepLabV2(  # noqa: N802
    backbone: keras.Model | None = None,
    backbone_weights=None,
    stage: str | None = None,
    output_stride: int | None = 8,
    classes: int = 21,
    classifier_activation=None,
    order: int = 3,
    sigma=(3.0, 6.0, 9.0, 12.0),
    extent: float = 2.0,
    learn_sigma: bool = True,
    sigma_learning_rate: float = 1.0,
    tied: bool = True,
    freeze_batch_normalization: bool = True,
    resize: bool = True,
    name: str = "njet_deeplab_v2",
) -> keras.Model:
    """DeepLabv2 with a pyramid of N-Jet layers, which learns its scales where the original is given dilation rates.

    Fine-tune it as `DeepLabV2`, but let the scales learn more slowly than the rest of the head:
    `keras_njet.LayerwiseSGD(multipliers={"log2_sigma": 1.0, "head": 10.0})`.

    Example:

    >>> backbone = keras_njet.applications.ResNet32(include_top=False, input_shape=(None, None, 3))
    >>> model = keras_njet.applications.NJetDeepLabV2(backbone, output_stride=4, classes=11)
    >>> model.get_layer("head").kernel_sizes
    ((13, 13), (25, 25), (37, 37), (49, 49))
    """
    scales = {"sigma": sigma, "learn_sigma": learn_sigma, "sigma_learning_rate": sigma_learning_rate}
    head = NJetASPP(classes, order=order, extent=extent, tied=tied, **scales, name="head")
    backbone = _prepared(backbone, backbone_weights, stage, output_stride, freeze_batch_normalization)
    return _segmenter(backbone, head, classifier_activation, resize, name)


def _prepared(backbone, weights, stage, output_stride, freeze_batch_normalization):
    """The backbone as it is to be: cut off, dilated and partly frozen."""
    if backbone is None:
        shape = (None, None, 3) if channel_axis() == 3 else (3, None, None)
        backbone = keras.applications.ResNet101(include_top=False, weights=weights, input_shape=shape)
    elif weights is not None:
        raise ValueError(
            "`backbone_weights` are those of the default backbone; load your own before. Received: "
            f"backbone_weights={weights!r}"
        )
    backbone = _cut(backbone, stage)
    if output_stride is not None:
        backbone = dilate(backbone, output_stride)
    if freeze_batch_normalization:
        for layer in inner_layers(backbone):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return backbone


def _segmenter(backbone, head, classifier_activation, resize, name):
    """The model of a backbone and a pyramid."""
    (image,) = backbone.inputs
    x = head(backbone.outputs[0])
    if resize:
        x = ResizeLike(name="resize")([x, image])
    x = keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(x)
    return keras.Model(image, x, name=name)


def dilate(backbone: keras.Model, output_stride: int) -> keras.Model:
    """Turns the last strides of a backbone into dilations, with the same weights.

    The feature map then has one pixel for every `output_stride` pixels of the image along each axis, and each filter
    sees what it saw before (Chen et al., 2018).

    Args:
        backbone: Functional `keras.Model` with one input. Those of its convolutions that are to be dilated must have
            "same" padding, or be padded as much before, as in the ResNets of `keras.applications`, keras-cv and
            keras-hub.
        output_stride: Integer, how many pixels of the image, along each axis, become one of the feature map.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If the backbone never has that stride, or has a layer that cannot be dilated.

    Example:

    >>> backbone = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    >>> keras_njet.applications.deeplab.dilate(backbone, 8).output_shape
    (None, 8, 8, 2048)
    """
    plain = keras.Model(backbone.inputs[0], backbone.outputs[0], name=backbone.name)
    places = _Survey(plain).places
    reached = sorted({stride for place in places.values() for stride in (place.before, place.after)})
    if output_stride not in reached:
        raise ValueError(f"Expected a stride that the backbone has, one of {reached}. Received: {output_stride=}")
    return _Dilation(places, output_stride).rebuild(plain)


class _Place(typing.NamedTuple):
    """Where a layer stands: its stride with respect to the image, before and after, and what pads its input."""

    before: int
    after: int
    padding: tuple | None


def _cut(backbone, stage):
    """The backbone up to a stage, or an error if it has none."""
    outputs = backbone.outputs
    if stage is not None:
        names = [layer.name for layer in backbone.layers]
        if stage not in names:
            raise ValueError(f"The backbone has no such layer; its last ones are {names[-5:]}. Received: {stage=}")
        outputs = [backbone.get_layer(stage).output]
    if len(backbone.inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 4:
        raise ValueError(
            "Expected a backbone from one image to one feature map, without its top; choose a layer by `stage`. "
            f"Received: backbone={backbone.name!r}, outputs={[tuple(out.shape) for out in outputs]}"
        )
    return keras.Model(backbone.inputs[0], outputs[0], name=backbone.name)


_STRIDED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
)


class _Survey(Rebuilding):
    """Finds the `_Place` of each layer that works on feature maps, by its id, with an image of a known size."""

    def __init__(self, model):
        super().__init__()
        self.places = {}
        self.strides = {}  # with respect to the image, of each tensor by its id, and the tensor
        self.padded = {}  # outputs of `ZeroPadding2D` by their id: its input, and what it pads
        self.axis = 1 if channel_axis() == 3 else 2
        image = list(model.inputs[0].shape)
        self.size = 512 if None in image[self.axis : self.axis + 2] else image[self.axis]
        image[self.axis : self.axis + 2] = [self.size, self.size]
        self.outputs(model, keras.KerasTensor(image))

    def call(self, layer, *args, **kwargs):
        if is_graph(layer):
            return self.outputs(layer, *args)
        outputs = layer.compute_output_spec(*args, **kwargs)  # of the layer itself, nothing is made
        x = next((tensor for tensor in keras.tree.flatten((args, kwargs)) if hasattr(tensor, "shape")), None)
        for output in keras.tree.flatten(outputs):
            if x is not None and len(x.shape) == 4 == len(output.shape):
                self.note(layer, x, output)
        return outputs

    def note(self, layer, x, output):
        if isinstance(layer, keras.layers.ZeroPadding2D):
            self.padded[id(output)] = x, layer.padding
        x, padding = self.padded.get(id(x), (x, None))
        before, _ = self.strides.get(id(x), (1, x))
        # Layer by layer: a map is rounded up at each, so the ratio of image to map would not be whole. Filters that are
        # not padded make maps smaller, too, by half or more if these have few pixels, but have no stride.
        shrinks = layer.strides[0] if isinstance(layer, _STRIDED) else x.shape[self.axis] / output.shape[self.axis]
        after = before * round(shrinks) if shrinks > 1 else max(1, round(before * shrinks))
        self.strides[id(output)] = after, output
        self.places[id(layer)] = _Place(before, after, padding)


class _Dilation(Rebuilding):
    """Puts dilations in the place of strides beyond `output_stride`."""

    keeps_sequential = True

    def __init__(self, places, output_stride):
        super().__init__()
        self.places = places
        self.output_stride = output_stride

    def layer(self, layer):
        place = self.places.get(id(layer), _Place(1, 1, None))
        rate = max(1, place.before // self.output_stride)
        changes = {}
        if place.after > max(self.output_stride, place.before):
            can = hasattr(layer, "strides") and _keeps_size(layer, place)
            _require(layer, can, "its stride cannot become a dilation")
            changes["strides"] = (1, 1)
        if rate > 1 and isinstance(layer, keras.layers.ZeroPadding2D):
            changes["padding"] = [[rate * pixels for pixels in axis] for axis in layer.padding]
        elif rate > 1 and any(size > 1 for size in _filter_size(layer)):
            can = isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
            _require(layer, can, "it is neither Conv2D nor DepthwiseConv2D")
            _require(layer, _keeps_size(layer, place), "it is not padded to the same size")
            changes["dilation_rate"] = tuple(rate * old for old in layer.dilation_rate)
        return super().layer(layer, **changes)


def _filter_size(layer):
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", (1, 1))
    return (size, size) if isinstance(size, int) else size


def _keeps_size(layer, place):
    """Whether a layer's output would be as large as its input, or as what is padded before it, without strides."""
    sizes = _filter_size(layer)
    if layer.padding == "same" or all(size == 1 for size in sizes):
        return True
    return place.padding == tuple(((size - 1) // 2,) * 2 for size in sizes) and all(size % 2 for size in sizes)


def _require(layer, condition, reason):
    if not condition:
        raise ValueError(f"The backbone cannot be dilated at this layer: {reason}. Received: layer={layer.name!r}")
