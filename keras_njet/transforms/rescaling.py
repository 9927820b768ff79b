"""`rescale`, which moves a trained N-Jet network to images of another size."""

import dataclasses
import functools
import logging
import warnings

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._backend import copy_of, inner_layers, is_graph, maker
from keras_njet._convolution.scale_space import DISCRETIZATIONS, LEAST_SIGMA
from keras_njet._convolution.sizes import rounded
from keras_njet.initializers import NJetVarianceScaling
from keras_njet.inspection.summary import format_sigmas, layers_by_path, map_size, shapes_of_layers, sigmas_of, table
from keras_njet.layers import ASPP, DeformableConv2D, NJetASPP, SafeSubsample, ScaledPooling
from keras_njet.layers._base_njet_conv import BaseNJetConv
from keras_njet.layers._data_formats import spatial
from keras_njet.layers._njet_layer import NJetLayer
from keras_njet.layers.scaled_pooling import POOLINGS
from keras_njet.transforms._rebuilding import Rebuilding, check_graph, copy_weights, visit_calls

_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    ASPP,
    DeformableConv2D,
)
_RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)
_OF_ANY_SIZE = (  # the size of their output does not depend on that of the input
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.AdaptiveMaxPooling1D,
    keras.layers.AdaptiveMaxPooling2D,
    keras.layers.AdaptiveMaxPooling3D,
    keras.layers.AdaptiveAveragePooling1D,
    keras.layers.AdaptiveAveragePooling2D,
    keras.layers.AdaptiveAveragePooling3D,
)
_PADDINGS = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
_CROPPINGS = (keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D)
_RESIZINGS = (keras.layers.Resizing, keras.layers.CenterCrop, keras.layers.RandomCrop)
_OPERATIONS_IN_PIXELS = {  # of keras.ops
    *("Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv", "MaxPool", "AveragePool", "AdaptiveMaxPool"),
    *("AdaptiveAveragePool", "Pad", "Fold", "Unfold", "Resize", "CropImages", "PadImages", "ExtractPatches"),
    *("AffineTransform", "PerspectiveTransform", "ElasticTransform", "ScaleAndTranslate", "MapCoordinates"),
    *("GaussianBlur", "SobelEdges"),
}
_RESHAPING = ("Flatten", "Ravel", "Reshape")  # layers of Keras, and operations
_HEADER = ("Layer", "σ (pixels)", "Filter", "Feature map", "Changed")
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RescaledLayer:
    """What became of a layer, or of an input.

    Attributes:
        name: Its name, after those of the models that lead to it: "encoder/conv1".
        sigmas: All scales σ before, in pixels; () if it has none.
        new_sigmas: Likewise afterwards.
        kernel_size: Size of the largest filters along each axis before, in pixels; () if it has none.
        new_kernel_size: Likewise afterwards.
        feature_map: Size of the output along each axis before, in pixels; None where the input has no fixed size.
        new_feature_map: Likewise afterwards.
        changed: What else has changed, such as "window 3×3 → 5×5 (4.5×4.5)", with the exact size if it was rounded.
    """

    name: str
    sigmas: tuple[float, ...] = ()
    new_sigmas: tuple[float, ...] = ()
    kernel_size: tuple[int, ...] = ()
    new_kernel_size: tuple[int, ...] = ()
    feature_map: tuple[int | None, ...] | None = None
    new_feature_map: tuple[int | None, ...] | None = None
    changed: str = ""


class RescalingReport(list):
    """A list with a `RescaledLayer` for each layer that was rescaled; printed, it is a table."""

    def __str__(self):
        def change(before, after, text):
            return " → ".join(dict.fromkeys(map(text, (before, after)))) if len(before or ()) else ""

        rows = [
            (
                row.name,
                change(row.sigmas, row.new_sigmas, lambda sigmas: format_sigmas(np.array(sigmas))),
                change(row.kernel_size, row.new_kernel_size, _times),
                change(row.feature_map, row.new_feature_map, _times),
                row.changed,
            )
            for row in self
        ]
        return "\n".join(table(_HEADER, rows, left=1))


