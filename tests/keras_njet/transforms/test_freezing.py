"""Guards `freeze`: the same predictions by plain Keras layers, which load where there is no keras_njet."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_njet import (
    NJetASPP,
    NJetConv1D,
    NJetConv2D,
    NJetConv3D,
    NJetDepthwiseConv1D,
    NJetDepthwiseConv2D,
    NJetDepthwiseConv3D,
    SafeSubsample,
    convert,
    freeze,
)
from keras_njet._backend import inner_layers
from keras_njet.layers import ASPP, ResizeLike, ScaledPooling
from tests.helpers import skip_without_channels_first, to_numpy

RNG = np.random.default_rng(0)
SIZES = (13, 9, 8)
SIGMAS = (0.6, 1.7, 1.1)
LAYERS = {1: NJetConv1D, 3: NJetConv3D}
NJET = {**LAYERS, 2: NJetConv2D}
POOLINGS = {1: keras.layers.AveragePooling1D, 2: keras.layers.AveragePooling2D, 3: keras.layers.AveragePooling3D}
DEPTHWISE = {1: NJetDepthwiseConv1D, 2: NJetDepthwiseConv2D, 3: NJetDepthwiseConv3D}


def images(*shape):
    return RNG.normal(size=shape).astype("float32")


def assert_frozen(model, *shape, **arguments):
    """The frozen model predicts the same, and all its layers are Keras' own."""
    frozen = freeze(model, **arguments)
    x = images(*shape)
    expected = to_numpy(model(x))
    np.testing.assert_allclose(to_numpy(frozen(x)), expected, atol=1e-5 * np.abs(expected).max())
    assert {type(layer).__module__.partition(".")[0] for layer in inner_layers(frozen)} == {"keras"}
    assert frozen.name == model.name
    return frozen


def one_layer(layer, *shape):
    return keras.Sequential([keras.Input(shape), layer])


@pytest.mark.parametrize(
    ("sigma", "padding", "strides"),
    [
        (1.7, "same", 1),
        (0.5, "same", (5, 3)),  # strides larger than the filters
        (1.7, "valid", 2),
        (1.7, 0, 1),  # zeros around the input
        (0.5, 2, 2),  # zeros around the filters
        (1.7, 2, (5, 3)),
    ],
)
def test_a_convolution_of_any_geometry(sigma, padding, strides):
    layer = NJetConv2D(
        6, order=2, sigma=sigma, padding=padding, strides=strides, groups=2, activation="relu", name="njet"
    )
    layer.bias_initializer = keras.initializers.RandomNormal()
    frozen = assert_frozen(one_layer(layer, 13, 12, 4), 2, 13, 12, 4)
    assert type(frozen.get_layer("njet")) is keras.layers.Conv2D


@pytest.mark.parametrize("padding", ["same", 1])
def test_a_depthwise_convolution(padding):
    layer = NJetDepthwiseConv2D(depth_multiplier=2, sigma=1.2, strides=2, padding=padding, use_bias=False, name="njet")
    frozen = assert_frozen(one_layer(layer, 11, 8, 3), 2, 11, 8, 3)
    assert type(frozen.get_layer("njet")) is keras.layers.DepthwiseConv2D


def test_strides_of_a_depthwise_convolution_may_differ():
    layer = NJetDepthwiseConv2D(depth_multiplier=2, strides=(2, 1), name="njet")
    frozen = assert_frozen(one_layer(layer, 11, 8, 3), 2, 11, 8, 3)
    assert type(frozen.get_layer("njet")) is keras.layers.Conv2D  # TensorFlow has no depthwise one everywhere


