"""Guards serialisation: the same predictions after reloading in a new process, on every installed backend."""

import copy
import inspect
import json
import pickle

import keras
import numpy as np
import pytest

import keras_njet
from keras_njet import NJetConv2D, SafeSubsample
from tests.helpers import predicts_the_same_in_a_new_process

X = np.random.default_rng(0).normal(size=(3, 18, 15, 2)).astype("float32")


def build():
    """A residual block with σ far from its start, nested in a model."""
    inputs = keras.Input((18, 15, 2))
    layer = NJetConv2D(4, order=2, sigma=0.7, groups=2, activation="relu", subsample_rate=3.0, name="njet")
    x = keras.layers.BatchNormalization()(layer(inputs))
    x = keras.layers.Concatenate()([x, SafeSubsample("njet", rate=3.0, name="shortcut")(inputs)])
    block = keras.Model(inputs, x, name="block")
    outer = keras.Sequential([keras.Input((18, 15, 2)), block, NJetConv2D(3, strides=2, padding="valid", name="last")])
    layer.sigma = 3.3
    outer.get_layer("last").sigma = 0.9
    return outer


def test_the_source_survives_every_way_of_copying():
    model = build()
    expected = model.predict(X, verbose=0)
    assert expected.shape[1:3] == (2, 1)  # ⌊18·½^1.1⌋ = 8 and ⌊15·½^1.1⌋ = 6 pixels, then "valid" 5×5 with strides
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    from_config = keras.Sequential.from_config(model.get_config())
    from_config.set_weights(model.get_weights())
    for other in (clone, from_config, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        block = other.get_layer("block")
        np.testing.assert_allclose(other.predict(X, verbose=0), expected, atol=1e-6)
        assert block.get_layer("shortcut").find_source() is block.get_layer("njet")
        block.get_layer("njet").sigma = 0.4
        assert other.predict(X, verbose=0).shape != expected.shape
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-6)


def test_a_layer_can_be_copied_after_a_call():
    layer = NJetConv2D(4, sigma=1.3)
    expected = keras.ops.convert_to_numpy(layer(X))
    layer.sigma = 2.2
    other = copy.deepcopy(layer)
    assert other.kernel_size == layer.kernel_size == (11, 11)
    other.sigma = 1.3
    assert layer.kernel_size == (11, 11)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(other(X)), expected, atol=1e-6)


def test_predictions_are_the_same_in_a_new_process(tmp_path):
    predicts_the_same_in_a_new_process(build(), X, tmp_path)


def test_training_goes_on_after_an_interruption(tmp_path):
    begun = []
    note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))

    def train(epochs, stop_after=None):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((18, 15, 2))
        x = NJetConv2D(2, subsample_rate=2.0, name="njet", sigma_regularizer=keras.regularizers.L1(1.0))(inputs)
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
        model.compile(keras.optimizers.SGD(0.2), "mse")
        callbacks = [
            keras.callbacks.BackupAndRestore(tmp_path / f"{stop_after is None}", delete_checkpoint=False),
            note,
        ]
        if stop_after is not None:
            callbacks.append(Interrupt(stop_after))
        try:
            model.fit(X, np.ones((3, 2)), epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
        except KeyboardInterrupt:
            return train(epochs, stop_after=epochs + 1)
        return model

    whole = train(5)
    begun.clear()
    resumed = train(5, stop_after=2)
    assert begun == [0, 1, 2, 2, 3, 4]
    assert float(keras.ops.convert_to_numpy(whole.get_layer("njet").sigma)) < 0.8
    assert whole.get_layer("njet").kernel_size == resumed.get_layer("njet").kernel_size
    np.testing.assert_allclose(resumed.predict(X, verbose=0), whole.predict(X, verbose=0), atol=1e-5)


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def test_the_configuration_is_json_and_has_what_was_given():
    given = {
        "filters": 4,
        "order": 1,
        "sigma": 2.5,
        "extent": 3.0,
        "learn_sigma": False,
        "sigma_learning_rate": 0.5,
        "max_sigma": 7.0,
        "discretization": "integrated",
        "strides": [1, 2],
        "padding": "valid",
        "data_format": "channels_first",
        "groups": 2,
        "activation": "gelu",
        "use_bias": False,
        "subsample_rate": 5.0,
        "unit": 2.0,
        "implementation": "dense",
    }
    others = {
        "coefficient_initializer": "he_normal",
        "coefficient_regularizer": "l2",
        "sigma_regularizer": keras.regularizers.L1(0.1),
        "coefficient_constraint": "unit_norm",
        "sigma_constraint": "non_neg",
    }
    layer = NJetConv2D(**given, **others)
    config = json.loads(json.dumps(layer.get_config()))
    assert {name: config[name] for name in given} == given
    assert NJetConv2D.from_config(config).get_config() == layer.get_config()


LAYERS = [
    *(getattr(keras_njet, f"NJetConv{axes}D")(2) for axes in (1, 2, 3)),
    *(getattr(keras_njet, f"NJetDepthwiseConv{axes}D")() for axes in (1, 2, 3)),
    keras_njet.NJetASPP(2),
    keras_njet.layers.ASPP(2),
    keras_njet.layers.DeformableConv2D(2),
    keras_njet.layers.ScaledPooling(keras.layers.MaxPooling2D(2), 2.0),
    SafeSubsample("njet", rate=3.0),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_the_configuration_has_every_argument(layer):
    assert set(inspect.signature(type(layer)).parameters) - {"kwargs"} <= set(layer.get_config())
