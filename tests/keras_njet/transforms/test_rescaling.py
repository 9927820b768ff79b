"""Guards `rescale`: the same predictions for larger images, and a clear word where that cannot be."""

import re
import warnings

import keras
import numpy as np
import pytest

import keras_njet
from keras_njet import (
    NJetASPP,
    NJetConv1D,
    NJetConv2D,
    NJetConv3D,
    NJetDepthwiseConv2D,
    SafeSubsample,
    convert,
    freeze,
    rescale,
)
from keras_njet.layers import ScaledPooling
from tests.helpers import on_torch, predicts_the_same_in_a_new_process, to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)
CONVOLUTIONS = {1: NJetConv1D, 2: NJetConv2D, 3: NJetConv3D}
POOLINGS = {
    1: keras.layers.GlobalAveragePooling1D,
    2: keras.layers.GlobalAveragePooling2D,
    3: keras.layers.GlobalAveragePooling3D,
}


def smooth_images(*sizes, count=4, channels=2, waves=3):
    """The same band-limited functions at whatever size, at the centres of the pixels.

    Sums of a few slow waves, which fade out towards the border: with zeros around it, it would be an edge.
    """
    rng = np.random.default_rng(1)
    positions = [(np.arange(size) + 0.5) / size for size in sizes]
    images = np.zeros((count, channels, *sizes))
    for image in images.reshape(-1, *sizes):
        for _ in range(6):
            wave = rng.normal()
            for along in positions:
                one = np.cos(np.pi * rng.uniform(0, waves) * along + rng.uniform(0, 6)) * np.sin(np.pi * along) ** 2
                wave = np.multiply.outer(wave, one)
            image += wave
    return np.moveaxis(images, 1, -1).astype("float32")


def classifier(*sizes, sigmas=(1.5, 2.0), **arguments):
    """A network that is the same on every backend."""
    layers = []
    for index, sigma in enumerate(sigmas):
        njet = CONVOLUTIONS[len(sizes)]
        layers.append(njet(6 + 2 * index, sigma=sigma, activation="relu", name=f"njet{index}", **arguments))
    model = keras.Sequential([keras.Input((*sizes, 2)), *layers, POOLINGS[len(sizes)](), keras.layers.Dense(5)])
    rng = np.random.default_rng(2)
    for weight in model.weights:
        if weight.name in ("coefficients", "kernel"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


def assert_close(actual, expected, tolerance):
    actual, expected = to_numpy(actual), to_numpy(expected)
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


def assert_same_weights(one, other, exactly=True):
    for weight, another in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, another, rtol=0, atol=0 if exactly else 1e-6)


@pytest.mark.parametrize(
    ("arguments", "waves", "tolerance"),
    [
        ({}, 10, 0.01),
        ({"extent": 3.0}, 10, 0.002),
        ({"order": 2}, 10, 0.01),
        ({"strides": 2}, 3, 0.01),
        ({"subsample_rate": 6.0}, 3, 0.011),
        # Subsampling interpolates: over whole pixels in the original, over a half or a third of them afterwards.
        ({"subsample_rate": 6.0}, 10, 0.04),
    ],
)
@pytest.mark.parametrize("factor", [2, 3] if keras.backend.backend() == "torch" else [3])  # on others it takes long
def test_predictions_for_band_limited_images_stay(factor, arguments, waves, tolerance):
    model = classifier(64, 72, **arguments)
    rescaled = rescale(model, factor)
    assert rescaled.input_shape == (None, 64 * factor, 72 * factor, 2)
    expected, enlarged = model(smooth_images(64, 72, waves=waves)), smooth_images(64 * factor, 72 * factor, waves=waves)
    assert_close(rescaled(enlarged), expected, tolerance)
    if waves == 10:
        as_it_is = classifier(64 * factor, 72 * factor, **arguments)
        assert_same_weights(as_it_is, model)
        with pytest.raises(AssertionError):
            assert_close(as_it_is(enlarged), expected, 0.05)


