"""The methods that any_size compares: how a trained network is prepared for images of another size."""

import dataclasses
import functools
import warnings
from collections.abc import Callable

BATCH_SIZE = 100
CHANNELS = tuple(2.0 ** (half / 2) for half in range(5))
TRAINED_CHANNELS = tuple(2.0 ** (half / 2) for half in range(-2, 3))


def as_it_is(model, factor):
    return model


def copied(model, factor):
    """A copy with the same weights."""
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def converted(model, factor):
    """N-Jet layers in the place of convolutions, rescaled."""
    import keras_njet

    njet = keras_njet.convert(model, order=6, learn_sigma=False, max_error=1.0)
    return keras_njet.rescale(njet, factor, rescale_pooling=False)


def rescaled(model, factor):
    import keras_njet

    return keras_njet.rescale(model, factor)


def integrated(model, factor):
    """Rescaled, with filters that are integrated over pixels."""
    import keras_njet

    return keras_njet.rescale(model, factor, discretization="integrated")


def scale_channels(model, factor):
    """The network at several scales, the same ones whatever the size of the images is."""
    import keras_njet

    return keras_njet.ScaleChannels(model, CHANNELS)


def with_statistics(prepared, data, factor, seed=None):
    """Takes the batch statistics of enlarged images."""
    import keras_njet

    keras_njet.adapt_batch_statistics(prepared, data.statistics(factor), batch_size_at(factor), verbose=0)


def with_statistics_of_the_first_layer(prepared, data, factor, seed):
    """Takes the statistics of enlarged images where the smallest filters are, and nowhere else."""
    kept = [(layer, layer.get_weights()) for layer in normalizations(prepared)[1:]]
    with_statistics(prepared, data, factor)
    for layer, weights in kept:
        layer.set_weights(weights)


def with_the_last_layer_tuned(prepared, data, factor, seed):
    """Tunes the last layer between two recomputations of batch statistics."""
    import keras

    with_statistics(prepared, data, factor)
    keras.utils.set_random_seed(seed)
    tune_last_layer(prepared, *data.to_tune_on(factor))
    with_statistics(prepared, data, factor)


def tune_last_layer(model, x, y):
    """Trains the last convolution and its normalisation, as FixRes does; all other layers are frozen."""
    import keras

    for layer in model.layers:
        layer.trainable = layer.name.startswith("top")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=2, verbose=0)


def integrated_with_statistics(model, data, seed, epochs):
    """A copy of a network that needs no statistics of each size: its filters are integrated over pixels."""
    copy = integrated(model, 1.0)
    with_statistics(copy, data, 1.0)
    return copy


def trained_through_channels(model, data, seed, epochs):
    """A copy of a network that has been trained a little more, so that channels of all scales are right or silent."""
    import keras

    import keras_njet

    keras.utils.set_random_seed(seed)
    x, y = data.to_tune_on(1.0)
    trained = integrated_with_statistics(model, data, seed, epochs)
    for layer in normalizations(trained):
        layer.trainable = False
    channels = keras_njet.ScaleChannels(trained, TRAINED_CHANNELS, dropout=0.5, seed=seed)
    steps = epochs * -(-len(x) // BATCH_SIZE)
    channels.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    channels.fit(x, y, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)
    return trained


def normalizations(model):
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def batch_size_at(factor):
    """How many images are worked on at a time: fewer large ones, as five channels of large images need gigabytes."""
    return round(BATCH_SIZE / max(1.0, factor))


@dataclasses.dataclass(frozen=True)
class Method:
    """What is done with a network for images of another size.

    Attributes:
        prepare: Function of a network and a factor, of the network for images that are enlarged by it.
        finish: Function of that network, the data, the factor and a seed, which changes the network; or None.
        start: Function of the trained network, the data, a seed and a number of epochs, of the network that `prepare`
            is given at every size; None for the trained one.
        resizes: Whether images are resized back to the size of the training.
    """

    prepare: Callable = as_it_is
    finish: Callable | None = None
    start: Callable | None = None
    resizes: bool = False

    def prepared(self, start, data, factor, seed):
        """The network for images enlarged by a factor."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Below some σ", UserWarning)  # what the study shows
            model = self.prepare(start, factor)
        if self.finish is not None:
            self.finish(model, data, factor, seed)
        return model


METHODS = {
    "NIN": {
        "as it is": Method(),
        "images resized back": Method(resizes=True),
        "converted, rescaled, statistics": Method(converted, with_statistics),
        "last layer tuned": Method(copied, with_the_last_layer_tuned),
    },
    "NJetNIN": {
        "as it is": Method(),
        "images resized back": Method(resizes=True),
        "rescaled": Method(rescaled),
        "rescaled, statistics": Method(rescaled, with_statistics),
        "rescaled, integrated, statistics": Method(integrated, with_statistics),
        "rescaled, integrated, statistics of the original size": Method(rescaled, start=integrated_with_statistics),
        "scale channels": Method(scale_channels, start=integrated_with_statistics),
        "scale channels, trained through them": Method(scale_channels, start=trained_through_channels),
        "the right channel, trained through all": Method(rescaled, start=trained_through_channels),
        "rescaled, statistics of the first layer": Method(rescaled, with_statistics_of_the_first_layer),
    },
}
NAMES = list(dict.fromkeys(name for methods in METHODS.values() for name in methods))


def starting_networks(methods, model, data, seed, epochs):
    """What each method starts from, by its name; methods that start alike share one network."""
    make = functools.cache(lambda start: model if start is None else start(model, data, seed, epochs))
    return {name: make(method.start) for name, method in methods.items()}
