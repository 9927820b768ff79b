"""`freeze`, which turns an N-Jet network into plain convolutions."""

import functools

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._backend import copy_of, inner_layers, is_graph
from keras_njet._convolution import sizes
from keras_njet.layers import ASPP, NJetASPP, ResizeLike, SafeSubsample, ScaledPooling
from keras_njet.layers._base_njet_conv import BaseNJetConv
from keras_njet.layers._data_formats import channels_last, floating, from_channels_last, spatial
from keras_njet.layers._njet_conv import NJetConv
from keras_njet.layers._njet_layer import NJetLayer
from keras_njet.transforms._rebuilding import Rebuilding, check_graph

_KINDS = (NJetLayer, ASPP, ResizeLike, ScaledPooling)
_CONVOLUTIONS = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
_DEPTHWISE = {1: keras.layers.DepthwiseConv1D, 2: keras.layers.DepthwiseConv2D}
_ZEROS = {1: keras.layers.ZeroPadding1D, 2: keras.layers.ZeroPadding2D, 3: keras.layers.ZeroPadding3D}


def freeze(model: keras.Model, input_shape=None) -> keras.Model:
    """Turns a trained N-Jet network into plain Keras layers, which every runtime can run.

    Each N-Jet layer becomes Keras' convolution of the same name, `Conv2D` or `DepthwiseConv2D` of images, with its
    composed filters (equation 5 of the paper); safe subsampling (section IV) and the resizing of logits become a linear
    `keras.ops.image.resize` to the present size, and a pyramid of scales becomes one convolution. Predictions stay as
    they are, up to rounding; σ is no longer learned. `keras_njet.layers.ASPP` and `ScaledPooling` are replaced, too.
    Every other layer is copied with its weights, and what is shared stays shared, except that a model inside the model
    becomes one for each size of its inputs. The new model can be saved, loaded and exported where keras_njet is not
    installed, unless it has a `keras_njet.layers.DeformableConv2D`, for which Keras has no layer.

    Args:
        model: Functional or sequential Keras model that has been built. It is not changed. The new model is a plain
            one: a `train_step` of a class of your own is not kept.
        input_shape: Shape of the input without the batch axis; a list of them if there are several inputs. Only needed
            if the model takes images of any size and has sizes that become fixed: those that follow σ, and those of
            `keras_njet.layers.ResizeLike` and `ScaledPooling`. By default that of the model.

    Returns:
        A functional model, not compiled.

    Raises:
        ValueError: If `model` is neither functional nor sequential or is not built, if a size has to be fixed and that
            of the input is not known, if an N-Jet layer is called with a factor, or if there is one inside of another
            layer, like `TimeDistributed`.

    Example:

    >>> model = keras.Sequential([keras.Input((16, 16, 1)), keras_njet.NJetConv2D(4, subsample_rate=4.0)])
    >>> frozen = freeze(model)
    >>> [type(operation).__name__ for operation in frozen.operations], frozen.output_shape
    (['InputLayer', 'Conv2D', 'Resize'], (None, 13, 13, 4))
    """
    check_graph(model)
    shapes = None
    if input_shape is not None:
        shapes = _arguments.input_shapes(input_shape)
        if len(shapes) != len(model.inputs):
            raise ValueError(
                f"`input_shape` must be a list of {len(model.inputs)} shapes, one for each input of the model. "
                f"Received: input_shape={input_shape}"
            )
    return _Freezing(model, input_shape).rebuild(model, shapes)


