"""Guards `convert`: predictions and shapes stay, whatever the model, and what can't be converted is named."""

import keras
import numpy as np
import pytest

from keras_njet import (
    NJetConv1D,
    NJetConv2D,
    NJetConv3D,
    NJetDepthwiseConv1D,
    NJetDepthwiseConv2D,
    convert,
    fit_filters,
    freeze,
)
from tests.helpers import on_torch, to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.normal(size=shape).astype("float32")


def assert_same_predictions(model, converted, *shape, tolerance=1e-4):
    x = images(*shape)
    expected = to_numpy(model(x))
    np.testing.assert_allclose(to_numpy(converted(x)), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("size", "arguments"),
    [
        (3, {"padding": "same", "strides": 2}),
        (3, {"padding": "valid", "strides": 2, "groups": 2}),
        (3, {"padding": "valid", "activation": "relu"}),
        (2, {"padding": "same", "use_bias": False}),
        ((1, 3), {"padding": "same"}),
    ],
)
def test_a_converted_convolution_has_its_outputs(size, arguments, data_format):
    shape = (2, 11, 8, 4) if data_format == "channels_last" else (2, 4, 11, 8)
    if data_format == "channels_first" and keras.backend.backend() == "tensorflow":
        pytest.skip("on a CPU TensorFlow has no such convolution, or adds its bias wrongly outside of a function")
    layer = keras.layers.Conv2D(6, size, data_format=data_format, bias_initializer="normal", name="conv", **arguments)
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    converted = convert(model)
    assert type(converted.get_layer("conv")) is NJetConv2D
    assert converted.output_shape == model.output_shape
    assert_same_predictions(model, converted, *shape)


@pytest.mark.parametrize(("size", "order"), [(3, 4), (5, 8)])
def test_filters_keep_their_size_as_scales_begin_to_grow(size, order):
    model = keras.Sequential([keras.Input((12, 12, 2)), keras.layers.Conv2D(4, size, padding="same", name="conv")])
    for margin, size_after in ((0.0, size + 2), (0.1, size)):
        layer = convert(model, order, margin=margin).get_layer("conv")
        assert layer.kernel_size == (size, size)
        layer.sigma = 1.01 * layer.initial_sigma
        assert layer.kernel_size == (size_after, size_after)


def test_scales_that_are_not_learned_need_no_margin():
    model = keras.Sequential([keras.Input((12, 12, 2)), keras.layers.Conv2D(4, 5, padding="same", name="conv")])
    sigma = {
        learned: convert(model, 8, learn_sigma=learned, return_report=True)[1][0].sigma for learned in (False, True)
    }
    assert sigma == pytest.approx({False: 1.0, True: 0.95})


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_converted_depthwise_convolution_has_its_outputs(strides, padding):
    layer = keras.layers.DepthwiseConv2D(3, strides, padding, 2, bias_initializer="normal", name="conv")
    model = keras.Sequential([keras.Input((9, 12, 4)), layer])
    converted = convert(model)
    assert type(converted.get_layer("conv")) is NJetDepthwiseConv2D
    assert_same_predictions(model, converted, 2, 9, 12, 4)