def rescale(
    model: keras.Model,
    factor,
    rescale_pooling: bool = True,
    strict: bool = True,
    return_report: bool = False,
    discretization: str | None = None,
):
    """Adapts a network to images that are larger or smaller by a factor, without training.

    Every scale σ of the N-Jet layers and every rate r of safe subsampling is multiplied by the factor, while the
    coefficients and all other weights stay as they are. The derivatives of the N-Jet are normalised by their scale
    (equation 2, section III-C of the paper), so each feature map is the one that the network had, sampled more finely.
    Where the network has batch normalisation, `keras_njet.adapt_batch_statistics` corrects what differs.

    Layers that have no size in pixels are copied as they are, and so are strides: pointwise convolutions,
    normalisation, activations, global and adaptive pooling, upsampling. The windows of pooling layers grow with the
    factor at their old strides (`keras_njet.layers.ScaledPooling`). Zero padding and cropping, margins (`padding=2`) of
    N-Jet layers, and the sizes of `Resizing`, `CenterCrop` and `RandomCrop` grow, too. Only zero padding in front of a
    pooling layer or a convolution of Keras keeps its size. Initial scales grow as well, and so does the unit by which
    sizes that follow σ are rounded (`unit` of `keras_njet.NJetConv2D`); in this unit regularisers of σ and constraints
    on it mean the same as before. All other sizes are rounded to whole pixels, half a pixel up.

    Other convolutions larger than a pixel can't be rescaled: `rescale(convert(model, order=6, learn_sigma=False), 2.0)`
    converts them first; scales that are not to be learned fit most closely. Rescaling by 1 / factor gives the original:
    up to the rounding of σ, and that of sizes if the factor is below 1.

    Args:
        model: Functional or sequential Keras model that has been built, with N-Jet layers. It is not changed. The new
            model is a plain one: a `train_step` of a class of your own is not kept.
        factor: Number > 0, how much larger the images are: 2 for twice the height and width. Or a number for each axis,
            if all N-Jet layers have `isotropic=False`, and neither safe subsampling nor a margin.
        rescale_pooling: Whether the windows of pooling layers grow. Defaults to True.
        strict: Whether layers that can't be rescaled are an error. If False, they are named in a warning and stay as
            they are. Defaults to True.
        return_report: Whether to return a report, too. It is logged in any case. Defaults to False.
        discretization: "sampled", "integrated", or None to keep what the N-Jet layers have, see
            `keras_njet.NJetConv2D`. Defaults to None.

    Returns:
        A new model, not compiled. The height and width of its input are `factor` times those of the model, rounded, and
        unknown where they were. With `return_report`, the pair of it and a list with a `RescaledLayer` for each layer
        that was rescaled, which `print` shows as a table.

    Raises:
        ValueError: If `model` is neither functional nor sequential or is not built, if it has no N-Jet layer, if
            `factor` is not above 0 or has a number for each axis where layers have one σ for all, or if layers do not
            follow: other convolutions larger than a pixel, recurrent layers, layers that flatten or reshape a feature
            map, and layers with weights for each pixel.

    Example:

    >>> njet = keras_njet.NJetConv2D(8, sigma=1.5, name="njet")
    >>> pool = keras.layers.MaxPooling2D(3, 2, "same", name="pool")
    >>> model = keras.Sequential([keras.Input((28, 28, 1), name="image"), njet, pool])
    >>> rescaled, report = rescale(model, 1.5, return_report=True)
    >>> print(report)
    Layer   σ (pixels)       Filter    Feature map                     Changed
    --------------------------------------------------------------------------
    image                            28×28 → 42×42
    njet   1.50 → 2.25  7×7 → 11×11  28×28 → 42×42
    pool                             14×14 → 21×21  window 3×3 → 5×5 (4.5×4.5)
    --------------------------------------------------------------------------
    """
    check_graph(model)
    factor = _arguments.factors("factor", factor)
    plan = Plan(model, factor)
    plan.check(strict)
    if discretization is not None:
        _arguments.one_of("discretization", discretization, DISCRETIZATIONS)
    rescaling = Rescaling(factor, plan, rescale_pooling, discretization)
    rescaled = rescaling.rebuild(model)
    report = _report(model, rescaled, rescaling)
    _warn_of_small_sigmas(rescaled, report)
    _logger.info("%s", report)
    return (rescaled, report) if return_report else rescaled


