"""`convert`, which turns a trained network into an N-Jet network that starts from its filters."""

import dataclasses
import logging
import numbers

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._backend import copy_of, is_graph
from keras_njet.layers import NJetConv1D, NJetConv2D, NJetConv3D, NJetDepthwiseConv1D, NJetDepthwiseConv2D
from keras_njet.layers._base_njet_conv import BaseNJetConv
from keras_njet.layers._njet_depthwise_conv import NJetDepthwiseConv
from keras_njet.transforms._rebuilding import Rebuilding, check_graph, copy_weights
from keras_njet.transforms.fitting import FittedFilters, fit_filters

_TWINS = {
    keras.layers.Conv1D: NJetConv1D,
    keras.layers.Conv2D: NJetConv2D,
    keras.layers.Conv3D: NJetConv3D,
    keras.layers.DepthwiseConv1D: NJetDepthwiseConv1D,
    keras.layers.DepthwiseConv2D: NJetDepthwiseConv2D,
}
_KEPT = (
    "name",
    "trainable",
    "strides",
    "data_format",
    "use_bias",
    "bias_initializer",
    "bias_regularizer",
    "bias_constraint",
    "activity_regularizer",
)
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ConvertedLayer:
    """What became of a convolution.

    Attributes:
        name: Name of the layer, before and after.
        error: Relative error ‖approximation - filters‖ / ‖filters‖ of its N-Jet filters. That of a dilated convolution
            is the error of its filters before dilation.
        sigma: Scale σ in pixels, the largest if there are several.
        kernel_size: Size of the filters along each axis before conversion, in pixels.
        new_kernel_size: Likewise the size of the N-Jet filters.
    """

    name: str
    error: float
    sigma: float
    kernel_size: tuple[int, ...]
    new_kernel_size: tuple[int, ...]