@pytest.mark.parametrize(
    ("layer", "order", "kind"),
    [
        (keras.layers.Conv1D(4, 3, bias_initializer="normal", activation="relu"), 2, NJetConv1D),
        (keras.layers.Conv1D(4, 5, 2, "same", groups=2), 4, NJetConv1D),
        (keras.layers.Conv1D(4, 2, padding="same"), 2, NJetConv1D),
        (keras.layers.DepthwiseConv1D(3, 2, "valid", 2, bias_initializer="normal"), 2, NJetDepthwiseConv1D),
        (keras.layers.DepthwiseConv1D(3, padding="same"), 2, NJetDepthwiseConv1D),
        (keras.layers.Conv3D(3, 3, bias_initializer="normal"), 6, NJetConv3D),
        (keras.layers.Conv3D(3, 3, (2, 1, 3), "same"), 6, NJetConv3D),
    ],
    ids=lambda value: type(value).__name__,
)
def test_converted_and_frozen_convolutions_of_signals_and_volumes_have_their_outputs(layer, order, kind):
    # The orders are those that meet all filters of these sizes exactly: 2 along each axis of three pixels, in total.
    sizes = (12,) if kind is not NJetConv3D else (7, 5, 6)
    model = keras.Sequential([keras.Input((*sizes, 2)), layer])
    converted, (row,) = convert(model, order=order, return_report=True)
    assert type(converted.layers[0]) is kind
    assert row.error < 1e-6
    assert row.kernel_size == tuple(layer.kernel_size)
    assert len(row.new_kernel_size) == len(sizes)
    assert converted.output_shape == model.output_shape
    assert_same_predictions(model, converted, 2, *sizes, 2, tolerance=1e-5)
    frozen = freeze(converted)
    assert type(frozen.layers[1]) is type(layer)
    assert_same_predictions(model, frozen, 2, *sizes, 2, tolerance=1e-5)


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (keras.layers.Conv2D(3, (1, 5), padding="same"), (8, 9)),
        (keras.layers.Conv2D(3, (6, 3), padding="same"), (8, 9)),
        (keras.layers.Conv3D(3, (1, 3, 3), padding="same"), (4, 6, 5)),
    ],
    ids=["1x5", "6x3", "1x3x3"],
)
def test_filters_of_unequal_sizes_are_met_better_by_a_sigma_for_each_axis(layer, sizes):
    model = keras.Sequential([keras.Input((*sizes, 2)), layer])
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    errors = {}
    for isotropic in (True, False):
        converted, (row,) = convert(model, isotropic=isotropic, max_error=1.0, return_report=True)
        twin = converted.layers[0]
        fitted = fit_filters(layer.kernel, order=4, isotropic=isotropic, margin=0.1)
        np.testing.assert_allclose(to_numpy(twin.sigma), fitted.sigma, rtol=1e-5)
        assert row.sigma == pytest.approx(np.max(fitted.sigma))
        assert row.error == pytest.approx(fitted.error)
        errors[isotropic] = row.error
        met = type(layer)(3, fitted.reconstruction.shape[:-2], padding="same")
        approximation = keras.Sequential([keras.Input((*sizes, 2)), met])
        met.set_weights([fitted.reconstruction, layer.weights[1]])
        assert_same_predictions(approximation, converted, 2, *sizes, 2, tolerance=5e-4)
        # At a σ far below a pixel coefficients are in the thousands, and cancel: more rounding than usual.
        assert_same_predictions(converted, freeze(converted), 2, *sizes, 2, tolerance=5e-4)
    assert errors[False] < 0.95 * errors[True]


def test_each_filter_may_have_a_sigma_for_each_axis():
    inputs = keras.Input((8, 9, 2))
    x = keras.layers.DepthwiseConv2D((3, 5), padding="same", name="depth")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(3, (5, 2), padding="same", name="conv")(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.weights])
    converted, report = convert(
        model, order=3, sigma_sharing="filter", isotropic=False, max_error=1.0, return_report=True
    )
    assert {row.name: converted.get_layer(row.name).sigma.shape for row in report} == {"depth": (2, 2), "conv": (3, 2)}
    of_layer = {row.name: row for row in convert(model, order=3, isotropic=False, max_error=1.0, return_report=True)[1]}
    for row in report:
        assert row.error < of_layer[row.name].error
    assert_same_predictions(converted, freeze(converted), 2, 8, 9, 2, tolerance=1e-5)


