"""`freeze`, which turns an N-Jet network into plain convolutions."""

import keras
import numpy as np

from keras_njet._backend import inner_layers, is_graph
from keras_njet.convolution import sizes
from keras_njet.layers import ASPP, NJetASPP, NJetDepthwiseConv2D, SafeSubsample
from keras_njet.layers.base_njet_conv import BaseNJetConv
from keras_njet.layers.resize_like import ResizeLike
from keras_njet.transforms.rebuilding import Rebuilding, check_graph

_KINDS = (BaseNJetConv, NJetASPP, ASPP, SafeSubsample, ResizeLike)


def freeze(model: keras.Model, input_shape=None) -> keras.Model:
    """Turns a trained N-Jet network into plain Keras layers, which any runtime serves.

    Each N-Jet layer becomes a `keras.layers.Conv2D` or `DepthwiseConv2D` of the same name with its composed filters
    (equation 5 of the paper), safe subsampling (section IV) and the resizing of logits become a bilinear
    `keras.ops.image.resize` to the present size, and a pyramid of scales becomes one convolution. Predictions stay as
    they are, up to rounding; σ is no longer learned. Every other layer is copied with its weights, and what is shared
    stays shared, except that a model inside the model becomes one for each size of its inputs. The new model can be
    saved, loaded and exported where there is no keras_njet.

    Args:
        model: Functional or sequential Keras model that has been built. It is not changed.
        input_shape: Shape of the input without the batch axis; a list of them if there are several inputs. Only needed
            if the model takes images of any size and has sizes that follow σ, which become fixed. By default that of
            the model.

    Returns:
        A functional model, not compiled.

    Raises:
        ValueError: If `model` is neither functional nor sequential or is not built, if a size has to be fixed and that
            of the input is not known, or if there is an N-Jet layer inside of another layer, like `TimeDistributed`.

    Example:

    >>> model = keras.Sequential([keras.Input((16, 16, 1)), keras_njet.NJetConv2D(4, subsample_rate=4.0)])
    >>> frozen = freeze(model)
    >>> [type(operation).__name__ for operation in frozen.operations], frozen.output_shape
    (['InputLayer', 'Conv2D', 'Resize'], (None, 13, 13, 4))
    """
    check_graph(model)
    shapes = None
    if input_shape is not None:
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
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
        makers = (self.convolution, self.pyramid, self.dilated_pyramid, self.subsampling, self.resizing_like)
        for kind, make in zip(_KINDS, makers, strict=True):
            if isinstance(layer, kind):
                return make(layer, args[0] if args else next(iter(kwargs.values())))
        if isinstance(layer, keras.Layer) and any(isinstance(inner, _KINDS) for inner in inner_layers(layer)):
            raise ValueError(
                f"N-Jet layers must be layers of a functional or sequential model, not of another layer, to become "
                f"plain. Received: layer={layer!r}"
            )
        return super().call(layer, *args, **kwargs)

    def inner_graph(self, graph, *args):
        """What takes the place of a model inside the model: one for each size of its inputs, as sizes become fixed."""
        shapes = [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(args)]
        known = self.sizes_of.setdefault(id(graph), [])
        if shapes not in known:
            known.append(shapes)
        number = known.index(shapes)
        name = graph.name if number == 0 else f"{graph.name}_{number}"
        return self.once(graph, lambda graph: self.graph(graph, shapes, name), number)

    def convolution(self, layer, x):
        kernel, border = _kernel_and_border(layer)
        activation = layer.activation
        if isinstance(activation, keras.Layer):
            activation = self.once(activation, self.layer)
        if border:
            x = self.once(layer, lambda layer: _zeros_around(layer, border), "padding")(x)
        at_once = activation if layer.subsample_rate is None else None
        plain = self.once(layer, lambda layer: _plain_convolution(layer, kernel.shape[:2], at_once), "convolution")
        x = plain(x)
        _set_weights(plain, kernel, layer)
        if layer.subsample_rate is None:
            return x
        x = self.subsampled(layer, x, layer, layer.subsample_rate)
        if activation is keras.activations.linear:
            return x
        return self.once(layer, lambda layer: _activation(layer, activation), "activation")(x)

    def subsampling(self, layer, x):
        return self.subsampled(layer, x, layer.find_source(self.model), layer.rate)

    def subsampled(self, layer, x, source, rate):
        sigma = source.log2_sigma.current()
        return self.resized(
            layer,
            x,
            [size and sizes.subsampled_size(sigma, size, rate) for size in _height_and_width(x, layer.data_format)],
        )

    def resizing_like(self, layer, pair):
        x, like = pair
        return self.resized(layer, x, _height_and_width(like, layer.data_format))

    def resized(self, layer, x, new_sizes):
        if None in new_sizes:
            raise ValueError(
                f"The size of the feature map of layer {layer.name!r} becomes fixed: `input_shape` must give the "
                f"height and width of the input. Received: input_shape={self.input_shape}"
            )
        # Not the layer `Resizing`: its call has training=True by default, which Keras passes on to all layers after it.
        return keras.ops.image.resize(
            x, new_sizes, interpolation="bilinear", antialias=False, data_format=layer.data_format
        )

    def pyramid(self, layer, x):
        kernel = layer.kernel
        arguments = {"padding": "same", "use_bias": layer.use_bias, **_kept(layer)}
        plain = self.once(layer, lambda layer: keras.layers.Conv2D(layer.filters, kernel.shape[0], **arguments))
        outputs = plain(x)
        _set_weights(plain, kernel, layer)
        return outputs

    def dilated_pyramid(self, layer, x):
        return self.once(layer, lambda layer: _dilated_pyramid(layer, x.shape[1:]), *x.shape[1:])(x)


