"""Guards how networks are prepared for images of another size: only what a method says is changed."""

import types

import keras
import numpy as np

from applications import any_size_methods
from applications.any_size_methods import METHODS
from keras_njet.applications import NIN, NJetNIN
from tests.helpers import to_numpy


def test_the_last_convolution_and_its_normalisation_are_tuned_and_nothing_else():
    model = NIN(weights=None, width=0.125, input_shape=(None, None, 1), classifier_activation=None)
    variables = [variable for variable in model.variables if "seed" not in variable.path]
    before = {variable.path: to_numpy(variable).copy() for variable in variables}
    x = np.random.default_rng(0).normal(size=(20, 28, 28, 1)).astype("float32")
    any_size_methods.tune_last_layer(model, x, np.arange(20) % 10)
    changed = {variable.path for variable in variables if (before[variable.path] != to_numpy(variable)).any()}
    assert changed == {path for path in before if path.startswith("top")}
    assert {path.split("/")[0] for path in changed} == {"top_conv", "top_bn"}


def test_batch_statistics_of_the_first_layer_alone():
    model = NJetNIN(weights=None, width=0.125, input_shape=(None, None, 1), classifier_activation=None)
    images = np.random.default_rng(0).normal(size=(20, 28, 28, 1)).astype("float32")
    data = types.SimpleNamespace(statistics=lambda factor: images)
    found = {
        method: [
            to_numpy(layer.moving_mean)
            for layer in METHODS["NJetNIN"][method].prepared(model, data, 1.0, seed=0).layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        for method in ("rescaled", "rescaled, statistics of the first layer", "rescaled, statistics")
    }
    old, first, new = found.values()
    np.testing.assert_array_equal(first[0], new[0])
    assert np.abs(first[0] - old[0]).max() > 1e-3
    for one, other, third in zip(old[1:], first[1:], new[1:], strict=True):
        np.testing.assert_array_equal(other, one)
        assert np.abs(third - one).max() > 1e-3


def test_methods_that_start_alike_share_a_network():
    made = []

    def start(model, data, seed, epochs):
        made.append((data, seed, epochs))
        return [model]

    methods = {"one": any_size_methods.Method(start=start), "other": any_size_methods.Method(start=start)}
    starts = any_size_methods.starting_networks({**methods, "third": any_size_methods.Method()}, "it", "data", 3, 4)
    assert starts["one"] is starts["other"]
    assert starts == {"one": ["it"], "other": ["it"], "third": "it"}
    assert made == [("data", 3, 4)]