@pytest.mark.parametrize("arguments", [{"padding": "valid"}, {"padding": 2}, {"strides": 2}, {"groups": 2}])
def test_predictions_stay_with_any_geometry(arguments):
    model = classifier(48, 48, sigmas=(2.0,), **arguments)
    rescaled, enlarged = rescale(model, 2), smooth_images(96, 96)
    assert_close(rescaled(enlarged), model(smooth_images(48, 48)), 0.01)
    assert_close(freeze(rescaled)(enlarged), rescaled(enlarged), 1e-5)


@pytest.mark.parametrize(("sizes", "sigma"), [((60,), 1.5), ((16, 14, 12), 1.5)])
def test_signals_and_volumes(sizes, sigma):
    model = classifier(*sizes, sigmas=(sigma,), order=2)
    rescaled = rescale(model, 2.0)
    enlarged = [2 * size for size in sizes]
    assert rescaled.input_shape == (None, *enlarged, 2)
    assert_close(rescaled(smooth_images(*enlarged)), model(smooth_images(*sizes)), 0.015)


def test_a_factor_for_each_axis():
    model = classifier(40, 40, sigmas=((1.5, 2.0),), isotropic=False)
    rescaled, report = rescale(model, (3, 2), return_report=True)
    assert rescaled.input_shape == (None, 120, 80, 2)
    np.testing.assert_allclose(to_numpy(rescaled.layers[0].sigma), (4.5, 4.0), rtol=1e-6)
    assert rescaled.layers[0].get_config()["sigma"] == (4.5, 4.0)
    assert_close(rescaled(smooth_images(120, 80)), model(smooth_images(40, 40)), 0.015)
    assert report[1].new_sigmas == pytest.approx((4.5, 4.0))