class Plan:
    """What becomes of each layer of a model, by the feature maps on which it works.

    Attributes:
        enlarged: The layers that work on a map whose size was multiplied by the factor, by id.
        of_windows: Ids of the zero paddings that belong to the windows of the next layer.
        obstacles: Texts about layers that do not follow, by the id of the layer.
    """

    def __init__(self, model, factor):
        self.model = model
        self.factor = factor
        self.data_format = data_format_of(model)
        self.enlarged = {}
        self.of_windows = set()
        self.obstacles = {}
        self._tensors = {}  # id -> (tensor, layer that made it, whether it is a map that is enlarged)
        visit_calls(model, self._visit)

    def _visit(self, layer, inputs, outputs):
        known = [self._tensors.setdefault(id(tensor), (tensor, None, len(tensor.shape) >= 3)) for tensor in inputs]
        is_enlarged = any(enlarged for _, _, enlarged in known)
        if is_enlarged:
            self.enlarged[id(layer)] = layer
            obstacle = _obstacle(layer, self.data_format)
            if obstacle is not None:
                self.obstacles[id(layer)] = f"{layer.name!r} ({obstacle})"
            if isinstance(layer, (*POOLINGS, ScaledPooling, *_CONVOLUTIONS)):
                self.of_windows |= {id(maker) for _, maker, _ in known if isinstance(maker, _PADDINGS)}
        for tensor in outputs:
            stays = is_enlarged and len(tensor.shape) >= 3 and not isinstance(layer, _OF_ANY_SIZE)
            self._tensors[id(tensor)] = tensor, layer, stays

    def depends_on_factor(self, layer) -> bool:
        """Whether a layer has something that is multiplied."""
        changing = (NJetLayer, *POOLINGS, ScaledPooling, *_PADDINGS, *_CROPPINGS, *_RESIZINGS)
        return id(layer) in self.enlarged and isinstance(layer, changing)

    def check(self, strict):
        """Raises an error if a model can't be rescaled, or warns."""
        layers = [layer for layer in self.enlarged.values() if isinstance(layer, NJetLayer)]
        if not any(layer.scales for layer in layers):
            raise ValueError(
                "The model must have an N-Jet layer, whose σ is multiplied: `keras_njet.convert` makes N-Jet layers of "
                f"convolutions. Received: model={self.model.name!r}"
            )
        if isinstance(self.factor, tuple):
            self._check_axes(layers)
        within = [layer.name for layer in self.enlarged.values() if _inner_njet_layers(layer)]
        if within:
            raise ValueError(
                "N-Jet layers must be layers of a functional or sequential model, not of another layer, to be "
                f"rescaled. Received: layers={within}"
            )
        if not self.obstacles:
            return
        message = f"These layers do not follow the size of the images: {', '.join(self.obstacles.values())}."
        if strict:
            raise ValueError(
                f"{message} Expected N-Jet layers in the place of convolutions (`keras_njet.convert` makes them), and "
                "global pooling instead of layers that need a size; `strict=False` leaves them as they "
                f"are. Received: model={self.model.name!r}"
            )
        warnings.warn(f"{message} They stay as they are.", stacklevel=3)

    def _check_axes(self, layers):
        def follows(layer):
            if not isinstance(layer, BaseNJetConv) or layer.isotropic or layer.rank != len(self.factor):
                return False
            return layer.subsample_rate is None and layer.padding in ("same", "valid", 0)

        if names := [layer.name for layer in layers if not follows(layer)]:
            raise ValueError(
                "`factor` must be one number if N-Jet layers have one σ for all axes, follow one σ by subsampling, or "
                "have a margin; else one for each of their axes. "
                f"Received: factor={self.factor}, layers={names}"
            )


def _obstacle(layer, data_format):
    """Why a layer does not follow a map that is enlarged; None if it does."""
    for inner in [layer, *(inner_layers(layer) if isinstance(layer, keras.Layer) else [])]:
        if isinstance(inner, _CONVOLUTIONS) and max(inner.kernel_size) > 1:
            return f"{type(inner).__name__} of {_times(inner.kernel_size)} pixels"
        if isinstance(inner, _RECURRENT):
            return f"{type(inner).__name__}, step by step along an axis"
    if not isinstance(layer, keras.Layer) and type(layer).__name__ in _OPERATIONS_IN_PIXELS:
        return f"the operation {type(layer).__name__}, which has sizes in pixels"
    if type(layer).__name__ in _RESHAPING:
        return f"{type(layer).__name__}, whose result depends on the number of pixels"
    if isinstance(layer, keras.layers.Dense) and data_format == "channels_first":
        return "Dense, which mixes the pixels of the last axis"
    return None


def _inner_njet_layers(layer):
    return isinstance(layer, keras.Layer) and any(isinstance(inner, NJetLayer) for inner in inner_layers(layer))


