"""Fails when a private part of Keras that the package leans on goes or changes."""

import keras
import numpy as np

from keras_njet import _backend

FOUND = []


class Spy(keras.layers.Layer):
    """Asks during its call what the package wants to know."""

    def call(self, x, training=None):
        FOUND.append((*_backend.calling_model(), _backend.is_traced(x), _backend.is_training(self)))
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


def test_the_calling_model_and_the_way_it_is_called():
    spy = Spy()
    model = keras.Sequential([keras.Input((3,)), spy, keras.layers.Dense(2)])
    x, y = np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32")
    compiles = keras.backend.backend() != "torch"
    calls = {"predict": (x,), "fit": (x, y), "evaluate": (x, y), "train_on_batch": (x, y), "predict_on_batch": (x,)}
    for method, arguments in calls.items():
        model.compile("sgd", "mse")
        getattr(model, method)(*arguments)
        assert FOUND[-1][:3] == (model, True, compiles), method
    model(x)
    assert FOUND[-1][:3] == (model, False, False)
    spy(x)
    assert FOUND[-1][:3] == (None, False, False)


def test_training_is_known_in_a_call():
    model = keras.Sequential([keras.Input((3,)), Spy()])
    x = np.zeros((2, 3), "float32")
    model(x, training=True)
    assert FOUND[-1][3] is True
    model(x, training=False)
    assert FOUND[-1][3] is False


def test_a_variable_is_read_also_while_tensorflow_compiles_and_is_none_where_it_has_no_value():
    variable = keras.Variable(2.0)
    assert _backend.read_scalar(variable) == 2.0
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = []
        tf.function(lambda: found.append(_backend.read_scalar(variable)))()
        assert found == [2.0]
    if keras.backend.backend() == "jax":
        import jax

        found = []

        def differentiate(value):
            with keras.StatelessScope([(variable, value)]):
                found.append(_backend.read_scalar(variable))
            return value

        jax.jit(differentiate)(variable.value)
        assert found == [None]
        variable._value = None  # as between the batches of `fit`
        assert _backend.read_scalar(variable) is None


def test_inner_layers_are_found_at_any_depth():
    inner = keras.Sequential([keras.layers.Dense(2, name="deep")])
    model = keras.Sequential([keras.Input((3,)), inner])
    assert [layer.name for layer in _backend.inner_layers(model) if layer.name == "deep"] == ["deep"]