def test_all_that_is_in_pixels_is_multiplied_and_nothing_else():
    inputs = keras.Input((40, 30, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Resizing(32, 32, name="resize")(x)
    x = keras.layers.ZeroPadding2D(((0, 1), (2, 1)), name="pad")(x)
    x = keras.layers.Cropping2D(1, name="crop")(x)
    njet = NJetConv2D(
        4, sigma=1.5, subsample_rate=4.0, padding=1, sigma_sharing="layer", bias_initializer="normal", name="njet"
    )
    y = keras.layers.BatchNormalization()(njet(x))
    x = keras.layers.Conv2D(4, 1, strides=1, padding="valid", name="mix")(y)
    x = keras.layers.Dropout(0.5)(x)
    x = NJetDepthwiseConv2D(sigma=1.0, sigma_sharing="input", name="depthwise")(x)
    x = NJetASPP(4, sigma=(1.0, 2.5), name="pyramid")(x)
    squeezed = keras.layers.GlobalAveragePooling2D()(x)
    squeezed = keras.layers.Conv2D(4, 1)(keras.layers.Reshape((1, 1, 4))(squeezed))  # no map: it may be reshaped
    x = keras.layers.Multiply()([x, squeezed])
    x = SafeSubsample("njet", rate=5.0, name="subsample")(x)
    x = keras.layers.UpSampling2D(2)(x)
    x = keras.layers.AdaptiveAveragePooling2D(2)(x)
    x = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    njet.sigma = 1.25
    rescaled, report = rescale(model, 1.5, return_report=True)
    assert rescaled.input_shape == (None, 60, 45, 3)
    assert [rescaled.get_layer("resize").height, rescaled.get_layer("resize").width] == [48, 48]
    assert rescaled.get_layer("pad").padding == ((0, 2), (3, 2))
    assert rescaled.get_layer("crop").cropping == ((2, 2), (2, 2))
    new = rescaled.get_layer("njet")
    assert (new.initial_sigma, new.subsample_rate, new.padding, new.unit) == (2.25, 6.0, 2, 1.5)
    assert new.coefficient_initializer.sigma == 2.25
    assert float(to_numpy(new.sigma)) == pytest.approx(1.875)
    assert rescaled.get_layer("subsample").rate == 7.5
    np.testing.assert_allclose(to_numpy(rescaled.get_layer("depthwise").sigma), [1.5] * 4)
    np.testing.assert_allclose(to_numpy(rescaled.get_layer("pyramid").sigma), [1.5, 3.75])
    for layer, copy in zip(model.layers, rescaled.layers, strict=True):
        assert (layer.name, type(layer)) == (copy.name, type(copy))
        for weight, other in zip(layer.weights, copy.weights, strict=True):
            if "log2_sigma" not in weight.path:
                np.testing.assert_array_equal(to_numpy(weight), to_numpy(other))
    rows = {row.name: row for row in report}
    assert list(rows) == ["image", "resize", "pad", "crop", "njet", "depthwise", "pyramid", "subsample"]
    assert (rows["njet"].feature_map, rows["njet"].new_feature_map) == ((23, 24), (33, 36))
    assert rows["njet"].sigmas + rows["njet"].new_sigmas == pytest.approx((1.25, 1.875))
    assert (rows["njet"].kernel_size, rows["njet"].new_kernel_size) == ((7, 7), (11, 11))
    assert rows["pad"].changed == "padding 0×1×2×1 → 0×2×3×2 (0×1.5×3×1.5)"
    assert rows["resize"].changed == "size 32×32 → 48×48"
    assert rows["subsample"].changed == "rate 5.00 → 7.50"


@pytest.mark.parametrize("factor", [2.0, 1.5, 3.0, 0.5])
def test_back_again_is_the_original(factor):
    inputs = keras.Input((24, 24, 2))
    x = NJetConv2D(4, sigma=1.7, subsample_rate=3.0, name="njet")(inputs)
    x = keras.layers.MaxPooling2D(3, 2)(x)
    x = keras.layers.AveragePooling2D(2, padding="same")(x)
    x = NJetConv2D(4, sigma=1.3, sigma_regularizer="l2", sigma_constraint=keras.constraints.MinMaxNorm())(x)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small scales
        back = rescale(rescale(model, factor), 1 / factor)
    assert_same_weights(back, model, exactly=False)
    x = RNG.normal(size=(2, 24, 24, 2)).astype("float32")
    np.testing.assert_allclose(to_numpy(back(x)), to_numpy(model(x)), rtol=1e-5, atol=1e-5)
    assert [type(layer) for layer in back.layers] == [type(layer) for layer in model.layers]
    for layer, again in zip(model.layers, back.layers, strict=True):
        config, again = layer.get_config(), again.get_config()
        for name in ("sigma", "unit", "subsample_rate"):
            assert config.pop(name, None) == pytest.approx(again.pop(name, None))
        initial = [one.pop("coefficient_initializer", {"config": {"sigma": 0}})["config"] for one in (config, again)]
        assert initial[0].pop("sigma") == pytest.approx(initial[1].pop("sigma"))
        assert (config, initial[0]) == (again, initial[1])


@keras.saving.register_keras_serializable(package="tests")
def between_1_and_2(sigma):
    return keras.ops.clip(sigma, 1.0, 2.0)


def test_what_regularises_and_constrains_a_scale_means_the_same():
    arguments = {"sigma_regularizer": keras.regularizers.L1(0.5), "sigma_constraint": between_1_and_2}
    model = keras.Sequential([keras.Input((9, 9, 1)), NJetConv2D(2, sigma=1.5, **arguments)])
    rescaled = rescale(model, 4.0)
    assert float(to_numpy(rescaled.losses[0])) == pytest.approx(float(to_numpy(model.losses[0])))
    scale = rescaled.layers[0].log2_sigma
    for sigma, allowed in ((2.0, 4.0), (6.0, 6.0), (16.0, 8.0)):
        assert 2.0 ** float(
            to_numpy(scale.constraint(keras.ops.convert_to_tensor(np.log2(sigma), "float32")))
        ) == pytest.approx(allowed)


def test_sequential_nested_and_shared_layers():
    shared = NJetConv2D(3, sigma=1.5, name="shared")
    inner = keras.Sequential([keras.Input((20, 20, 3)), NJetConv2D(3, name="far"), keras.layers.ReLU()], name="inner")
    inputs = keras.Input((20, 20, 3))
    x = inner(shared(shared(inputs)))
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(inner(x)), trainable=False)
    rescaled = rescale(model, 1.5)
    assert len(rescaled.weights) == len(model.weights)
    assert type(rescaled.get_layer("inner")) is keras.Sequential
    assert rescaled.get_layer("inner").input_shape == (None, 30, 30, 3)
    assert float(to_numpy(rescaled.get_layer("inner").get_layer("far").sigma)) == pytest.approx(1.5)
    assert float(to_numpy(rescaled.get_layer("shared").sigma)) == pytest.approx(2.25)
    assert not rescaled.trainable
    outer = keras.Sequential([keras.Input((20, 20, 3)), inner, keras.layers.GlobalMaxPooling2D()])
    assert rescale(outer, 2.0).input_shape == (None, 40, 40, 3)


def test_unknown_sizes_stay_unknown():
    model = keras.Sequential([keras.Input((None, 16, 1), name="image"), NJetConv2D(2, name="njet")])
    rescaled, report = rescale(model, 2.0, return_report=True)
    assert rescaled.input_shape == (None, None, 32, 1)
    rows = [line.split() for line in str(report).splitlines()[2:4]]
    assert rows == [["image", "None×16", "→", "None×32"], ["njet", "1.00", "→", "2.00", "5×5", "→", "11×11"]]


def test_channels_first(channels_first):
    model = keras.Sequential([keras.Input((2, 16, 12)), NJetConv2D(2), keras.layers.GlobalAveragePooling2D()])
    assert rescale(model, 1.5).input_shape == (None, 2, 24, 18)
    dense = keras.Sequential([keras.Input((2, 16, 12)), NJetConv2D(2), keras.layers.Dense(12, name="mixing")])
    with pytest.raises(ValueError, match="'mixing' \\(Dense"):
        rescale(dense, 2.0)


@on_torch
def test_saved_and_loaded_and_frozen(tmp_path):
    inputs = keras.Input((24, 24, 2))
    x = NJetConv2D(4, sigma=1.5, subsample_rate=4.0)(inputs)
    x = keras.layers.MaxPooling2D(2)(x)
    x = NJetConv2D(4, sigma_sharing="filter")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    rescaled = rescale(model, 1.5)
    images = RNG.normal(size=(2, 36, 36, 2)).astype("float32")
    expected = rescaled.predict(images, verbose=0)
    predicts_the_same_in_a_new_process(rescaled, images, tmp_path)
    frozen = freeze(rescaled)
    np.testing.assert_allclose(frozen.predict(images, verbose=0), expected, atol=1e-5)
    assert not any(type(layer).__module__.startswith("keras_njet") for layer in frozen.layers)


def test_a_rescaled_network_is_trained_on():
    model = rescale(classifier(12, 12, sigmas=(1.5,), subsample_rate=4.0), 2.0)
    model.compile("adam", "mse")
    before = float(to_numpy(model.layers[0].sigma))
    model.fit(RNG.normal(size=(8, 24, 24, 2)), RNG.normal(size=(8, 5)), epochs=2, verbose=0)
    assert float(to_numpy(model.layers[0].sigma)) != before


def plain(x):
    x = keras.layers.Conv2D(4, 5, padding="same", name="conv")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    return keras.layers.Conv2D(4, 1, name="mix")(x)


def test_a_converted_network():
    inputs = keras.Input((16, 16, 2))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(plain(inputs)))
    rescaled = rescale(convert(model, order=6), 2.0)
    assert {type(rescaled.get_layer(name)) for name in ("conv", "depthwise")} == {NJetConv2D, NJetDepthwiseConv2D}


