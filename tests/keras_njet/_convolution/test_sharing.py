"""Guards σ for each filter, channel or group: against layers that have one σ each."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_njet import NJetConv2D, NJetDepthwiseConv2D, SafeSubsample
from keras_njet._convolution import costs, evaluations
from keras_njet._convolution.evaluations import Dense
from keras_njet._convolution.sharing import Sharing
from tests.helpers import layer_gradients, njet_convolution, to_numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 9, 8, 4)).astype("float32")
LARGE = costs.Workload((128, 128), (128, 128), (128, 128), 4, 8, 1, 1)
SIGMAS = np.array([0.5, 1.7, 0.9, 2.2, 1.1, 0.6])


def built(layer):
    layer.build(X.shape)
    return layer


def expected_outputs(layer, sigmas):
    """The convolution part by part, with SciPy: for each filter or channel, its σ."""
    alpha, order = to_numpy(layer.coefficients), layer.order
    if isinstance(layer, NJetDepthwiseConv2D):
        multiplier = layer.depth_multiplier
        parts = [
            njet_convolution(X[..., [c]], alpha[:, :, c * multiplier : (c + 1) * multiplier], sigma, order)
            for c, sigma in enumerate(sigmas)
        ]
        return np.concatenate(parts, axis=-1)
    if layer.sigma_sharing == "input":
        return sum(njet_convolution(X[..., [c]], alpha[:, [c]], sigma, order) for c, sigma in enumerate(sigmas))
    return np.concatenate(
        [njet_convolution(X, alpha[..., [f]], sigma, order) for f, sigma in enumerate(sigmas)], axis=-1
    )


CASES = [
    (NJetConv2D, {"filters": 6, "sigma_sharing": "filter"}, SIGMAS, SIGMAS),
    (NJetConv2D, {"filters": 6, "sigma_sharing": 3}, SIGMAS[:3], SIGMAS[:3].repeat(2)),
    (NJetConv2D, {"filters": 6, "sigma_sharing": "input"}, SIGMAS[:4], SIGMAS[:4]),
    (NJetDepthwiseConv2D, {"depth_multiplier": 2, "sigma_sharing": "input"}, SIGMAS[:4], SIGMAS[:4]),
    (NJetDepthwiseConv2D, {"depth_multiplier": 2, "sigma_sharing": 2}, SIGMAS[:2], SIGMAS[:2].repeat(2)),
]


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
@pytest.mark.parametrize(("kind", "arguments", "sigmas", "of_each"), CASES)
def test_outputs_are_those_of_one_convolution_for_each_sigma(kind, arguments, sigmas, of_each, implementation):
    layer = kind(order=2, implementation=implementation, use_bias=False, **arguments)
    layer.build(X.shape)
    layer.sigma = sigmas
    np.testing.assert_allclose(to_numpy(layer.sigma), sigmas, rtol=1e-6)
    assert layer.kernel_size == (2 * int(np.ceil(2 * sigmas.max())) + 1,) * 2
    expected = expected_outputs(layer, of_each)
    np.testing.assert_allclose(to_numpy(layer(X)), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "arguments", "sigmas", "of_each"), CASES[:1] + CASES[2:4])
def test_gradients_of_all_sigmas_are_those_of_finite_differences(kind, arguments, sigmas, of_each):
    layer = kind(order=2, implementation="matrix", use_bias=False, **arguments)
    layer.build(X.shape)
    layer.sigma = sigmas
    weights = RNG.normal(size=to_numpy(layer(X)).shape).astype("float32")
    *_, of_log2_sigma = layer_gradients(layer, X, weights)
    assert of_log2_sigma.shape == sigmas.shape
    for index, found in enumerate(of_log2_sigma):
        ends = []
        for step in (1e-4, -1e-4):
            moved = of_each.copy()
            moved[index] *= 2.0**step
            ends.append(np.sum(weights * expected_outputs(layer, moved)))
        tolerance = 1e-3 * float(np.linalg.norm(weights))
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-2, abs=tolerance)


@pytest.mark.parametrize("sharing", ["filter", "input", 2])
def test_fit_learns_them_apart_and_they_are_saved(tmp_path, sharing):
    layer = NJetConv2D(4, order=1, sigma_sharing=sharing, name="njet")
    model = keras.Sequential([keras.Input((9, 8, 4)), layer, keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, RNG.normal(size=(2, 4)), epochs=2, verbose=0)
    sigma = to_numpy(layer.sigma)
    assert len(set(sigma.tolist())) == {"filter": 4, "input": 4, 2: 2}[sharing]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded.get_layer("njet").sigma), sigma)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)


def smallest_choice():
    return evaluations.choices(LARGE, costs.prices("training"), Sharing(8))[0]


def test_auto_composes_small_filters_and_gives_up_when_one_outgrows_them():
    assert isinstance(smallest_choice(), Dense)
    layer = NJetConv2D(8, order=1, sigma=0.5, sigma_sharing="filter", use_bias=False)
    model = keras.Sequential([keras.Input((128, 128, 4)), layer])
    x = RNG.normal(size=(1, 128, 128, 4)).astype("float32")
    for sigmas in (np.full(8, 0.5), np.linspace(0.5, 6.0, 8)):
        layer.sigma = sigmas
        alpha = to_numpy(layer.coefficients)
        expected = [njet_convolution(x, alpha[..., [f]], sigma, 1) for f, sigma in enumerate(sigmas)]
        np.testing.assert_allclose(model.predict(x, verbose=0), np.concatenate(expected, axis=-1), atol=1e-4)


def test_a_filter_that_outgrows_the_choice_within_an_epoch_is_right_in_training():
    assert smallest_choice().reach == 1
    layer = NJetConv2D(8, order=1, sigma=0.5, sigma_sharing="filter", use_bias=False)
    model = keras.Sequential([keras.Input((128, 128, 4)), layer, keras.layers.GlobalAveragePooling2D()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = RNG.normal(size=(1, 128, 128, 4)).astype("float32"), np.zeros((1, 8))
    model.train_on_batch(x, y)
    layer.sigma = np.linspace(0.5, 6.0, 8)
    loss = model.train_on_batch(x, y)
    alpha = to_numpy(layer.coefficients)
    expected = [njet_convolution(x, alpha[..., [f]], sigma, 1) for f, sigma in enumerate(np.linspace(0.5, 6.0, 8))]
    assert loss == pytest.approx(float(np.mean(np.mean(np.concatenate(expected, -1), axis=(1, 2)) ** 2)), rel=1e-3)


def test_a_regularizer_sees_every_sigma():
    layer = NJetConv2D(3, sigma=2.0, sigma_sharing="filter", sigma_regularizer=lambda sigma: ops.sum(sigma))
    layer.build(X.shape)
    assert float(to_numpy(sum(layer.losses))) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NJetConv2D(4, sigma_sharing="pixel"), "Received: sigma_sharing='pixel'"),
        (lambda: NJetConv2D(4, sigma_sharing=3), "divisible.*Received: filters=4, sigma_sharing=3"),
        (lambda: NJetConv2D(4, groups=2, sigma_sharing="filter"), "Received: sigma_sharing='filter', groups=2"),
        (lambda: NJetConv2D(4, subsample_rate=4.0, sigma_sharing="filter"), "can only follow one σ"),
        (lambda: SafeSubsample(NJetConv2D(4, sigma_sharing="filter")), "can only follow one σ"),
        (lambda: setattr(built(NJetConv2D(4, sigma_sharing="filter")), "sigma", [1.0, 2.0]), r"shape \(4,\)"),
        (lambda: NJetDepthwiseConv2D(sigma_sharing="filter"), "Received: sigma_sharing='filter'"),
        (lambda: NJetDepthwiseConv2D(sigma_sharing=3)(X), "divisible.*Received: channels=4, sigma_sharing=3"),
    ],
)
def test_what_cannot_be_shared_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
