"""`SafeSubsample`, which shrinks a feature map as far as a learned scale allows."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet._backend import calling_model, inner_layers
from keras_njet._convolution.sampling import resample
from keras_njet._resolution.following import Run
from keras_njet.layers._base_njet_conv import BaseNJetConv
from keras_njet.layers._data_formats import feature_map, from_channels_last, shape_of, spatial
from keras_njet.layers._njet_layer import NJetLayer


@keras.saving.register_keras_serializable(package="keras_njet")
class SafeSubsample(NJetLayer):
    """Shrinks each axis of a feature map to ⌊s·½^(σ/r)⌋ pixels, with the learned σ of an N-Jet layer.

    A convolution of scale σ leaves no detail finer than σ, so its feature map can be sampled more coarsely without loss
    (section IV of the paper). The map is resampled linearly, one axis after the other, to at least one pixel.

    The size follows σ: `fit`, `evaluate` and `predict` bring it up to date when they start, `fit` at the start of every
    epoch. No other layer of the model may therefore depend on the size: end the model in global pooling, for instance.

    Right after an N-Jet layer, `NJetConv2D(subsample_rate=4.0)` gives the same result and, evaluated by whole matrices,
    computes only the pixels that are kept. Use this layer further down, or for a second branch that must have the same
    size as the first: the shortcut of a residual block.

    Args:
        source: The `keras_njet.NJetConv2D` or other N-Jet layer whose σ decides, or its name. A name is looked up,
            when the layer is called, in the model that contains both. All other arguments are given by name.
        rate: Number r > 0, the σ at which the feature map has half its size. Defaults to 4, the paper's choice.
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        **kwargs: `name`, `dtype` of the layer.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first"; signals and
        volumes likewise, with one axis or three.

    Output shape:
        `(batch, new_height, new_width, channels)`, or `(batch, channels, new_height, new_width)`. Height and width are
        None in a symbolic call.

    Returns:
        A tensor: the smaller feature map.

    Raises:
        ValueError: If `rate` is not positive, if `source` is neither an N-Jet layer nor a name or has several σ, if
            the model has no N-Jet layer of this name, or if the feature map has another number of axes.

    Example: a residual block whose shortcut follows.

    >>> inputs = keras.Input((32, 32, 8))
    >>> convolution = keras_njet.NJetConv2D(8, subsample_rate=4.0)
    >>> x = keras.layers.ReLU()(convolution(inputs))
    >>> x = keras.layers.Add()([x, keras_njet.SafeSubsample(convolution, rate=4.0)(inputs)])
    >>> keras.Model(inputs, x)(numpy.zeros((1, 32, 32, 8))).shape
    (1, 26, 26, 8)
    """

    def __init__(self, source, *, rate: float = 4.0, data_format: str | None = None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(source, (str, BaseNJetConv)):
            raise ValueError(f"`source` must be an N-Jet layer or the name of one. Received: source={source!r}")
        if isinstance(source, BaseNJetConv):
            source.check_one_sigma()
        self._source = _Untracked(source)
        self.rate = _arguments.positive("rate", rate)
        self.data_format = _arguments.data_format(data_format)
        self.input_spec = keras.layers.InputSpec(min_ndim=3, max_ndim=5)
        self.built = True

    def call(self, inputs, factor=1.0):
        run = Run(inputs)
        source = self.find_source(run.model)
        factor = _arguments.positive("factor", factor)
        x = feature_map(inputs, self.data_format, self.compute_dtype)
        self._check_axes(source, len(x.shape) - 2)
        if not source.built:
            raise ValueError(
                f"SafeSubsample layer '{self.name}' must be called after the layer whose σ it follows, which was never "
                f"called. Received: source={source.name!r}"
            )
        new_sizes = [
            source.subsampled_size(size, self.rate, index, run, factor) for index, size in enumerate(ops.shape(x)[1:-1])
        ]
        return from_channels_last(resample(x, new_sizes), self.data_format)

    def compute_output_shape(self, input_shape):
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        unknown = [None] * len(spatial(input_shape, self.data_format))
        return shape_of(input_shape[0], unknown, channels, self.data_format)

    def get_config(self):
        source = self._source.layer
        name = source if isinstance(source, str) else source.name
        return {**super().get_config(), "source": name, "rate": self.rate, "data_format": self.data_format}

    def find_source(self, model: keras.Model | None = None) -> BaseNJetConv:
        """The N-Jet layer that decides, looked up in `model`, or else in the model that is running, if by name."""
        if isinstance(self._source.layer, str):
            self._source.layer = _innermost(model or calling_model().model, self, self._source.layer)
            self._source.layer.check_one_sigma()
        return self._source.layer

    def _check_axes(self, source, axes):
        if source.rank != axes:
            raise ValueError(
                f"SafeSubsample layer '{self.name}' must be called on a feature map with as many axes as that of layer "
                f"'{source.name}', whose σ it follows: {source.rank}. Received: axes={axes}"
            )


class _Untracked:
    """Holds a layer without making it, and its weights, a part of the layer that has this attribute."""

    def __init__(self, layer):
        self.layer = layer


def _innermost(model, layer, name):
    """The N-Jet layer called `name` in the smallest model that contains it and `layer`."""
    models = (
        [] if model is None else [model, *(inner for inner in inner_layers(model) if isinstance(inner, keras.Model))]
    )
    contents = sorted((inner_layers(inner) for inner in models), key=len)
    for layers in contents:
        found = [other for other in layers if isinstance(other, BaseNJetConv) and other.name == name]
        if found and any(other is layer for other in layers):
            return found[0]
    raise ValueError(
        f"SafeSubsample layer '{layer.name}' must be called in a model that contains the N-Jet layer whose σ it "
        f"follows. Received: source={name!r}, model={None if model is None else model.name!r}"
    )
