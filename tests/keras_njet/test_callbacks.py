"""Guards `ResolutionCallback`; that it updates within an epoch is in `test_following.py`."""

import keras
import numpy as np
import pytest

from keras_njet import NJetConv1D, NJetConv2D, NJetConv3D, NJetDepthwiseConv1D, ResolutionCallback
from tests.helpers import on

pytestmark = pytest.mark.usefixtures("little_is_compiled")


def fit(**arguments):
    inner = keras.Sequential([keras.Input((9, 9, 1)), NJetConv2D(2, sigma=1.5, name="deep")], name="inner")
    model = keras.Sequential([inner, NJetConv2D(2, sigma=0.8, name="top"), keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = np.zeros((4, 9, 9, 1)), np.zeros((4, 2))
    return model.fit(x, y, epochs=2, verbose=0, callbacks=[ResolutionCallback(**arguments)]).history


def test_history_has_sigma_and_size_of_every_layer_at_any_depth():
    history = fit()
    assert history["deep/sigma"] == pytest.approx([1.5, 1.5])
    assert history["deep/kernel_size"] == [7, 7]
    assert history["top/sigma"] == pytest.approx([0.8, 0.8])
    assert history["top/kernel_size"] == [5, 5]
    assert history["top/height"] == history["top/width"] == [9, 9]


def history_of(*layers, sizes):
    model = keras.Sequential([keras.Input((*sizes, 1)), *layers])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.zeros((2, *sizes, 1))
    y = np.zeros(model(x).shape)
    history = model.fit(x, y, verbose=0, callbacks=[ResolutionCallback()]).history
    return {name: value for name, (value,) in history.items() if name != "loss"}


def test_logs_of_signals():
    layers = [NJetConv1D(2, sigma=4.0, strides=2, name="conv"), NJetDepthwiseConv1D(sigma=0.5, name="depth")]
    assert history_of(*layers, sizes=(21,)) == {
        "conv/sigma": 4.0,
        "conv/kernel_size": 17,
        "conv/length": 11,
        "depth/sigma": 0.5,
        "depth/kernel_size": 3,
        "depth/length": 11,
    }


@pytest.mark.parametrize("isotropic", [True, False])
def test_logs_of_volumes(isotropic):
    sigma = 1.5 if isotropic else (0.5, 2.0, 1.5)
    layer = NJetConv3D(2, order=1, sigma=sigma, isotropic=isotropic, name="conv")
    of_sigma = {"sigma": 1.5} if isotropic else {"sigma_depth": 0.5, "sigma_height": 2.0, "sigma_width": 1.5}
    expected = {**of_sigma, "kernel_size": 7 if isotropic else 9, "depth": 4, "height": 5, "width": 6}
    found = history_of(layer, sizes=(4, 5, 6))
    assert found == pytest.approx({f"conv/{name}": value for name, value in expected.items()})


def test_logs_of_a_sigma_for_each_axis_are_the_largest_along_it():
    layer = NJetConv2D(2, isotropic=False, sigma_sharing="filter", name="conv")
    layer.build((None, 8, 9, 1))
    layer.sigma = [[0.7, 2.0], [1.0, 0.7]]
    found = history_of(layer, sizes=(8, 9))
    expected = {"sigma_height": 1.0, "sigma_width": 2.0, "kernel_size": 9, "height": 8, "width": 9}
    assert found == pytest.approx({f"conv/{name}": value for name, value in expected.items()})


def test_a_training_that_diverged_is_logged_as_such():
    model = keras.Sequential([keras.Input((9, 9, 1)), NJetConv2D(2, name="njet"), keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    stop = keras.callbacks.TerminateOnNaN(raise_error=False)
    x, y = np.full((4, 9, 9, 1), np.nan), np.zeros((4, 2))
    with pytest.warns(UserWarning, match="σ is NaN in 'njet'"):
        history = model.fit(x, y, epochs=2, verbose=0, callbacks=[ResolutionCallback(), stop]).history
    assert np.isnan(history["njet/sigma"][-1])
    assert np.isnan(history["njet/kernel_size"][-1])


def test_logging_can_be_turned_off():
    assert list(fit(log=False, update_freq=1)) == ["loss"]


@pytest.mark.parametrize("update_freq", [0, 1.5, "batch"])
def test_bad_frequency(update_freq):
    with pytest.raises(ValueError, match=f"Received: update_freq={update_freq!r}$"):
        ResolutionCallback(update_freq)


@on("tensorflow")
def test_tensorboard_shows_sigma(tmp_path):
    """Keras' callback writes what the logs hold, if it comes later."""
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    import tensorflow as tf

    model = keras.Sequential([keras.Input((9, 9, 1)), NJetConv2D(2, name="conv"), keras.layers.GlobalMaxPooling2D()])
    model.compile("sgd", "mse")
    callbacks = [ResolutionCallback(), keras.callbacks.TensorBoard(tmp_path)]
    x, y = np.zeros((4, 9, 9, 1)), np.zeros((4, 2))
    history = model.fit(x, y, epochs=2, callbacks=callbacks, verbose=0).history
    shown = {}
    for path in (tmp_path / "train").glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                shown.setdefault(value.tag, []).append(value.tensor)
    sigma = [float(tf.make_ndarray(tensor)) for tensor in shown["epoch_conv/sigma"]]
    np.testing.assert_allclose(sigma, history["conv/sigma"], rtol=1e-6)
    assert len(sigma) == 2


def test_layers_of_the_same_name_are_told_apart():
    inner = [
        keras.Sequential([keras.Input((9, 9, 1)), NJetConv2D(1, sigma=sigma, name="conv")], name=f"part{number}")
        for number, sigma in enumerate((1.0, 3.0))
    ]
    model = keras.Sequential([*inner, keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = model.fit(np.zeros((2, 9, 9, 1)), np.zeros((2, 1)), verbose=0, callbacks=[ResolutionCallback()]).history
    assert history["part0/conv/sigma"] == pytest.approx([1.0])
    assert history["part1/conv/sigma"] == pytest.approx([3.0])
    assert "conv/sigma" not in history


def test_updates_that_fall_between_two_executions_are_made_up_for(monkeypatch):
    updates = []
    monkeypatch.setattr("keras_njet.callbacks.update_sizes", lambda model: updates.append(seen[-1]))
    callback, seen = ResolutionCallback(update_freq=6), []
    callback.on_epoch_begin(0)
    for last in (3, 7, 11, 15, 19):  # batches, four at once
        seen.append(last)
        callback.on_train_batch_end(last)
    assert updates == [7, 15]
    callback.on_epoch_begin(1)
    for last in range(13):
        seen.append(last)
        callback.on_train_batch_end(last)
    assert updates == [7, 15, 5, 11]


def test_sizes_of_maps_are_those_of_the_training_whatever_is_validated():
    model = keras.Sequential(
        [keras.Input((None, None, 1)), NJetConv2D(2, name="conv"), keras.layers.GlobalAveragePooling2D()]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = np.zeros((4, 16, 12, 1), "float32"), np.zeros((4, 2), "float32")
    history = model.fit(
        x, y, epochs=2, validation_data=(x[:, :8, :8], y), callbacks=[ResolutionCallback()], verbose=0
    ).history
    assert (history["conv/height"], history["conv/width"]) == ([16, 16], [12, 12])