def test_regularizers_constraints_dtype_and_trainable_stay():
    layer = keras.layers.Conv2D(
        4,
        3,
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_regularizer="l1",
        activity_regularizer="l2",
        kernel_constraint="max_norm",
        bias_constraint="non_neg",
        dtype="mixed_bfloat16",
        trainable=False,
        name="conv",
    )
    twin = convert(keras.Sequential([keras.Input((8, 8, 2)), layer])).get_layer("conv")
    assert twin.coefficient_regularizer.l2 == pytest.approx(0.1)
    assert isinstance(twin.bias_regularizer, keras.regularizers.L1)
    assert isinstance(twin.activity_regularizer, keras.regularizers.L2)
    assert isinstance(twin.coefficient_constraint, keras.constraints.MaxNorm)
    assert isinstance(twin.bias_constraint, keras.constraints.NonNeg)
    assert (twin.dtype_policy.name, twin.trainable) == ("mixed_bfloat16", False)


def nested_model():
    """A shared convolution, a model in the model, one in that, normalisation, a sum and an operation."""
    inner = keras.Sequential(
        [keras.Input((10, 10, 4)), keras.layers.Conv2D(4, 3, padding="same", name="deep")], name="b"
    )
    middle_inputs = keras.Input((10, 10, 4))
    middle = keras.Model(middle_inputs, keras.layers.ReLU()(inner(middle_inputs)) + 1.0, name="a")
    inputs = keras.Input((10, 10, 4))
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")
    x = keras.layers.BatchNormalization(name="norm")(shared(shared(inputs)))
    x = keras.layers.Add()([middle(x), keras.layers.Conv2D(4, 1, name="pointwise")(x)])
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="outer")


@pytest.mark.filterwarnings("ignore:The scales of these layers")  # that of "deep" begins at 0.5
def test_models_in_models_and_shared_layers():
    model = nested_model()
    model.get_layer("norm").set_weights([RNG.uniform(0.5, 1.5, 4) for _ in range(4)])
    before = [to_numpy(weight) for weight in model.weights]
    converted, report = convert(model, return_report=True)
    assert sorted(row.name for row in report) == ["deep", "shared"]
    assert type(converted.get_layer("shared")) is NJetConv2D
    assert type(converted.get_layer("a").get_layer("b").get_layer("deep")) is NJetConv2D
    assert type(converted.get_layer("pointwise")) is keras.layers.Conv2D
    assert {layer.name for layer in converted.layers} == {layer.name for layer in model.layers}
    assert_same_predictions(model, converted, 2, 10, 10, 4)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), value)
    converted.compile("sgd", "mse")
    converted.fit(images(4, 10, 10, 4), np.zeros((4, 4)), verbose=0)  # σ is learned
    assert converted.get_layer("shared").log2_sigma.largest() != pytest.approx(report[0].sigma, abs=1e-7)


def test_the_report_is_that_of_the_fit():
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 7, padding="same", name="conv")])
    converted, (row,) = convert(model, order=3, max_error=1.0, return_report=True)
    fitted = fit_filters(model.get_layer("conv").kernel, order=3, margin=0.1)
    twin = converted.get_layer("conv")
    assert (row.name, row.kernel_size, row.new_kernel_size) == ("conv", (7, 7), twin.kernel_size)
    assert row.error == pytest.approx(fitted.error)
    assert row.sigma == pytest.approx(fitted.sigma)
    np.testing.assert_allclose(to_numpy(twin.coefficients), fitted.coefficients, rtol=1e-5)


def test_the_learning_rate_of_its_scales():
    model = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Conv2D(3, 3)])
    converted, slow = convert(model), convert(model, sigma_learning_rate=0.1)
    assert slow.layers[-1].sigma_learning_rate == 0.1
    assert converted.layers[-1].sigma_learning_rate == 1.0
    x = images(1, 8, 8, 2)
    np.testing.assert_allclose(to_numpy(slow(x)), to_numpy(converted(x)), atol=1e-5)


