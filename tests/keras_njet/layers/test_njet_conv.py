"""Guards N-Jet convolutions of signals and volumes, and σ for each axis: as `test_njet_conv2d.py` does for images."""

import copy
import functools
import math

import keras
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_njet import (
    NJetConv1D,
    NJetConv2D,
    NJetConv3D,
    NJetDepthwiseConv1D,
    NJetDepthwiseConv2D,
    NJetDepthwiseConv3D,
    SafeSubsample,
)
from tests.helpers import examples, layer_gradients, njet_convolution, orders_by_hand, to_numpy

RNG = np.random.default_rng(0)
LAYERS = {1: NJetConv1D, 2: NJetConv2D, 3: NJetConv3D}
DEPTHWISE = {1: NJetDepthwiseConv1D, 2: NJetDepthwiseConv2D, 3: NJetDepthwiseConv3D}
KERAS = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
POOLING = {
    1: keras.layers.GlobalAveragePooling1D,
    2: keras.layers.GlobalAveragePooling2D,
    3: keras.layers.GlobalAveragePooling3D,
}
SIGMAS = (0.7, 1.6, 1.1)


def map_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def to_format(x, data_format):
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


def from_format(x, data_format):
    return x if data_format == "channels_last" else np.moveaxis(x, 1, -1)


# --- The numbers -----------------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    sigmas=st.lists(st.floats(0.3, 2.5), min_size=3, max_size=3),
    isotropic=st.booleans(),
    order=st.integers(0, 3),
    groups=st.sampled_from([1, 2]),
    implementation=st.sampled_from(["matrix", "dense", "auto"]),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
@settings(max_examples=examples(15), deadline=None)
def test_output_is_that_of_scipys_gaussian_filter(sizes, sigmas, isotropic, order, groups, implementation, data_format):
    axes = len(sizes)
    sigma = sigmas[0] if isotropic else tuple(sigmas[:axes])
    layer = LAYERS[axes](
        4,
        order=order,
        sigma=sigma,
        isotropic=isotropic,
        groups=groups,
        implementation=implementation,
        data_format=data_format,
        use_bias=False,
    )
    x = map_of(2, *sizes, 2)
    ours = from_format(to_numpy(layer(to_format(x, data_format))), data_format)
    expected = njet_convolution(x, to_numpy(layer.coefficients), sigma, order, groups=groups)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("discretization", ["sampled", "integrated"])
@pytest.mark.parametrize("sharing", ["layer", "filter"])
@pytest.mark.parametrize(("unit", "isotropic"), [(1.5, True), (0.5, True), ((2.0, 1.5), False)])
def test_all_evaluations_have_filters_that_end_inside_of_a_pixel(unit, isotropic, sharing, discretization):
    x, outputs = RNG.normal(size=(2, 40, 33, 2)).astype("float32"), []
    for implementation in ("matrix", "dense", "auto"):
        keras.utils.set_random_seed(0)
        layer = NJetConv2D(
            4,
            sigma=1.7,
            unit=unit,
            discretization=discretization,
            isotropic=isotropic,
            sigma_sharing=sharing,
            implementation=implementation,
        )
        outputs.append(to_numpy(layer(x)))
        np.testing.assert_allclose(outputs[-1], outputs[0], atol=1e-5)
    kernel = to_numpy(layer.kernel)
    convolved = to_numpy(keras.ops.conv(x, kernel, padding="same"))
    np.testing.assert_allclose(outputs[0], convolved, atol=1e-5)
    for axis, one in enumerate(np.broadcast_to(unit, 2)):
        reach = one * (np.ceil(2 * 1.7 / one) + 0.5) - 0.5
        assert kernel.shape[axis] == layer.kernel_size[axis] == 2 * np.ceil(reach) + 1


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_integrated_filters_are_those_of_scipys_error_function(axes):
    sigma, order = 0.6, 2
    layer = LAYERS[axes](3, order=order, sigma=sigma, discretization="integrated", use_bias=False)
    layer.build((None, *[5] * axes, 2))
    edges = np.arange(-2.5, 3.0) / sigma  # ⌈2σ⌉ = 2 pixels on either side
    gaussian = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    along = np.diff([scipy.stats.norm.cdf(edges), gaussian, -edges * gaussian]) / (
        1 - 2 * scipy.stats.norm.sf(edges[-1])
    )
    expected = sum(
        np.multiply.outer(functools.reduce(np.multiply.outer, along[list(orders)]), alpha)
        for orders, alpha in zip(orders_by_hand(order, axes), to_numpy(layer.coefficients), strict=True)
    )
    np.testing.assert_allclose(to_numpy(layer.kernel), expected, atol=1e-5)


def test_a_discretization_is_named_in_the_error():
    with pytest.raises(ValueError, match=r"Received: discretization='exact'$"):
        NJetConv2D(4, discretization="exact")


