"""Guards what all share that copy models: the new one has weights of its own, and works like the other one."""

import keras
import numpy as np
import pytest

from keras_njet import NJetASPP, NJetConv2D, convert, freeze, rescale
from keras_njet.layers import ASPP
from keras_njet.transforms._rebuilding import Rebuilding, inputs_like
from tests.helpers import on_torch, to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.normal(size=shape).astype("float32")


def plain(x):
    x = keras.layers.Conv2D(3, 3, bias_initializer="normal")(x)
    return keras.layers.BatchNormalization()(x)


def njet(x):
    x = NJetConv2D(3, bias_initializer="normal")(x)
    return ASPP(2, rates=(1, 2))(NJetASPP(2, sigma=(1.0,))(x))


def test_the_original_goes_on_when_the_copy_is_trained():
    # JAX deletes the arrays that a compiled step was given: the two must not share them.
    inputs = keras.Input((8, 8, 2))
    x = images(2, 8, 8, 2)
    for rebuild, network in ((convert, plain), (freeze, njet)):
        model = keras.Model(inputs, network(inputs))
        expected = model.predict(x, verbose=0)
        copy = rebuild(model)
        copy.compile("sgd", "mse")
        copy.fit(x, expected, verbose=0)
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize(("dtype", "used"), [("float32", True), ("mixed_bfloat16", False)])
@pytest.mark.parametrize(
    ("rebuild", "kind", "arguments"), [(convert, keras.layers.Conv2D, {"kernel_size": 3}), (freeze, NJetConv2D, {})]
)
def test_models_of_all_sorts_of_layers_and_losses_of_ones_own(rebuild, kind, arguments, dtype, used):
    normalization = keras.layers.Normalization(dtype=dtype)
    normalization.adapt(images(20, 8, 8, 2) * 3 + 5)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            normalization,
            kind(2, activation=keras.layers.PReLU(alpha_initializer="ones"), **arguments),
            keras.layers.Lambda(lambda x: x * 2, output_shape=lambda shape: shape),
        ]
    )
    model.compile("sgd", loss=lambda y, prediction: prediction)
    x = images(2, 8, 8, 2) + 5
    if used:  # only then has the activation weights
        model.predict(x, verbose=0)
    copy = rebuild(model)
    assert not copy.compiled
    np.testing.assert_allclose(to_numpy(copy(x)), to_numpy(model(x)), atol=1e-4)
    assert {id(weight) for weight in copy.weights}.isdisjoint(id(weight) for weight in model.weights)


def squared(x):
    """A function that Keras knows nothing of."""
    return keras.ops.square(x)


@pytest.mark.parametrize("rebuild", [convert, freeze, lambda model: rescale(model, 2.0)])
def test_functions_of_ones_own_are_kept_in_the_layers_that_have_them(rebuild):
    kind = keras.layers.Conv2D if rebuild is convert else NJetConv2D
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            kind(2, **({"kernel_size": 3} if rebuild is convert else {}), activation=squared),
            keras.layers.Activation(squared),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation=squared, kernel_regularizer=squared),
        ]
    )
    copy = rebuild(model)
    assert copy.layers[-1].activation is copy.layers[-1].kernel_regularizer is squared
    if copy.input_shape == model.input_shape:
        x = images(2, 8, 8, 2)
        np.testing.assert_allclose(to_numpy(copy(x)), to_numpy(model(x)), rtol=1e-3)


class Wider(Rebuilding):
    """Puts twice as many units in the place of those of the layer "inner"."""

    keeps_sequential = True

    def layer(self, layer):
        return super().layer(layer, **({"units": 2 * layer.units} if layer.name == "inner" else {}))


def test_changes_of_the_configuration_reach_layers_in_models_inside_the_model():
    inputs, shared = keras.Input((4,)), keras.layers.Dense(4, name="shared", trainable=False)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="inner")], name="block")
    model = keras.Model(inputs, keras.layers.ReLU(name="last")(inner(shared(shared(inputs)))), name="whole")
    outputs = Wider().outputs(model, keras.Input((4,), name="another"))
    copy = keras.Model(keras.utils.get_source_inputs(outputs), outputs)
    assert copy.output_shape == (None, 6)
    assert [layer.name for layer in copy.layers] == ["another", "shared", "block", "last"]
    assert [weight.path for weight in copy.weights] == [weight.path for weight in model.weights]
    assert not copy.get_layer("shared").trainable
    assert isinstance(copy.get_layer("block"), keras.Sequential)
    again = Rebuilding().rebuild(model)
    assert again.name == "whole"
    assert not isinstance(again.get_layer("block"), keras.Sequential)
    for weight, original in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), to_numpy(original))


def test_inputs_are_made_like_those_of_a_model():
    inputs = {"a": keras.Input((3, 4), name="a"), "b": keras.Input((None,), dtype="int32", name="b")}
    model = keras.Model(inputs, keras.layers.Flatten()(inputs["a"]))
    made = inputs_like(model, [tensor.shape[1:] for tensor in model.inputs])
    assert set(made) == {"a", "b"}
    assert (made["a"].shape, made["b"].shape, made["b"].dtype) == ((None, 3, 4), (None, None), "int32")
    again = keras.Model(made, keras.layers.Flatten()(made["a"]))
    assert [layer.name for layer in again.layers[:2]] == [layer.name for layer in model.layers[:2]]
    sequential = keras.Sequential([keras.Input((3,), name="only"), keras.layers.Dense(1)])
    assert inputs_like(sequential, [(5,)]).shape == (None, 5)


@on_torch
@pytest.mark.parametrize("rebuild", [convert, freeze, lambda model: rescale(model, 2.0)])
def test_an_input_that_may_be_missing_may_still_be_missing(rebuild):
    class AddIfThere(keras.layers.Layer):
        def call(self, x, other=None):
            return x if other is None else x + other

        def compute_output_shape(self, x_shape, other_shape=None):
            return x_shape

    kind = keras.layers.Conv2D(2, 3, padding="same") if rebuild is convert else NJetConv2D(2)
    inputs, other = keras.Input((8, 8, 2), name="i"), keras.Input((8, 8, 2), optional=True, name="j")
    model = keras.Model({"i": inputs, "j": other}, kind(AddIfThere()(inputs, other)))
    copy = rebuild(model)
    x = images(1, *copy.inputs[0].shape[1:])
    assert to_numpy(copy({"i": x, "j": None})).shape == x.shape
