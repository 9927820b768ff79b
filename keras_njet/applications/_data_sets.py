"""What the applications know of the data sets they are trained on: statistics of the pixels, names of the classes."""

import keras
import numpy as np

from keras_njet import _arguments

# Mean and standard deviation of the training images' channels, pixels in [0, 1].
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}
CLASSES = {
    "cifar10": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    "svhn": [str(digit) for digit in range(10)],
    "mnist": [str(digit) for digit in range(10)],
    "fashion_mnist": [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ],
}  # fmt: skip


def preprocess_input(x, data_format: str | None = None, dataset: str = "cifar10"):
    """Standardises images: each channel to mean 0 and standard deviation 1 over the data set.

    Args:
        x: Array or tensor of images, pixels in [0, 255], the channels on the axis that `data_format` says.
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        dataset: "cifar10", "cifar100", "svhn", "mnist" or "fashion_mnist". Defaults to "cifar10".

    Returns:
        Images of dtype "float32", an array for an array and a tensor for a tensor.

    Raises:
        ValueError: If the data set is unknown or has another number of channels than `x`.

    Example:

    >>> keras_njet.applications.nin.preprocess_input(numpy.zeros((1, 28, 28, 1)), dataset="mnist").shape
    (1, 28, 28, 1)
    """
    if dataset not in STATISTICS:
        raise ValueError(f"`dataset` must be one of {sorted(STATISTICS)}. Received: dataset={dataset!r}")
    data_format = _arguments.data_format(data_format)
    axis = -1 if data_format == "channels_last" else -3
    mean, deviation = (np.asarray(values, "float32") for values in STATISTICS[dataset])
    if x.shape[axis] != len(mean):
        raise ValueError(
            f"The images of {dataset!r} have {len(mean)} channel(s), on axis {axis}. Received: x.shape={tuple(x.shape)}"
        )
    shape = (-1,) if axis == -1 else (-1, 1, 1)
    mean, deviation = 255 * mean.reshape(shape), 255 * deviation.reshape(shape)
    if isinstance(x, np.ndarray):
        return (x.astype("float32") - mean) / deviation
    mean, deviation = keras.ops.convert_to_tensor(mean), keras.ops.convert_to_tensor(deviation)
    return (keras.ops.cast(x, "float32") - mean) / deviation


def decode_predictions(preds, top: int = 5, dataset: str = "cifar10"):
    """Names the most probable classes.

    Args:
        preds: Array or tensor of shape `(batch, classes)`: the predictions of a model.
        top: Integer, how many classes to name. Defaults to 5.
        dataset: "cifar10", "svhn", "mnist" or "fashion_mnist". Defaults to "cifar10".

    Returns:
        For each image a list of tuples (index, name, score), the highest score first.

    Raises:
        ValueError: If the data set is unknown or has another number of classes.

    Example:

    >>> keras_njet.applications.nin.decode_predictions(numpy.eye(10)[:1], top=1)
    [[(0, 'airplane', 1.0)]]
    """
    if dataset not in CLASSES:
        raise ValueError(f"`dataset` must be one of {sorted(CLASSES)}. Received: dataset={dataset!r}")
    names = CLASSES[dataset]
    preds = keras.ops.convert_to_numpy(preds)
    if preds.ndim != 2 or preds.shape[1] != len(names):
        raise ValueError(
            f"Expected predictions of shape (batch, {len(names)}) for {dataset!r}. Received: shape={preds.shape}"
        )
    best = np.argsort(-preds, axis=1)[:, :top]
    return [[(int(i), names[i], float(row[i])) for i in order] for row, order in zip(preds, best, strict=True)]
