"""`SegmentationCrossentropy`, the loss of the segmentation experiments."""

import keras
from keras import ops

from keras_njet import _arguments


@keras.saving.register_keras_serializable(package="keras_njet")
class SegmentationCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits, pixel by pixel, with a weight for each class and a label that is ignored.

    The mean over all pixels of a batch that are not ignored, each weighted by its class: Σ w·loss / Σ w. With weights
    inverse to the frequency of the classes this is the loss of the experiments of section IV-B of the paper.
    `keras.losses.SparseCategoricalCrossentropy` has no class weights.

    Args:
        class_weights: Sequence of a number ≥ 0 for each class, or None for equal weights. Defaults to None.
        ignore_class: Integer, label of pixels that do not count, or None. Defaults to 255.
        axis: Axis of the classes in the logits, -1 or 1. Defaults to that of `keras.config.image_data_format()`.
        name: Name of the loss. Defaults to "segmentation_crossentropy".
        dtype: Dtype of the loss. Defaults to that of Keras' losses.

    Call arguments:
        y_true: Integer labels, `(batch, height, width)`, or with a last axis of size 1. Labels that are neither a class
            nor `ignore_class` make the loss NaN.
        y_pred: Logits, `(batch, height, width, classes)`, or `(batch, classes, height, width)` with `axis=1`.

    Returns:
        A scalar: the weighted mean. 0 if all pixels are ignored.

    Raises:
        ValueError: If the weights are negative or not one for each class, or if `axis` is neither -1 nor 1.

    Example:

    >>> loss = keras_njet.SegmentationCrossentropy(class_weights=[0.1, 1.0, 1.0])
    >>> labels, logits = numpy.array([[[0, 255], [1, 2]]]), numpy.zeros((1, 2, 2, 3), "float32")
    >>> round(float(loss(labels, logits)), 4)  # log 3
    1.0986
    """

    def __init__(self, class_weights=None, ignore_class=255, axis=None, name="segmentation_crossentropy", dtype=None):
        super().__init__(name=name, dtype=dtype)  # a mean, which Keras shares out between devices
        self.class_weights = None
        if class_weights is not None:
            weights = _arguments.finite_numbers(class_weights)
            if weights is None or not (weights >= 0).all():
                raise ValueError(
                    "`class_weights` must be a number of at least 0 for each class. "
                    f"Received: class_weights={class_weights}"
                )
            self.class_weights = weights.ravel().tolist()
        self.ignore_class = ignore_class
        if axis is None:
            axis = -1 if keras.config.image_data_format() == "channels_last" else 1
        self.axis = _arguments.one_of("axis", axis, (-1, 1))

    def call(self, y_true, y_pred):
        y_pred = y_pred if self.axis == -1 else ops.moveaxis(y_pred, self.axis, -1)
        classes = y_pred.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise ValueError(
                f"Expected a weight for each of {classes} classes. Received: class_weights={self.class_weights}"
            )
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        logits = ops.cast(ops.reshape(y_pred, (-1, classes)), "float32")
        counted = ops.ones_like(labels, dtype="float32")
        if self.ignore_class is not None:
            ignored = ops.equal(labels, self.ignore_class)
            counted = ops.cast(ops.logical_not(ignored), "float32")
            labels = ops.where(ignored, 0, labels)
            logits = ops.where(ops.expand_dims(ignored, 1), 0.0, logits)  # which may be infinite
        unknown = ops.logical_or(labels < 0, labels >= classes)
        labels = ops.where(unknown, 0, labels)
        if self.class_weights is not None:
            counted = counted * ops.take(ops.convert_to_tensor(self.class_weights, "float32"), labels, axis=0)
        log_probabilities = ops.log_softmax(logits)
        losses = -ops.squeeze(ops.take_along_axis(log_probabilities, ops.expand_dims(labels, 1), axis=1), 1)
        total = ops.sum(counted)
        share = ops.cast(ops.size(labels), "float32") / ops.where(total > 0, total, 1.0)
        losses = ops.where(unknown, float("nan"), counted * losses * share)
        return ops.reshape(losses, ops.shape(y_pred)[:-1])  # of which Keras takes the mean, with any sample weights

    def get_config(self):
        config = super().get_config()
        config.pop("reduction")
        own = {"class_weights": self.class_weights, "ignore_class": self.ignore_class, "axis": self.axis}
        return {**config, **own}
