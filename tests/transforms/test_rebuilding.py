"""Guards what `convert` and `freeze` share: the new model has weights of its own, and works like the other one."""

import keras
import numpy as np
import pytest

from keras_njet import NJetASPP, NJetConv2D, convert, freeze
from keras_njet.layers import ASPP
from tests.oracles import to_numpy

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.normal(size=shape).astype("float32")


def plain(x):
    x = keras.layers.Conv2D(3, 3, bias_initializer="normal")(x)
    return keras.layers.BatchNormalization()(x)


def njet(x):
    x = NJetConv2D(3, bias_initializer="normal")(x)
    return ASPP(2, rates=(1, 2))(NJetASPP(2, sigma=(1.0,))(x))


@pytest.mark.parametrize(("rebuild", "network"), [(convert, plain), (freeze, njet)])
def test_the_original_goes_on_when_the_copy_is_trained(rebuild, network):
    # JAX deletes the arrays that a compiled step was given: the two must not share them.
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, network(inputs))
    x = images(2, 8, 8, 2)
    expected = model.predict(x, verbose=0)
    copy = rebuild(model)
    copy.compile("sgd", "mse")
    copy.fit(x, expected, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("rebuild", "kind", "arguments"), [(convert, keras.layers.Conv2D, {"kernel_size": 3}), (freeze, NJetConv2D, {})]
)
def test_models_of_all_sorts_of_layers_and_losses_of_ones_own(rebuild, kind, arguments, dtype):
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
    copy = rebuild(model)
    assert not copy.compiled
    np.testing.assert_allclose(to_numpy(copy(x)), to_numpy(model(x)), atol=1e-4)
    assert {id(weight) for weight in copy.weights}.isdisjoint(id(weight) for weight in model.weights)
