"""Guards that the layer in which NaN arises is named, and that nothing is left changed."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_njet import NJetConv2D, find_nan
from tests.helpers import to_numpy

X, Y = np.ones((8, 6, 6, 1), "float32"), np.ones((8, 2), "float32")


class Root(keras.layers.Layer):
    """Its output is finite at 0; its gradient is not."""

    def call(self, x):
        return ops.sqrt(0.0 * x)


def make_model(*between, loss="mse", **arguments):
    first, last = (NJetConv2D(2, **arguments, name=name) for name in ("first", "last"))
    layers = [first, *between, last, keras.layers.GlobalMaxPooling2D()]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def test_what_stays_finite_is_left_as_it_was():
    model = make_model(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
    model.fit(X, Y, verbose=0)
    before = [to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]
    assert find_nan(model, X, Y, batch_size=4) is None
    after = [to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("within_another", [False, True])
def test_an_output_that_is_not_finite(within_another):
    infinite = keras.layers.Rescaling(np.inf, name="infinite")
    layer, where = find_nan(make_model(keras.Sequential([infinite]) if within_another else infinite), X, Y)
    assert (layer.name, where) == ("infinite", "output")


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_a_gradient_that_is_not_finite(activation):
    """Also if the activation of the layer is a layer, so that the layer holds another one."""
    layer, where = find_nan(make_model(Root(), activation=activation and keras.layers.Activation(activation)), X, Y)
    assert (layer.name, where) == ("first", "gradient")


def test_a_loss_that_is_not_finite():
    model = make_model(loss=lambda y, outputs: ops.log(-1.0 - ops.square(outputs)))
    assert find_nan(model, X, Y) == (model, "loss")


def test_the_step_after_which_a_training_diverges_is_found():
    model = make_model(learn_sigma=False)
    model.optimizer.learning_rate = 1e30
    layer, where = find_nan(model, X, Y, batch_size=2)
    assert (layer.name, where) in [("first", "output"), ("last", "output"), ("last", "gradient")]
    assert all(np.isfinite(to_numpy(variable)).all() for variable in model.variables)


def test_a_model_that_is_not_compiled_is_refused():
    with pytest.raises(ValueError, match=r"compiled model\. Received: model="):
        find_nan(keras.Sequential([keras.Input((6, 6, 1)), NJetConv2D(2)]), X, Y)


def test_a_model_that_has_not_been_built_can_be_trained_afterwards():
    model = keras.Sequential([NJetConv2D(2), keras.layers.GlobalMaxPooling2D()])
    model.compile("sgd", "mse")
    assert find_nan(model, X, Y) is None
    model.fit(X, Y, verbose=0)
