"""`fit_progressively`, which trains a network on smaller images first."""

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._backend import compile_arguments
from keras_njet._convolution.sizes import rounded
from keras_njet.layers._data_formats import spatial
from keras_njet.transforms.rescaling import Plan, data_format_of
from keras_njet.transforms.scale_channels import ScaleChannels

_RESIZED_AT_ONCE = 256


def fit_progressively(
    model: keras.Model, x, y=None, *, factors, epochs, validation_data=None, **options
) -> list[keras.callbacks.History]:
    """Trains an N-Jet network on smaller images first, then on larger ones, in one call.

    A stage with the factor f trains the network as `keras_njet.rescale` moves it to images f times as large: all scales
    σ are multiplied by f (section III-C of the paper: coefficients do not depend on σ). It trains the variables of
    `model` itself, by its own optimizer, so that nothing is lost between the stages: neither momentum nor a schedule of
    learning rates. An image of half the height and width has a quarter of the pixels, so early epochs cost less.

    Args:
        model: Functional or sequential Keras model with N-Jet layers, compiled, that `keras_njet.rescale` accepts.
        x: Array of images of the full size, of shape `(images, height, width, channels)`, or "channels_first". For a
            factor below 1 they are resized, bilinearly with anti-aliasing. Or a function of the factor that returns
            what `fit` takes as `x`, for instance a data set, with images of that size.
        y: Array of labels, which do not depend on the size. None if `x` is a function.
        factors: Tuple of numbers > 0, one for each stage; 1 is the full size.
        epochs: Tuple of integers ≥ 1: how many epochs each stage has.
        validation_data: A pair of arrays, which are resized likewise; or a function of the factor that returns what
            `fit` takes as `validation_data`; or None, the default.
        **options: Further arguments of `fit`, for all stages.

    Returns:
        A list with the `History` of each stage. Epochs are numbered on from stage to stage. If a callback ends a stage
        early, the next one follows, unless the loss is NaN.

    Raises:
        ValueError: If `model` is not compiled or can't be rescaled, if there are not as many factors as epochs, if one
            of them is out of its range, if `initial_epoch` is given, or if images that are to be resized do not have
            two axes of pixels.

    Example:

    >>> layers = [keras_njet.NJetConv2D(4), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    >>> model = keras.Sequential([keras.Input((16, 16, 1)), *layers])
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> x, y = numpy.zeros((8, 16, 16, 1), "float32"), numpy.zeros(8, "int32")
    >>> stages = fit_progressively(model, x, y, factors=(0.75, 1.0), epochs=(2, 1), verbose=0)
    >>> [stage.epoch for stage in stages]
    [[0, 1], [2]]
    """
    if not model.compiled:
        raise ValueError(f"The model must be compiled: call `model.compile` first. Received: model={model.name!r}")
    factors = _arguments.several("factors", factors, _arguments.positive)
    epochs = _arguments.several("epochs", epochs, lambda name, value: _arguments.integer(name, value, least=1))
    if len(factors) != len(epochs):
        raise ValueError(
            f"Each stage needs a factor and a number of epochs. Received: factors={factors}, epochs={epochs}"
        )
    if "initial_epoch" in options:
        raise ValueError(
            f"Epochs are numbered from 0 on, from stage to stage. Received: initial_epoch={options['initial_epoch']}"
        )
    if callable(x) and y is not None:
        raise ValueError(f"A function also gives the targets: `y` must be None. Received: type(y)={type(y).__name__}")
    data_format = data_format_of(model)
    if any(factor != 1.0 for factor in factors):
        _check_resizing(model, x, validation_data)
    histories, begun = [], 0
    for factor, count in zip(factors, epochs, strict=True):
        given = _training_data(x, y, factor, data_format) | _validation_data(validation_data, factor, data_format)
        stage = _stage(model, factor)
        history = stage.fit(**given, initial_epoch=begun, epochs=begun + count, **options)
        histories.append(history)
        begun += len(history.epoch)
        if np.isnan(history.history.get("loss", [0.0])[-1]):
            break
    return histories


def _check_resizing(model, x, validation_data):
    """Raises an error if the model or the images can't have another size, before the first stage begins."""
    Plan(model, 1.0).check(strict=True)  # any factor, for all meet the same layers
    if not callable(x):
        _check_images("x", x)
    if validation_data is not None and not callable(validation_data):
        images, *_ = validation_data
        _check_images("validation_data", images)


def _check_images(name, images):
    if not hasattr(images, "ndim") or images.ndim != 4:
        raise ValueError(
            f"`{name}` must be an array of shape (images, height, width, channels) to be resized, or a function of the "
            f"factor. Received: type({name})={type(images).__name__}, {name}.shape={getattr(images, 'shape', None)}"
        )


def _stage(model, factor):
    """A model with the variables and the optimizer of the given one, for images of another size."""
    if factor == 1.0:
        return model
    stage = _Stage(model, (factor,), pooling="mean", name="stage")
    stage.compile(**compile_arguments(model))
    return stage


class _Stage(ScaleChannels):
    """The model at another size. What callbacks save and load is the model itself."""

    def save(self, *args, **kwargs):
        self.model.save(*args, **kwargs)

    def save_weights(self, *args, **kwargs):
        self.model.save_weights(*args, **kwargs)

    def load_weights(self, *args, **kwargs):
        self.model.load_weights(*args, **kwargs)


def _training_data(x, y, factor, data_format):
    if callable(x):
        return {"x": x(factor)}
    return {"x": _resized(x, factor, data_format), "y": y}


def _validation_data(data, factor, data_format):
    if data is None:
        return {}
    if callable(data):
        return {"validation_data": data(factor)}
    images, *others = data
    return {"validation_data": (_resized(images, factor, data_format), *others)}


def _resized(images, factor, data_format):
    """Images of another size, as an array."""
    if factor == 1.0:
        return images
    size = [rounded(factor * size, least=1) for size in spatial(images.shape, data_format)]
    parts = [images[first : first + _RESIZED_AT_ONCE] for first in range(0, len(images), _RESIZED_AT_ONCE)]
    resized = (keras.ops.image.resize(part, size, antialias=True, data_format=data_format) for part in parts)
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in resized])
