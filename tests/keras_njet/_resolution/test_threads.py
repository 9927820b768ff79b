"""Guards models that are trained and used by several threads at once: each result is that of one thread alone.

On JAX Keras takes the weights from a model while it trains or predicts; there other threads call the model itself.
"""

import threading

import keras
import numpy as np
import pytest

import keras_njet
from keras_njet._resolution.limits import Limits
from tests.helpers import to_numpy

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(32, 20, 20, 1)).astype("float32"), RANDOM.normal(size=(32, 4)).astype("float32")


class Growing(keras.callbacks.Callback):
    """Changes the sizes of filters and feature maps at each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        for name in ("near", "far"):
            self.model.get_layer(name).sigma = 1.5**epoch


def make_model(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((20, 20, 1))
    near = keras_njet.NJetConv2D(4, subsample_rate=3.0, name="near")(inputs)
    far = keras_njet.NJetConv2D(4, subsample_rate=3.0, name="far")(near)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(far))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def train(model):
    return model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[Growing()]).history["loss"]


def predict(model, count):
    if keras.backend.backend() == "jax":
        return [to_numpy(model(X[:count], training=False)) for _ in range(8)]
    return [model.predict(X[:count], batch_size=count, verbose=0) for _ in range(8)]


@pytest.fixture(scope="module")
def alone():
    """The losses of two models, each trained alone."""
    return [train(make_model(seed)) for seed in (0, 1)]


def run_at_once(*tasks):
    """What functions with their arguments return that run in a thread each; raises what one raises."""
    found = {}

    def run(number, function, *arguments):
        try:
            found[number] = function(*arguments)
        except Exception as error:  # which would end in the thread
            found[number] = error

    threads = [threading.Thread(target=run, args=(number, *task)) for number, task in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive(), "a thread hangs"
    for result in found.values():
        if isinstance(result, Exception):
            raise result
    return [found[number] for number in range(len(tasks))]


def test_two_models_are_trained_in_two_threads(alone):
    np.testing.assert_allclose(run_at_once(*[(train, make_model(seed)) for seed in (0, 1)]), alone, rtol=1e-5)


def test_a_model_predicts_in_many_threads_while_another_one_trains(alone):
    model, trained = make_model(0), make_model(1)
    expected = model.predict(X, verbose=0)
    *predicted, losses = run_at_once(*[(predict, model, count) for count in (8, 8, 32, 32)], (train, trained))
    np.testing.assert_allclose(losses, alone[1], rtol=1e-5)
    for rounds in predicted:
        for outputs in rounds:
            np.testing.assert_allclose(outputs, expected[: len(outputs)], atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="there it has no weights")
def test_a_model_that_trains_predicts_in_many_threads(alone):
    model = make_model(0)
    *predicted, losses = run_at_once(*[(predict, model, count) for count in (8, 8, 32, 32)], (train, model))
    np.testing.assert_allclose(losses, alone[0], rtol=1e-5)
    assert all(np.isfinite(outputs).all() for rounds in predicted for outputs in rounds)


class _UsedByAnother:
    """Stands for a layer; while its scales are looked at, another thread has `limits` watch a further layer."""

    thread = None

    def __init__(self, limits):
        self.limits = limits

    @property
    def scales(self):
        self.thread = threading.Thread(target=self.limits.add, args=(_UsedByAnother(self.limits),))
        self.thread.start()
        self.thread.join(timeout=0.1)  # it has to wait, or has ended
        return []


def test_a_layer_may_be_watched_while_another_thread_tells_of_the_limits():
    limits = Limits()
    layer = _UsedByAnother(limits)
    limits.add(layer)
    limits.tell()  # raised "dictionary changed size during iteration", once
    layer.thread.join()
    assert len(limits.layers) > 1
