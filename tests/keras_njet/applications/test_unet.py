"""Guards the U-Nets: the paper's architecture, any size of image, and what holds for every application."""

import itertools

import keras
import numpy as np
import pytest

from keras_njet import NJetConv2D, SegmentationCrossentropy
from keras_njet.applications import NJetUNet, UNet
from tests.helpers import long, on_torch, predicts_the_same_in_a_new_process, skip_without_channels_first, to_numpy

RNG = np.random.default_rng(0)


def weights(levels, width, taps, classes=11):
    """Number of weights of two convolutions a level, down and up, of `taps` weights a filter and channel."""
    widths = [width * 2**level for level in range(levels)]
    pairs = list(itertools.pairwise([1, *widths]))
    pairs += [(low + high, low) for low, high in itertools.pairwise(widths)]
    spatial = sum(taps * (channels * filters + filters * filters) + 2 * filters for channels, filters in pairs)
    return spatial + widths[0] * classes + classes


@on_torch
@pytest.mark.parametrize(("levels", "convolutions"), [(1, 2), (3, 10), (5, 18)])
def test_depth_and_weights_are_the_papers(levels, convolutions):
    for kernel_size in (3, 4):
        model = UNet(levels=levels, filters=4, kernel_size=kernel_size)
        assert model.count_params() == weights(levels, 4, kernel_size**2)
    for order, basis in ((2, 6), (4, 15)):
        twin = NJetUNet(levels=levels, filters=4, order=order)
        spatial = [layer for layer in twin.layers if isinstance(layer, NJetConv2D)]
        assert len(spatial) == convolutions
        assert twin.count_params() == weights(levels, 4, basis) + convolutions  # a scale each


@pytest.mark.parametrize("build", [NJetUNet, UNet])
def test_it_segments_images_of_any_size(build):
    model = build(filters=2, classes=5)
    for size in ((8, 8), (4, 21)):
        assert model.predict(np.zeros((1, *size, 1), "float32"), verbose=0).shape == (1, *size, 5)
    fixed = build(filters=2, classes=5, input_shape=(13, 9, 1))
    fixed.set_weights(model.get_weights())
    x = RNG.normal(size=(2, 13, 9, 1)).astype("float32")
    outputs = model.predict(x, verbose=0)
    assert outputs.shape == (2, 13, 9, 5)
    np.testing.assert_allclose(fixed.predict(x, verbose=0), outputs, atol=1e-6)


@pytest.mark.parametrize("build", [NJetUNet, UNet])
def test_it_trains_and_saves(build, tmp_path):
    keras.utils.set_random_seed(0)
    model = build(filters=4, classes=3, levels=2)
    model.compile(keras.optimizers.Adam(0.01), SegmentationCrossentropy([0.2, 1.0, 1.0]))
    x = np.random.default_rng(0).normal(size=(4, 9, 10, 1)).astype("float32")
    y = np.where(x[..., 0] > 0.5, 1, np.where(x[..., 0] < -0.5, 2, 0))
    history = model.fit(x, y, batch_size=1, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.95 * history[0]
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    model.save_weights(tmp_path / "some.weights.h5")
    loaded = build(weights=tmp_path / "some.weights.h5", filters=4, classes=3, levels=2)
    np.testing.assert_allclose(to_numpy(loaded(x)), to_numpy(model(x)), atol=1e-6)


@pytest.mark.parametrize("build", [NJetUNet, UNet])
def test_channels_first_gives_the_same(build, channels_first):
    skip_without_channels_first()
    model = build(filters=2, input_shape=(3, 9, 12))
    x = RNG.normal(size=(1, 9, 12, 3)).astype("float32")
    ours = model.predict(x.transpose(0, 3, 1, 2), verbose=0).transpose(0, 2, 3, 1)
    keras.config.set_image_data_format("channels_last")
    twin = build(filters=2, input_shape=(9, 12, 3))
    twin.set_weights(model.get_weights())
    np.testing.assert_allclose(ours, twin.predict(x, verbose=0), atol=1e-5)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = NJetUNet(filters=2, classes=3, levels=2)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", SegmentationCrossentropy())
    x, y = RNG.normal(size=(1, 8, 8, 1)), RNG.integers(0, 3, size=(1, 8, 8))
    assert np.isfinite(model.train_on_batch(x, y))
    assert model.predict(x, verbose=0).dtype == "float32"


@long
@on_torch
def test_a_new_process_predicts_the_same(tmp_path):
    predicts_the_same_in_a_new_process(NJetUNet(filters=2, sigma=1.7), RNG.normal(size=(2, 9, 13, 1)), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"levels": 0}, "levels=0"),
        ({"filters": 0}, "filters=0"),
        ({"input_shape": (3, 8, 1)}, r"input_shape=\(3, 8, 1\)"),
        ({"weights": "voc"}, "weights='voc'"),
    ],
)
def test_wrong_arguments_are_named_in_the_error(arguments, received):
    for build in (UNet, NJetUNet):
        with pytest.raises(ValueError, match=f"Received: {received}$"):
            build(**arguments)


def test_the_learning_rate_of_its_scales():
    layers = NJetUNet(filters=2, levels=1, sigma_learning_rate=0.1).layers
    assert [layer.sigma_learning_rate for layer in layers if isinstance(layer, NJetConv2D)] == [0.1, 0.1]
