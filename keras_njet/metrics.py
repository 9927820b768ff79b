"""`SegmentationIoU`, the metric of the segmentation experiments."""

from collections.abc import Iterable

import keras
from keras import ops

from keras_njet import _arguments

_BASE = 2**30


@keras.saving.register_keras_serializable(package="keras_njet")
class SegmentationIoU(keras.metrics.Metric):
    """Mean intersection over union of the classes of objects, over all pixels but those with an ignored label.

    mIoU in section IV-B of the paper. It gives the value of `keras.metrics.IoU`, which on torch takes ten times as long
    as a training step of a small network, and on JAX warns about a dtype.

    Args:
        classes: Integer, number of classes.
        objects: Classes to average over; classes that do not occur are left out. Defaults to all but 0, the background.
        ignore_class: Integer, label of pixels that do not count, or None. Defaults to 255.
        axis: Axis of the classes in the logits, -1 or 1. Defaults to that of `keras.config.image_data_format()`.
        name: Name of the metric. Defaults to "miou".
        dtype: Data type of the result. Defaults to `keras.config.floatx()`.

    Call arguments:
        y_true: Integer labels, `(batch, height, width)`, or with a last axis of size 1. A label that is neither a class
            nor `ignore_class` counts against the class that is predicted there.
        y_pred: Logits or probabilities, `(batch, height, width, classes)`, or `(batch, classes, height, width)` with
            `axis=1`.

    Returns:
        A scalar between 0 and 1; 0 before anything was counted.

    Raises:
        ValueError: If `classes` is below 2 (below 1 if `objects` are given), if `objects` are not different classes, if
            `axis` is neither -1 nor 1, or if sample weights are given.

    Example:

    >>> metric = keras_njet.SegmentationIoU(classes=3)
    >>> metric.update_state(numpy.array([[[0, 1, 2, 255]]]), numpy.eye(3)[[[[0, 1, 1, 1]]]])
    >>> float(metric.result())  # of class 1: 1 / 2, of class 2: 0
    0.25
    """

    def __init__(self, classes: int, objects=None, ignore_class=255, axis=None, name="miou", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.classes = _arguments.integer("classes", classes, least=2 if objects is None else 1)
        if objects is not None and not isinstance(objects, Iterable):
            raise ValueError(f"`objects` must be a list of classes. Received: objects={objects!r}")
        self.objects = list(range(1, self.classes) if objects is None else objects)
        are_classes = self.objects and all(number in range(self.classes) for number in self.objects)
        if not are_classes or len(set(self.objects)) < len(self.objects):
            raise ValueError(
                f"`objects` must be from 0 to {self.classes - 1}, each once. Received: objects={self.objects}"
            )
        self.ignore_class = ignore_class
        if axis is None:
            axis = -1 if keras.config.image_data_format() == "channels_last" else 1
        self.axis = _arguments.one_of("axis", axis, (-1, 1))
        self.intersection = self._counts("intersection")
        self.union = self._counts("union")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels of a batch. Sample weights are not supported and raise ValueError."""
        if sample_weight is not None:
            raise ValueError(f"SegmentationIoU counts all pixels alike. Received: sample_weight={sample_weight}")
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1, 1))
        predicted = ops.reshape(ops.argmax(y_pred, axis=self.axis), (-1, 1))
        classes = ops.arange(self.classes, dtype="int32")
        is_label, is_predicted = ops.equal(labels, classes), ops.equal(ops.cast(predicted, "int32"), classes)
        intersection, union = ops.logical_and(is_label, is_predicted), ops.logical_or(is_label, is_predicted)
        if self.ignore_class is not None:
            counts = ops.not_equal(labels, self.ignore_class)
            intersection, union = ops.logical_and(intersection, counts), ops.logical_and(union, counts)
        _add(self.intersection, intersection)
        _add(self.union, union)

    def result(self):
        intersection, union = (ops.take(_total(part), self.objects) for part in self.variables)
        occurring = ops.maximum(ops.sum(ops.cast(union > 0, "float32")), 1.0)
        return ops.cast(ops.sum(intersection / ops.maximum(union, 1.0)) / occurring, self.dtype)

    def get_config(self):
        own = {name: getattr(self, name) for name in ("classes", "objects", "ignore_class", "axis")}
        return {**super().get_config(), **own}

    def _counts(self, name):
        # An int32 cannot count billions of pixels: the second row counts up to _BASE, the first row the carries.
        return self.add_variable(shape=(2, self.classes), initializer="zeros", dtype="int32", name=name)


def _add(counts, pixels):
    """Adds, for each class, the number of pixels that are True in its column."""
    often, rest = ops.unstack(ops.convert_to_tensor(counts), 2)
    rest = rest + ops.sum(ops.cast(pixels, "int32"), axis=0)
    carried = rest // _BASE
    counts.assign(ops.stack([often + carried, rest - _BASE * carried]))


def _total(counts):
    often, rest = ops.unstack(ops.cast(counts, "float32"), 2)
    return _BASE * often + rest
