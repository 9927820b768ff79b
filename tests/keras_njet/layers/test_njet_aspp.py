"""Guards `NJetASPP`: a sum of SciPy's Gaussian derivatives at several scales, its gradients, its manners."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.testing import TestCase

from keras_njet import NJetASPP, ResolutionCallback
from tests.helpers import examples, layer_gradients, njet_convolution, to_numpy

RNG = np.random.default_rng(0)
NORMAL = keras.initializers.RandomNormal(stddev=1.0)


def by_scipy(x, coefficients, sigmas, order):
    coefficients = [to_numpy(part) for part in coefficients]
    coefficients = coefficients * len(sigmas) if len(coefficients) == 1 else coefficients
    pairs = zip(sigmas, coefficients, strict=True)
    return sum(njet_convolution(x, alpha, sigma, order) for sigma, alpha in pairs)


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    sigmas=st.lists(st.floats(0.3, 6.0), min_size=1, max_size=3),
    order=st.integers(0, 3),
    channels=st.integers(1, 4),
    filters=st.integers(1, 4),
    tied=st.booleans(),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
@settings(max_examples=examples(20), deadline=None)
def test_output_is_the_sum_of_scipys_gaussian_filters(
    height, width, sigmas, order, channels, filters, tied, data_format
):
    layer = NJetASPP(
        filters, order=order, sigma=tuple(sigmas), tied=tied, data_format=data_format, coefficient_initializer=NORMAL
    )
    x = np.random.default_rng(height * width).normal(size=(2, height, width, channels)).astype("float32")
    ours = to_numpy(layer(x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)))
    ours = ours if data_format == "channels_last" else ours.transpose(0, 2, 3, 1)
    expected = by_scipy(x, layer.coefficients, sigmas, order)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("filters", [2, 5])  # fewer than the channels, and more: they are mixed first or last
def test_gradients_are_those_of_finite_differences_of_scipy(filters):
    sigmas, order = (0.9, 2.2), 2
    layer = NJetASPP(filters, order=order, sigma=sigmas, use_bias=False, coefficient_initializer=NORMAL)
    x = RNG.normal(size=(2, 7, 6, 3)).astype("float32")
    weights = RNG.normal(size=(2, 7, 6, filters)).astype("float32")
    layer.build(x.shape)
    alpha = to_numpy(layer.coefficients[0])
    ours = dict(zip(("x", "alpha", 0, 1), layer_gradients(layer, x, weights), strict=True))

    def loss(x=x, alpha=alpha, log2_sigmas=None):
        log2_sigmas = np.log2(sigmas) if log2_sigmas is None else log2_sigmas
        return np.sum(weights * sum(njet_convolution(x, alpha, 2.0**s, order) for s in log2_sigmas))

    for name, point in (("x", x), ("alpha", alpha)):
        direction = RNG.normal(size=point.shape)
        change = (loss(**{name: point + 1e-4 * direction}) - loss(**{name: point - 1e-4 * direction})) / 2e-4
        np.testing.assert_allclose(np.sum(ours[name] * direction), change, rtol=1e-3, atol=1e-2)
    for number in (0, 1):
        ends = [np.log2(sigmas) + step * np.eye(2)[number] for step in (1e-4, -1e-4)]
        change = (loss(log2_sigmas=ends[0]) - loss(log2_sigmas=ends[1])) / 2e-4
        np.testing.assert_allclose(ours[number], change, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(("order", "weights"), [(1, 129_024), (2, 258_048), (3, 430_080)])
def test_numbers_of_weights_are_the_papers(order, weights):
    layer = NJetASPP(21, order=order, use_bias=False)
    layer.build((None, 41, 41, 2048))
    assert layer.count_params() == weights + 4  # the scales


def test_scales_are_learned_each_for_itself_and_logged():
    keras.utils.set_random_seed(0)
    layer = NJetASPP(1, sigma=(0.9, 1.9), coefficient_initializer="random_normal", name="head")
    model = keras.Sequential([keras.Input((8, 8, 2)), layer])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x, y = RNG.normal(size=(4, 8, 8, 2)), RNG.normal(size=(4, 8, 8, 1))
    logs = model.fit(x, y, epochs=2, callbacks=[ResolutionCallback()], verbose=0).history
    assert [logs["head/sigma_0"][-1], logs["head/sigma_1"][-1]] == pytest.approx(to_numpy(layer.sigma).tolist())
    changes = np.log2(to_numpy(layer.sigma)) - np.log2((0.9, 1.9))
    assert np.all(np.abs(changes) > 1e-6)
    assert abs(changes[0] - changes[1]) > 1e-6
    assert layer.kernel_sizes == tuple((2 * int(np.ceil(2 * sigma)) + 1,) * 2 for sigma in to_numpy(layer.sigma))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype):
    layer = NJetASPP(3, sigma=(1.0, 4.0), dtype=dtype)
    x = RNG.normal(size=(2, 9, 8, 4)).astype("float32")
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    expected = by_scipy(x, layer.coefficients, (1.0, 4.0), 3)
    np.testing.assert_allclose(to_numpy(outputs), expected, atol=0.03 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer."""

    def run_all(self, shape, output_shape, weights, **arguments):
        self.run_layer_test(
            NJetASPP,
            init_kwargs={"filters": 3, "sigma": (1.0, 2.0), **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=weights,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_tied(self):
        self.run_all((2, 7, 6, 4), (2, 7, 6, 3), 4)

    def test_integrated(self):
        self.run_all((2, 7, 6, 4), (2, 7, 6, 3), 4, discretization="integrated")

    def test_channels_first_and_not_tied(self):
        self.run_all((2, 4, 7, 6), (2, 3, 7, 6), 5, tied=False, data_format="channels_first")


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"filters": 0}, "filters=0"),
        ({"order": -1}, "order=-1"),
        ({"sigma": 3.0}, "sigma=3.0"),
        ({"sigma": (1.0, 0.0)}, "sigma=0.0"),
        ({"extent": 0}, "extent=0"),
        ({"discretization": "exact"}, "discretization='exact'"),
        ({"data_format": "x"}, "data_format='x'"),
    ],
)
def test_bad_arguments_are_named_in_the_error(arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        NJetASPP(**{"filters": 2, **arguments})


def test_a_function_may_initialize_the_coefficients():
    layer = NJetASPP(2, tied=False, coefficient_initializer=lambda shape, dtype=None: keras.ops.ones(shape, dtype))
    layer.build((None, 8, 8, 1))
    assert all(np.all(to_numpy(variable) == 1.0) for variable in layer.coefficients)