def convert(
    model: keras.Model,
    order: int = 4,
    extent: float = 2.0,
    layers=None,
    undilate: bool = False,
    learn_sigma: bool = True,
    sigma_learning_rate: float = 1.0,
    sigma_sharing: str = "layer",
    isotropic: bool = True,
    max_error: float = 0.5,
    return_report: bool = False,
    margin: float = 0.1,
):
    """Turns the convolutions of a model into N-Jet layers that start from their filters.

    Each `keras.layers.Conv2D` and `keras.layers.DepthwiseConv2D` with filters larger than a pixel becomes a
    `keras_njet.NJetConv2D` or `keras_njet.NJetDepthwiseConv2D` of the same name, with the coefficients and the σ that
    approximate its filters best (`keras_njet.fit_filters`, section III-B of the paper); `Conv1D`, `DepthwiseConv1D` and
    `Conv3D` likewise. Strides, padding, groups, bias,
    activation, regularisers, constraints and dtypes stay, and so do all sizes of feature maps; regularisers and
    constraints of the kernel become those of the coefficients. Everything else is copied with its weights; layers that
    are shared stay shared, and models inside the model are converted, too.

    Args:
        model: Functional or sequential Keras model that has been built. It is not changed. The new model is a plain
            one: a `train_step` of a class of your own is not kept.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. At order 4 every 3×3 filter is matched
            exactly. Defaults to 4.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        layers: Which convolutions to convert: the name of one, a list of names, a size of filters in pixels (an
            integer), or a function of a layer that returns a bool. By default all that can be converted.
        undilate: Whether to convert dilated convolutions, too: into N-Jet filters without gaps, whose σ is that of the
            filters before dilation times the dilation rate, which becomes their `unit`, too. Defaults to False.
        learn_sigma: Whether the scales are trained. Defaults to True.
        sigma_learning_rate: Number ρ > 0, by which any optimizer's learning rate is multiplied for the scales. Defaults
            to 1.
        sigma_sharing: "layer", or "filter" for a σ for each filter, which approximates better. Grouped convolutions,
            and depthwise ones with several filters a channel, keep one σ. Defaults to "layer".
        isotropic: Whether one σ serves all axes. If False, each axis has its own, which approximates filters better
            that are not as high as they are wide. Defaults to True.
        max_error: Largest relative error of a layer's filters that is accepted, a number above 0. Defaults to 0.5.
        return_report: Whether to return a report, too. It is logged in any case. Defaults to False.
        margin: Number of at least 0 and below ½, in pixels before dilation: how far at least kσ, half the width of a
            filter, stays from the whole numbers, where filters gain or lose pixels. With 0, the first step of training
            may add pixels to the filters, which changes the outputs abruptly. With a margin the fit is less close where
            it is not exact. Without effect with `learn_sigma=False`. Defaults to 0.1.

    Returns:
        A new model; with `return_report`, the pair of it and a list with a `ConvertedLayer` for
        each layer that was converted. It is not compiled.

    Raises:
        ValueError: If the model is neither functional nor sequential or is not built, if it has no convolution to
            convert, if one that is named cannot be, or if the error of a layer exceeds `max_error`.

    Example:

    >>> inputs = keras.Input((32, 32, 3))
    >>> model = keras.Model(inputs, keras.layers.Conv2D(8, 3, name="conv")(inputs))
    >>> converted, report = convert(model, return_report=True)
    >>> report[0].name, round(report[0].sigma, 2), report[0].error < 1e-5
    ('conv', 0.45, True)
    """
    _arguments.positive("max_error", max_error)
    _arguments.one_of("sigma_sharing", sigma_sharing, ("layer", "filter"))
    margin = _arguments.share("margin", margin, below=0.5)
    check_graph(model)
    chosen = _chosen(_layers_of_graph(model), layers, undilate, model.name)
    scales = {
        "learn_sigma": learn_sigma,
        "sigma_learning_rate": sigma_learning_rate,
        "sigma_sharing": sigma_sharing,
        "isotropic": isotropic,
    }
    margin = margin if learn_sigma else 0.0
    twins = {id(layer): _Twin.of(layer, order, extent, scales, margin, max_error) for layer in chosen}
    converted = _Conversion(twins).rebuild(model)
    report = [twins[id(layer)].take_weights(layer) for layer in chosen]
    return (converted, report) if return_report else converted


class _Conversion(Rebuilding):
    """Puts N-Jet layers in the place of convolutions."""

    keeps_sequential = True

    def __init__(self, twins):
        super().__init__()
        self.twins = twins

    def layer(self, layer):
        return self.twins[id(layer)].layer if id(layer) in self.twins else super().layer(layer)


