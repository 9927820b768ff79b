"""Guards the variable that holds a scale: how fast it learns, how far it goes, and what weight decay does to it."""

import keras
import numpy as np
import pytest
import sklearn.datasets

import keras_njet
from keras_njet import NJetASPP, NJetConv2D
from tests.helpers import njet_convolution

OPTIMIZERS = {
    "SGD": lambda rate: keras.optimizers.SGD(rate),
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "Adam": lambda rate: keras.optimizers.Adam(rate),
    "AdamW": lambda rate: keras.optimizers.AdamW(rate),
    "RMSprop": lambda rate: keras.optimizers.RMSprop(rate),
    "Lion": lambda rate: keras.optimizers.Lion(rate),
}


IMAGES = np.random.default_rng(0).normal(size=(4, 12, 12, 1)).astype("float32")
ZERO_MEAN = IMAGES - IMAGES.mean(axis=(1, 2), keepdims=True)  # wide smoothing makes them vanish


def make_model(optimizer=None, **options):
    """A model whose coefficients don't learn, so that only σ does."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12, 12, 1)), keras_njet.NJetConv2D(3, name="njet", **options)])
    if optimizer is not None:
        model.compile(optimizer, "mse")
    return model


def log2_sigmas(model):
    return np.log2(model.get_layer("njet").sigma_numbers())


def train(model, epochs=1, target=1.0):
    model.fit(IMAGES, np.full((4, 12, 12, 3), target, "float32"), batch_size=4, epochs=epochs, verbose=0)


@pytest.mark.parametrize("name", OPTIMIZERS if keras.backend.backend() == "torch" else ["SGD", "Adam"])
def test_the_learning_rate_of_sigma_multiplies_the_steps_of_any_optimizer(name):
    """The first steps of σ, from the same place by the same gradient, are in the ratio of the rates."""
    steps = []
    for rate in (1.0, 0.25, 3.0):
        model = make_model(OPTIMIZERS[name](1e-3), sigma=1.5, sigma_learning_rate=rate)
        train(model)
        steps.append(float(log2_sigmas(model)[0] - np.log2(1.5)))
    assert abs(steps[0]) > 1e-5
    np.testing.assert_allclose([steps[1] / steps[0], steps[2] / steps[0]], [0.25, 3.0], rtol=2e-2)


def test_the_learning_rate_of_sigma_is_one_number_above_zero():
    for wrong in (0.0, -1.0, "fast", None):
        with pytest.raises(ValueError, match=r"sigma_learning_rate.*Received: sigma_learning_rate="):
            keras_njet.NJetConv2D(1, sigma_learning_rate=wrong)


@pytest.mark.parametrize("layer_of", [keras_njet.NJetConv2D, keras_njet.NJetASPP])
def test_weights_hold_log2_sigma_whatever_the_rate(layer_of, tmp_path):
    def model(**options):
        model = keras.Sequential([keras.Input((12, 12, 1)), layer_of(2, **options)])
        layer = model.layers[0]
        return model, layer

    fast, layer = model(sigma_learning_rate=8.0)
    layer.sigma = layer.sigma_numbers().reshape(layer.sigma.shape) * 1.7
    fast.save_weights(tmp_path / "fast.weights.h5")
    fast.save(tmp_path / "fast.keras")
    plain, plain_layer = model()
    plain.load_weights(tmp_path / "fast.weights.h5")
    np.testing.assert_allclose(plain_layer.sigma_numbers(), layer.sigma_numbers(), rtol=1e-6)
    np.testing.assert_allclose(
        plain.predict(IMAGES[:1], verbose=0), fast.predict(IMAGES[:1], verbose=0), rtol=1e-5, atol=1e-6
    )
    loaded = keras.models.load_model(tmp_path / "fast.keras").layers[0]
    np.testing.assert_allclose(loaded.sigma_numbers(), layer.sigma_numbers(), rtol=1e-6)
    assert loaded.sigma_learning_rate == 8.0


def test_rescaling_multiplies_sigma_whatever_the_rate():
    model = make_model(sigma=1.5, sigma_learning_rate=4.0)
    rescaled = keras_njet.rescale(model, 2.0)
    np.testing.assert_allclose(2.0 ** log2_sigmas(rescaled), [3.0], rtol=1e-6)


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_regularizers_and_constraints_are_of_sigma_whatever_the_rate(rate):
    options = {"sigma_learning_rate": rate, "max_sigma": None, "sigma": 4.0}
    layer = make_model(sigma_regularizer=keras.regularizers.L1(0.5), **options).layers[0]
    assert float(keras.ops.convert_to_numpy(layer.losses[0])) == pytest.approx(2.0, rel=1e-6)
    model = make_model(keras.optimizers.SGD(0.0), sigma_constraint=keras.constraints.MaxNorm(3.0, axis=None), **options)
    train(model)
    np.testing.assert_allclose(2.0 ** log2_sigmas(model), [3.0], rtol=1e-5)


@pytest.mark.parametrize("rate", [1.0, 5.0])
def test_weight_decay_leaves_sigma_where_it_is(rate):
    """At a σ of 4 and a decay of 0.5 a step, log2 σ would halve in every step."""
    model = make_model(keras.optimizers.AdamW(1.0, weight_decay=0.5), sigma=4.0, sigma_learning_rate=rate)
    model.layers[0].coefficients.assign(np.zeros(model.layers[0].coefficients.shape))  # so σ has no gradient
    model.layers[0].coefficients.trainable = False
    bias = np.full(3, 8.0, "float32")
    model.layers[0].bias.assign(bias)
    train(model, epochs=3, target=8.0)
    assert float(log2_sigmas(model)[0]) == pytest.approx(2.0, abs=1e-5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.layers[0].bias), bias / 8, atol=3.1)
    assert np.all(keras.ops.convert_to_numpy(model.layers[0].bias) < 8.0)  # which decays


def test_weight_decay_is_kept_from_scales_of_an_optimizer_that_has_been_built():
    model = make_model(keras.optimizers.AdamW(1.0, weight_decay=0.5), sigma=4.0)
    model.optimizer.build(model.trainable_variables)
    model.layers[0].coefficients.assign(np.zeros(model.layers[0].coefficients.shape))
    train(model, target=0.0)
    assert float(log2_sigmas(model)[0]) == pytest.approx(2.0, abs=1e-5)


def runaway(optimizer, **options):
    """A model whose loss falls as σ grows, without an end, if it is to make images vanish: it smooths."""
    model = make_model(optimizer, order=0, use_bias=False, sigma=1.5, **options)
    model.layers[0].coefficients.assign(np.ones(model.layers[0].coefficients.shape))
    model.layers[0].coefficients.trainable = False
    return model


@pytest.mark.filterwarnings("ignore:The scales of these layers have reached")
@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_sigma_stays_within_half_of_the_feature_map(rate):
    model = runaway(keras.optimizers.SGD(1e4), sigma_learning_rate=rate)
    model.fit(ZERO_MEAN, np.zeros((4, 12, 12, 3)), epochs=2, verbose=0)
    assert float(2.0 ** log2_sigmas(model)[0]) == pytest.approx(6.0, rel=1e-4)


def test_sigma_comes_back_from_its_bound():
    """No kink traps it: on the bound it still has its gradient."""
    model = runaway(keras.optimizers.SGD(1e4))
    with pytest.warns(UserWarning, match="have reached their upper bound"):
        model.fit(ZERO_MEAN, np.zeros((4, 12, 12, 3)), epochs=2, verbose=0)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(ZERO_MEAN, np.repeat(ZERO_MEAN, 3, axis=-1), epochs=20, verbose=0)
    assert float(2.0 ** log2_sigmas(model)[0]) < 5.9


@pytest.mark.filterwarnings("ignore:The scales of these layers have reached")
@pytest.mark.parametrize(("given", "largest"), [(2.5, 2.5), (1.2, 1.5)])
def test_the_bound_can_be_chosen_and_never_is_below_the_start(given, largest):
    model = runaway(keras.optimizers.SGD(1e4), max_sigma=given)
    model.fit(ZERO_MEAN, np.zeros((4, 12, 12, 3)), epochs=2, verbose=0)
    assert float(2.0 ** log2_sigmas(model)[0]) == pytest.approx(largest, rel=1e-4)


def test_without_a_bound_sigma_outgrows_the_feature_map():
    model = runaway(keras.optimizers.SGD(0.0), max_sigma=None)
    model.layers[0].sigma = 20.0
    model.fit(ZERO_MEAN, np.zeros((4, 12, 12, 3)), epochs=2, verbose=0)
    assert float(2.0 ** log2_sigmas(model)[0]) == pytest.approx(20.0, rel=1e-5)


def test_the_bound_is_checked():
    for wrong in (0.0, -1.0, "half", float("inf")):
        with pytest.raises(ValueError, match=r"max_sigma.*Received: max_sigma="):
            keras_njet.NJetConv2D(1, max_sigma=wrong)


def test_each_axis_has_its_own_bound():
    layer = keras_njet.NJetConv2D(1, isotropic=False)
    layer(np.zeros((1, 8, 20, 1), "float32"))
    layer.sigma = (40.0, 40.0)
    layer.log2_sigma.assign(layer.log2_sigma.constraint(layer.log2_sigma))
    np.testing.assert_allclose(layer.sigma_numbers(), [4.0, 10.0], rtol=1e-5)


def test_where_one_axis_starts_does_not_move_the_bound_of_another():
    for options, expected in (({"max_sigma": "auto"}, (4.0, 20.0)), ({"max_sigma": 2.0}, (2.0, 15.0))):
        layer = keras_njet.NJetConv2D(1, sigma=(1.0, 15.0), isotropic=False, **options)
        layer(np.zeros((1, 8, 40, 1), "float32"))
        layer.sigma = (50.0, 50.0)
        layer.log2_sigma.assign(layer.log2_sigma.constraint(layer.log2_sigma))
        np.testing.assert_allclose(layer.sigma_numbers(), expected, rtol=1e-5)


def test_each_scale_of_a_pyramid_has_its_own_bound():
    layer = keras_njet.NJetASPP(2, data_format="channels_last")
    layer(np.zeros((1, 14, 10, 1), "float32"))
    layer.sigma = 40.0
    for scale in layer.scales:
        scale.assign(scale.constraint(scale))
    np.testing.assert_allclose(layer.sigma_numbers(), [7.0, 7.0, 9.0, 12.0], rtol=1e-5)


def test_beyond_the_bound_filters_show_nothing_more_of_a_photograph():
    """The measurement behind the bound, by SciPy: what the filters of an N-Jet leave of the contrast of 32×32 pixels.

    The mean over all derivatives: 27 % at an eighth of the map, 10 % at half of it, 2 % at the whole of it.
    """
    photographs = np.stack(sklearn.datasets.load_sample_images().images).mean(axis=-1)[:, : 32 * 13, : 32 * 20]
    x = photographs.reshape(2, 32, 13, 32, 20).mean(axis=(2, 4))[..., None]
    x -= x.mean(axis=(1, 2), keepdims=True)
    left = []
    for share in (1 / 8, 1 / 2, 1):
        responses = [njet_convolution(x, alpha[:, None, None], 32 * share, 3) for alpha in np.eye(10)]
        left.append(np.mean([np.sqrt(np.mean(response**2) / np.mean(x**2)) for response in responses]))
    np.testing.assert_allclose(left, [0.27, 0.10, 0.02], atol=0.005)


def frozen_network():
    layers = [NJetConv2D(2, name="njet"), NJetASPP(2, sigma=(1.0, 2.0), coefficient_initializer="ones", name="aspp")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.GlobalMaxPooling2D()])
    for layer in layers:
        layer.trainable = False
    return model


@pytest.mark.parametrize("copy", ["clone", "load", "rescale", "convert", "argument"])
def test_scales_of_a_frozen_layer_are_not_trained_in_a_copy_either(copy, tmp_path):
    model = frozen_network()
    if copy == "clone":
        model = keras.models.clone_model(model)
    elif copy == "load":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    elif copy == "rescale":
        model = keras_njet.rescale(model, 1.5)
    elif copy == "convert":
        plain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="njet")])
        plain.layers[-1].trainable = False
        model = keras_njet.convert(plain)
    else:
        model = keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(2, name="njet", trainable=False)])
    assert model.trainable_variables == []
    assert model.non_trainable_variables
    model.get_layer("njet").trainable = True  # and can be again
    assert [variable.name for variable in model.trainable_variables] == ["coefficients", "bias", "log2_sigma"]


@pytest.mark.parametrize("large_first", [True, False])
def test_the_bound_of_a_shared_layer_is_that_of_its_largest_map(large_first):
    shared = NJetConv2D(1)
    x = inputs = keras.Input((None, None, 1))
    small, large = keras.layers.AveragePooling2D(4), keras.layers.UpSampling2D(4)
    x = shared(shared(x) if large_first else small(x))
    x = shared(small(x) if large_first else large(x))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    shared.sigma = 10.0
    model.fit(np.ones((2, 32, 32, 1)), np.zeros((2, 1)), epochs=2, verbose=0)
    assert shared.log2_sigma.largest() == pytest.approx(10.0, rel=1e-4)  # below 16
    shared.sigma = 20.0
    with pytest.warns(UserWarning, match="have reached their upper bound"):
        model.fit(np.ones((2, 32, 32, 1)), np.zeros((2, 1)), verbose=0)
    assert shared.log2_sigma.largest() == pytest.approx(16.0, rel=1e-4)


def test_images_that_are_only_evaluated_do_not_lower_the_bound():
    """A warning would be an error here."""
    layer = NJetConv2D(2, name="conv")
    model = keras.Sequential([keras.Input((None, None, 1)), layer, keras.layers.GlobalAveragePooling2D()])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    x, y = np.zeros((4, 48, 48, 1), "float32"), np.zeros((4, 2), "float32")
    layer.sigma = 10.0  # the bound is 24, and would be 8 on the images of the validation
    model.fit(x, y, epochs=2, validation_data=(x[:, :16, :16], y), verbose=0)
    model.predict(x[:, :16, :16], verbose=0)
    model.fit(x, y, verbose=0)
    assert layer.sigma_numbers() == pytest.approx([10.0])
