"""Released weights: which there are, and how they are loaded and packed.

A file holds each variable of a model under its path, as an array in NumPy's format, without pickle. `released.json`
beside the files says what was trained, on what, and the checksum.
"""

import functools
import hashlib
import json
import os
import pathlib

import keras
import numpy as np

from keras_njet._resolution.scale import ScaleVariable
from keras_njet.applications._images import channel_axis

FOLDER = pathlib.Path(__file__).parent / "weights"
METRICS = ("test_accuracy", "test_miou")


@functools.cache
def released() -> dict[str, dict[str, dict]]:
    """The released weights: application -> name -> what is known of them."""
    return json.loads((FOLDER / "released.json").read_text())


def list_weights() -> list[dict]:
    """Lists the released weights, which ship with the package and load offline by their names.

    Returns:
        A list of dictionaries, one for each: `network`, the name of the function of `keras_njet.applications`;
        `weights` and `arguments`, which to give to it; `channels` and `classes`, integers; `metric` and `value`, what
        was measured on test images ("test_accuracy", or "test_miou", a mean intersection over union) in parts of one;
        `trained_by`, the command of the recipe; and `licence`, that of the images it was trained on.

    Example:

    >>> for row in keras_njet.applications.list_weights():
    ...     print(row["network"], row["weights"], row["metric"], row["value"], row["licence"])
    NIN fashion_mnist test_accuracy 0.9161 MIT
    NIN cifar10 test_accuracy 0.8154 none stated by its authors
    NJetNIN fashion_mnist test_accuracy 0.9228 MIT
    NJetNIN cifar10 test_accuracy 0.8243 none stated by its authors
    NJetUNet multiscale_fashion_mnist test_miou 0.4494 MIT
    AllCNN cifar10 test_accuracy 0.7933 none stated by its authors
    NJetAllCNN cifar10 test_accuracy 0.7973 none stated by its authors
    >>> row = keras_njet.applications.list_weights()[0]
    >>> shape = (28, 28, row["channels"])
    >>> model = keras_njet.applications.NIN(weights=row["weights"], input_shape=shape, **row["arguments"])
    """
    rows = []
    for network, names in released().items():
        for weights, release in names.items():
            metric = next(name for name in METRICS if name in release)
            row = {"network": network, "weights": weights, "arguments": dict(release["arguments"])}
            row |= {name: release[name] for name in ("channels", "classes")}
            row |= {"metric": metric, "value": release[metric], "trained_by": release["trained_by"]}
            rows.append(row | {"licence": release["licence_of_the_data"]})
    return rows


def check(application: str, weights, top, arguments: dict):
    """Raises the errors of `keras.applications` if `weights` do not fit the other arguments."""
    if weights is None or _is_path(weights):
        return
    names = released().get(application, {})
    if weights not in names:
        raise ValueError(
            "The `weights` argument should be either `None` (random initialization), one of "
            f"{sorted(names)} (released with this package), or the path to the weights file to be loaded. "
            f"Received: weights={weights!r}"
        )
    release = names[weights]
    if top.include and top.classes != release["classes"]:
        raise ValueError(
            f"If using `weights={weights!r}` with `include_top=True`, `classes` should be {release['classes']}. "
            f"Received: classes={top.classes}"
        )
    if top.include and keras.activations.get(top.activation) not in (
        keras.activations.softmax,
        keras.activations.linear,
    ):
        raise ValueError(
            "Only `None` and `softmax` activations are allowed for the `classifier_activation` argument when using "
            f"released weights with `include_top=True`. Received: classifier_activation={top.activation}"
        )
    for name, trained in release["arguments"].items():
        if arguments[name] != trained:
            raise ValueError(
                f"The weights {weights!r} were trained with {name}={trained}. Received: {name}={arguments[name]}"
            )


def load(inputs, outputs, application: str, weights):
    """Loads weights into the layers between two tensors: none, released ones by their name, or those of a file."""
    if weights is None:
        return
    model = keras.Model(inputs, outputs)  # without layers of the user's own, in front of `inputs`
    if _is_path(weights):
        try:
            model.load_weights(weights)
        except Exception as error:  # of HDF5, zip files, shapes or names
            raise ValueError(
                f"Expected a file with the weights of this network; loading it failed: {error}. "
                f"Received: weights={str(weights)!r}"
            ) from error
        return
    release = released()[application][weights]
    if inputs.shape[channel_axis()] != release["channels"]:
        raise ValueError(
            f"The weights {weights!r} are for images with {release['channels']} channel(s). "
            f"Received: input_shape={inputs.shape[1:]}"
        )
    path = FOLDER / release["file"]
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if checksum != release["sha256"]:
        raise ValueError(
            f"The file {path.name} is damaged: its SHA-256 checksum should be {release['sha256']}. "
            f"Received: sha256={checksum}"
        )
    unpack(model, path)


def pack(model: keras.Model, path) -> str:
    """Writes a model's variables to a file, in half precision except scalars such as σ; returns its checksum."""
    arrays = {}
    for variable in model.weights:
        value = keras.ops.convert_to_numpy(variable)
        if isinstance(variable, ScaleVariable):
            value = variable.rate * value  # log2 σ, at whatever rate it is learned
        if value.ndim > 0:
            with np.errstate(over="ignore"):
                value = value.astype("float16")
        if not np.all(np.isfinite(value)):
            raise ValueError(f"All values must be finite in half precision. Received: variable={variable.path!r}")
        arrays[variable.path] = value
    np.savez_compressed(path, **arrays)
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def unpack(model: keras.Model, path):
    """Reads what `pack` wrote; variables of the file that the model lacks, those of its top, are left alone."""
    with np.load(path, allow_pickle=False) as arrays:
        missing = [variable.path for variable in model.weights if variable.path not in arrays]
        if missing:
            raise ValueError(f"Expected all variables of the model in {path}. Received: missing={missing}")
        for variable in model.weights:
            rate = variable.rate if isinstance(variable, ScaleVariable) else 1.0
            variable.assign(arrays[variable.path].astype("float32") / rate)


def _is_path(weights) -> bool:
    """Whether a `weights` argument names a file that exists."""
    return isinstance(weights, (str, os.PathLike)) and os.path.isfile(weights)
