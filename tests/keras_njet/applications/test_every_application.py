"""Guards what holds for every application: it builds, trains, saves, reloads and predicts alike everywhere."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_njet import NJetConv2D, NJetDepthwiseConv2D
from tests.helpers import APPLICATIONS, next_backend, on_torch, skip_without_channels_first, to_numpy
from tests.helpers import SHALLOW_APPLICATIONS as SHALLOW
from tests.helpers import build_application as build
from tests.helpers import image_size as size

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)
BACKEND = keras.backend.backend()
ON_TORCH = BACKEND == "torch"  # which runs eagerly: compiling takes longest
# ResNet110 is ResNet32 with more of the same layers: it is built, and its weights counted, in the tests of families.
ALL = [name for name in APPLICATIONS if "ResNet110" not in name]
# JAX compiles even where a model is called outside of a compiled function.
COMPILED = ["NJetNIN"] if BACKEND == "jax" else ALL
TWINS = [name for name in COMPILED if name.startswith("NJet")]
# Where it takes long, one network is enough that has layers of Keras alone.
TRAINED = [name for name in COMPILED if name != "EfficientNetB0"] if ON_TORCH else [*TWINS, "NIN"]


def images(name, channels=3):
    return RNG.normal(size=(4, *size(name), channels)).astype("float32")


def randomize(model):
    """Gives batch normalisation statistics, and the scales values, that are not those of the start."""
    for variable in model.weights:
        if variable.path.endswith("log2_sigma"):
            variable.assign(RNG.uniform(-0.5, 0.8))
        elif "moving_variance" in variable.path or "gamma" in variable.path:
            variable.assign(RNG.uniform(0.5, 1.5, size=variable.shape))
        elif "moving_mean" in variable.path or "beta" in variable.path:
            variable.assign(RNG.normal(0, 0.1, size=variable.shape))
    return model


@pytest.mark.parametrize("name", TRAINED)
def test_it_trains_a_step_and_saves_and_reloads(name, tmp_path):
    model = build(name, input_shape=(*size(name), 3))
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [to_numpy(variable) for variable in model.trainable_variables]
    x = images(name)
    assert np.isfinite(model.train_on_batch(x, np.array([0, 3, 9, 3])))
    after = [to_numpy(variable) for variable in model.trainable_variables]
    still = [
        variable.path
        for variable, a, b in zip(model.trainable_variables, before, after, strict=True)
        if np.array_equal(a, b)
    ]
    # Batch normalisation hides a bias from the loss; a single value can stay in float32.
    assert len(still) < len(before) / 10, still
    expected = to_numpy(randomize(model)(x))
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(to_numpy(reloaded(x)), expected, atol=1e-6)
    assert expected.shape == (4, 10)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_another_size_and_unknown_sizes(name):
    height, width = 2 * size(name)[0] - 8, size(name)[1] + 8
    top = {"include_top": name != "NJetEfficientNetB0"}  # with its top, keras.applications asks for a size
    model = randomize(build(name, input_shape=(*size(name), 3), **top))
    other, any_size = [build(name, input_shape=shape, **top) for shape in ((height, width, 3), (None, None, 3))]
    x = RNG.normal(size=(2, height, width, 3)).astype("float32")
    for copy in (other, any_size):
        copy.set_weights(model.get_weights())
    outputs = other.predict(x, verbose=0)
    np.testing.assert_allclose(outputs, any_size.predict(x, verbose=0), atol=1e-6)
    assert np.ptp(outputs) > 0


@pytest.mark.parametrize("name", COMPILED)
def test_channels_first_gives_the_same(name, channels_first):
    skip_without_channels_first()
    x = images(name)
    model = randomize(build(name, input_shape=(3, *size(name))))
    keras.config.set_image_data_format("channels_last")
    twin = build(name, input_shape=(*size(name), 3))
    twin.set_weights(model.get_weights())
    expected = to_numpy(twin(x))
    keras.config.set_image_data_format("channels_first")
    np.testing.assert_allclose(to_numpy(model(x.transpose(0, 3, 1, 2))), expected, atol=1e-5)


@on_torch
@pytest.mark.parametrize("name", ALL)
def test_without_its_top(name):
    shape = (*size(name), 3)
    maps = build(name, include_top=False, input_shape=shape)
    x = images(name)
    randomize(maps)
    outputs = to_numpy(maps(x))
    assert outputs.ndim == 4
    for pooling, pool in (("avg", np.mean), ("max", np.max)):
        pooled = build(name, include_top=False, input_shape=shape, pooling=pooling)
        pooled.set_weights(maps.get_weights())
        np.testing.assert_allclose(to_numpy(pooled(x)), pool(outputs, axis=(1, 2)), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="pooling"):
        build(name if name != "EfficientNetB0" else "NIN", input_shape=shape, pooling="sum")


@on_torch
@pytest.mark.parametrize("name", ["NJetNIN", "ResNet32", "NJetEfficientNetB0"])
def test_on_a_tensor_of_the_users_own(name, tmp_path):
    inputs = keras.Input((*size(name), 1))
    own = keras.layers.Dense(3)(inputs)
    model = build(name, input_tensor=own)
    assert model.inputs[0] is inputs
    plain = build(name, input_shape=(*size(name), 3))
    assert len(model.layers) == len(plain.layers) + 1  # flat, not a model in a model
    plain.save_weights(tmp_path / "some.weights.h5")
    loaded = build(name, input_tensor=own, weights=tmp_path / "some.weights.h5")
    for variable, other in zip(plain.weights, loaded.weights[2:], strict=True):
        np.testing.assert_array_equal(to_numpy(variable), to_numpy(other))
    x = images(name, channels=1)
    assert model(x).shape == (4, 10)


@pytest.mark.parametrize("name", [name for name in ALL if name != "EfficientNetB0"])
def test_wrong_arguments_get_the_errors_of_keras_applications(name):
    with pytest.raises(ValueError, match=r"`weights` argument should be .* Received: weights='imagenet'"):
        build(name, weights="imagenet")
    with pytest.raises(ValueError, match=r"Input size must be at least .* input_shape="):
        build(name, input_shape=(7, 7, 3))


@pytest.mark.parametrize("name", TWINS)
def test_what_its_scales_and_filters_are_given_reaches_every_layer(name):
    given = {"sigma_learning_rate": 0.1, "extent": 2.5, "order": 1, "learn_sigma": False}
    model = build(name, input_shape=(*size(name), 3), sigma=1.5, **given)
    layers = [layer for layer in model.layers if isinstance(layer, (NJetConv2D, NJetDepthwiseConv2D))]
    assert layers
    for layer in layers:
        assert {argument: getattr(layer, argument) for argument in given} == given
        np.testing.assert_allclose(layer.sigma_numbers(), 1.5, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in TRAINED if "EfficientNet" not in name])
def test_without_an_activation_it_puts_out_logits(name):
    model = randomize(build(name, input_shape=(*size(name), 3)))
    logits = build(name, input_shape=(*size(name), 3), classifier_activation=None)
    logits.set_weights(model.get_weights())
    x = images(name)
    given = to_numpy(logits(x))
    exponentials = np.exp(given - given.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(to_numpy(model(x)), expected, atol=1e-5)


RELOAD = """
import sys
import keras
import numpy as np
import keras_njet
for name in sys.argv[3:]:
    model = keras.models.load_model(f"{sys.argv[1]}/{name}.keras", compile=False)
    x = np.load(f"{sys.argv[1]}/{name}.npy")
    np.save(f"{sys.argv[2]}/{name}.npy", keras.ops.convert_to_numpy(model(x)))
"""


@on_torch  # and TensorFlow, which is the next one; `test_saving` has small networks on all of them
def test_another_backend_predicts_the_same(tmp_path):
    other = next_backend()
    # Deep ones compile for minutes on JAX; baselines have layers of Keras alone.
    names = [name for name in (SHALLOW if "jax" in (other, BACKEND) else ALL) if name.startswith("NJet")]
    expected = {}
    for name in names:
        model, x = randomize(build(name, input_shape=(*size(name), 3))), images(name)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", x)
        expected[name] = to_numpy(model(x))
    (tmp_path / "out").mkdir()
    environment = {**os.environ, "KERAS_BACKEND": other}
    command = [sys.executable, "-W", "ignore", "-c", RELOAD, str(tmp_path), str(tmp_path / "out"), *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in names:
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}.npy"), expected[name], atol=1e-5, err_msg=name)