@pytest.mark.parametrize("unit", [0.0, (1.0, 2.0), "pixel"])
def test_a_unit_is_a_number_or_one_for_each_axis_that_has_a_scale(unit):
    with pytest.raises(ValueError, match=r"`unit` must be .*Received: unit="):
        NJetConv2D(4, unit=unit)


@pytest.mark.parametrize("implementation", ["matrix", "dense"])
@pytest.mark.parametrize(("axes", "isotropic"), [(1, True), (2, False), (3, True), (3, False)])
def test_gradients_are_those_of_finite_differences_of_scipy(axes, isotropic, implementation):
    sigma, order = (SIGMAS[0], 2) if isotropic else (SIGMAS[:axes], 2)
    layer = LAYERS[axes](
        3, order=order, sigma=sigma, isotropic=isotropic, implementation=implementation, use_bias=False
    )
    x = map_of(2, *(7, 6, 5)[:axes], 2)
    layer.build(x.shape)
    weights = map_of(2, *(7, 6, 5)[:axes], 3, seed=1)
    point = [x.astype("float64"), to_numpy(layer.coefficients).astype("float64"), np.log2(sigma)]
    found = layer_gradients(layer, x, weights)
    assert found[2].shape == np.shape(sigma)

    def loss(x, alpha, log2_sigma):
        return np.sum(weights * njet_convolution(x, alpha, 2.0 ** np.asarray(log2_sigma), order))

    of_sigma = [1.0] if isotropic else np.eye(axes)
    for index, gradient in enumerate(found):
        for direction in of_sigma if index == 2 else [RNG.normal(size=np.shape(point[index]))]:
            ends = [
                loss(*[value + (sign * 1e-4 * direction if at == index else 0) for at, value in enumerate(point)])
                for sign in (1, -1)
            ]
            scale = np.linalg.norm(weights) * np.linalg.norm(direction)
            assert abs(np.sum(gradient * direction) - (ends[0] - ends[1]) / 2e-4) < 2e-3 * scale