@dataclasses.dataclass(frozen=True)
class _Twin:
    """The N-Jet layer that takes the place of a convolution, and its filters."""

    layer: BaseNJetConv
    fitted: FittedFilters

    @classmethod
    def of(cls, layer, order, extent, scales, margin, max_error):
        twin = _TWINS[type(layer)]
        is_depthwise = issubclass(twin, NJetDepthwiseConv)
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        if is_depthwise:
            kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
        sharing = scales["sigma_sharing"]
        if (layer.depth_multiplier if is_depthwise else layer.groups) > 1:
            sharing = "layer"
        isotropic = scales["isotropic"]
        fitted = fit_filters(kernel, order, extent, sigma_sharing=sharing, isotropic=isotropic, margin=margin)
        if fitted.error > max_error:
            raise ValueError(
                f"An N-Jet of order {order} approximates the filters of layer {layer.name!r} with a relative error of "
                f"{fitted.error:.3f} only. Expected at most {max_error}: take a higher `order`, other `layers` or a "
                f"larger `max_error`. Received: order={order}"
            )
        activation = layer.activation
        reach = layer.dilation_rate[0] * (layer.kernel_size[0] - 1) // 2
        arguments = {
            "order": order,
            "sigma": float(np.max(layer.dilation_rate[0] * fitted.sigma)),
            "extent": extent,
            "unit": layer.dilation_rate[0],
            **scales,
            "sigma_sharing": "input" if is_depthwise and sharing == "filter" else sharing,
            "padding": reach if layer.padding == "valid" else "same",
            "coefficient_regularizer": layer.depthwise_regularizer if is_depthwise else layer.kernel_regularizer,
            "coefficient_constraint": layer.depthwise_constraint if is_depthwise else layer.kernel_constraint,
            **{name: getattr(layer, name) for name in _KEPT},
            "activation": copy_of(activation) if isinstance(activation, keras.Layer) else activation,
            "dtype": layer.dtype_policy,
        }
        if is_depthwise:
            return cls(twin(depth_multiplier=layer.depth_multiplier, **arguments), fitted)
        return cls(twin(layer.filters, groups=layer.groups, **arguments), fitted)

    def take_weights(self, layer):
        """Gives the N-Jet layer, now that it is built, its filters; returns what to report."""
        self.layer.coefficients.assign(self.fitted.coefficients)
        self.layer.sigma = layer.dilation_rate[0] * self.fitted.sigma
        if layer.use_bias:
            self.layer.bias.assign(keras.ops.convert_to_numpy(layer.bias))  # a copy: JAX may free the original array
        if isinstance(layer.activation, keras.Layer):
            copy_weights(layer.activation, self.layer.activation)
        row = ConvertedLayer(
            layer.name, self.fitted.error, self.layer.initial_sigma, tuple(layer.kernel_size), self.layer.kernel_size
        )
        _logger.info("%s", row)
        return row


def _layers_of_graph(model):
    """The layers of a model, and those of the models in it, each once."""
    found = {}
    for layer in model.layers:
        inner = _layers_of_graph(layer) if is_graph(layer) else [layer]
        found |= {id(one): one for one in inner}
    return list(found.values())


def _chosen(candidates, layers, undilate, model_name):
    """The convolutions to convert."""
    convertible = [layer for layer in candidates if _obstacle(layer, undilate) is None]
    if layers is None:
        chosen = convertible
    elif callable(layers):
        chosen = [layer for layer in convertible if layers(layer)]
    elif isinstance(layers, numbers.Integral):
        chosen = [layer for layer in convertible if set(layer.kernel_size) == {layers}]
    else:
        names = {layers} if isinstance(layers, str) else set(layers)
        chosen = [layer for layer in candidates if layer.name in names]
        for name in names - {layer.name for layer in chosen}:
            raise ValueError(f"`layers` must be names of layers of the model. Received: layers={name!r}")
        for layer in chosen:
            if obstacle := _obstacle(layer, undilate):
                raise ValueError(
                    f"`layers` must be layers that can be converted: {obstacle}. Received: layers={layer.name!r}"
                )
    if not chosen:
        raise ValueError(
            "The model must have a convolution that `layers` chooses and that can be converted, with filters larger "
            f"than a pixel. Received: model={model_name!r}, layers={layers!r}"
        )
    return chosen


def _obstacle(layer, undilate):
    """Why a layer can't be converted; None if it can."""
    if type(layer) not in _TWINS:
        return f"{type(layer).__name__} is none of {', '.join(kind.__name__ for kind in _TWINS)}"
    sizes, strides, dilations = layer.kernel_size, layer.strides, layer.dilation_rate
    if set(sizes) == {1}:
        return "its filters have one pixel"
    if layer.padding == "causal":
        return 'its padding is "causal", and N-Jet filters look both ways'
    if max(dilations) > 1 and not undilate:
        return "it is dilated, and `undilate` is False"
    is_square = len(set(sizes)) == 1 and sizes[0] % 2 == 1
    if not is_square and (layer.padding == "valid" or max(strides) > 1 or max(dilations) > 1):
        return 'filters of unequal or even sizes need padding="same" and neither strides nor dilation'
    if len(set(dilations)) > 1:
        return "its dilation rates differ"
    if layer.padding == "same" and max(strides) > min(sizes):
        return "its strides are larger than its filters"
    return None
