"""Guards files that older versions wrote: what was saved loads, and predicts what it predicted.

`files/v0_1.*` were written by commit 6cb45c8 with torch: one model with every layer that there was, once whole and once
its weights alone, with an input and its predictions.
"""

import pathlib

import keras
import numpy as np

import keras_njet  # noqa: F401, since loading needs the layers registered

FILES = pathlib.Path(__file__).parent / "files"
EXPECTED = np.load(FILES / "v0_1.npz")


def assert_predicts_what_it_predicted(model):
    found = model.predict(EXPECTED["x"], verbose=0)
    np.testing.assert_allclose(found, EXPECTED["predictions"], atol=1e-5)


def test_a_model_saved_by_version_0_1_loads():
    assert_predicts_what_it_predicted(keras.models.load_model(FILES / "v0_1.keras"))


def test_weights_saved_by_version_0_1_load_by_their_paths():
    model = keras.models.load_model(FILES / "v0_1.keras")
    paths = [variable.path for variable in model.weights]
    assert {"conv/coefficients", "conv/bias", "conv/log2_sigma", "pyramid/log2_sigma_0", "untied/coefficients_1"} <= {
        *paths
    }
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    model.load_weights(FILES / "v0_1.weights.h5")
    assert_predicts_what_it_predicted(model)
