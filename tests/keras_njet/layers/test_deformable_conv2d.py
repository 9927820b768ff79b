"""Guards `DeformableConv2D`: torchvision's definition, written as loops; Keras' `Conv2D`; its gradients and manners."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.testing import TestCase

from keras_njet.layers import DeformableConv2D
from keras_njet.layers.deformable_conv2d import deformable_convolution
from tests.helpers import examples, gradients, to_numpy

RNG = np.random.default_rng(0)


def compiled(function):
    """On JAX compiled as a whole: each of its operations alone, for each shape, takes much longer."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def bilinear(image, y, x):
    """Value between the pixels of an image (height, width, channels) that is surrounded by zeros."""
    value = np.zeros(image.shape[2])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return value


def by_loops(x, offsets, kernel, stride, pads, dilation):
    """torchvision.ops.deform_conv2d, for "channels_last" and zeros put before each axis."""
    x, offsets, kernel = (np.asarray(array, "float64") for array in (x, offsets, kernel))
    tall, wide, channels, filters = kernel.shape
    groups = offsets.shape[3] // (2 * tall * wide)
    of_group = channels // groups
    out = np.zeros((*offsets.shape[:3], filters))
    for b, i, j in np.ndindex(*offsets.shape[:3]):
        for g, u, v in np.ndindex(groups, tall, wide):
            number = 2 * ((g * tall + u) * wide + v)
            y = i * stride[0] - pads[0] + u * dilation[0] + offsets[b, i, j, number]
            z = j * stride[1] - pads[1] + v * dilation[1] + offsets[b, i, j, number + 1]
            chosen = slice(g * of_group, (g + 1) * of_group)
            out[b, i, j] += bilinear(x[b, :, :, chosen], y, z) @ kernel[u, v, chosen]
    return out


