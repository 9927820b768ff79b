"""Guards `ScaleChannels`: each channel is the rescaled network, with the variables of the one that is given."""

import keras
import numpy as np
import pytest
import scipy.special

from keras_njet import NJetASPP, NJetConv1D, NJetConv2D, NJetDepthwiseConv2D, SafeSubsample, ScaleChannels, rescale
from keras_njet._convolution import costs
from tests.helpers import on, on_torch, to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)
FACTORS = (1.0, 1.5)


def network(normalize=True):
    """A network with everything that depends on the factor, also in a model in the model."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Rescaling(0.5)(inputs)
    x = NJetConv2D(4, sigma=1.2, padding="valid", subsample_rate=5.0, activation="relu", name="njet")(x)
    x = keras.layers.BatchNormalization()(x) if normalize else x
    x = keras.layers.MaxPooling2D(3, 2)(x)
    inner = [keras.Input((None, None, 4)), NJetDepthwiseConv2D(sigma=0.9, sigma_sharing="input"), keras.layers.ReLU()]
    x = keras.Sequential(inner, name="inner")(x)
    x = SafeSubsample("njet", rate=6.0)(x)
    x = NJetASPP(4, sigma=(0.8, 1.6), coefficient_initializer="random_normal")(x)
    x = NJetConv2D(5, padding=1, name="last")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def images(count=6, size=40):
    return RNG.normal(size=(count, size, size, 1)).astype("float32")


@on_torch
def test_channels_are_rescaled_networks():
    model, x = network(), images()
    expected = np.stack([to_numpy(rescale(model, factor)(x)) for factor in FACTORS], axis=1)
    pooled = {
        "mean": expected.mean(axis=1),
        "logsumexp": scipy.special.logsumexp(expected, axis=1) - np.log(len(FACTORS)),
        "max": expected.max(axis=1),
    }
    for pooling, outputs in pooled.items():
        channels = ScaleChannels(model, FACTORS, pooling)
        np.testing.assert_allclose(to_numpy(channels(x)), outputs, rtol=1e-4, atol=1e-5)
        assert len(channels.trainable_weights) == len(model.trainable_weights)
    np.testing.assert_allclose(channels.predict(x, verbose=0), pooled["max"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(channels.predict_channels(x, batch_size=4), expected, rtol=1e-4, atol=1e-5)


def test_one_channel_of_factor_one_is_the_model():
    model, x = network(), images()
    for pooling in ("max", "mean", "logsumexp"):
        found = ScaleChannels(model, (1.0,), pooling).predict(x, verbose=0)
        np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_it_is_trained_by_fit_with_the_scales_of_the_model():
    model = network()
    model.layers[3].trainable = False  # batch normalisation
    channels = ScaleChannels(model, FACTORS, dropout=0.4, seed=0)
    channels.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [to_numpy(weight).copy() for weight in model.trainable_weights]
    channels.fit(images(8), np.arange(8) % 5, batch_size=4, epochs=2, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.abs(to_numpy(weight) - old).max() > 0, weight.path
    assert np.isfinite(channels.evaluate(images(8), np.arange(8) % 5, verbose=0))


def test_batch_normalisation_that_is_not_frozen_is_told_of_once():
    """Each channel would be normalised by itself in training, but by what all share in inference."""
    model, x = network(), images()
    channels = ScaleChannels(model, FACTORS)
    with pytest.warns(UserWarning, match=r"frozen .* Received: 'batch_normalization") as told:
        channels(x, training=True), channels(x, training=True)
    assert sum("frozen" in str(one.message) for one in told) == 1
    ScaleChannels(model, (1.0,))(x, training=True)  # as in the model itself
    frozen = ScaleChannels(model, FACTORS)
    model.layers[3].trainable = False
    each = frozen.predict_channels(x)
    np.testing.assert_allclose(to_numpy(frozen(x, training=True, pooled=False)), each, rtol=1e-4, atol=1e-5)


def test_layers_after_dropout_are_trained_too():
    """The call of `Dropout` has training=False by default, which Keras would pass on to all layers after it."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Dropout(0.5, seed=0), NJetConv2D(4)])
    layers = [NJetConv2D(3), keras.layers.Dropout(1e-6, seed=0), keras.layers.BatchNormalization(), inner]
    model = keras.Sequential([keras.Input((None, None, 1)), *layers, keras.layers.BatchNormalization()])
    x = 3.0 + images()
    channels = ScaleChannels(model, (1.0,), "mean")
    trained = to_numpy(channels(x, training=True))
    np.testing.assert_allclose(trained.mean(axis=(0, 1, 2)), 0.0, atol=1e-4)  # of the last batch normalisation
    assert np.abs(to_numpy(channels(x, training=False)) - trained).max() > 0.1
    channels.compile("sgd", "mse")
    old = [to_numpy(layer.moving_mean).copy() for layer in model.layers[2::2]]
    channels.fit(x, np.zeros((len(x), 40, 40, 4)), verbose=0)
    for layer, mean in zip(model.layers[2::2], old, strict=True):
        assert np.abs(to_numpy(layer.moving_mean) - mean).max() > 1e-4


