"""Guards `ResolutionCallback`; that it updates within an epoch is in `test_following.py`."""

import keras
import numpy as np
import pytest

from keras_njet import NJetConv2D, ResolutionCallback


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


def test_a_training_that_diverged_is_logged_as_such():
    model = keras.Sequential([keras.Input((9, 9, 1)), NJetConv2D(2, name="njet"), keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    stop = keras.callbacks.TerminateOnNaN(raise_error=False)
    x, y = np.full((4, 9, 9, 1), np.nan), np.zeros((4, 2))
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[ResolutionCallback(), stop]).history
    assert np.isnan(history["njet/sigma"][-1])
    assert np.isnan(history["njet/kernel_size"][-1])


def test_logging_can_be_turned_off():
    assert list(fit(log=False, update_freq=1)) == ["loss"]


@pytest.mark.parametrize("update_freq", [0, 1.5, "batch"])
def test_bad_frequency(update_freq):
    with pytest.raises(ValueError, match=f"Received: update_freq={update_freq!r}$"):
        ResolutionCallback(update_freq)
