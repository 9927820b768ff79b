"""Guards `SegmentationIoU` against scikit-learn's Jaccard score."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from keras_njet import SegmentationIoU
from tests.helpers import examples


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    objects=st.sets(st.integers(0, 3), min_size=1),
    axis=st.sampled_from([-1, 1]),
    seed=st.integers(0, 100),
)
@settings(max_examples=examples(20), deadline=None)
def test_it_is_the_mean_jaccard_score_of_the_objects_that_occur(shape, objects, axis, seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 3, 255], size=shape).astype("int32")
    logits = rng.normal(size=(*shape, 4)).astype("float32")
    metric = SegmentationIoU(4, objects, axis=axis)
    for image in range(len(labels)):
        batch = np.moveaxis(logits[image : image + 1], -1, axis)
        metric.update_state(labels[image : image + 1], batch)
    counted = labels != 255
    true, predicted = labels[counted], logits.argmax(-1)[counted]
    occurring = sorted(objects & {*true.tolist(), *predicted.tolist()})
    expected = jaccard_score(true, predicted, labels=occurring, average="macro") if occurring else 0.0
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_in_fit_and_in_a_saved_model(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 1)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=[SegmentationIoU(3, name="miou")])
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 1))
    y = np.argmax(model.predict(x, verbose=0), axis=-1)
    wrong = np.where(np.arange(4)[:, None, None] < 2, y, (y + 1) % 3)  # in two of four images
    counted = jaccard_score(wrong.ravel(), y.ravel(), labels=[1, 2], average="macro")  # without the background
    assert model.fit(x, wrong, batch_size=2, epochs=2, verbose=0).history["miou"] == pytest.approx([counted] * 2)
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(1.0)
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").evaluate(x, y, verbose=0)[1] == pytest.approx(1.0)


def test_wrong_arguments_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"Received: objects=\[3\]$"):
        SegmentationIoU(3, [3])
    with pytest.raises(ValueError, match=r"each once. Received: objects=\[1, 1\]$"):
        SegmentationIoU(3, [1, 1])
    with pytest.raises(ValueError, match=r"`objects` must be a list of classes. Received: objects=2$"):
        SegmentationIoU(3, objects=2)
    with pytest.raises(ValueError, match=r"`classes` must be an integer of at least 2. Received: classes=1$"):
        SegmentationIoU(1)  # which would be the background
    assert SegmentationIoU(1, [0]).objects == [0]
    with pytest.raises(ValueError, match=r"Received: classes=0$"):
        SegmentationIoU(0, [0])
    with pytest.raises(ValueError, match=r"Received: sample_weight="):
        SegmentationIoU(2).update_state(np.zeros((1, 1, 1)), np.zeros((1, 1, 1, 2)), sample_weight=[1.0])


def test_an_ignored_class_that_is_one_of_the_classes_counts_nowhere():
    labels, predicted = np.array([[[1, 1, 2, 0]]]), np.eye(3)[np.array([[[1, 1, 1, 0]]])]
    metric = SegmentationIoU(3, ignore_class=2)
    metric.update_state(labels, predicted)
    assert float(metric.result()) == 1.0  # of class 1, the only one that occurs


def test_more_pixels_than_an_int32_can_count():
    metric = SegmentationIoU(2)
    label, wrong = np.ones((1, 64, 64)), np.eye(2)[np.zeros((1, 64, 64), int)]
    metric.update_state(label, np.eye(2)[np.ones((1, 64, 64), int)])
    for variable in metric.variables:  # as after 2**20 such images
        variable.assign([[0, 2**2], [0, 0]])
    metric.update_state(label, wrong)
    assert float(metric.result()) == pytest.approx(2**32 / (2**32 + 64**2), abs=1e-7)
    metric.intersection.assign([[0, 0], [0, 2**30 - 1]])
    metric.update_state(label, np.eye(2)[np.ones((1, 64, 64), int)])
    assert np.array(metric.intersection).tolist() == [[0, 1], [0, 64**2 - 1]]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_result_has_the_dtype_that_was_chosen(dtype):
    assert keras.backend.standardize_dtype(SegmentationIoU(3, dtype=dtype).result().dtype) == dtype