@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel_size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.sampled_from(["same", "valid"]),
    groups=st.integers(1, 3),
    reach=st.sampled_from([0.0, 0.7, 5.0]),
)
@settings(max_examples=examples(50), deadline=None)
def test_it_is_torchvisions_definition(size, kernel_size, strides, dilation, padding, groups, reach):
    rng = np.random.default_rng(size)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if padding == "valid":
        size = tuple(max(pair) for pair in zip(size, extents, strict=True))
        new_size, pads = [(n - e) // s + 1 for n, e, s in zip(size, extents, strides, strict=True)], (0, 0)
    else:
        new_size = [-(-n // s) for n, s in zip(size, strides, strict=True)]
        missing = [(m - 1) * s + e - n for n, m, s, e in zip(size, new_size, strides, extents, strict=True)]
        pads = [max(0, number) // 2 for number in missing]
    x = rng.normal(size=(2, *size, 2 * groups)).astype("float32")
    taps = kernel_size[0] * kernel_size[1]
    offsets = (reach * rng.normal(size=(2, *new_size, 2 * groups * taps))).astype("float32")
    kernel = rng.normal(size=(*kernel_size, 2 * groups, 3)).astype("float32")
    convolve = compiled(lambda *arrays: deformable_convolution(*arrays, strides, padding, dilation))
    ours = to_numpy(convolve(*map(keras.ops.convert_to_tensor, (x, offsets, kernel))))
    expected = by_loops(x, offsets, kernel, strides, pads, dilation)
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel_size", "strides", "dilation_rate"), [(3, 2, 1), ((2, 4), (1, 3), 1), (3, 1, (2, 1))])
def test_it_starts_as_conv2d(padding, kernel_size, strides, dilation_rate):
    size = (9, 10)
    x = RNG.normal(size=(2, *size, 4)).astype("float32")
    layer = DeformableConv2D(3, kernel_size, strides, padding, dilation_rate, 2, activation="relu")
    layer.build(x.shape)
    outputs = to_numpy(compiled(layer)(x))
    convolution = keras.layers.Conv2D(3, kernel_size, strides, padding, dilation_rate=dilation_rate, activation="relu")
    convolution.build(x.shape)
    convolution.kernel.assign(layer.kernel)
    np.testing.assert_allclose(outputs, to_numpy(convolution(x)), atol=1e-5)
    assert layer.compute_output_shape((None, *size, 4)) == (None, *outputs.shape[1:])


def test_whole_offsets_read_shifted_pixels():
    """Positive offsets point down and to the right, as in torchvision; what lies outside is zero."""
    x = RNG.normal(size=(1, 6, 7, 2)).astype("float32")
    offsets = np.tile(np.array([2.0, -1.0], "float32"), (1, 6, 7, 1))
    kernel = keras.ops.reshape(keras.ops.eye(2), (1, 1, 2, 2))
    expected = np.zeros_like(x)
    expected[:, :4, 1:] = x[:, 2:, :-1]
    outputs = compiled(deformable_convolution)(*map(keras.ops.convert_to_tensor, (x, offsets, kernel)))
    np.testing.assert_allclose(to_numpy(outputs), expected, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    layer = DeformableConv2D(2)
    x = RNG.normal(size=(1, 5, 4, 2)).astype("float32")
    layer.build(x.shape)
    names = [variable.path.split("/", 1)[1] for variable in layer.trainable_variables]
    assert names == ["kernel", "bias", "offset_convolution/kernel", "offset_convolution/bias"]
    points = (x, *(RNG.normal(size=variable.shape).astype("float32") for variable in layer.trainable_variables))
    weights = RNG.normal(size=(1, 5, 4, 2)).astype("float32")

    @compiled
    def loss(x, *values):
        outputs, _ = layer.stateless_call(values, [], x)
        return keras.ops.sum(outputs * keras.ops.convert_to_tensor(weights))

    def expected_loss(x, kernel, bias, offset_kernel, offset_bias):
        geometry = (1, 1), (1, 1), (1, 1)
        offsets = by_loops(x, np.zeros((1, 5, 4, 18)), offset_kernel, *geometry) + offset_bias
        return np.sum(weights * (by_loops(x, offsets, kernel, *geometry) + bias))

    for index, gradient in enumerate(gradients(loss, *points)):
        direction = RNG.uniform(-1, 1, size=points[index].shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = [point.astype("float64") for point in points]
            moved[index] += step * direction
            ends.append(expected_loss(*moved))
        change = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(np.sum(gradient * direction), change, rtol=1e-3, atol=1e-3)


def test_images_of_integers():
    images = np.random.default_rng(0).integers(0, 256, (1, 6, 7, 2)).astype("uint8")
    layer = DeformableConv2D(3, 3)
    np.testing.assert_array_equal(to_numpy(layer(images)), to_numpy(layer(images.astype("float32"))))


def test_channels_first():
    x = RNG.normal(size=(2, 6, 7, 4)).astype("float32")
    last, first = (DeformableConv2D(3, strides=2, data_format=f"channels_{order}") for order in ("last", "first"))
    last.build(x.shape)
    last.offset_convolution.kernel.assign(RNG.normal(size=(3, 3, 4, 18)))
    first.build((2, 4, 6, 7))
    first.set_weights(last.get_weights())
    outputs = to_numpy(compiled(first)(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(outputs.transpose(0, 2, 3, 1), to_numpy(compiled(last)(x)), atol=1e-5)
    assert first.compute_output_shape((None, 4, 6, None)) == (None, 3, 3, None)


def test_a_model_of_unknown_size_is_trained_saved_and_loaded(tmp_path):
    layer = DeformableConv2D(3, 3, dilation_rate=2, kernel_regularizer="l2", activation="relu")
    model = keras.Sequential([keras.Input((None, None, 2)), layer, keras.layers.GlobalMaxPooling2D()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = RNG.normal(size=(5, 8, 7, 2)).astype("float32"), RNG.normal(size=(5, 3))
    before = model.get_weights()
    model.fit(x, y, batch_size=3, epochs=2, verbose=0)
    assert not any(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == layer.get_config()
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_offsets_that_are_huge_or_not_numbers_read_nothing_out_of_range():
    x, kernel = np.ones((1, 3, 3, 1), "float32"), keras.ops.ones((1, 1, 1, 1))
    offsets = np.zeros((1, 3, 3, 2), "float32")
    offsets[0, 0, :, 0] = (1e30, -1e30, np.nan)
    outputs = compiled(deformable_convolution)(*map(keras.ops.convert_to_tensor, (x, offsets, kernel)))
    np.testing.assert_array_equal(to_numpy(outputs)[0, :, :, 0], [[0, 0, np.nan], [1, 1, 1], [1, 1, 1]])


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtypes(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless jax_enable_x64 is set")
    x = RNG.normal(size=(2, 6, 5, 4)).astype("float32")
    layer = DeformableConv2D(3, dtype=dtype)
    layer.build(x.shape)
    layer.offset_convolution.bias.assign(RNG.uniform(-2, 2, size=18))
    outputs = compiled(layer)(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    offsets = np.broadcast_to(to_numpy(layer.offset_convolution.bias), (2, 6, 5, 18))
    expected = by_loops(x, offsets, to_numpy(layer.kernel), (1, 1), (1, 1), (1, 1))
    tolerance = {"mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(to_numpy(outputs), expected, atol=tolerance * np.abs(expected).max())


class LayerTest(TestCase):
    """Keras' own tests of a layer."""

    def run_all(self, shape, output_shape, losses=0, **arguments):
        self.run_layer_test(
            DeformableConv2D,
            init_kwargs={"filters": 3, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=4,
            expected_num_non_trainable_weights=0,
            expected_num_losses=losses,
            supports_masking=False,
        )

    def test_same(self):
        self.run_all((2, 7, 6, 4), (2, 7, 6, 3), 1, kernel_regularizer="l2")

    def test_channels_first(self):
        self.run_all((2, 4, 7, 6), (2, 3, 3, 2), strides=2, padding="valid", data_format="channels_first")


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"filters": 0}, "filters=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"strides": (1, 2, 3)}, r"strides=\(1, 2, 3\)"),
        ({"padding": "causal"}, "padding='causal'"),
        ({"dilation_rate": 1.5}, "dilation_rate=1.5"),
        ({"strides": 2, "dilation_rate": 2}, r"strides=\(2, 2\) and dilation_rate=\(2, 2\)"),
        ({"deformable_groups": 0}, "deformable_groups=0"),
        ({"data_format": "x"}, "data_format='x'"),
    ],
)
def test_bad_arguments_are_named_in_the_error(arguments, received):
    with pytest.raises(ValueError, match=f"Received: {received}$"):
        DeformableConv2D(**{"filters": 2, **arguments})


def test_bad_inputs_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"Received: input_shape=\(None, 8, 8, None\)$"):
        DeformableConv2D(2).build((None, 8, 8, None))
    with pytest.raises(ValueError, match=r"Received: channels=3, deformable_groups=2$"):
        DeformableConv2D(2, deformable_groups=2).build((None, 8, 8, 3))


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="there Keras' own Conv2D fails without images")
def test_a_batch_of_no_images():
    layer = DeformableConv2D(3, 3)
    layer.build((None, 6, 5, 4))
    assert tuple(layer(np.zeros((0, 6, 5, 4), "float32")).shape) == (0, 6, 5, 3)