@pytest.mark.parametrize("implementation", ["matrix", "dense", "auto"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("axes", [1, 3])
def test_strides_and_padding_are_those_of_keras(axes, padding, implementation):
    x = map_of(2, *(13, 11, 8)[:axes], 4)
    strides = (2, 3, 1)[:axes] if implementation == "matrix" or axes == 1 else 2
    layer = LAYERS[axes](
        6, order=1, strides=strides, padding=padding, groups=1, implementation=implementation, use_bias=False
    )
    layer.build(x.shape)
    plain = KERAS[axes](6, layer.kernel_size, layer.strides, padding, use_bias=False)
    plain.build(x.shape)
    plain._kernel.assign(layer.kernel)
    np.testing.assert_allclose(to_numpy(layer(x)), to_numpy(plain(x)), atol=1e-5)


@pytest.mark.parametrize("axes", [1, 3])
def test_the_layer_of_images_on_singleton_axes_is_this_one(axes):
    """A signal is an image a pixel high, an image is a volume a pixel deep: derivatives along that axis see nothing."""
    sizes = (9, 8, 7)[:axes] if axes == 1 else (1, 9, 8)
    x = map_of(2, *sizes, 3)
    layer = LAYERS[axes](4, order=2, sigma=1.2, use_bias=False)
    image = NJetConv2D(4, order=2, sigma=1.2, use_bias=False)
    as_image = x[:, None] if axes == 1 else x[:, 0]
    layer.build(x.shape)
    image.build(as_image.shape)
    # On the centre of an axis of one pixel G^0 is its largest value, and odd derivatives are 0.
    alpha = RNG.normal(size=image.coefficients.shape).astype("float32")
    of_layer = np.zeros(layer.coefficients.shape, "float32")
    across = [1.0, 0.0, -1.0]  # D_2(0) = -D_0(0): the second derivative is the negative of the Gaussian there
    for orders, one in zip(orders_by_hand(2, 2 if axes == 1 else 3), alpha if axes == 1 else of_layer, strict=True):
        if axes == 1:
            of_layer[orders[1]] += across[orders[0]] * one
        elif orders[0] == 0:
            one[:] = alpha[orders_by_hand(2, 2).index(orders[1:])]
    image.coefficients.assign(alpha)
    layer.coefficients.assign(of_layer)
    centre = 1 / sum(math.exp(-(t**2) / (2 * 1.2**2)) for t in range(-3, 4))
    ours, theirs = to_numpy(layer(x)), to_numpy(image(as_image))
    if axes == 1:
        np.testing.assert_allclose(ours * centre, theirs[:, 0], atol=1e-5)
    else:
        np.testing.assert_allclose(ours[:, 0], theirs * centre, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("implementation", ["matrix", "dense"])
def test_depthwise_filters_are_those_of_a_group_a_channel(axes, implementation):
    x = map_of(2, *(9, 7, 6)[:axes], 3)
    depthwise = DEPTHWISE[axes](depth_multiplier=2, order=2, sigma=1.2, implementation=implementation, use_bias=False)
    ours = to_numpy(depthwise(x))
    expected = njet_convolution(x, to_numpy(depthwise.coefficients), 1.2, 2, groups=3)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert tuple(depthwise.kernel.shape) == (*depthwise.kernel_size, 3, 2)


def test_kernel_has_a_size_of_its_own_along_each_axis():
    layer = NJetConv3D(2, sigma=(0.5, 1.4, 2.2), isotropic=False, use_bias=False)
    impulse = np.zeros((1, 9, 15, 15, 1), "float32")
    impulse[0, 4, 7, 7] = 1.0
    response = to_numpy(layer(impulse))[0]
    assert layer.kernel_size == (3, 7, 11)
    assert tuple(layer.kernel.shape) == (3, 7, 11, 1, 2)
    np.testing.assert_allclose(response[5:2:-1, 10:3:-1, 12:1:-1], to_numpy(layer.kernel)[:, :, :, 0], atol=1e-6)
    response[3:6, 4:11, 2:13] = 0
    assert np.all(response == 0)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("axes", [1, 3])
def test_sigma_stays_float32_and_outputs_have_the_compute_dtype(axes, dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless jax_enable_x64 is set")
    layer = LAYERS[axes](4, sigma=SIGMAS[:axes], isotropic=False, dtype=dtype, use_bias=False)
    x = map_of(2, *(8, 7, 6)[:axes], 3)
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(layer.sigma.dtype) == "float32"
    expected = njet_convolution(x, to_numpy(layer.coefficients), SIGMAS[:axes], 3)
    tolerance = {"mixed_float16": 5e-3, "mixed_bfloat16": 4e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(to_numpy(outputs), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("axes", "isotropic"), [(1, True), (3, True), (3, False)])
def test_ten_layers_neither_explode_nor_die(axes, isotropic):
    keras.utils.set_random_seed(1)
    x = ops.convert_to_tensor(map_of(4 if axes == 1 else 1, *(400, 20, 20)[:axes] if axes == 1 else (20, 20, 20), 24))
    sigma = 1.3 if isotropic else (0.6, 1.5, 1.5)
    mean_squares = []
    for _ in range(10):
        layer = LAYERS[axes](24, order=2, sigma=sigma, isotropic=isotropic, activation="relu", implementation="matrix")
        x = layer(x)
        mean_squares.append(np.mean(to_numpy(x) ** 2))
    assert 1 / 100 < mean_squares[-1] / mean_squares[0] < 100


# --- Sizes that follow σ ---------------------------------------------------------------------------------------------


def sizes_for(sigma, sizes, rate=4.0):
    sigmas = np.broadcast_to(sigma, len(sizes))
    return tuple(max(1, int(s * 0.5 ** (one / rate) * (1 + 1e-5))) for s, one in zip(sizes, sigmas, strict=True))


@pytest.mark.parametrize(("axes", "isotropic"), [(1, True), (3, True), (3, False), (2, False)])
def test_sizes_follow_sigma_in_plain_fit(axes, isotropic):
    sizes = (24, 20, 16)[:axes]
    inputs = keras.Input((*sizes, 1))
    layer = LAYERS[axes](
        3,
        order=1,
        isotropic=isotropic,
        subsample_rate=4.0,
        sigma_regularizer=lambda sigma: -ops.sum(ops.log(sigma)),
        name="njet",
    )
    joined = keras.layers.Concatenate()([layer(inputs), SafeSubsample("njet", rate=4.0)(inputs)])
    model = keras.Model(inputs, POOLING[axes]()(joined))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    layer.coefficients.assign(np.zeros(layer.coefficients.shape))
    layer.coefficients.trainable = False
    if not isotropic:
        layer.sigma = SIGMAS[:axes]
    x, y = map_of(4, *sizes, 1), np.zeros((4, 4))
    model.fit(x, y, epochs=1, verbose=0)
    before = layer.feature_map_size
    model.fit(x, y, epochs=2, verbose=0)
    assert layer.feature_map_size < before
    model.predict(x, verbose=0)
    assert layer.feature_map_size == sizes_for(to_numpy(layer.sigma), sizes)


@pytest.mark.parametrize("axes", [1, 3])
def test_support_follows_the_live_sigma_without_compiling_again(axes, monkeypatch):
    calls = []
    call = LAYERS[axes].call
    monkeypatch.setattr(LAYERS[axes], "call", lambda self, inputs: calls.append(1) or call(self, inputs))
    layer = LAYERS[axes](3, order=2, isotropic=False, use_bias=False, implementation="matrix")
    model = keras.Sequential([keras.Input((*(9, 8, 7)[:axes], 2)), layer])
    model.compile("sgd", "mse", jit_compile="auto" if keras.backend.backend() == "torch" else True)
    x = map_of(2, *(9, 8, 7)[:axes], 2)
    model.predict(x, verbose=0)
    compiled = len(calls)
    for factor in (0.4, 1.3, 3.0):
        sigma = factor * np.array(SIGMAS[:axes])
        layer.sigma = sigma
        expected = njet_convolution(x, to_numpy(layer.coefficients), sigma, 2)
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    if keras.backend.backend() != "torch":  # which runs eagerly
        assert len(calls) == compiled


@pytest.mark.parametrize("kind", [*LAYERS.values(), *DEPTHWISE.values()])
def test_layers_are_saved_with_a_sigma_for_each_axis(tmp_path, kind):
    arguments = {"filters": 3} if kind in LAYERS.values() else {"depth_multiplier": 2}
    layer = kind(isotropic=False, order=1, subsample_rate=8.0, name="njet", **arguments)
    sizes = (9, 8, 7)[: kind.rank]
    model = keras.Sequential([keras.Input((*sizes, 2)), layer])
    layer.sigma = SIGMAS[: kind.rank]
    x = map_of(2, *sizes, 2)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    for other in (keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        assert other.get_layer("njet").kernel_size == layer.kernel_size
        np.testing.assert_allclose(other.predict(x, verbose=0), expected, atol=1e-6)


# --- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_bad_inputs_are_named_in_the_error(axes):
    layer, sizes = LAYERS[axes], (8,) * axes
    with pytest.raises(ValueError, match=r"known size, but it is None. Received: input_shape="):
        layer(4).build((None, *sizes, None))
    with pytest.raises(ValueError, match=f"ndim={axes + 2}, found ndim={axes + 1}"):
        layer(4)(np.zeros((*sizes, 3), "float32"))
    with pytest.raises(ValueError, match="at least 5 pixels"):
        layer(4, padding="valid")(np.zeros((1, *sizes[:-1], 4, 3), "float32"))
    with pytest.raises(ValueError, match=f"{axes} of them, one per axis. Received: sigma="):
        layer(4, isotropic=False, sigma=(1.0,) * (axes + 1))
    with pytest.raises(ValueError, match=r"`isotropic` is True. Received: sigma="):
        layer(4, sigma=(1.0,) * axes)
    with pytest.raises(ValueError, match=f"{axes} of them, one per axis. Received: strides="):
        layer(4, strides=(1,) * (axes + 1))
    built = layer(4, isotropic=False)
    built.build((None, *sizes, 1))
    with pytest.raises(ValueError, match=rf"have the shape \({axes},\). Received: sigma="):
        built.sigma = [1.0] * (axes + 1)


def test_a_volume_that_is_subsampled_keeps_a_voxel():
    layer = NJetConv3D(2, sigma=100.0, subsample_rate=1.0, implementation="matrix")
    assert layer(np.zeros((1, 3, 4, 5, 1), "float32")).shape == (1, 1, 1, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (64, 7),
            r"All arguments but `filters` of NJetConv2D .*learned.*`sigma` and `extent`. Received: args=\(64, 7\)",
        ),
        ({"kernel_size": 3}, "no `kernel_size`: the size of the filters is learned.*Received: kernel_size=3"),
        ({"kernel_initializer": "zeros"}, "use `coefficient_initializer`. Received: kernel_initializer='zeros'"),
        ({"kernel_regularizer": "l2"}, "use `coefficient_regularizer`"),
        ({"kernel_constraint": "max_norm"}, "use `coefficient_constraint`"),
        ({"dilation_rate": 2}, "take a larger `sigma`.*Received: dilation_rate=2"),
    ],
)
def test_what_a_user_of_conv2d_types_is_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        NJetConv2D(*arguments) if isinstance(arguments, tuple) else NJetConv2D(4, **arguments)


def test_what_a_user_of_depthwise_conv2d_types_is_explained():
    with pytest.raises(ValueError, match=r"All arguments of NJetDepthwiseConv2D must be given by name.*args=\(3,\)"):
        NJetDepthwiseConv2D(3)
    with pytest.raises(ValueError, match="use `coefficient_initializer`"):
        NJetDepthwiseConv2D(depthwise_initializer="zeros")


def test_a_shortcut_must_have_the_axes_of_its_source():
    source = NJetConv2D(2, subsample_rate=4.0)
    source.build((None, 8, 8, 1))
    with pytest.raises(ValueError, match=r"as many axes as that of layer .*Received: axes=1"):
        SafeSubsample(source)(np.zeros((1, 8, 1), "float32"))