def test_each_filter_may_have_its_sigma():
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.DepthwiseConv2D(5, padding="same", use_bias=False, name="depth")(
        keras.layers.Conv2D(4, 5, padding="same", use_bias=False, name="conv")(inputs)
    )
    model = keras.Model(inputs, x)
    distances = np.hypot(*np.mgrid[-2:3, -2:3])[..., None, None]
    of_other_scales = np.exp(-(distances**2) / (2 * np.array([0.5, 0.7, 0.9, 1.1]) ** 2))
    model.get_layer("conv").set_weights([np.repeat(of_other_scales, 3, axis=2)])
    model.get_layer("depth").set_weights([np.moveaxis(of_other_scales, 3, 2)])
    apart, report = convert(model, sigma_sharing="filter", return_report=True, margin=0.0)
    for row in report:
        twin, kernel = apart.get_layer(row.name), to_numpy(model.get_layer(row.name).kernel)
        fitted = fit_filters(kernel.reshape(5, 5, -1, 4), order=4, sigma_sharing="filter")
        np.testing.assert_allclose(to_numpy(twin.sigma), fitted.sigma, rtol=1e-5)
        assert row.error == pytest.approx(fitted.error)
        assert row.error < 0.9 * fit_filters(kernel.reshape(5, 5, -1, 4), order=4).error


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_dilated_convolution_becomes_one_of_larger_sigma(padding):
    # On a smooth image a filter with gaps and the same filter without them, as wide, give much the same.
    smooth = np.exp(-((np.mgrid[:40, :40] - 19.5) ** 2).sum(axis=0) / (2 * 9.0**2))[None, :, :, None].astype("float32")
    kernel = np.outer([1, 2, 1], [1, 2, 1])[:, :, None, None] / 16
    layer = keras.layers.Conv2D(1, 3, padding=padding, dilation_rate=3, use_bias=False, name="conv")
    model = keras.Sequential([keras.Input((40, 40, 1)), layer])
    layer.set_weights([kernel])
    with pytest.raises(ValueError, match="convert"):
        convert(model)
    twin = convert(model, undilate=True).get_layer("conv")
    assert float(to_numpy(twin.sigma)) == pytest.approx(3 * fit_filters(kernel, 4, margin=0.1).sigma)
    expected, found = to_numpy(model(smooth)), to_numpy(twin(smooth))
    assert found.shape == expected.shape
    inner = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.02 * expected.max())


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("first", ["first"]),
        (["first", "second"], ["first", "second"]),
        (5, ["second"]),
        (lambda layer: layer.filters == 8, ["second"]),
        (None, ["first", "second"]),
    ],
)
def test_layers_are_chosen_by_name_size_or_function(layers, expected):
    model = keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            keras.layers.Conv2D(4, 3, name="first"),
            keras.layers.Conv2D(8, 5, name="second"),
            keras.layers.Conv2D(8, 1, name="pointwise"),
        ]
    )
    converted, report = convert(model, layers=layers, max_error=1.0, return_report=True)
    assert [row.name for row in report] == expected
    assert [layer.name for layer in converted.layers if isinstance(layer, NJetConv2D)] == expected