@pytest.mark.parametrize(
    ("padding", "strides", "isotropic"),
    [
        ("same", (5, 3, 1), True),  # strides larger than the filters
        ("same", 1, False),
        ("valid", 2, False),
        (0, 1, True),  # zeros around the input
        (2, (2, 1, 3), False),  # zeros around the filters along an axis, around the input along another
    ],
)
@pytest.mark.parametrize("axes", [1, 3])
def test_a_convolution_of_signals_and_volumes(axes, padding, strides, isotropic):
    layer = LAYERS[axes](
        4,
        order=2,
        sigma=1.2 if isotropic else SIGMAS[:axes],
        isotropic=isotropic,
        padding=padding,
        strides=strides if isinstance(strides, int) else strides[:axes],
        groups=2,
        activation="relu",
        bias_initializer="normal",
        name="njet",
    )
    frozen = assert_frozen(one_layer(layer, *SIZES[:axes], 2), 2, *SIZES[:axes], 2)
    assert type(frozen.get_layer("njet")) is {1: keras.layers.Conv1D, 3: keras.layers.Conv3D}[axes]


@pytest.mark.parametrize(("padding", "isotropic"), [("same", True), (1, False)])
@pytest.mark.parametrize("axes", [1, 3])
def test_a_depthwise_convolution_of_signals_and_volumes(axes, padding, isotropic):
    sigma = 1.2 if isotropic else SIGMAS[:axes]
    layer = DEPTHWISE[axes](
        depth_multiplier=2, sigma=sigma, isotropic=isotropic, strides=2, padding=padding, order=2, name="njet"
    )
    frozen = assert_frozen(one_layer(layer, *SIZES[:axes], 3), 2, *SIZES[:axes], 3)
    assert type(frozen.get_layer("njet")) is {1: keras.layers.DepthwiseConv1D, 3: keras.layers.Conv3D}[axes]


@pytest.mark.parametrize(("axes", "kind"), [(1, "filters"), (1, "depthwise"), (2, "filters"), (3, "depthwise")])
def test_channels_first(axes, kind):
    if (axes, kind) != (3, "depthwise"):
        skip_without_channels_first()
    arguments = {"order": 1, "subsample_rate": 2.0, "data_format": "channels_first", "activation": "relu"}
    convolution = {**LAYERS, 2: NJetConv2D}[axes]
    layer = DEPTHWISE[axes](**arguments) if kind == "depthwise" else convolution(3, **arguments)
    assert_frozen(one_layer(layer, 4, *SIZES[:axes]), 2, 4, *SIZES[:axes])


@pytest.mark.parametrize(("sigma", "isotropic"), [(2.5, True), ((0.3, 7.0, 2.5), False)])
@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes_that_follow_sigma_become_fixed(axes, sigma, isotropic):
    sizes = SIZES[:axes]
    sigma = sigma if isotropic else sigma[:axes]
    inputs = keras.Input((*sizes, 2))
    source = LAYERS[axes](2, order=2, sigma=sigma, isotropic=isotropic, subsample_rate=4.0, activation="tanh")
    x = keras.layers.Concatenate()([source(inputs), SafeSubsample(source)(inputs)])
    model = keras.Model(inputs, SafeSubsample(source, rate=8.0)(x))
    frozen = assert_frozen(model, 2, *sizes, 2)
    halved = [int(s * 0.5 ** (one / 4)) for s, one in zip(sizes, np.broadcast_to(sigma, axes), strict=True)]
    expected = [max(1, int(s * 0.5 ** (one / 8))) for s, one in zip(halved, np.broadcast_to(sigma, axes), strict=True)]
    assert frozen.output_shape == (None, *expected, 4)


@pytest.mark.parametrize("axes", [1, 3])
def test_signals_and_volumes_of_any_size(axes):
    model = one_layer(LAYERS[axes](2, order=1, subsample_rate=4.0), *[None] * axes, 2)
    with pytest.raises(ValueError, match=r"`input_shape` must give.*Received: input_shape=None"):
        freeze(model)
    assert_frozen(model, 2, *SIZES[:axes], 2, input_shape=(*SIZES[:axes], 2))