@pytest.mark.parametrize("kind", [keras.layers.CenterCrop, keras.layers.RandomCrop, keras.layers.Resizing])
def test_sizes_of_crops_grow(kind):
    model = keras.Sequential([keras.Input((20, 24, 1)), kind(10, 15, name="sized"), NJetConv2D(2)])
    sized = rescale(model, 2.0).get_layer("sized")
    assert type(sized) is kind
    assert (sized.height, sized.width) == (20, 30)


def test_the_report_is_logged(caplog):
    with caplog.at_level("INFO", logger="keras_njet"):
        _, report = rescale(classifier(12, 12), 2.0, return_report=True)
    assert str(report) in caplog.text
    caplog.clear()
    inputs = keras.Input((16, 16, 2))
    with caplog.at_level("INFO", logger="keras_njet"):
        _, rows = convert(keras.Model(inputs, plain(inputs)), max_error=1.0, return_report=True)
    assert [str(row) for row in rows] == [record.getMessage() for record in caplog.records]


def test_layers_that_do_not_follow_are_named_together():
    inputs = keras.Input((16, 16, 2))
    x = plain(NJetConv2D(2)(inputs))
    x = keras.layers.Dense(2, name="logits")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, x)
    named = (
        "'conv' (Conv2D of 5×5 pixels), 'depthwise' (DepthwiseConv2D of 3×3 pixels), 'flat' (Flatten, whose result "
        "depends on the number of pixels)"
    )
    with pytest.raises(ValueError, match=f"{re.escape(named)}.*keras_njet.convert.*strict=False.*Received: model="):
        rescale(model, 2.0)
    with (
        pytest.warns(UserWarning, match=re.escape(named)),
        pytest.raises(ValueError, match="size of the input: 'logits'"),
    ):
        rescale(model, 2.0, strict=False)  # the weights of the logits can't stay
    without = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(plain(NJetConv2D(2)(inputs))))
    with pytest.warns(UserWarning, match="'conv'.*stay as they are"):
        rescaled = rescale(without, 2.0, strict=False)
    assert rescaled.get_layer("conv").kernel_size == (5, 5)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: keras.layers.LSTM(3, name="layer"), "LSTM, step by step"),
        (lambda: keras.layers.Bidirectional(keras.layers.LSTM(3), name="layer"), "Bidirectional"),
        (lambda: keras.layers.Conv1DTranspose(3, 2, name="layer"), "Conv1DTranspose of 2 pixels"),
        (lambda: keras.layers.Reshape((-1,), name="layer"), "Reshape"),
    ],
)
def test_layers_that_do_not_follow(layer, name):
    model = keras.Sequential([keras.Input((16, 2)), NJetConv1D(2), layer()])
    with pytest.raises(ValueError, match=f"'layer' \\({name}"):
        rescale(model, 2.0)