def _kernel_and_border(layer):
    """The composed filters of an N-Jet layer, and how many zeros a plain convolution needs around its input.

    Zeros are put around filters that are smaller than what their padding counts on: than strides, or a margin.
    """
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    radius = kernel.shape[0] // 2
    least = {"same": max(layer.strides) // 2, "valid": 0}.get(layer.padding, layer.padding)
    wider = max(0, least - radius)
    kernel = np.pad(kernel, ((wider, wider), (wider, wider), (0, 0), (0, 0)))
    return kernel, 0 if isinstance(layer.padding, str) else max(0, radius - least)


def _zeros_around(layer, border):
    name = f"{layer.name}_frozen_padding"
    return keras.layers.ZeroPadding2D(border, data_format=layer.data_format, dtype=layer.dtype_policy, name=name)


def _activation(layer, activation):
    return keras.layers.Activation(activation, dtype=layer.dtype_policy, name=f"{layer.name}_frozen_activation")


def _plain_convolution(layer, kernel_size, activation):
    arguments = {
        "kernel_size": kernel_size,
        "strides": layer.strides,
        "padding": "same" if layer.padding == "same" else "valid",
        "activation": activation,
        "use_bias": layer.use_bias,
        **_kept(layer),
    }
    if isinstance(layer, NJetDepthwiseConv2D):
        return keras.layers.DepthwiseConv2D(depth_multiplier=layer.depth_multiplier, **arguments)
    return keras.layers.Conv2D(layer.filters, groups=layer.groups, **arguments)


def _dilated_pyramid(layer, shape):
    """A model of dilated convolutions and their sum."""
    inputs = keras.Input(shape, dtype=layer.compute_dtype)
    kernels = layer.kernels * (len(layer.rates) if layer.tied else 1)
    branches = []
    for rate, kernel in zip(layer.rates, kernels, strict=True):
        has_bias = layer.use_bias and not branches
        arguments = {**_kept(layer), "name": f"{layer.name}_rate_{rate}", "use_bias": has_bias}
        plain = keras.layers.Conv2D(layer.filters, layer.kernel_size, padding="same", dilation_rate=rate, **arguments)
        branches.append(plain(inputs))
        _set_weights(plain, kernel, layer)
    outputs = keras.layers.Add(dtype=layer.dtype_policy)(branches) if len(branches) > 1 else branches[0]
    return keras.Model(inputs, outputs, name=layer.name)


def _set_weights(plain, kernel, layer):
    """Gives a plain layer copies of a kernel and of a layer's bias: JAX may give the arrays themselves away."""
    weights = [kernel, layer.bias] if plain.use_bias else [kernel]
    plain.set_weights([keras.ops.convert_to_numpy(weight) for weight in weights])


def _kept(layer):
    return {
        "name": layer.name,
        "data_format": layer.data_format,
        "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }


def _height_and_width(x, data_format):
    return x.shape[1:3] if data_format == "channels_last" else x.shape[2:4]