@pytest.mark.parametrize("tied", [True, False])
def test_pyramids(tied):
    coefficients = {"coefficient_initializer": "glorot_uniform"}
    njet = NJetASPP(3, sigma=(0.7, 2.0), tied=tied, name="pyramid", **coefficients)
    frozen = assert_frozen(one_layer(njet, 12, 9, 4), 2, 12, 9, 4)
    assert frozen.get_layer("pyramid").kernel_size == (9, 9)
    dilated = ASPP(3, rates=(1, 3), tied=tied, kernel_initializer="glorot_uniform", name="pyramid")
    assert_frozen(one_layer(dilated, 12, 9, 4), 2, 12, 9, 4)


def subsampling_network(shape):
    """Safe subsampling in a layer that is used twice, of a shortcut, in a model in the model; logits as the input."""
    inner_inputs = keras.Input((None, None, 4))
    source = NJetConv2D(4, sigma=2.0, subsample_rate=4.0, activation="tanh", name="source")
    x = source(source(inner_inputs))
    shortcut = SafeSubsample(source, name="shortcut")
    x = keras.layers.Add()([x, shortcut(shortcut(inner_inputs))])
    block = keras.Model(inner_inputs, x, name="block")
    inputs = keras.Input(shape)
    x = block(keras.layers.Conv2D(4, 1)(inputs))
    x = ResizeLike()([keras.layers.BatchNormalization(name="norm")(x), inputs])
    return keras.Model(inputs, x * 2.0, name="network")


def test_feature_maps_that_follow_sigma_become_fixed():
    model = subsampling_network((17, 14, 3))
    model.get_layer("norm").set_weights([RNG.uniform(0.5, 1.5, 4) for _ in range(4)])
    frozen = assert_frozen(model, 2, 17, 14, 3)
    block = frozen.get_layer("block")
    assert block.output_shape == (None, 8, 6, 4)
    assert [layer.name for layer in block.layers if type(layer) is keras.layers.Conv2D] == ["source"]
    source = model.get_layer("block").get_layer("source")
    source.sigma = 0.5
    model.get_layer("norm").gamma.assign(np.full(4, 3.0))
    assert_frozen(model, 2, 17, 14, 3)


def test_images_of_any_size():
    model = keras.Sequential([keras.Input((None, None, 3)), NJetConv2D(4), keras.layers.GlobalMaxPooling2D()])
    frozen = assert_frozen(model, 2, 9, 7, 3)
    np.testing.assert_allclose(
        to_numpy(frozen(np.ones((1, 6, 11, 3)))), to_numpy(model(np.ones((1, 6, 11, 3)))), atol=1e-5
    )
    model = subsampling_network((None, None, 3))
    with pytest.raises(ValueError, match=r"`input_shape` must give.*Received: input_shape=None"):
        freeze(model)
    assert_frozen(model, 2, 12, 15, 3, input_shape=(12, 15, 3))
    assert_frozen(model, 2, 12, 15, 3, input_shape=[12, 15, 3])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_maps_of_integers_give_fractions(axes):
    """As they do in the layers of this package, which cast them."""
    inputs = keras.Input((*SIZES[:axes], 2), dtype="int32")
    convolution = NJET[axes](2, subsample_rate=4.0)
    pooled = ScaledPooling(POOLINGS[axes](2), 1.5)(inputs)
    model = keras.Model(inputs, [convolution(inputs), SafeSubsample(convolution)(inputs), pooled])
    x = RNG.integers(0, 256, (1, *SIZES[:axes], 2)).astype("int32")
    for ours, expected in zip(freeze(model)(x), model(x), strict=True):
        np.testing.assert_allclose(to_numpy(ours), to_numpy(expected), rtol=1e-5, atol=1e-3)


def test_several_inputs():
    inputs = [keras.Input((None, None, 2), name="one"), keras.Input((8, 8, 2), name="other")]
    x = keras.layers.Add()([NJetConv2D(3, subsample_rate=4.0)(inputs[0]), NJetConv2D(3, subsample_rate=4.0)(inputs[1])])
    model = keras.Model(inputs, x)
    frozen = freeze(model, input_shape=[(8, 8, 2), (8, 8, 2)])
    x = [images(1, 8, 8, 2), images(1, 8, 8, 2)]
    np.testing.assert_allclose(to_numpy(frozen(x)), to_numpy(model(x)), atol=1e-5)
    assert [layer.name for layer in frozen.layers[:2]] == ["one", "other"]
    with pytest.raises(ValueError, match="a list of 2 shapes"):
        freeze(model, input_shape=[(8, 8, 2)])


@pytest.mark.parametrize("model", [NJetConv2D(3), keras.Sequential([NJetConv2D(3)]), "model"])
def test_what_is_no_built_graph_is_refused(model):
    with pytest.raises(ValueError, match=r"has been built. Received: model="):
        freeze(model)


def test_a_frozen_model_loads_without_keras_njet(tmp_path):
    # From a convolution to the N-Jet and back; in a process in which keras_njet can't be imported.
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.DepthwiseConv2D(3)(x)
    converted = convert(keras.Model(inputs, x))
    converted.compile("adam", "mse")
    x = images(2, 12, 12, 3)
    model = freeze(converted)
    model.save(tmp_path / "frozen.keras")
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys; sys.modules['keras_njet'] = None\n"
        "import keras, numpy\n"
        "model = keras.models.load_model('frozen.keras')\n"
        "numpy.save('y.npy', model.predict(numpy.load('x.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), to_numpy(converted(x)), atol=1e-5)


def test_a_model_inside_that_is_used_at_two_sizes():
    inner_inputs = keras.Input((None, None, 2))
    inner = keras.Model(inner_inputs, NJetConv2D(2, subsample_rate=4.0)(inner_inputs), name="inner")
    inputs = [keras.Input((9, 9, 2), name="small"), keras.Input((13, 13, 2), name="large")]
    pooled = [keras.layers.GlobalMaxPooling2D()(inner(x)) for x in inputs]
    model = keras.Model(inputs, keras.layers.Concatenate()(pooled))
    frozen = freeze(model)
    x = [images(2, 9, 9, 2), images(2, 13, 13, 2)]
    np.testing.assert_allclose(to_numpy(frozen(x)), to_numpy(model(x)), atol=1e-5)
    assert {layer.name for layer in frozen.layers} >= {"inner", "inner_1"}


def test_what_comes_of_a_layer_keeps_its_dtype():
    layer = NJetConv2D(2, subsample_rate=4.0, padding=1, sigma=2.0, activation="relu", dtype="mixed_bfloat16")
    frozen = freeze(one_layer(layer, 9, 9, 2))
    assert {layer.compute_dtype for layer in frozen.layers[1:]} == {"bfloat16"}


def test_an_njet_layer_inside_another_layer_is_named():
    model = one_layer(keras.layers.TimeDistributed(NJetConv2D(2)), 3, 8, 8, 1)
    with pytest.raises(ValueError, match=r"not of another layer.*Received: layer=<TimeDistributed"):
        freeze(model)


def test_a_pyramid_with_a_rate_twice():
    layer = ASPP(2, rates=(2, 1, 2), tied=False)
    model = keras.Sequential([keras.Input((8, 8, 1)), layer])
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(to_numpy(freeze(model)(x)), to_numpy(model(x)), atol=1e-5)


def test_a_layer_as_activation_of_a_layer_that_subsamples(tmp_path):
    activation = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.3))
    layer = NJetConv2D(4, sigma=1.7, subsample_rate=3.0, activation=activation, name="njet")
    frozen = assert_frozen(one_layer(layer, 13, 12, 2), 2, 13, 12, 2)
    x = images(2, 13, 12, 2)
    expected = to_numpy(frozen(x))
    assert (expected < 0).any()  # where the activation shows
    frozen.save(tmp_path / "frozen.keras")
    np.testing.assert_allclose(to_numpy(keras.models.load_model(tmp_path / "frozen.keras")(x)), expected, atol=1e-6)