class _Freezing(Rebuilding):
    """Puts plain layers in the place of those of this package."""

    def __init__(self, model, input_shape):
        super().__init__()
        self.model = model
        self.input_shape = input_shape
        self.sizes_of = {}  # id of a model inside the model -> shapes it was called with

    def call(self, layer, *args, **kwargs):
        if is_graph(layer):
            return self.inner_graph(layer, *args)(*args, **kwargs)
        if isinstance(layer, NJetLayer) and "factor" in kwargs:
            raise ValueError(
                "N-Jet layers must be called without a factor to become plain. Received: "
                f"layer={layer.name!r}, factor={kwargs['factor']}"
            )
        x = args[0] if args else next(iter(kwargs.values()))
        if isinstance(layer, _KINDS):  # which cast integers, as Keras' layers do not
            x = keras.tree.map_structure(lambda tensor: floating(tensor, layer.compute_dtype), x)
        plain = self.plain(layer, x)
        if plain is not None:
            return plain
        if isinstance(layer, keras.Layer) and any(isinstance(inner, _KINDS) for inner in inner_layers(layer)):
            raise ValueError(
                f"N-Jet layers must be layers of a functional or sequential model, not of another layer, to become "
                f"plain. Received: layer={layer!r}"
            )
        return super().call(layer, *args, **kwargs)

    @functools.singledispatchmethod
    def plain(self, layer, x):
        """The outputs of plain layers that do what a layer of this package does to `x`; None for any other layer."""
        return None

    def inner_graph(self, graph, *args):
        """What takes the place of a model inside the model: one for each size of its inputs, as sizes become fixed."""
        shapes = [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(args)]
        known = self.sizes_of.setdefault(id(graph), [])
        if shapes not in known:
            known.append(shapes)
        index = known.index(shapes)
        name = graph.name if index == 0 else f"{graph.name}_{index}"
        return self.once(graph, lambda graph: self.graph(graph, shapes, name), index)

    @plain.register
    def _(self, layer: BaseNJetConv, x):
        kernel, border = _kernel_and_border(layer)
        activation = layer.activation
        if isinstance(activation, keras.Layer):
            activation = self.once(activation, self.layer)
        if border is not None and any(border):
            x = self.once(layer, lambda layer: _zeros_around(layer, border), "padding")(x)
        at_once = activation if layer.subsample_rate is None else None
        plain = self.once(layer, lambda layer: _plain_convolution(layer, kernel.shape, at_once), "convolution")
        x = plain(x)
        _set_weights(plain, kernel, layer)
        if layer.subsample_rate is None:
            return x
        x = self.subsampled(layer, x, layer, layer.subsample_rate)
        if activation is keras.activations.linear:
            return x
        return self.once(layer, lambda layer: _activation(layer, activation), "activation")(x)

    @plain.register
    def _(self, layer: SafeSubsample, x):
        return self.subsampled(layer, x, layer.find_source(self.model), layer.rate)

    def subsampled(self, layer, x, source, rate):
        new_sizes = [
            size and sizes.subsampled_size(source.log2_sigma.largest(index), size, rate, source.units[index])
            for index, size in enumerate(spatial(x.shape, layer.data_format))
        ]
        return self.resized(layer, x, new_sizes)

    @plain.register
    def _(self, layer: ResizeLike, pair):
        x, like = pair
        return self.resized(layer, x, spatial(like.shape, layer.data_format))

    def resized(self, layer, x, new_sizes):
        self.check_known(layer, new_sizes)
        return _resize(x, new_sizes, layer.data_format)

    def check_known(self, layer, map_size):
        if None in map_size:
            raise ValueError(
                f"The size of the feature map of layer {layer.name!r} becomes fixed: `input_shape` must give the "
                f"sizes of all axes of the input. Received: input_shape={self.input_shape}"
            )

    @plain.register
    def _(self, layer: ScaledPooling, x):
        data_format = layer.pooling.data_format
        self.check_known(layer, spatial(x.shape, data_format))
        x = from_channels_last(layer.windows(channels_last(x, data_format)), data_format)
        changes = {"pool_size": layer.pool_size, "padding": "valid", "name": layer.name}
        return self.once(layer, lambda layer: copy_of(layer.pooling, **changes))(x)

    @plain.register
    def _(self, layer: NJetASPP, x):
        kernel = layer.kernel
        arguments = {"padding": "same", "use_bias": layer.use_bias, **_kept(layer)}
        plain = self.once(layer, lambda layer: keras.layers.Conv2D(layer.filters, kernel.shape[:2], **arguments))
        outputs = plain(x)
        _set_weights(plain, kernel, layer)
        return outputs

    @plain.register
    def _(self, layer: ASPP, x):
        return self.once(layer, lambda layer: _dilated_pyramid(layer, x.shape[1:]), *x.shape[1:])(x)


def _resize(x, new_sizes, data_format):
    """Resizes a feature map linearly, as an image: a signal is one a pixel high, a volume is resized in two steps."""
    # Not the layer `Resizing`: its call has training=True by default, which Keras passes on to all layers after it.
    resize = functools.partial(keras.ops.image.resize, interpolation="bilinear", antialias=False)
    if len(new_sizes) == 2:
        return resize(x, new_sizes, data_format=data_format)
    resize = functools.partial(resize, data_format="channels_last")
    x = channels_last(x, data_format)
    if len(new_sizes) == 1:
        x = keras.ops.squeeze(resize(keras.ops.expand_dims(x, 1), (1, *new_sizes)), 1)
    else:
        depth, height, width = x.shape[1:4]
        channels = x.shape[4]
        x = keras.ops.reshape(x, (-1, height, width, channels))
        x = keras.ops.reshape(resize(x, new_sizes[1:]), (-1, depth, new_sizes[1] * new_sizes[2], channels))
        x = keras.ops.reshape(resize(x, (new_sizes[0], new_sizes[1] * new_sizes[2])), (-1, *new_sizes, channels))
    return from_channels_last(x, data_format)


