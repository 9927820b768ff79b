"""Guards `NJetConv2D`: its numbers against SciPy, its gradients against finite differences, its manners as a layer."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from keras.src.testing import TestCase

from keras_njet import NJetConv2D
from keras_njet._convolution import sizes
from tests.helpers import examples, layer_gradients, njet_convolution, to_numpy

RNG = np.random.default_rng(0)


def channels_last(tensor, data_format):
    array = to_numpy(tensor)
    return array if data_format == "channels_last" else array.transpose(0, 2, 3, 1)


def conv2d_like(layer, x):
    """Keras' own convolution with the composed filters of the layer."""
    convolution = keras.layers.Conv2D(
        layer.filters, layer.kernel_size, layer.strides, layer.padding, groups=layer.groups, use_bias=False
    )
    convolution.build(x.shape)
    convolution._kernel.assign(layer.kernel)
    return to_numpy(convolution(x))


# --- The numbers -----------------------------------------------------------------------------------------------------


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    sigma=st.floats(0.3, 4.0),
    order=st.integers(0, 4),
    groups=st.sampled_from([1, 2]),
    implementation=st.sampled_from(["matrix", "dense", "auto"]),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
    widths=st.sampled_from([(2, 2), (2, 8), (8, 2)]),
)
@settings(max_examples=examples(15), deadline=None)
def test_output_is_that_of_scipys_gaussian_filter(
    height, width, sigma, order, groups, implementation, data_format, widths
):
    channels, filters = widths
    layer = NJetConv2D(
        filters,
        order=order,
        sigma=sigma,
        groups=groups,
        implementation=implementation,
        data_format=data_format,
        use_bias=False,
    )
    x = np.random.default_rng(height * width).normal(size=(2, height, width, channels)).astype("float32")
    inputs = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    ours = channels_last(layer(inputs), data_format)
    expected = njet_convolution(x, to_numpy(layer.coefficients), sigma, order, groups=groups)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("mixing", [(1, 12), (12, 1), (6, 6)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("implementation", ["matrix", "dense", "auto"])
def test_gradients_are_those_of_finite_differences_of_scipy(implementation, data_format, mixing):
    channels, filters = mixing
    sigma, order = 1.2, 2
    layer = NJetConv2D(
        filters, order=order, sigma=sigma, data_format=data_format, implementation=implementation, use_bias=False
    )
    x = RNG.normal(size=(2, 7, 6, channels)).astype("float32")
    weights = RNG.normal(size=(2, 7, 6, filters)).astype("float32")
    inputs = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    layer.build(inputs.shape)
    alpha = to_numpy(layer.coefficients)
    given_weights = weights if data_format == "channels_last" else weights.transpose(0, 3, 1, 2)
    of_x, of_alpha, of_log2_sigma = layer_gradients(layer, inputs, given_weights)

    def loss(x, alpha, log2_sigma):
        return np.sum(weights * njet_convolution(x, alpha, 2.0**log2_sigma, order))

    def along(direction, index, step=1e-4):
        arguments = [x.astype("float64"), alpha.astype("float64"), math.log2(sigma)]
        ends = []
        for sign in (1, -1):
            moved = list(arguments)
            moved[index] = moved[index] + sign * step * direction
            ends.append(loss(*moved))
        return (ends[0] - ends[1]) / (2 * step)

    of_x = of_x if data_format == "channels_last" else of_x.transpose(0, 2, 3, 1)
    # That of σ sums a term of either sign for each output, and may be much smaller than they are.
    ends = [njet_convolution(x, alpha, 2.0 ** (math.log2(sigma) + step), order) for step in (1e-4, -1e-4)]
    scale = np.linalg.norm(weights) * np.linalg.norm((ends[0] - ends[1]) / 2e-4)
    assert abs(of_log2_sigma - along(1.0, 2)) < 1e-4 * scale
    for index, gradient, shape in ((0, of_x, x.shape), (1, of_alpha, alpha.shape)):
        direction = RNG.normal(size=shape)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert abs(np.sum(gradient * direction) - along(direction, index)) < 1e-4 * scale


@pytest.mark.parametrize("implementation", ["matrix", "dense", "auto"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2, (3, 2)])
@pytest.mark.parametrize("size", [(12, 12), (11, 14)])
def test_strides_and_padding_are_those_of_conv2d(implementation, padding, strides, size):
    x = RNG.normal(size=(2, *size, 4)).astype("float32")
    layer = NJetConv2D(6, strides=strides, padding=padding, groups=2, implementation=implementation, use_bias=False)
    np.testing.assert_allclose(to_numpy(layer(x)), conv2d_like(layer, x), atol=1e-5)


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
@pytest.mark.parametrize(("margin", "strides"), [(0, 1), (1, 2), (4, 3)])
def test_a_margin_keeps_the_pixels_of_a_valid_filter_whatever_sigma(implementation, margin, strides):
    x = RNG.normal(size=(1, 15, 12, 2)).astype("float32")
    layer = NJetConv2D(3, strides=strides, padding=margin, implementation=implementation, use_bias=False)
    outputs = layer(x)
    all_pixels = njet_convolution(x, to_numpy(layer.coefficients), 1.0, 3)
    kept = slice(margin, -margin or None, strides)
    np.testing.assert_allclose(to_numpy(outputs), all_pixels[:, kept, kept], atol=1e-5)
    assert layer(keras.KerasTensor(x.shape)).shape == outputs.shape


def test_kernel_is_the_impulse_response_mirrored():
    layer = NJetConv2D(3, sigma=1.4, use_bias=False)
    impulse = np.zeros((1, 15, 15, 2), "float32")
    impulse[0, 7, 7, 1] = 1.0
    response = to_numpy(layer(impulse))[0]
    assert layer.kernel_size == (7, 7)
    assert layer.kernel.shape == (7, 7, 2, 3)
    np.testing.assert_allclose(response[10:3:-1, 10:3:-1], to_numpy(layer.kernel)[:, :, 1], atol=1e-6)
    response[4:11, 4:11] = 0
    assert np.all(response == 0)


@pytest.mark.parametrize(
    ("exponent", "implementation", "dtype"),
    [(exponent, "matrix", "float32") for exponent in range(-6, 7)]
    + [(exponent, "dense", "float32") for exponent in (-6, -2, 2, 6)]
    + [(exponent, "matrix", f"mixed_{dtype}") for exponent in (-6, 6) for dtype in ("float16", "bfloat16")],
)
def test_outputs_and_gradients_are_finite_from_tiny_to_huge_sigma(exponent, implementation, dtype):
    layer = NJetConv2D(4, order=4, sigma=2.0**exponent, implementation=implementation, dtype=dtype)
    x = RNG.normal(size=(1, 9, 11, 2)).astype("float32")
    layer.build(x.shape)
    outputs = to_numpy(layer(x))
    assert np.all(np.isfinite(outputs))
    assert np.abs(outputs).max() > 0
    for gradient in layer_gradients(layer, x, np.ones_like(outputs)):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16", "float64"])
def test_sigma_stays_float32_and_outputs_have_the_compute_dtype(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless jax_enable_x64 is set")
    layer = NJetConv2D(4, sigma=1.5, dtype=dtype, use_bias=False)
    x = RNG.normal(size=(2, 10, 8, 3)).astype("float32")
    outputs = layer(x)
    expected_dtype = {"float64": "float64", "mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}.get(dtype, dtype)
    assert keras.backend.standardize_dtype(outputs.dtype) == expected_dtype
    assert keras.backend.standardize_dtype(layer.sigma.dtype) == "float32"
    assert layer.log2_sigma.dtype == "float32"
    expected = njet_convolution(x, to_numpy(layer.coefficients), 1.5, 3)
    tolerance = {"mixed_float16": 5e-3, "mixed_bfloat16": 4e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(to_numpy(outputs), expected, atol=tolerance * np.abs(expected).max())


def test_bias_and_activation_come_last():
    layer = NJetConv2D(4, activation="relu", bias_initializer=keras.initializers.Constant(0.3))
    plain = NJetConv2D(4, use_bias=False, coefficient_initializer="ones")
    x = RNG.normal(size=(2, 6, 6, 3)).astype("float32")
    layer.build(x.shape)
    plain.build(x.shape)
    plain.coefficients.assign(layer.coefficients)
    np.testing.assert_allclose(to_numpy(layer(x)), np.maximum(to_numpy(plain(x)) + 0.3, 0), atol=1e-5)


# --- The variance of activations -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 3, 6])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
@pytest.mark.parametrize(("activation", "channels"), [("relu", 32), (None, 8)])
def test_ten_layers_neither_explode_nor_die(order, sigma, activation, channels):
    # From the first layer on, which turns white noise into a map of scale σ, the variance must stay where it is.
    keras.utils.set_random_seed(order)
    x = ops.convert_to_tensor(np.random.default_rng(1).normal(size=(4, 48, 48, channels)), "float32")
    mean_squares = []
    for _ in range(10):
        x = NJetConv2D(channels, order=order, sigma=sigma, activation=activation, implementation="matrix")(x)
        mean_squares.append(np.mean(to_numpy(x)[:, 8:-8, 8:-8] ** 2))
    assert 1 / 100 < mean_squares[-1] / mean_squares[0] < 100


# --- The manners of a layer ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer: serialisation, symbolic calls, dtypes, a step of `fit`."""

    def run_all(self, shape, output_shape, weights, **arguments):
        self.run_layer_test(
            NJetConv2D,
            init_kwargs={"filters": 6, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=weights,
            expected_num_non_trainable_weights=3 - weights if "learn_sigma" in arguments else 0,
            expected_num_losses=0,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 8, 9, 4), (2, 8, 9, 6), 3)

    def test_strides_and_groups(self):
        self.run_all((2, 8, 9, 4), (2, 4, 5, 6), 3, strides=2, groups=2)

    def test_channels_first(self):
        self.run_all((2, 4, 8, 9), (2, 6, 8, 9), 3, data_format="channels_first")

    def test_fixed_sigma(self):
        self.run_all((2, 8, 9, 4), (2, 8, 9, 6), 2, learn_sigma=False)

    def test_dense(self):
        self.run_all((2, 8, 9, 4), (2, 8, 9, 6), 3, implementation="dense")

    def test_subsampled(self):
        layer = NJetConv2D(6, subsample_rate=4.0)
        assert layer(np.zeros((2, 8, 9, 4), "float32")).shape == (2, 6, 7, 6)
        self.run_all((2, 8, 9, 4), (2, None, None, 6), 3, subsample_rate=4.0)

    def test_valid(self):
        self.run_all((2, 8, 9, 4), (2, None, None, 6), 3, padding="valid")


@pytest.mark.parametrize("shape", [(None, None, None, 3), (2, None, 7, 3), (None, 8, None, 3)])
def test_symbolic_calls_with_unknown_height_and_width(shape):
    layer = NJetConv2D(5, strides=(1, 2))
    outputs = layer(keras.KerasTensor(shape))
    width = None if shape[2] is None else -(-shape[2] // 2)
    assert outputs.shape == (shape[0], shape[1], width, 5)
    assert layer.compute_output_shape(shape) == outputs.shape


def test_one_model_takes_images_of_any_size():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, NJetConv2D(4, use_bias=False, name="njet")(inputs))
    alpha = to_numpy(model.get_layer("njet").coefficients)
    for size in ((6, 9), (13, 5)):
        x = RNG.normal(size=(1, *size, 3)).astype("float32")
        np.testing.assert_allclose(model.predict(x, verbose=0), njet_convolution(x, alpha, 1.0, 3), atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles for unknown sizes")
@pytest.mark.parametrize("arguments", [{}, {"strides": 2}, {"padding": "valid"}, {"subsample_rate": 4.0}])
@pytest.mark.parametrize("implementation", ["auto", "dense"])
@pytest.mark.parametrize("known", [(None, None), (12, None), (None, 9)])
def test_a_function_compiled_for_unknown_sizes(arguments, implementation, known):
    import tensorflow as tf

    layer = NJetConv2D(4, implementation=implementation, **arguments)
    layer.build((None, None, None, 3))
    layer.trainable = False  # for inference, where a function with fixed sizes deserves no warning
    function = tf.function(layer, input_signature=[tf.TensorSpec((None, *known, 3))])
    for size in [[one or other for one, other in zip(known, others, strict=True)] for others in ((12, 9), (7, 15))]:
        x = RNG.normal(size=(2, *size, 3)).astype("float32")
        np.testing.assert_allclose(to_numpy(function(x)), to_numpy(layer(x)), atol=1e-5)


def test_support_follows_the_live_sigma_without_compiling_again(monkeypatch):
    calls = []
    call = NJetConv2D.call
    monkeypatch.setattr(NJetConv2D, "call", lambda self, inputs: calls.append(1) or call(self, inputs))
    model = keras.Sequential([keras.Input((9, 9, 2)), NJetConv2D(3, use_bias=False, name="njet")])
    model.compile("sgd", "mse", jit_compile="auto" if keras.backend.backend() == "torch" else True)
    layer = model.get_layer("njet")
    x = RNG.normal(size=(2, 9, 9, 2)).astype("float32")
    model.predict(x, verbose=0)
    compiled = len(calls)
    for sigma in (0.4, 1.3, 3.0, 8.0):
        layer.sigma = sigma
        expected = njet_convolution(x, to_numpy(layer.coefficients), sigma, 3)
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    if keras.backend.backend() != "torch":  # which runs eagerly
        assert len(calls) == compiled


def test_fit_trains_sigma_in_one_compilation(monkeypatch):
    calls = []
    call = NJetConv2D.call
    monkeypatch.setattr(NJetConv2D, "call", lambda self, inputs: calls.append(1) or call(self, inputs))
    layer = NJetConv2D(3, max_sigma=None, sigma_regularizer=lambda sigma: -ops.log(sigma))  # which makes σ grow
    model = keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = np.zeros((8, 8, 8, 1)), np.zeros((8, 3))
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    compiled, size = len(calls), layer.kernel_size
    model.fit(x, y, batch_size=4, epochs=20, verbose=0)
    assert layer.kernel_size > size
    if keras.backend.backend() != "torch":
        assert len(calls) == compiled


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_fit_in_mixed_precision(dtype):
    model = keras.Sequential(
        [
            keras.Input((10, 12, 2)),
            NJetConv2D(4, activation="relu", subsample_rate=4.0, dtype=dtype),
            keras.layers.GlobalAveragePooling2D(dtype=dtype),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    model.compile("adam", "mse")
    before = [to_numpy(variable) for variable in model.trainable_variables]
    x, y = RNG.normal(size=(8, 10, 12, 2)), RNG.normal(size=(8, 3))
    history = model.fit(x, y, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for variable, start in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(to_numpy(variable)).all()
        assert np.any(to_numpy(variable) != start), variable.path


def test_regularizer_and_constraint_of_sigma_act_on_sigma():
    layer = NJetConv2D(
        2,
        sigma=4.0,
        sigma_regularizer=keras.regularizers.L1(0.5),
        sigma_constraint=lambda sigma: ops.minimum(sigma, 3.0),
    )
    layer.build((None, 8, 8, 1))
    assert float(to_numpy(sum(layer.losses))) == pytest.approx(2.0)
    layer.log2_sigma.assign(layer.log2_sigma.constraint(layer.log2_sigma))
    assert float(to_numpy(layer.sigma)) == pytest.approx(3.0, rel=1e-5)


def test_sigma_can_be_drawn_and_is_kept_in_the_configuration():
    assert NJetConv2D(2, sigma=np.array(1.5)).initial_sigma == 1.5
    layer = NJetConv2D(2, sigma=keras.initializers.RandomUniform(1.0, 2.0, seed=1))
    assert 1.0 < layer.initial_sigma < 2.0
    assert NJetConv2D.from_config(layer.get_config()).initial_sigma == layer.initial_sigma


def test_an_activation_may_be_any_callable():
    layer = NJetConv2D(2, activation=keras.layers.LeakyReLU(0.5))
    assert to_numpy(layer(np.ones((1, 5, 5, 1), "float32"))).shape == (1, 5, 5, 2)


def test_the_papers_initialisation_is_available():
    layer = NJetConv2D(64, coefficient_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=0))
    layer.build((None, 8, 8, 64))
    assert np.std(to_numpy(layer.coefficients)) == pytest.approx(1.0, rel=0.02)


# --- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"filters": 0}, "filters=0"),
        ({"filters": 2.0}, "filters=2.0"),
        ({"order": -1}, "order=-1"),
        ({"order": 1.5}, "order=1.5"),
        ({"sigma": 0}, "sigma=0"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"sigma": math.nan}, "sigma=nan"),
        ({"sigma": math.inf}, "sigma=inf"),
        ({"extent": 0.0}, "extent=0.0"),
        ({"strides": 0}, "strides=0"),
        ({"strides": (1, 2, 3)}, r"strides=\(1, 2, 3\)"),
        ({"padding": "causal"}, "padding='causal'"),
        ({"padding": -1}, "padding=-1"),
        ({"data_format": "channels"}, "data_format='channels'"),
        ({"groups": 3}, "filters=4, groups=3"),
        ({"groups": 0}, "groups=0"),
        ({"implementation": "fast"}, "implementation='fast'"),
        ({"subsample_rate": 0}, "subsample_rate=0"),
    ],
)
def test_bad_arguments_are_named_in_the_error(arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        NJetConv2D(**{"filters": 4, **arguments})


def test_bad_inputs_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"known size, but it is None. Received: input_shape=\(None, 8, 8, None\)$"):
        NJetConv2D(4).build((None, 8, 8, None))
    with pytest.raises(ValueError, match=r"Received: channels=3, groups=2$"):
        NJetConv2D(4, groups=2).build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="ndim=4, found ndim=3"):
        NJetConv2D(4)(np.zeros((8, 8, 3), "float32"))
    with pytest.raises(ValueError, match="at least 5 pixels"):
        NJetConv2D(4, padding="valid")(np.zeros((1, 8, 4, 3), "float32"))


def test_properties_before_the_layer_is_built():
    layer = NJetConv2D(4, sigma=2.0)
    assert layer.kernel_size == (sizes.kernel_size(2.0, 2.0),) * 2
    # torch.nn.Module replaces the message of an AttributeError.
    message = "has no attribute" if keras.backend.backend() == "torch" else "Received: built=False$"
    for name in ("kernel", "sigma"):
        with pytest.raises(AttributeError, match=message):
            getattr(layer, name)
    layer.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match="Received: sigma=-1"):
        layer.sigma = -1


@pytest.mark.parametrize("implementation", ["matrix", "dense", "auto"])
def test_images_of_integers(implementation):
    x = np.random.default_rng(0).integers(0, 256, size=(1, 8, 8, 1)).astype("uint8")
    layer = NJetConv2D(2, implementation=implementation)
    np.testing.assert_allclose(to_numpy(layer(x)), to_numpy(layer(x.astype("float32"))), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_factor_that_is_not_above_zero_is_an_error(factor):
    layer = NJetConv2D(2, padding="valid")
    with pytest.raises(ValueError, match=r"`factor` must be a finite number above 0. Received: factor="):
        layer(np.zeros((1, 8, 8, 1), "float32"), factor=factor)


def test_a_sigma_that_is_no_number_is_named():
    layer = NJetConv2D(2)
    layer.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match=r"`sigma` must be finite numbers above 0. Received: sigma='big'$"):
        layer.sigma = "big"


@pytest.mark.parametrize(
    ("activation", "rectified"),
    [
        ("relu", True),
        (keras.layers.ReLU(), True),
        (keras.layers.LeakyReLU(), True),
        (keras.layers.Activation("hard_silu"), True),
        ("tanh", False),
        (None, False),
    ],
)
def test_coefficients_are_drawn_for_the_activation_whatever_it_is_given_as(activation, rectified):
    assert NJetConv2D(2, activation=activation).coefficient_initializer.rectified is rectified


def test_a_factor_for_each_axis_is_refused():
    with pytest.raises(ValueError, match=r"Received: factor=\(1.0, 2.0\)"):
        NJetConv2D(2)(np.zeros((1, 8, 8, 1), "float32"), factor=(1.0, 2.0))


def test_the_symbolic_shape_is_that_of_a_call_with_a_factor():
    inputs = keras.Input((16, 16, 1))
    model = keras.Model(inputs, NJetConv2D(2, padding=2)(inputs, factor=2.0))
    outputs = model.predict(np.zeros((1, 16, 16, 1)), verbose=0)
    assert model.output_shape == (None, *outputs.shape[1:]) == (None, 8, 8, 2)
