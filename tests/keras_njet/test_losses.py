"""Guards `SegmentationCrossentropy` against scikit-learn and the formula of its gradient."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from keras_njet import SegmentationCrossentropy, SegmentationIoU
from tests.helpers import gradients, on, run

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 5, 4, 3)).astype("float32")
LABELS = RNG.choice([0, 1, 2, 255], size=(2, 5, 4)).astype("int32")


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 3.0)])
@pytest.mark.parametrize("axis", [-1, 1])
def test_it_is_the_weighted_log_loss_of_what_is_not_ignored(weights, axis):
    counted = LABELS != 255
    of_pixel = None if weights is None else np.take(weights, LABELS[counted])
    expected = log_loss(LABELS[counted], softmax(LOGITS.astype("float64"))[counted], sample_weight=of_pixel)
    loss = SegmentationCrossentropy(weights, axis=axis)
    logits = LOGITS if axis == -1 else np.moveaxis(LOGITS, -1, 1)
    assert float(loss(LABELS, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(LABELS[..., None], logits)) == pytest.approx(expected, rel=1e-5)
    copy = SegmentationCrossentropy.from_config(loss.get_config())
    assert float(copy(LABELS, logits)) == float(loss(LABELS, logits))


def test_gradients_are_those_of_the_formula():
    weights = np.array([0.2, 1.0, 3.0])
    loss = SegmentationCrossentropy(weights)
    (ours,) = gradients(lambda logits: loss(LABELS, logits), LOGITS)
    counted = LABELS != 255
    labels = np.where(counted, LABELS, 0)
    of_pixel = np.where(counted, weights[labels], 0.0)[..., None]
    expected = of_pixel * (softmax(LOGITS) - np.eye(3)[labels]) / of_pixel.sum()
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_small_weights_of_classes_count_as_large_ones_do():
    """Only their ratios matter, as with 1 / (number of pixels) of large images."""
    labels, logits = np.array([[0, 1, 1, 2]]), np.random.default_rng(0).normal(size=(1, 4, 3)).astype("float32")
    large, small = (SegmentationCrossentropy(scale * np.array([1.0, 2.0, 0.5]), axis=-1) for scale in (1.0, 1e-9))
    assert float(small(labels, logits)) == pytest.approx(float(large(labels, logits)), rel=1e-5)


def test_nothing_but_ignored_pixels_gives_zero():
    assert float(SegmentationCrossentropy()(np.full((1, 2, 2), 255), np.ones((1, 2, 2, 3), "float32"))) == 0.0


def test_an_ignored_pixel_may_have_infinite_logits():
    logits = np.zeros((1, 1, 2, 3), "float32")
    logits[0, 0, 1, 0] = -np.inf
    loss = SegmentationCrossentropy()
    labels = np.array([[[0, 255]]])
    assert float(loss(labels, logits)) == pytest.approx(np.log(3), rel=1e-5)
    (gradient,) = gradients(lambda logits: loss(labels, logits), logits)
    np.testing.assert_allclose(gradient[0, 0], [[1 / 3 - 1, 1 / 3, 1 / 3], [0, 0, 0]], atol=1e-6)


def test_a_reduction_that_would_be_lost_is_refused():
    with pytest.raises(TypeError, match="reduction"):
        SegmentationCrossentropy(reduction="sum")


def test_sample_weights_weigh_images():
    loss = SegmentationCrossentropy(ignore_class=None)
    labels = np.zeros((2, 5, 4), int)
    alone = float(loss(labels[:1], LOGITS[:1]))
    assert float(loss(labels, LOGITS, sample_weight=np.array([[[1.0]], [[0.0]]]))) == pytest.approx(alone / 2, rel=1e-5)


def test_wrong_weights_are_named_in_the_error():
    for wrong, received in (([-1, 2], r"\[-1, 2\]"), ("ab", "ab"), ([1.0, np.nan], r"\[1.0, nan\]")):
        with pytest.raises(ValueError, match=f"Received: class_weights={received}$"):
            SegmentationCrossentropy(wrong)
    with pytest.raises(ValueError, match=r"each of 3 classes. Received: class_weights=\[1.0, 2.0\]$"):
        SegmentationCrossentropy([1, 2])(LABELS, LOGITS)


def test_the_axis_of_the_classes_is_that_of_the_image_data_format(channels_first):
    loss, metric = SegmentationCrossentropy(), SegmentationIoU(3)
    expected = float(SegmentationCrossentropy(axis=-1)(LABELS, LOGITS))
    assert float(loss(LABELS, np.moveaxis(LOGITS, -1, 1))) == pytest.approx(expected, rel=1e-6)
    metric.update_state(LABELS, np.moveaxis(LOGITS, -1, 1))
    other = SegmentationIoU(3, axis=-1)
    other.update_state(LABELS, LOGITS)
    assert float(metric.result()) == float(other.result()) > 0


@pytest.mark.parametrize("label", [3, 255, -1])
def test_a_label_that_is_no_class_makes_the_loss_nan(label):
    loss, labels = SegmentationCrossentropy(ignore_class=0), np.ones((1, 2, 2), int)
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype("float32")
    assert np.isfinite(float(loss(labels, logits)))
    labels[0, 1, 0] = label
    assert np.isnan(float(loss(labels, logits)))


def test_an_axis_that_classes_cannot_have_is_refused():
    for wrong in (SegmentationCrossentropy, lambda axis: SegmentationIoU(3, axis=axis)):
        with pytest.raises(ValueError, match=r"Received: axis=2$"):
            wrong(axis=2)


ON_DEVICES = """
import sys
import keras, numpy as np, tensorflow as tf
from keras_njet import SegmentationCrossentropy
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(int(sys.argv[1]))])
keras.utils.set_random_seed(0)
with strategy.scope():
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 1)])
    model.compile(keras.optimizers.SGD(1.0), SegmentationCrossentropy(axis=-1))
x = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
print(*model.fit(x, np.arange(64).reshape(4, 4, 4) % 3, batch_size=4, epochs=2, verbose=0).history["loss"])
"""


@on("tensorflow")
def test_a_training_on_two_devices_is_that_on_one():
    losses = [[float(loss) for loss in run("-c", ON_DEVICES, count).split()[-2:]] for count in (1, 2)]
    assert losses[0][0] != losses[0][1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
