"""Loads images and labels for the examples, from original files in a folder or else through Keras."""

import gzip
import pathlib
import struct

import numpy as np

IDX_FOLDERS = {"mnist": "mnist", "fashion_mnist": "fashion-mnist"}
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def load(name: str, data_dir: str | None = None):
    """Loads a data set.

    Args:
        name: "digits" (bundled with scikit-learn), "mnist" or "fashion_mnist".
        data_dir: Folder with the original IDX files, gzipped or not, or with a folder `mnist` or `fashion-mnist` of
            them. Without it Keras downloads the set. Not used for "digits".

    Returns:
        `((x_train, y_train), (x_test, y_test))`: float32 images in [0, 1] of shape (n, height, width, 1), int labels.
    """
    if name == "digits":
        return _digits()
    if data_dir is not None:
        sets = [_idx_set(name, pathlib.Path(data_dir), part) for part in ("train", "test")]
    else:
        import keras

        sets = getattr(keras.datasets, name).load_data()
    return tuple((x.astype("float32")[..., None] / 255.0, y.astype("int32")) for x, y in sets)


def read_idx(path) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, gzipped or not."""
    path = pathlib.Path(path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    zeros, kind, rank = struct.unpack_from(">HBB", data) if len(data) >= 4 else (1, 0, 0)
    if zeros != 0 or kind != 8:
        raise ValueError(f"Expected an IDX file of unsigned bytes. Received: path={str(path)!r}")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    if len(data) != 4 + 4 * rank + np.prod(shape):
        raise ValueError(f"Expected {shape} bytes after the header of an IDX file. Received: path={str(path)!r}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _idx_set(name, folder, part):
    folders = [folder / IDX_FOLDERS[name], folder]
    arrays = []
    for file in IDX_FILES[part]:
        candidates = [place / (file + ending) for place in folders for ending in (".gz", "")]
        found = [path for path in candidates if path.is_file()]
        if not found:
            raise FileNotFoundError(
                f"Expected the file {file} or {file}.gz in {folders[0]} or {folders[1]}. "
                f"Received: data_dir={str(folder)!r}"
            )
        arrays.append(read_idx(found[0]))
    return arrays


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = digits.images.astype("float32")[..., None] / 16.0
    x_train, x_test, y_train, y_test = train_test_split(
        x, digits.target.astype("int32"), test_size=360, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)
