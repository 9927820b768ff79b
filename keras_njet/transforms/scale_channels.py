"""`ScaleChannels`, one set of weights at several scales."""

import types
import warnings

import keras
import numpy as np
from keras import ops

from keras_njet import _arguments
from keras_njet._backend import call_arguments, is_graph, is_training, run_graph
from keras_njet.layers._njet_layer import NJetLayer
from keras_njet.transforms._rebuilding import check_graph
from keras_njet.transforms.batch_statistics import normalizations
from keras_njet.transforms.rescaling import Plan, Rescaling


@keras.saving.register_keras_serializable(package="keras_njet")
class ScaleChannels(keras.Model):
    """Evaluates an N-Jet network at several scales with the same weights, and pools the predictions.

    A channel with the factor f is the network that `keras_njet.rescale` makes of `model` for images f times as large,
    but its scales are those of `model` times f, so that training it trains `model`. This is for objects of unknown
    size: in a network that knows objects of one size, the channel f finds those that are f times as large. Channels
    differ in their N-Jet layers, pooling windows and paddings. All variables belong to `model`: training it at some
    factors trains it for all others. What comes before the first layer that differs is computed once. Everything else
    costs as much in each channel as in `model`, since neither feature maps nor the number of products with matrices
    depend on the factor.

    In inference batch normalisation has one mean and one variance for all channels. In training it would take those of
    the batch in each channel alone; so a channel of the wrong scale would be made to look right, and never learn to be
    silent. Train the network alone first, and freeze batch normalisation (`layer.trainable = False`) before you train
    the channels.

    Args:
        model: Functional or sequential Keras model with N-Jet layers that has been built, and whose output does not
            depend on the size of the images, such as logits after global pooling. It becomes a part of this model.
        factors: Tuple of numbers > 0, one for each channel; the channel 1 is `model` itself.
        pooling: How predictions are pooled over the channels. "max": the largest of each class. "mean". "logsumexp":
            the logarithm of the mean of their exponentials, between the two. Defaults to "max".
        dropout: Probability in [0, 1) that a channel is left out of the pooling in training, drawn for each image; at
            least one is always kept. Defaults to 0.
        seed: Integer, of the dropout. Defaults to a random seed.
        **kwargs: `name` of the model.

    Input shape:
        As that of `model`, of any height and width if its layers allow it.

    Output shape:
        As that of `model`.

    Returns:
        A tensor: the pooled predictions.

    Raises:
        ValueError: If an argument is out of its range, if `model` is neither functional nor sequential or is not built,
            or if it can't be rescaled, see `keras_njet.rescale`.

    Example:

    >>> layers = [keras_njet.NJetConv2D(8, activation="relu"), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3)]
    >>> model = keras_njet.ScaleChannels(keras.Sequential([keras.Input((24, 24, 1)), *layers]), factors=(1.0, 1.5, 2.0))
    >>> images = numpy.zeros((4, 24, 24, 1), "float32")
    >>> model.predict_channels(images).shape
    (4, 3, 3)
    >>> model.winning_factors(images).shape
    (4,)
    """

    def __init__(self, model, factors, pooling: str = "max", dropout: float = 0.0, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        check_graph(model)
        if len(model.outputs) != 1:
            raise ValueError(
                f"Expected a model with one output, not {len(model.outputs)}. Received: model={model.name!r}"
            )
        self.model = model
        if not isinstance(model, keras.Sequential):
            self.output_names = list(model.output_names)  # by which losses and metrics may be given
        self.factors = _arguments.several("factors", factors, _arguments.positive)
        self.pooling = _arguments.one_of("pooling", pooling, ("max", "mean", "logsumexp"))
        self.dropout = _arguments.share("dropout", dropout)
        self.seed = seed
        self._generator = keras.random.SeedGenerator(seed)
        # What is not a weight is hidden from Keras, which would save it.
        channels = [_Channel(model, factor) for factor in self.factors]
        self._hidden = types.SimpleNamespace(channels=channels, reader=None, warned=False)
        self.built = True

    def call(self, inputs, training=None, pooled=True):
        if training:
            self._warn_of_batch_statistics()
        shared = _Shared(inputs, is_training() if training is None else training)
        outputs = [keras.tree.flatten(shared.run(channel, self.model, inputs)) for channel in self._hidden.channels]
        outputs = ops.stack([output for (output,) in outputs], axis=1)
        if not pooled:
            return outputs
        kept = None
        if training and self.dropout > 0:
            scores = keras.random.uniform(ops.shape(outputs)[:2], seed=self._generator)
            kept = ops.logical_or(scores >= self.dropout, scores >= ops.max(scores, axis=1, keepdims=True))
            kept = ops.reshape(kept, (*ops.shape(kept), *(1,) * (len(outputs.shape) - 2)))
        return _pool(outputs, self.pooling, kept)

    def _warn_of_batch_statistics(self):
        """Warns once if batch normalisation is trained and there are several channels."""
        if self._hidden.warned or len(self.factors) == 1:
            return
        trained = [layer.name for layer in normalizations(self.model) if layer.trainable]
        if trained:
            self._hidden.warned = True
            warnings.warn(
                "In training each scale channel is normalised by the statistics of its own batch, in inference all "
                "channels by the same. Expected batch normalisation to be frozen (`layer.trainable = False`), once the "
                f"network has been trained alone. Received: {', '.join(map(repr, trained))}",
                stacklevel=2,
            )

    def predict_channels(self, images, batch_size: int | None = None, verbose=0) -> np.ndarray:
        """Predicts with each channel separately, without pooling.

        Args:
            images, batch_size, verbose: As in `predict`.

        Returns:
            An array of shape `(images, channels, ...)`.
        """
        if self._hidden.reader is None:
            self._hidden.reader = _Reader(self)
        return self._hidden.reader.predict(images, batch_size=batch_size, verbose=verbose)

    def winning_factors(self, images, batch_size: int | None = None, verbose=0) -> np.ndarray:
        """Finds, for each image, the factor of the channel that gives the predicted class its highest score.

        The factor times the size of the objects that `model` was trained on estimates the size of the object.

        Args:
            images, batch_size, verbose: As in `predict`.

        Returns:
            An array of shape `(images,)`.

        Raises:
            ValueError: If the output of the model does not have the shape `(batch, classes)`.
        """
        outputs = self.predict_channels(images, batch_size, verbose)
        if outputs.ndim != 3:
            raise ValueError(
                "The output of the model must have the shape (batch, classes) for a channel to win. Received: "
                f"outputs.shape={(outputs.shape[0], *outputs.shape[2:])}"
            )
        pooled = keras.ops.convert_to_numpy(_pool(keras.ops.convert_to_tensor(outputs), self.pooling))
        of_class = np.take_along_axis(outputs, pooled.argmax(axis=-1)[:, None, None], axis=2)[:, :, 0]
        return np.array(self.factors)[of_class.argmax(axis=1)]

    def get_config(self):
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "factors": self.factors,
            "pooling": self.pooling,
            "dropout": self.dropout,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**{**config, "model": model})


