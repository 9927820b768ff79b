"""`adapt_batch_statistics`, which recomputes the statistics of batch normalisation."""

import inspect

import keras
import numpy as np
from keras import ops

from keras_njet._backend import calling_through, inner_layers, print_msg
from keras_njet.inspection.summary import require_built

_TOLERANCE = 1e-6  # change of a mean or a standard deviation, in units of the latter, that counts as rounding


def adapt_batch_statistics(model: keras.Model, images, batch_size: int | None = None, verbose="auto") -> None:
    """Gives batch normalisation the means and variances that it has on these images; needs no labels.

    A network that has been moved to other images, for instance by `keras_njet.rescale`, normalises by the statistics of
    those that it was trained on. Here each `keras.layers.BatchNormalization` gets the exact mean and variance of its
    inputs over all images, with all layers as in inference: without dropout, and with the new statistics in the layers
    before. Nothing else changes, and nothing is trained. Layers with `trainable=False` are adapted, too; they are only
    frozen in training.

    All statistics are computed at once, and again until they no longer change, since they depend on earlier layers.
    After n passes over the images they are right for the first n layers of each path through the network, so there are
    at most as many passes as layers; usually there are fewer, as the later ones change nothing.

    Args:
        model: A `keras.Model` of any sort that has been built, with batch normalisation. It is changed in place.
        images: What `model.predict` takes, if it can be read several times: an array or several, a `tf.data.Dataset`,
            a `keras.utils.PyDataset`, a torch `DataLoader`. Labels in a data set are ignored.
        batch_size: Integer, how many images of an array are worked on at a time, by default 32. The result does not
            depend on it.
        verbose: "auto", 0, 1 or 2, as in `predict`: whether to show the progress of each pass. Defaults to "auto".

    Raises:
        ValueError: If `model` is not built or has no batch normalisation, or `images` is a generator. The model is
            unchanged after an error.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.BatchNormalization()])
    >>> images = numpy.random.default_rng(0).normal(5.0, 2.0, (100, 8, 8, 1))
    >>> adapt_batch_statistics(model, images, verbose=0)
    >>> numpy.allclose(model.layers[0].moving_mean, images.mean(), atol=1e-5)
    True
    """
    layers = normalizations(require_built(model))
    if not layers:
        raise ValueError(f"The model must have a BatchNormalization layer. Received: model={model.name!r}")
    if inspect.isgenerator(images):
        raise ValueError(
            "`images` are read several times: expected an array, a data set or a `keras.utils.PyDataset`, not a "
            f"generator. Received: images={images!r}"
        )
    # All of them: on JAX variables have no value while a prediction runs, nor after one that was interrupted.
    old = [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in model.variables]
    statistics = _Statistics(model)
    try:
        for number in range(1, len(layers) + 1):
            if verbose not in (0, "0"):
                print_msg(f"Pass {number}, of at most {len(layers)}")
            found = statistics.predict(images, batch_size=batch_size, verbose=verbose)
            changes = [_assign(layers[index], batches) for index, batches in statistics.by_layer(found).items()]
            if max(changes, default=0.0) <= _TOLERANCE:
                return
    except BaseException:
        for variable, value in old:
            variable.assign(value)
        raise


class _Statistics(keras.Model):
    """A model whose outputs are the statistics of the inputs of all batch normalisation inside another model.

    Each output has the shape `(1, 3, channels)`: how many pixels the batch has, their mean and their variance.
    """

    def __init__(self, model):
        super().__init__(name="statistics", autocast=False)
        self.model = model
        self.called = []  # which layer each output belongs to: its index in `normalizations`
        self.built = True

    def call(self, inputs):
        found, self.called = [], []

        layers = normalizations(self.model)
        indices = {id(layer): index for index, layer in enumerate(layers)}

        def record(layer, call, inputs, *args, mask=None, **kwargs):
            self.called.append(indices[id(layer)])
            found.append(_moments(layer, inputs, mask))
            return call(inputs, *args, mask=mask, **kwargs)

        with calling_through(record, layers):
            self.model(inputs, training=False)
        return found

    def by_layer(self, outputs):
        """The statistics of all batches, for each layer that was called: an array of shape (batches, 3, channels)."""
        found = {}
        for index, batches in zip(self.called, outputs, strict=True):
            found.setdefault(index, []).append(batches)
        return {index: np.concatenate(batches).astype("float64") for index, batches in found.items()}


def _moments(layer, inputs, mask):
    """Number of pixels, mean and variance of a batch for each channel."""
    x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
    weights = ops.ones_like(x)
    if mask is not None:
        weights = weights * ops.cast(ops.expand_dims(mask, -1), x.dtype)
    axis = layer.axis % len(x.shape)
    axes = [other for other in range(len(x.shape)) if other != axis]
    count = ops.sum(weights, axes, keepdims=True)
    divisor = ops.maximum(count, 1.0)
    mean = ops.sum(weights * x, axes, keepdims=True) / divisor
    variance = ops.sum(weights * ops.square(x - mean), axes, keepdims=True) / divisor
    return ops.stack([ops.reshape(one, (1, -1)) for one in (count, mean, variance)], axis=1)


def _assign(layer, batches):
    """Gives a layer the statistics of all batches; returns by how much they have changed."""
    count, means, variances = np.moveaxis(batches, 1, 0)
    total = count.sum(axis=0)
    if not np.all(total > 0):
        raise ValueError(f"Expected an unmasked pixel for each batch normalisation. Received: layer={layer.name!r}")
    mean = (count * means).sum(axis=0) / total
    variance = (count * (variances + (means - mean) ** 2)).sum(axis=0) / total
    old_mean, old_variance = (
        np.asarray(keras.ops.convert_to_numpy(one), "float64") for one in (layer.moving_mean, layer.moving_variance)
    )
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    if layer.renorm:
        layer.moving_stddev.assign(np.sqrt(variance + layer.epsilon))
    deviation = np.sqrt(variance + layer.epsilon)
    changes = np.abs(mean - old_mean), np.abs(deviation - np.sqrt(old_variance + layer.epsilon))
    return float(np.max(changes / deviation))


def normalizations(model):
    """All layers of batch normalisation inside a model, at any depth."""
    return [layer for layer in inner_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