class Rescaling(Rebuilding):
    """Multiplies all that is measured in pixels by a factor.

    Args:
        factor: Number, or a tuple with one for each axis.
        plan: What becomes of each layer.
        rescale_pooling: Whether pooling layers get larger windows.
        discretization: That of the new N-Jet layers, or None to keep it.
    """

    keeps_sequential = True

    def __init__(self, factor, plan: Plan, rescale_pooling: bool, discretization: str | None = None):
        super().__init__()
        self.factor = factor
        self.plan = plan
        self.rescale_pooling = rescale_pooling
        self.discretization = discretization
        self.notes: dict[int, str] = {}  # id of a layer -> what has changed
        self.of_pixels: list[str] = []  # names of layers that have weights for each pixel

    def rebuild(self, model, shapes=None):
        rebuilt = super().rebuild(model, shapes)
        if self.of_pixels:
            raise ValueError(
                f"These layers have weights whose shape depends on the size of the input: {', '.join(self.of_pixels)}. "
                f"Expected layers whose weights serve all sizes. Received: model={model.name!r}"
            )
        return rebuilt

    def graph(self, graph, shapes=None, name=None):
        return super().graph(graph, self.shapes(graph) if shapes is None else shapes, name)

    def shapes(self, graph):
        """Shapes of the inputs of a model at the new size, without the batch axis."""
        data_format = self.plan.data_format

        def resized(shape):
            if len(shape) < 2:
                return shape
            channels = shape[-1 if data_format == "channels_last" else 0]
            sizes = self._times(spatial((None, *shape), data_format), least=1)
            return (*sizes, channels) if data_format == "channels_last" else (channels, *sizes)

        return [resized(tuple(tensor.shape[1:])) for tensor in graph.inputs]

    def layer(self, layer):
        if is_graph(layer) or id(layer) not in self.plan.enlarged:
            return super().layer(layer)
        if isinstance(layer, (*POOLINGS, ScaledPooling)):
            return self.pooling(layer) if self.rescale_pooling else super().layer(layer)
        return super().layer(layer, **self.changes(layer))

    def take_weights(self, layer, copy):
        if [weight.shape for weight in layer.weights] != [weight.shape for weight in copy.weights]:
            self.of_pixels.append(repr(layer.name))
            return
        copy_weights(layer, copy)
        if isinstance(layer, NJetLayer) and id(layer) in self.plan.enlarged:
            for scale in copy.scales:
                scale.multiply(self.factor)

    def pooling(self, layer):
        """What pools an enlarged map; the layer of Keras itself where windows have their original size again."""
        original, factor = layer, self.factor
        if isinstance(layer, ScaledPooling):
            original, factor = layer.pooling, np.multiply(layer.factor, self.factor).tolist()
        if np.allclose(factor, 1, rtol=1e-6):
            copy = copy_of(original, name=layer.name)
            self._note(layer, "window", layer.pool_size, copy.pool_size, ())
            return copy
        scaled = ScaledPooling(copy_of(original), factor, name=layer.name, dtype=layer.dtype_policy)
        self._note(layer, "window", layer.pool_size, scaled.pool_size, np.multiply(factor, original.pool_size))
        return scaled

    @functools.singledispatchmethod
    def changes(self, layer) -> dict:
        """What changes in the configuration of a layer that works on an enlarged map."""
        if isinstance(layer, _PADDINGS):
            return {} if id(layer) in self.plan.of_windows else self._borders(layer, "padding")
        if isinstance(layer, _CROPPINGS):
            return self._borders(layer, "cropping")
        if isinstance(layer, _RESIZINGS):
            sizes = layer.height, layer.width
            height, width = self._times(sizes, least=1)
            self._note(layer, "size", sizes, (height, width), np.multiply(self.factor, sizes))
            return {"height": height, "width": width}
        return {}

    @changes.register
    def _(self, layer: BaseNJetConv):
        changes = self._of_filters(layer)
        initializer = layer.coefficient_initializer
        if isinstance(initializer, NJetVarianceScaling):
            changes["coefficient_initializer"] = copy_of(initializer, sigma=self._scaled(initializer.sigma))
        if layer.subsample_rate is not None:
            changes["subsample_rate"] = self._rate(layer, layer.subsample_rate)
        if isinstance(layer.padding, int) and layer.padding:
            (changes["padding"],) = self._times([layer.padding])
            self._note(layer, "margin", [layer.padding], [changes["padding"]], [self.factor * layer.padding])
        return changes

    @changes.register
    def _(self, layer: NJetASPP):
        return self._of_filters(layer)

    @changes.register
    def _(self, layer: SafeSubsample):
        return {"rate": self._rate(layer, layer.rate)}

    def _of_filters(self, layer):
        return {
            "sigma": self._scaled(layer.initial_sigma),
            "unit": self._scaled(layer.unit),
            "discretization": self.discretization or layer.discretization,
        }

    def _rate(self, layer, rate):
        self.notes[id(layer)] = f"rate {rate:.2f} → {self.factor * rate:.2f}"
        return self.factor * rate

    def _borders(self, layer, name):
        borders = getattr(layer, name)  # a pair for each axis; one pair for signals
        pairs = np.reshape(borders, (-1, 2))
        new = np.transpose([self._times(side) for side in pairs.T])
        self._note(
            layer, name, pairs.flatten(), new.flatten(), np.multiply(np.transpose([self.factor]), pairs).flatten()
        )
        return {name: tuple(map(tuple, new.tolist())) if np.ndim(borders) == 2 else tuple(new[0].tolist())}

    def _scaled(self, sigma):
        scaled = np.multiply(sigma, self.factor).tolist()
        return tuple(scaled) if isinstance(scaled, list) else scaled

    def _times(self, sizes, least=0):
        """Sizes along each axis times the factor, rounded; None stays."""
        factors = self.factor if isinstance(self.factor, tuple) else (self.factor,) * len(sizes)
        if len(factors) != len(sizes):
            raise ValueError(
                "`factor` must be a number, or have one for each axis of the inputs and of all feature maps. Received: "
                f"factor={self.factor}"
            )
        return [
            size if size is None else rounded(factor * size, least) for factor, size in zip(factors, sizes, strict=True)
        ]

    def _note(self, layer, what, before, after, exact):
        rounded = not np.allclose(after, exact) if len(exact) else False
        before, after, exact = _times(before), _times(after), _times(f"{size:.4g}" for size in exact)
        self.notes[id(layer)] = f"{what} {before} → {after}" + (f" ({exact})" if rounded else "")