class _Channel:
    """A model whose layers are called with a factor; it has no variables of its own."""

    def __init__(self, model, factor):
        self.factor = factor
        self.plan = Plan(model, factor)
        self.plan.check(strict=True)
        self.rescaling = Rescaling(factor, self.plan, rescale_pooling=True)

    def run(self, graph, inputs, shared):
        """The outputs of a model.

        Args:
            graph: The model.
            inputs: Its inputs.
            shared: What does not depend on the factor.
        """

        def call(layer, *args, **kwargs):
            if is_graph(layer):
                return self.run(layer, args[0], shared)
            shared.calls += 1
            kwargs = call_arguments(layer, kwargs, shared.training)
            if self.plan.depends_on_factor(layer):
                if isinstance(layer, NJetLayer):
                    return layer(*args, **{**kwargs, "factor": self.factor * kwargs.get("factor", 1.0)})
                return self.rescaling.once(layer, self.rescaling.layer)(*args, **kwargs)
            return shared.call(layer, *args, **kwargs)

        if not isinstance(graph, keras.Sequential):
            return run_graph(graph, inputs, call)
        for layer in graph.layers:
            inputs = call(layer, inputs)
        return inputs


class _Shared:
    """What channels have in common: results that do not depend on the factor, which only the first one computes.

    Args:
        inputs: The inputs of the channels.
        training: Whether they are trained, or None.
    """

    def __init__(self, inputs, training):
        self.training = training
        self.calls = 0  # so far, in the present channel: they are the same in all, and in the same order
        self.tensors = {id(tensor): tensor for tensor in keras.tree.flatten(inputs)}
        self.results = {}

    def run(self, channel, graph, inputs):
        """The outputs of a channel."""
        self.calls = 0
        return channel.run(graph, inputs, self)

    def call(self, layer, *args, **kwargs):
        """What a layer that has no factor returns."""
        tensors = [id(tensor) for tensor in keras.tree.flatten((args, kwargs)) if ops.is_tensor(tensor)]
        if any(tensor not in self.tensors for tensor in tensors):
            return layer(*args, **kwargs)
        if self.calls not in self.results:
            self.results[self.calls] = layer(*args, **kwargs)
            self.tensors |= {id(tensor): tensor for tensor in keras.tree.flatten(self.results[self.calls])}
        return self.results[self.calls]


class _Reader(keras.Model):
    """Predicts the channels of a model one by one."""

    def __init__(self, model):
        super().__init__(name="channels", autocast=False)
        self.model = model
        self.built = True

    def call(self, inputs):
        return self.model(inputs, training=False, pooled=False)


def _pool(outputs, pooling, kept=None):
    """Pools over the channels, of which each image may keep some only."""
    if kept is None:
        kept = ops.ones_like(outputs, "bool")
    kept = ops.broadcast_to(kept, ops.shape(outputs))
    count = ops.sum(ops.cast(kept, outputs.dtype), axis=1)
    if pooling == "mean":
        return ops.sum(ops.where(kept, outputs, 0.0), axis=1) / count
    others = ops.where(kept, outputs, ops.cast(-np.inf, outputs.dtype))
    if pooling == "max":
        return ops.max(others, axis=1)
    return ops.logsumexp(others, axis=1) - ops.log(count)
