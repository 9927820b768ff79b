"""Guards `LayerwiseSGD`: the head moves by its multiple, everything else as with Keras' SGD."""

import keras
import numpy as np
import pytest

from keras_njet import LayerwiseSGD
from tests.helpers import to_numpy

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))


def changes(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, name="body"), keras.layers.Dense(2, name="head")], name="model"
    )
    before = {variable.path: to_numpy(variable) for variable in model.weights}
    model.compile(optimizer, "mse")
    model.train_on_batch(X, Y)
    return {variable.path: to_numpy(variable) - before[variable.path] for variable in model.weights}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rates_are_multiplied_where_they_shall_be(momentum):
    plain = changes(keras.optimizers.SGD(0.01, momentum=momentum))
    ours = changes(LayerwiseSGD(0.01, {"head/bias": 20.0, "head": 10.0}, momentum=momentum))
    for path, change in plain.items():
        factor = 20.0 if "head/bias" in path else 10.0 if "head" in path else 1.0
        np.testing.assert_allclose(ours[path], factor * change, rtol=1e-3, atol=1e-6)


def test_it_is_saved_with_the_model(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    rate = keras.optimizers.schedules.PolynomialDecay(0.1, 10, power=0.9)
    model.compile(LayerwiseSGD(rate, {"head": 10.0}), "mse")
    model.train_on_batch(X, Y)
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").optimizer.multipliers == {"head": 10.0}


def test_a_multiplier_of_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"Expected a part of one of the paths .*head/kernel.*Received: .*'tail'$"):
        changes(LayerwiseSGD(0.01, {"tail": 2.0}))
    with pytest.raises(ValueError, match="must not be negative"):
        LayerwiseSGD(0.01, {"head": -1.0})


def test_variables_are_told_apart_by_path_whatever_their_order():
    layers = [keras.layers.Dense(1, use_bias=False, name=name) for name in ("body", "head")]
    for layer in layers:
        layer.build((1, 1))
    body, head = (layer.kernel for layer in layers)
    optimizer = LayerwiseSGD(0.1, {"head": 5.0})
    optimizer.build([body, head])
    before = [float(to_numpy(variable)[0, 0]) for variable in (body, head)]
    gradients = [keras.ops.ones((1, 1)), keras.ops.ones((1, 1))]
    optimizer.apply(gradients, [head, body])
    assert float(to_numpy(body)[0, 0]) == pytest.approx(before[0] - 0.1)
    assert float(to_numpy(head)[0, 0]) == pytest.approx(before[1] - 0.5)
    optimizer.apply(gradients[:1], [body])  # as when a layer has been frozen since
    assert float(to_numpy(body)[0, 0]) == pytest.approx(before[0] - 0.2)


def test_a_multiplier_that_is_no_number_is_named():
    with pytest.raises(ValueError, match=r"Received: multipliers=\{'head': 'fast'\}$"):
        LayerwiseSGD(0.01, {"head": "fast"})


def test_gradients_are_clipped_after_they_are_multiplied_and_weight_decay_keeps_its_rate():
    layers = [keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name=name) for name in ("body", "head")]
    for layer in layers:
        layer.build((1, 1))
    variables = [layer.kernel for layer in layers]
    gradients = [keras.ops.full((1, 1), 0.3), keras.ops.full((1, 1), 0.3)]
    LayerwiseSGD(0.1, {"head": 10.0}, clipvalue=0.5).apply(gradients, variables)
    changed = [float(to_numpy(variable)[0, 0]) for variable in variables]
    assert changed == pytest.approx([1.0 - 0.1 * 0.3, 1.0 - 0.1 * 0.5])
    LayerwiseSGD(0.1, {"head": 10.0}, weight_decay=0.2).apply([0.0 * one for one in gradients], variables)
    decayed = [float(to_numpy(variable)[0, 0]) for variable in variables]
    assert decayed == pytest.approx([value * (1.0 - 0.1 * 0.2) for value in changed])