def test_what_cannot_be_converted_is_said_and_the_model_stays():
    def model(*layers):
        return keras.Sequential([keras.Input((9, 9, 2)), *layers])

    transposed = model(keras.layers.Conv2DTranspose(4, 3, name="up"))
    pointwise = model(keras.layers.Conv2D(4, 1, name="point"))

    def causal(*arguments, **more):
        layer = keras.layers.Conv1D(4, *arguments, padding="causal", name="causal", **more)
        return keras.Sequential([keras.Input((9, 2)), layer])

    convolution = model(keras.layers.Conv2D(4, 3, name="conv"))
    for bad, arguments, message in (
        (model(keras.layers.Flatten()), {}, "filters larger than a pixel.*Received: model="),
        (transposed, {}, "filters larger than a pixel"),
        (transposed, {"layers": "up"}, "Conv2DTranspose is none of.*Received: layers='up'"),
        (pointwise, {}, "filters larger than a pixel"),
        (pointwise, {"layers": "point"}, "its filters have one pixel"),
        (model(keras.layers.Conv2D(4, 2, name="even")), {"layers": "even"}, "even sizes"),
        (model(keras.layers.Conv2D(4, 3, 4, "same", name="far")), {"layers": "far"}, "strides are larger"),
        (causal(3), {"layers": "causal"}, "\"causal\", and N-Jet filters look both ways. Received: layers='causal'"),
        (causal(2, 2), {"layers": "causal"}, 'its padding is "causal"'),
        (causal(3, dilation_rate=2), {"layers": "causal", "undilate": True}, 'its padding is "causal"'),
        (causal(3), {}, "filters larger than a pixel"),
        (convolution, {"layers": "missing"}, "Received: layers='missing'"),
        (convolution, {"order": 1, "max_error": 0.1}, "Expected at most 0.1.*Received: order=1"),
        (convolution, {"order": -1}, "Received: order=-1"),
        (convolution, {"margin": 0.5}, "Received: margin=0.5"),
        (convolution, {"margin": 7, "learn_sigma": False}, "Received: margin=7"),
        (keras.layers.Conv2D(4, 3), {}, "Received: model=<Conv2D"),
        (keras.Sequential([keras.layers.Conv2D(4, 3)]), {}, "has been built"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(bad, **arguments)
    assert type(convolution.get_layer("conv")) is keras.layers.Conv2D


@on_torch
@pytest.mark.parametrize(("name", "count"), [("MobileNetV2", 18), ("ResNet50", 17), ("EfficientNetB0", 17)])
def test_applications_of_keras(name, count):
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=7)
    converted, report = convert(model, max_error=1.0, return_report=True)
    assert len(report) == count
    assert converted.output_shape == model.output_shape
    of_3x3 = [row for row in report if row.kernel_size == (3, 3)]
    assert max(row.error for row in of_3x3) < 0.05
    converted, _ = convert(model, layers=3, return_report=True)
    assert_same_predictions(model, converted, 1, 64, 64, 3)


def test_a_backbone_of_keras_cv():
    keras_cv = pytest.importorskip("keras_cv", reason="keras-cv is not installed", exc_type=ImportError)
    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[8, 8],
        stackwise_blocks=[1, 1],
        stackwise_strides=[1, 2],
        include_rescaling=False,
        input_shape=(32, 32, 3),
    )
    x = images(1, 32, 32, 3)
    expected = backbone.predict(x, verbose=0)
    np.testing.assert_allclose(convert(backbone, layers=3).predict(x, verbose=0), expected, rtol=1e-4, atol=1e-4)


def test_a_backbone_of_keras_hub():
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed", exc_type=ImportError)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    x = images(1, 32, 32, 3)
    expected = backbone.predict(x, verbose=0)
    converted, report = convert(backbone, layers=3, return_report=True)
    assert report
    np.testing.assert_allclose(converted.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-4)


def test_arguments_of_the_scales_reach_the_layers():
    model = keras.Sequential([keras.Input((9, 9, 2)), keras.layers.Conv2D(3, 3, padding="same", name="conv")])
    layer = convert(model, learn_sigma=False, extent=3.0, max_error=1.0).get_layer("conv")
    assert (layer.extent, layer.learn_sigma, layer.log2_sigma.trainable) == (3.0, False, False)
    fitted = fit_filters(model.get_layer("conv").kernel, order=4, extent=3.0)
    np.testing.assert_allclose(to_numpy(layer.coefficients), fitted.coefficients, rtol=1e-4, atol=1e-5)
    assert convert(model).get_layer("conv").log2_sigma.trainable


def test_filters_that_see_different_channels_keep_one_sigma():
    inputs = keras.Input((9, 9, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", groups=2, name="grouped")(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="several")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="single")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", name="plain")(x))
    converted = convert(model, sigma_sharing="filter")
    shapes = {name: tuple(converted.get_layer(name).sigma.shape) for name in ("grouped", "several", "single", "plain")}
    assert shapes == {"grouped": (), "several": (), "single": (8,), "plain": (3,)}
    assert_same_predictions(model, converted, 2, 9, 9, 4, tolerance=0.02)  # large coefficients cancel