def _kernel_and_border(layer):
    """The composed filters of an N-Jet layer, and how many zeros a plain convolution needs around its input.

    Filters that are smaller than their strides, or than their margin, are padded with zeros.
    """
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    radii = [size // 2 for size in kernel.shape[: layer.rank]]
    if layer.padding == "valid":
        least = [
            sizes.valid_margin(layer.log2_sigma.largest(index), layer.extent, unit)
            for index, unit in enumerate(layer.units)
        ]
    else:
        least = [max(layer.strides) // 2 if layer.padding == "same" else layer.padding] * layer.rank
    wider = [max(0, margin - radius) for margin, radius in zip(least, radii, strict=True)]
    kernel = np.pad(kernel, [*((zeros, zeros) for zeros in wider), (0, 0), (0, 0)])
    if not isinstance(layer, NJetConv) and not _has_depthwise_twin(layer):  # groups of one channel instead
        kernel = kernel.reshape(*kernel.shape[: layer.rank], 1, -1)
    border = [max(0, radius - margin) for margin, radius in zip(least, radii, strict=True)]
    return kernel, None if layer.padding == "same" else border


def _zeros_around(layer, border):
    name = f"{layer.name}_frozen_padding"
    zeros = border[0] if layer.rank == 1 else tuple(border)
    return _ZEROS[layer.rank](zeros, data_format=layer.data_format, dtype=layer.dtype_policy, name=name)


def _activation(layer, activation):
    return keras.layers.Activation(activation, dtype=layer.dtype_policy, name=f"{layer.name}_frozen_activation")


def _plain_convolution(layer, kernel_shape, activation):
    arguments = {
        "kernel_size": kernel_shape[: layer.rank],
        "strides": layer.strides,
        "padding": "same" if layer.padding == "same" else "valid",
        "activation": activation,
        "use_bias": layer.use_bias,
        **_kept(layer),
    }
    if isinstance(layer, NJetConv):
        return _CONVOLUTIONS[layer.rank](layer.filters, groups=layer.groups, **arguments)
    if _has_depthwise_twin(layer):
        return _DEPTHWISE[layer.rank](depth_multiplier=layer.depth_multiplier, **arguments)
    groups = kernel_shape[-1] // layer.depth_multiplier
    return _CONVOLUTIONS[layer.rank](kernel_shape[-1], groups=groups, **arguments)


def _has_depthwise_twin(layer):
    """Whether Keras has such a depthwise convolution, everywhere: none is of volumes, or has unequal strides."""
    return layer.rank in _DEPTHWISE and len(set(layer.strides)) == 1


def _dilated_pyramid(layer, shape):
    """A model of dilated convolutions and their sum."""
    inputs = keras.Input(shape, dtype=layer.compute_dtype)
    kernels = layer.kernels * (len(layer.rates) if layer.tied else 1)
    branches = []
    for rate, kernel in zip(layer.rates, kernels, strict=True):
        has_bias = layer.use_bias and not branches
        name = f"{layer.name}_rate_{rate}"
        if layer.rates.count(rate) > 1:
            name += f"_{len(branches)}"
        arguments = {**_kept(layer), "name": name, "use_bias": has_bias}
        plain = keras.layers.Conv2D(layer.filters, layer.kernel_size, padding="same", dilation_rate=rate, **arguments)
        branches.append(plain(inputs))
        _set_weights(plain, kernel, layer)
    outputs = keras.layers.Add(dtype=layer.dtype_policy)(branches) if len(branches) > 1 else branches[0]
    return keras.Model(inputs, outputs, name=layer.name)


def _set_weights(plain, kernel, layer):
    """Gives a plain layer copies of a kernel and of a layer's bias: JAX may free the original arrays."""
    weights = [kernel, layer.bias] if plain.use_bias else [kernel]
    plain.set_weights([keras.ops.convert_to_numpy(weight) for weight in weights])


def _kept(layer):
    return {
        "name": layer.name,
        "data_format": layer.data_format,
        "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }
