"""Guards `SafeSubsample`: ⌊s·½^(σ/r)⌋ pixels, resampled as by hand, and the same from the layer that fuses both."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.testing import TestCase

from keras_njet import NJetConv1D, NJetConv2D, NJetConv3D, SafeSubsample
from tests.helpers import bilinear_resize, examples, layer_gradients, to_numpy

RNG = np.random.default_rng(0)
LAYERS = {1: NJetConv1D, 2: NJetConv2D, 3: NJetConv3D}


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    sigma=st.floats(0.1, 40.0),
    rate=st.floats(0.5, 12.0),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
@settings(max_examples=examples(20), deadline=None)
def test_maps_are_resampled_to_the_size_the_paper_gives(height, width, sigma, rate, data_format):
    source = NJetConv2D(1, sigma=sigma)
    source.build((None, 8, 8, 1))
    x = np.random.default_rng(height).normal(size=(2, height, width, 3)).astype("float32")
    inputs = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    outputs = to_numpy(SafeSubsample(source, rate=rate, data_format=data_format)(inputs))
    outputs = outputs if data_format == "channels_last" else outputs.transpose(0, 2, 3, 1)
    for new, old in zip(outputs.shape[1:3], (height, width), strict=True):
        assert new == max(1, int(np.floor(old * 0.5 ** (sigma / rate) * (1 + 1e-5))))
    np.testing.assert_allclose(outputs, bilinear_resize(x, *outputs.shape[1:3]), atol=1e-5)


def interpolated(x, new_sizes):
    """A "channels_last" map, interpolated linearly by NumPy along one axis after the other."""
    for axis, new in enumerate(new_sizes, start=1):
        old = x.shape[axis]
        centres = (np.arange(new) + 0.5) * old / new - 0.5
        x = np.apply_along_axis(lambda line, at, known: np.interp(at, known, line), axis, x, centres, np.arange(old))
    return x


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    sigmas=st.lists(st.floats(0.1, 20.0), min_size=3, max_size=3),
    isotropic=st.booleans(),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
@settings(max_examples=examples(20), deadline=None)
def test_signals_and_volumes_are_resampled_with_the_sigma_of_each_axis(sizes, sigmas, isotropic, data_format):
    axes = len(sizes)
    source = LAYERS[axes](1, order=1, sigma=sigmas[0] if isotropic else tuple(sigmas[:axes]), isotropic=isotropic)
    source.build((None, *sizes, 1))
    x = np.random.default_rng(sizes[0]).normal(size=(2, *sizes, 3)).astype("float32")
    inputs = x if data_format == "channels_last" else np.moveaxis(x, -1, 1)
    outputs = to_numpy(SafeSubsample(source, data_format=data_format)(inputs))
    outputs = outputs if data_format == "channels_last" else np.moveaxis(outputs, 1, -1)
    along = sigmas[:1] * axes if isotropic else sigmas[:axes]
    new_sizes = [max(1, int(old * 0.5 ** (sigma / 4) * (1 + 1e-5))) for old, sigma in zip(sizes, along, strict=True)]
    assert outputs.shape == (2, *new_sizes, 3)
    np.testing.assert_allclose(outputs, interpolated(x, new_sizes), atol=1e-5)


def test_long_signals_are_resampled_as_short_ones():
    # Their matrix would have 16,000 · 11,313 entries.
    source = NJetConv1D(1, sigma=2.0)
    source.build((None, 16000, 1))
    x = RNG.normal(size=(2, 16000, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(SafeSubsample(source)(x)), interpolated(x, [11313]), atol=1e-5)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("arguments", [{}, {"strides": 2, "groups": 2}, {"padding": "valid"}, {"padding": 1}])
@pytest.mark.parametrize("axes", [1, 3])
def test_layers_of_signals_and_volumes_that_subsample_give_the_same_as_two(axes, arguments, isotropic):
    x = RNG.normal(size=(2, *(13, 9, 10)[:axes], 2)).astype("float32")
    sigma = 1.7 if isotropic else (1.7, 0.7, 1.2)[:axes]
    arguments = {"order": 1, "sigma": sigma, "isotropic": isotropic, **arguments}
    both, alone = LAYERS[axes](4, subsample_rate=3.0, **arguments), LAYERS[axes](4, **arguments)
    both.build(x.shape)
    alone.build(x.shape)
    alone.set_weights(both.get_weights())
    separate = SafeSubsample(alone, rate=3.0)(alone(x))
    np.testing.assert_allclose(to_numpy(both(x)), to_numpy(separate), atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_map_with_other_axes_than_that_of_the_source_is_named_in_the_error(axes):
    source = LAYERS[axes](1)
    for other in {1, 2, 3} - {axes}:
        with pytest.raises(ValueError, match=rf"whose σ it follows: {axes}. Received: axes={other}"):
            SafeSubsample(source)(np.zeros((1, *[4] * other, 1), "float32"))


@pytest.mark.parametrize("implementation", ["matrix", "dense", "auto"])
@pytest.mark.parametrize("arguments", [{}, {"strides": 2}, {"padding": "valid"}, {"groups": 2}])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_layer_that_subsamples_gives_the_same_as_two_layers(implementation, arguments, data_format):
    shape = (2, 13, 16, 4) if data_format == "channels_last" else (2, 4, 13, 16)
    x = RNG.normal(size=shape).astype("float32")
    arguments = {"sigma": 1.7, "implementation": implementation, "data_format": data_format, **arguments}
    both = NJetConv2D(6, subsample_rate=3.0, **arguments)
    both.build(x.shape)
    alone = NJetConv2D(6, **arguments)
    alone.build(x.shape)
    alone.set_weights(both.get_weights())
    separate = SafeSubsample(alone, rate=3.0, data_format=data_format)(alone(x))
    together = both(x)
    np.testing.assert_allclose(to_numpy(together), to_numpy(separate), atol=1e-5)
    weights = RNG.normal(size=together.shape).astype("float32")
    whole = keras.Sequential([alone, SafeSubsample(alone, rate=3.0, data_format=data_format)])
    whole.build(x.shape)
    for one, other in zip(layer_gradients(both, x, weights), layer_gradients(whole, x, weights), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


def test_a_second_branch_gets_the_same_size():
    inputs = keras.Input((17, 23, 4))
    convolution = NJetConv2D(4, sigma=2.3, subsample_rate=4.0)
    shortcut = SafeSubsample(convolution, rate=4.0)
    model = keras.Model(inputs, keras.layers.Add()([convolution(inputs), shortcut(inputs)]))
    for sigma in (2.3, 0.5, 7.0, 50.0):
        convolution.sigma = sigma
        height, width = (max(1, int(size * 0.5 ** (sigma / 4))) for size in (17, 23))
        assert model.predict(np.zeros((1, 17, 23, 4)), verbose=0).shape == (1, height, width, 4)


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # which one step of Keras' moves far
class LayerTest(TestCase):
    """Keras' own tests of a layer."""

    def run_all(self, shape, output_shape, **arguments):
        source = LAYERS[len(shape) - 2](1, name="source")
        source.build((None, *[8] * (len(shape) - 2), 1))
        self.run_layer_test(
            SafeSubsample,
            init_kwargs={"source": source, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            expected_num_losses=0,
            supports_masking=False,
            run_training_check=False,  # there is nothing to train
        )

    def test_channels_last(self):
        self.run_all((2, 8, 9, 4), (2, None, None, 4))

    def test_channels_first(self):
        self.run_all((2, 4, 8, 9), (2, 4, None, None), data_format="channels_first")

    def test_signals(self):
        self.run_all((2, 8, 4), (2, None, 4))

    def test_volumes(self):
        self.run_all((2, 4, 8, 9, 7), (2, 4, None, None, None), data_format="channels_first")


def test_symbolic_shape_is_unknown_since_it_is_learned():
    source = NJetConv2D(1)
    assert SafeSubsample(source)(keras.Input((32, 32, 3))).shape == (None, None, None, 3)
    assert NJetConv2D(2, subsample_rate=4.0)(keras.Input((32, 32, 3))).shape == (None, None, None, 2)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype):
    source = NJetConv2D(1, sigma=3.0)
    source.build((None, 8, 8, 1))
    x = RNG.normal(size=(2, 12, 9, 3)).astype("float32")
    outputs = SafeSubsample(source, dtype=dtype)(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    np.testing.assert_allclose(to_numpy(outputs), bilinear_resize(x, *outputs.shape[1:3]), atol=0.05)


def test_the_source_is_not_part_of_the_layer():
    source = NJetConv2D(1)
    source.build((None, 8, 8, 1))
    assert SafeSubsample(source).weights == []


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"rate": 0}, "rate=0"),
        ({"rate": "fast"}, "rate='fast'"),
        ({"source": 3}, "source=3"),
        ({"data_format": "x"}, "data_format='x'"),
    ],
)
def test_bad_arguments_are_named_in_the_error(arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        SafeSubsample(**{"source": NJetConv2D(1), **arguments})


def test_a_source_that_is_not_in_the_model_is_named_in_the_error():
    model = keras.Sequential([keras.Input((8, 8, 1)), SafeSubsample("elsewhere")], name="outer")
    with pytest.raises(ValueError, match=r"Received: source='elsewhere', model='outer'"):
        model(np.zeros((1, 8, 8, 1)))


def test_maps_of_integers_give_fractions():
    x = np.random.default_rng(0).integers(0, 256, size=(1, 8, 8, 1)).astype("uint8")
    convolution = NJetConv2D(2, sigma=2.0)
    convolution(x.astype("float32"))
    layer = SafeSubsample(convolution)
    np.testing.assert_allclose(to_numpy(layer(x)), to_numpy(layer(x.astype("float32"))), atol=1e-3)
    with pytest.raises(ValueError, match=r"`factor` must be a finite number above 0. Received: factor=-1.0"):
        layer(x, factor=-1.0)


def test_it_has_no_sigma_of_its_own():
    """So a loop over the layers of a model may ask for those that have one."""
    assert not hasattr(SafeSubsample(NJetConv2D(1), rate=4.0), "sigma")


def test_a_source_that_was_never_called_is_named_in_the_error():
    layer = SafeSubsample(NJetConv2D(1, name="later"), name="shrunk")
    message = (
        r"(?m)'shrunk' must be called after.*was never called. Received: source='later'(\x1b\[0m)?$"  # bold, by Keras
    )
    with pytest.raises(ValueError, match=message):
        layer(np.zeros((1, 8, 8, 1), "float32"))