def test_sizes_follow_the_scales_that_all_channels_share():
    model, x = network(normalize=False), images(size=64)
    channels = ScaleChannels(model, FACTORS)
    channels.predict(x, verbose=0), channels.predict_channels(x)
    model.get_layer("njet").sigma = 2.6
    model.get_layer("last").sigma = 1.7
    expected = np.stack([rescale(model, factor).predict(x, verbose=0) for factor in FACTORS], axis=1)
    np.testing.assert_allclose(channels.predict_channels(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(channels.predict(x, verbose=0), expected.max(axis=1), rtol=1e-4, atol=1e-5)


def test_the_winning_factor_is_the_size_of_the_object():
    """A detector of blobs of a Gaussian of 2 pixels: it finds those that are larger in the channel of their size."""
    layer = NJetConv2D(1, sigma=2.0, extent=4.0, order=2, use_bias=False)
    pool = keras.layers.GlobalMaxPooling2D()
    model = keras.Sequential([keras.Input((None, None, 1)), layer, pool])
    alpha = np.zeros(layer.coefficients.shape)
    alpha[[2, 5]] = -1.0  # minus the Laplacian
    layer.coefficients.assign(alpha)
    factors = (1.0, 1.5, 2.0, 3.0)
    channels = ScaleChannels(model, factors)
    x = np.arange(64) - 32.0
    blobs = [np.exp(-(x[:, None] ** 2 + x**2) / (2 * (2.0 * factor) ** 2)) for factor in factors]
    np.testing.assert_array_equal(channels.winning_factors(np.stack(blobs)[..., None]), factors)


def test_dropout_leaves_at_least_one_channel_of_each_image():
    model = keras.Sequential([keras.Input((9, 1)), NJetConv1D(2), keras.layers.GlobalMaxPooling1D()])
    channels = ScaleChannels(model, FACTORS, dropout=0.9, seed=0)
    x = RNG.normal(size=(64, 9, 1)).astype("float32")
    each, trained = channels.predict_channels(x), to_numpy(channels(x, training=True))
    of_channel = np.isclose(trained[:, None], each).all(axis=2)
    assert of_channel.any(axis=1).mean() > 0.5  # most images have one channel left
    assert of_channel.any(axis=0).all()
    assert (trained <= each.max(axis=1) + 1e-6).all()
    np.testing.assert_allclose(to_numpy(channels(x, training=False)), each.max(axis=1), atol=1e-6)


def test_saved_and_loaded(tmp_path):
    channels, x = ScaleChannels(network(), FACTORS, "logsumexp", dropout=0.2, seed=1, name="channels"), images()
    expected = channels.predict(x, verbose=0)
    channels.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-6)
    assert (loaded.factors, loaded.pooling, loaded.dropout, loaded.name) == (FACTORS, "logsumexp", 0.2, "channels")


def test_what_comes_before_the_first_scale_is_computed_once():
    calls = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            calls.append(self.name)
            return x

        def compute_output_shape(self, input_shape):
            return input_shape

    layers = [Spy(name="before"), NJetConv2D(2), Spy(name="behind"), keras.layers.GlobalMaxPooling2D()]
    channels = ScaleChannels(keras.Sequential([keras.Input((8, 8, 1)), *layers]), FACTORS)
    calls.clear()
    channels(np.zeros((1, 8, 8, 1), "float32"))
    assert calls == ["before", "behind", "behind"]


def test_channels_multiply_as_often_as_the_model():
    layer = NJetConv2D(8, sigma=1.5, subsample_rate=4.0)
    model = keras.Sequential([keras.Input((32, 32, 3)), layer, keras.layers.GlobalMaxPooling2D()])
    counted = []
    original = layer._convolution

    def counting(axes, factor=1.0):
        convolution = original(axes, factor)
        along, mixed = costs.multiplications(convolution.workload, 2)
        counted.append(sum(count for count, _, _ in along) + mixed)
        return convolution

    vars(layer)["_convolution"] = counting
    ScaleChannels(model, FACTORS)(np.zeros((1, 32, 32, 3), "float32"))
    assert len(counted) == len(FACTORS)
    assert len(set(counted)) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"factors": (1.0, 0.0)}, "factors=0.0"),
        ({"factors": ()}, r"factors=\(\)"),
        ({"factors": (1.0,), "pooling": "median"}, "pooling='median'"),
        ({"factors": (1.0,), "dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=f"Received: {named}"):
        ScaleChannels(network(), **arguments)


def test_models_that_can_not_be_rescaled():
    plain = keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(2), keras.layers.Conv2D(2, 3, name="plain")])
    with pytest.raises(ValueError, match=r"'plain' .Conv2D of 3×3 pixels"):
        ScaleChannels(plain, FACTORS)
    with pytest.raises(ValueError, match="must have an N-Jet layer"):
        ScaleChannels(keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)]), FACTORS)
    maps = ScaleChannels(keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(2)]), FACTORS)
    with pytest.raises(ValueError, match=r"\(batch, classes\)"):
        maps.winning_factors(np.zeros((1, 8, 8, 1), "float32"))