def test_bad_input_leaves_the_model_as_it_was():
    model = classifier(8, 8)
    before = [layer.get_config() for layer in model.layers], model.get_weights()
    for factor in (0, -1.0, float("nan"), float("inf"), "2", None, (2.0, 0.0)):
        with pytest.raises(ValueError, match=r"factor.*Received"):
            rescale(model, factor)
    with pytest.raises(ValueError, match=r"one number.*Received: factor=\(2.0, 3.0\), layers=\['njet0', 'njet1'\]"):
        rescale(model, (2, 3))
    with pytest.raises(ValueError, match="functional or sequential"):
        rescale(keras.layers.Dense(2), 2.0)
    without = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"must have an N-Jet layer.*convert.*Received: model="):
        rescale(without, 2.0)
    each = keras.layers.TimeDistributed(NJetConv2D(2), name="each")
    with pytest.raises(ValueError, match=r"not of another layer.*Received: layers=\['each'\]"):
        rescale(keras.Sequential([keras.Input((3, 8, 8, 1)), NJetConv3D(2), each]), 2.0)
    assert [layer.get_config() for layer in model.layers] == before[0]
    for weight, old in zip(model.get_weights(), before[1], strict=True):
        np.testing.assert_array_equal(weight, old)


def test_layers_with_weights_for_each_pixel_are_named():
    model = keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(2), keras.layers.PReLU(name="slopes")])
    with pytest.raises(ValueError, match=r"shape depends on the size of the input: 'slopes'\..*Received: model="):
        rescale(model, 2.0)


