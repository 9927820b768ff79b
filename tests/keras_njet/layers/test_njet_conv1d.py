"""Guards what is special to `NJetConv1D`: long signals, which are worked on in tiles. See also `test_njet_conv.py`."""

import numpy as np
import pytest
from keras.src.testing import TestCase

from keras_njet import NJetConv1D
from keras_njet._convolution import evaluations
from tests.helpers import layer_gradients, njet_convolution, to_numpy

X = np.random.default_rng(0).normal(size=(2, 16000, 2)).astype("float32")


@pytest.fixture
def largest(monkeypatch):
    """Returns how many distances the largest call of `gaussian_derivatives` was given: entries of a matrix."""
    found = [0]
    compute = evaluations.gaussian_derivatives

    def recording(x, *args, **kwargs):
        found.append(int(np.prod(x.shape)))
        return compute(x, *args, **kwargs)

    monkeypatch.setattr(evaluations, "gaussian_derivatives", recording)
    return lambda: max(found)


def resampled(signals, new_length):
    """Signals interpolated linearly by NumPy, with the centres of samples at half-integers."""
    length = signals.shape[1]
    centres = (np.arange(new_length) + 0.5) * length / new_length - 0.5
    return np.apply_along_axis(lambda line: np.interp(centres, np.arange(length), line), 1, signals)


@pytest.mark.parametrize("implementation", ["matrix", "auto"])
@pytest.mark.parametrize(
    ("sigma", "arguments", "kept", "new_length"),
    [
        (4.0, {}, slice(None), None),
        (4.0, {"strides": 3}, slice(None, None, 3), None),
        (90.0, {"strides": 2, "padding": "valid"}, slice(180, -180, 2), None),
        (4.0, {"subsample_rate": 8.0}, slice(None), 11313),  # ⌊16000·½^½⌋
        (4.0, {"strides": 2, "subsample_rate": 4.0}, slice(1, None, 2), 4000),
    ],
)
def test_long_signals_are_convolved_as_by_scipy_without_a_matrix_as_long(
    largest, sigma, arguments, kept, new_length, implementation
):
    layer = NJetConv1D(3, order=2, sigma=sigma, implementation=implementation, use_bias=False, **arguments)
    ours = to_numpy(layer(X))
    assert 0 < largest() < 4096**2
    expected = njet_convolution(X, to_numpy(layer.coefficients), sigma, 2)[:, kept]
    expected = expected if new_length is None else resampled(expected, new_length)
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


def test_gradients_of_long_signals_are_those_of_a_composed_filter(largest):
    found = {}
    for implementation in ("matrix", "dense"):
        layer = NJetConv1D(2, order=2, sigma=3.0, subsample_rate=8.0, implementation=implementation)
        layer.build(X.shape)
        layer.coefficients.assign(np.linspace(-1, 1, 12).reshape(3, 2, 2))
        weights = np.random.default_rng(1).normal(size=layer(X).shape).astype("float32")
        found[implementation] = layer_gradients(layer, X, weights)
    assert largest() < 4096**2
    for one, other in zip(found["matrix"], found["dense"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(other).max())


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer: serialisation, symbolic calls, dtypes, a step of `fit`."""

    def run_all(self, shape, output_shape, weights=3, **arguments):
        self.run_layer_test(
            NJetConv1D,
            init_kwargs={"filters": 6, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=weights,
            expected_num_non_trainable_weights=3 - weights if "learn_sigma" in arguments else 0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 9, 4), (2, 9, 6))

    def test_strides_and_groups(self):
        self.run_all((2, 9, 4), (2, 5, 6), strides=2, groups=2)

    def test_channels_first(self):
        self.run_all((2, 4, 9), (2, 6, 9), data_format="channels_first")

    def test_fixed_sigma(self):
        self.run_all((2, 9, 4), (2, 9, 6), weights=2, learn_sigma=False)

    def test_dense(self):
        self.run_all((2, 9, 4), (2, 9, 6), implementation="dense")

    def test_subsampled(self):
        self.run_all((2, 9, 4), (2, None, 6), subsample_rate=4.0)

    def test_valid(self):
        self.run_all((2, 9, 4), (2, None, 6), padding="valid")