def _report(model, rescaled, rescaling):
    """What became of the inputs and of each layer that was rescaled."""
    news = dict(layers_by_path(rescaled))
    shapes, new_shapes = shapes_of_layers(model), shapes_of_layers(rescaled)
    report = RescalingReport()
    for tensor, new in zip(model.inputs, rescaled.inputs, strict=True):
        sizes = [spatial(one.shape, rescaling.plan.data_format) for one in (tensor, new)]
        if sizes[0]:
            report.append(RescaledLayer(maker(tensor).name, feature_map=sizes[0], new_feature_map=sizes[1]))
    for path, layer in layers_by_path(model):
        if id(layer) not in rescaling.notes and not (
            isinstance(layer, NJetLayer) and id(layer) in rescaling.plan.enlarged
        ):
            continue
        pair = layer, news[path]
        sigmas = [tuple(sigmas_of(one).tolist()) for one in pair]
        kernel_sizes = [one.kernel_size if isinstance(one, NJetLayer) else () for one in pair]
        maps = [
            map_size(one, known[id(one)][1]) if id(one) in known else None
            for one, known in zip(pair, (shapes, new_shapes), strict=True)
        ]
        report.append(RescaledLayer(path, *sigmas, *kernel_sizes, *maps, rescaling.notes.get(id(layer), "")))
    return report


def _warn_of_small_sigmas(rescaled, report):
    layers = dict(layers_by_path(rescaled))
    small = []
    for row in report:
        layer = layers.get(row.name)
        if isinstance(layer, (BaseNJetConv, NJetASPP)):
            least = LEAST_SIGMA[layer.discretization]
            if min(row.new_sigmas) < least:
                small.append(f"{row.name!r} (σ = {min(row.new_sigmas):.2f}, {layer.discretization}: {least})")
    if small:
        warnings.warn(
            "Below some σ, Gaussian derivatives can't be told apart on the pixel grid, and the rescaled network will "
            f"differ from the original. These layers are below it: {', '.join(small)}. "
            '`discretization="integrated"` works at a slightly smaller σ.',
            stacklevel=3,
        )


def data_format_of(model):
    """The data format of a model: that of its layers if they agree, else that of the Keras configuration."""
    formats = {getattr(layer, "data_format", None) for layer in inner_layers(model)} - {None}
    return formats.pop() if len(formats) == 1 else keras.config.image_data_format()


def _times(sizes):
    return "×".join(map(str, sizes))