def test_a_scale_that_becomes_too_small_is_named_in_one_warning():
    model = classifier(24, 24, sigmas=(0.9, 1.0, 2.0))
    with pytest.warns(UserWarning, match="'njet0' .σ = 0.45, sampled: 0.6., 'njet1' .σ = 0.50") as caught:
        rescale(model, 0.5)
    (message,) = [str(one.message) for one in caught if one.category is UserWarning]
    assert "njet2" not in message


def test_the_discretization_changes_if_asked_to():
    def discretizations(model):
        return {layer.discretization for layer in model.layers if isinstance(layer, NJetConv2D)}

    model = classifier(24, 24, sigmas=(1.0, 1.1, 2.0))
    assert discretizations(rescale(model, 2.0)) == {"sampled"}
    rescaled = rescale(model, 0.5, discretization="integrated")  # without a warning
    assert discretizations(rescaled) == discretizations(rescale(rescaled, 2.0)) == {"integrated"}
    x = smooth_images(12, 12)
    assert_close(freeze(rescaled).predict(x, verbose=0), rescaled.predict(x, verbose=0), 1e-5)
    with pytest.raises(ValueError, match=r"Received: discretization='exact'$"):
        rescale(model, 2.0, discretization="exact")


def test_pooling_stays_if_asked_to():
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.ZeroPadding2D(1, name="pad")(NJetConv2D(2)(inputs))
    model = keras.Model(inputs, keras.layers.MaxPooling2D(3, 2, name="pool")(x))
    grown, left = rescale(model, 2.0), rescale(model, 2.0, rescale_pooling=False)
    assert grown.output_shape == left.output_shape == (None, 16, 16, 2)
    assert (type(grown.get_layer("pool")), grown.get_layer("pool").pool_size) == (ScaledPooling, (6, 6))
    assert (type(left.get_layer("pool")), left.get_layer("pool").pool_size) == (keras.layers.MaxPooling2D, (3, 3))
    assert grown.get_layer("pad").padding == left.get_layer("pad").padding == ((1, 1), (1, 1))


def test_the_released_network_at_three_times_the_size():
    x = np.kron(RNG.uniform(size=(1, 7, 7, 1)), np.ones((1, 4, 4, 1))).astype("float32")
    model = keras_njet.applications.NJetNIN(weights="fashion_mnist", width=0.25, input_shape=(28, 28, 1))
    rescaled = rescale(model, 3.0)
    assert rescaled.predict(np.kron(x, np.ones((1, 3, 3, 1))), verbose=0).shape == (1, 10)
    assert rescaled.get_layer("block1_conv").kernel_size == (15, 15)


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: keras.ops.image.resize(x, (16, 16), data_format="channels_last"), "Resize"),
        (lambda x: keras.ops.max_pool(x, 3, 2, "same"), "MaxPool"),
        (lambda x: keras.ops.conv(x, np.ones((5, 5, 2, 2), "float32"), padding="same"), "Conv"),
        (lambda x: keras.ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), "Pad"),
    ],
)
def test_operations_that_do_not_follow_are_named(operation, name):
    inputs = keras.Input((32, 32, 1))
    model = keras.Model(inputs, NJetConv2D(2)(operation(NJetConv2D(2)(inputs))))
    with pytest.raises(ValueError, match=rf"the operation {name}, which has sizes in pixels"):
        rescale(model, 2.0)
    with pytest.warns(UserWarning, match=f"the operation {name}"):
        rescale(model, 2.0, strict=False)