@keras.saving.register_keras_serializable(package="tests")
class Signed(keras.layers.Layer):
    def call(self, x, negative=False):
        return -x if negative else x


@on("torch")
def test_calls_that_differ_in_what_is_no_tensor():
    inputs, signed = keras.Input((8, 8, 1)), Signed()
    x = keras.layers.Subtract()([signed(inputs), signed(inputs, negative=True)])
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(NJetConv2D(2, use_bias=False)(x)))
    x = images(2, 8)
    channels = ScaleChannels(model, (1.0, 1.0))
    np.testing.assert_allclose(to_numpy(channels(x)), to_numpy(model(x)), atol=1e-6)


@on("torch")
def test_a_factor_that_the_graph_has_is_multiplied():
    inputs = keras.Input((16, 16, 1))
    layer = NJetConv2D(2)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(layer(inputs, factor=2.0)))
    x = images(2, 16)
    expected = to_numpy(layer(x, factor=3.0)).max(axis=(1, 2))
    np.testing.assert_allclose(to_numpy(ScaleChannels(model, (1.5,))(x)), expected, atol=1e-6)


def test_a_model_of_several_outputs_is_refused():
    inputs = keras.Input((8, 8, 1))
    x = NJetConv2D(2)(inputs)
    with pytest.raises(ValueError, match=r"Expected a model with one output, not 2. Received: model='two'$"):
        ScaleChannels(keras.Model(inputs, {"a": x, "b": x}, name="two"), (1.0,))
