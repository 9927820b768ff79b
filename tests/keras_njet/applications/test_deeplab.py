"""Guards DeepLabv2: dilation against the backbone it came from, any backbone, training, and its errors."""

import keras
import numpy as np
import pytest

from keras_njet import LayerwiseSGD, NJetConv2D, SegmentationCrossentropy
from keras_njet.applications import DeepLabV2, NJetDeepLabV2, ResNet32
from keras_njet.applications.deeplab import dilate
from tests.helpers import on_torch, predicts_the_same_in_a_new_process, skip_without_channels_first, to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1, 32, 64, 3)).astype("float32")


def small_backbone(**arguments):
    """Strides of 2 in a convolution, in pooling and in a residual block: 16 in all."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, 2, "same", name="stem")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    for stage in (2, 3, 4):
        # Not a stride of the convolution: the gradient of 1×1 filters with strides breaks TensorFlow 2.21 on a CPU.
        shortcut = x = keras.layers.MaxPooling2D(1, 2, name=f"stage{stage}_pool")(x)
        x = keras.layers.Conv2D(4, 1, activation="relu", name=f"stage{stage}_reduce")(x)
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"stage{stage}_conv", **arguments)(x)
        x = keras.layers.Add(name=f"stage{stage}_add")([x, shortcut])
        x = keras.layers.ReLU(name=f"stage{stage}_out")(x)
    return keras.Model(inputs, x, name="small")


def padded_backbone():
    """Strides in convolutions that are padded before, as in keras-hub."""
    inputs = x = keras.Input((None, None, 3))
    for stage in range(4):
        x = keras.layers.ZeroPadding2D(1)(x)
        x = keras.layers.Conv2D(4, 3, 2, name=f"stage{stage}_strided", activation="relu")(x)
        x = keras.layers.ZeroPadding2D(2)(x)
        x = keras.layers.Conv2D(4, 5, name=f"stage{stage}_conv")(x)
    return keras.Model(inputs, x, name="padded")


def nested_backbone():
    """Strides in models inside the model, one of them sequential, after images are normalised."""
    normalization = keras.layers.Normalization()
    normalization.adapt(3.0 * X + 5.0)
    inner = keras.Input((None, None, 4))
    inner = keras.Model(inner, keras.layers.Conv2D(4, 3, padding="same")(keras.layers.MaxPooling2D(1, 2)(inner)))
    block = [inner, keras.layers.MaxPooling2D(1, 2), keras.layers.Conv2D(4, 3, padding="same")]
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu")(normalization(inputs))
    return keras.Model(inputs, keras.Sequential(block, name="block")(x))


def backbone_in_parts():
    """Channels that are split and put together again, and an inner model for maps of one size."""
    inputs = keras.Input((32, 64, 3))
    x = keras.layers.Conv2D(4, 3, 2, "same")(inputs)
    first, second = keras.ops.split(x, 2, axis=-1)
    x = keras.layers.MaxPooling2D(1, 2)(keras.layers.Concatenate()([second, first]))
    inner = keras.Input((8, 16, 4))
    inner = keras.Model(inner, keras.layers.Conv2D(4, 3, padding="same")(inner))
    return keras.Model(inputs, inner(x))


def resnet50():
    return keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))


@pytest.mark.parametrize(
    ("backbone", "stride", "output_stride"),
    [
        (small_backbone, 16, 4),
        (small_backbone, 16, 8),
        (padded_backbone, 16, 4),
        (nested_backbone, 8, 2),
        (backbone_in_parts, 4, 2),
        (resnet50, 32, 8),
        (resnet50, 32, 2),
    ],
)
def test_a_dilated_backbone_computes_the_same_more_densely(backbone, stride, output_stride):
    if backbone is resnet50 and keras.backend.backend() == "jax":
        pytest.skip("minutes of compiling on JAX, for the same layers as on the other backends")
    original = backbone()
    dense = dilate(original, output_stride)
    assert [weight.path for weight in dense.weights] == [weight.path for weight in original.weights]
    step = stride // output_stride
    ours, expected = to_numpy(dense(X)), to_numpy(original(X))
    assert ours.shape[1:3] == (32 // output_stride, 64 // output_stride)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours[:, ::step, ::step], expected, atol=1e-4 * scale)


@on_torch
def test_the_default_is_resnet101_with_stride_8():
    model = NJetDeepLabV2(output_stride=8, classes=3)
    assert model.name == "njet_deeplab_v2"
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 104  # 101 less the classifier, and 4 shortcuts
    assert model.get_layer("conv5_block3_2_conv").dilation_rate == (4, 4)
    assert model.get_layer("conv4_block23_2_conv").dilation_rate == (2, 2)
    assert model.get_layer("resize").output.shape == (None, None, None, 3)
    assert model.get_layer("head").count_params() == 10 * 2048 * 3 + 3 + 4


@pytest.mark.parametrize("build", [DeepLabV2, pytest.param(NJetDeepLabV2, marks=on_torch)])
def test_it_trains_and_saves(build, tmp_path):
    keras.utils.set_random_seed(0)
    model = build(small_backbone(), classes=3, output_stride=8)
    assert not model.get_layer("bn").trainable
    rate = keras.optimizers.schedules.PolynomialDecay(0.01, 12, power=0.9)
    model.compile(LayerwiseSGD(rate, {"head": 10.0}, momentum=0.9), SegmentationCrossentropy())
    x = np.random.default_rng(0).normal(size=(2, 20, 27, 3)).astype("float32")
    y = np.where(x.mean(-1) > 0.3, 1, np.where(x.mean(-1) < -0.3, 255, 0))
    history = model.fit(x, y, batch_size=1, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert model.predict(x, verbose=0).shape == (2, 20, 27, 3)
    if build is NJetDeepLabV2:
        predicts_the_same_in_a_new_process(model, x, tmp_path)


def test_batch_normalisation_may_be_trained():
    model = DeepLabV2(small_backbone(), classes=3, freeze_batch_normalization=False)
    assert model.get_layer("bn").trainable


def test_tied_filters_and_a_stage():
    model = DeepLabV2(small_backbone(), stage="stage3_out", output_stride=8, classes=3, tied=True, resize=False)
    assert len(model.get_layer("head").weights) == 2
    assert model(X).shape == (1, 4, 8, 3)
    assert model.layers[-1].output.shape == (None, None, None, 3)


@on_torch
def test_backbones_of_this_package_and_of_keras_cv():
    model = NJetDeepLabV2(ResNet32(include_top=False, width=0.125, input_shape=(None, None, 3)), output_stride=4)
    assert model(X).shape == (1, 32, 64, 21)
    keras_cv = pytest.importorskip("keras_cv", reason="keras-cv is not installed", exc_type=ImportError)
    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[4, 8, 8, 8],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=(None, None, 3),
    )
    assert NJetDeepLabV2(backbone, classes=5)(X).shape == (1, 32, 64, 5)


def test_channels_first(channels_first):
    skip_without_channels_first()
    inputs = keras.Input((3, 16, 16))
    backbone = keras.Model(inputs, keras.layers.Conv2D(4, 1, 2)(keras.layers.Conv2D(4, 1, 2)(inputs)))
    model = NJetDeepLabV2(backbone, output_stride=2, classes=3)
    assert model(np.zeros((1, 3, 16, 16), "float32")).shape == (1, 3, 16, 16)


def test_mixed_precision_and_one_image():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = NJetDeepLabV2(small_backbone(), classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", SegmentationCrossentropy())
    assert np.isfinite(model.train_on_batch(X, np.zeros((1, 32, 64), int)))


def test_wrong_backbones_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"no such layer; .*stage4_out.* Received: stage='stage9'$"):
        NJetDeepLabV2(small_backbone(), stage="stage9")
    classifier = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()], name="classifier")
    with pytest.raises(ValueError, match=r"to one feature map.*Received: backbone='classifier'"):
        NJetDeepLabV2(classifier)
    with pytest.raises(ValueError, match=r"one of \[1, 2, 4, 8, 16\]. Received: output_stride=3$"):
        NJetDeepLabV2(small_backbone(), output_stride=3)
    inputs = keras.Input((128, 128, 3))
    valid = keras.layers.Conv2D(2, 3, name="valid")(
        keras.layers.MaxPooling2D(1, 2)(keras.layers.Conv2D(2, 1, 2)(inputs))
    )
    with pytest.raises(ValueError, match=r"not padded to the same size. Received: layer='valid'$"):
        dilate(keras.Model(inputs, valid), 2)
    asymmetric = keras.layers.Conv2D(2, 3, 2, name="strided")(keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(inputs))
    with pytest.raises(ValueError, match=r"stride cannot become a dilation. Received: layer='strided'$"):
        dilate(keras.Model(inputs, asymmetric), 1)
    njet = NJetConv2D(2, name="njet")(keras.layers.Conv2D(2, 3, 2, "same")(inputs))
    with pytest.raises(ValueError, match=r"neither Conv2D nor DepthwiseConv2D. Received: layer='njet'$"):
        dilate(keras.Model(inputs, njet), 1)
    with pytest.raises(ValueError, match=r"Received: backbone_weights='imagenet'$"):
        NJetDeepLabV2(small_backbone(), backbone_weights="imagenet")


def test_the_learning_rate_of_its_scales():
    model = NJetDeepLabV2(small_backbone(), classes=3, output_stride=None, sigma_learning_rate=0.1)
    assert model.get_layer("head").sigma_learning_rate == 0.1


@pytest.mark.parametrize("size", [None, 321, 225, 513, 33])
def test_dilations_do_not_depend_on_the_size_of_the_images(size):
    """321 and 513 are crops of DeepLab, which no stride divides."""
    x = inputs = keras.Input((size, size, 3))
    for number in range(5):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"s{number}")(x)
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"c{number}")(x)
    dilated = dilate(keras.Model(inputs, x), 8)
    rates = {name: dilated.get_layer(name).dilation_rate[0] for name in ("s2", "c2", "s3", "c3", "s4", "c4")}
    assert rates == {"s2": 1, "c2": 1, "s3": 1, "c3": 2, "s4": 2, "c4": 4}
    strides = {name: dilated.get_layer(name).strides[0] for name in ("s2", "s3", "s4")}
    assert strides == {"s2": 2, "s3": 1, "s4": 1}


def test_filters_that_are_not_padded_have_no_stride_on_maps_of_few_pixels():
    inputs = keras.Input((20, 20, 3))
    strided = keras.layers.Conv2D(4, 3, 4, "same")(inputs)
    x = keras.layers.Conv2D(4, 3, name="valid")(strided)  # from 5 pixels to 3
    x = keras.layers.MaxPooling2D(2, 1, name="pool")(x)  # to 2
    backbone = keras.Model(inputs, x)
    assert dilate(backbone, 4).output_shape == backbone.output_shape
    with pytest.raises(ValueError, match=r"one of \[1, 4\]. Received: output_stride=8$"):
        dilate(backbone, 8)


def test_batch_normalization_is_frozen_in_models_inside_the_backbone_too():
    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.BatchNormalization(name="normalize")])
    inputs = keras.Input((None, None, 3))
    model = DeepLabV2(keras.Model(inputs, inner(inputs)), classes=2, output_stride=None)
    found = [layer for layer in model._flatten_layers() if layer.name == "normalize"]
    assert [layer.trainable for layer in found] == [False]
