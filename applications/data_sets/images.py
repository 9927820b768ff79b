"""Images and their labels, from original files in a folder or else through Keras."""

import gzip
import math
import pathlib
import struct
import zlib

import numpy as np

FOLDERS = {
    "mnist": "mnist",
    "fashion_mnist": "fashion-mnist",
    "cifar10": "cifar-10-batches-bin",
    "cifar100": "cifar-100-binary",
    "svhn": "svhn",
}
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_FILES = {
    "cifar10": {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}


def load(name: str, data_dir: str | None = None):
    """Loads a data set, with pixels scaled to [0, 1].

    Args:
        name: "digits" (bundled with scikit-learn) or a data set of `load_pixels`.
        data_dir: As in `load_pixels`. Not used for "digits".

    Returns:
        `((x_train, y_train), (x_test, y_test))`: float32 images in [0, 1] of shape (n, height, width, channels), int
        labels.
    """
    if name == "digits":
        return _digits()
    return tuple((x.astype("float32") / 255.0, y) for x, y in load_pixels(name, data_dir))


def load_pixels(name: str, data_dir: str | None = None):
    """Loads a data set of images.

    Args:
        name: "mnist", "fashion_mnist", "cifar10", "cifar100" or "svhn".
        data_dir: Folder with the original files, or with a folder of them: IDX files, gzipped or not (mnist/,
            fashion-mnist/), the binary version of CIFAR (cifar-10-batches-bin/, cifar-100-binary/), or train_32x32.mat
            and test_32x32.mat (svhn/). Without it Keras downloads the set, except SVHN.

    Returns:
        `((x_train, y_train), (x_test, y_test))`: uint8 images of shape (n, height, width, channels), int32 labels.
    """
    if data_dir is not None:
        folders = [pathlib.Path(data_dir) / FOLDERS[name], pathlib.Path(data_dir)]
        read = {"cifar10": _cifar_set, "cifar100": _cifar_set, "svhn": _svhn_set}.get(name, _idx_set)
        sets = [read(name, folders, part) for part in ("train", "test")]
    elif name == "svhn":
        raise ValueError("Keras has no SVHN; expected the folder of its .mat files. Received: data_dir=None")
    else:
        import keras

        sets = getattr(keras.datasets, name).load_data()
    return tuple((x[..., None] if x.ndim == 3 else x, y.reshape(-1).astype("int32")) for x, y in sets)


def resize(images, size, antialias=False, interpolation="bilinear"):
    """Resizes images of shape (n, height, width, channels) to `size` pixels a side, as `keras.ops.image.resize`."""
    import keras

    if images.shape[1:3] == (size, size):
        return images
    resized = keras.ops.image.resize(
        images, (size, size), interpolation=interpolation, antialias=antialias, data_format="channels_last"
    )
    return keras.ops.convert_to_numpy(resized)


def read_idx(path) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, gzipped or not."""
    path = pathlib.Path(path)
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"Expected a gzipped file that is whole. Received: path={str(path)!r} ({error})"
            ) from error
    zeros, kind, rank = struct.unpack_from(">HBB", data) if len(data) >= 4 else (1, 0, 0)
    if zeros != 0 or kind != 8 or len(data) < 4 + 4 * rank:
        raise ValueError(f"Expected an IDX file of unsigned bytes. Received: path={str(path)!r}")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    if len(data) != 4 + 4 * rank + math.prod(shape):
        raise ValueError(f"Expected {shape} bytes after the header of an IDX file. Received: path={str(path)!r}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _idx_set(name, folders, part):
    images, labels = (read_idx(_find(folders, (file + ".gz", file))) for file in IDX_FILES[part])
    return images, labels


def _cifar_set(name, folders, part):
    """The binary version: records of one label (CIFAR-100: a coarse and a fine one) and 3·32·32 pixels."""
    labels = 1 if name == "cifar10" else 2
    records = []
    for file in CIFAR_FILES[name][part]:
        path = _find(folders, (file,))
        data = np.fromfile(path, np.uint8)
        if len(data) == 0 or len(data) % (labels + 3072) != 0:
            raise ValueError(f"Expected records of {labels + 3072} bytes. Received: path={str(path)!r}")
        records.append(data.reshape(-1, labels + 3072))
    records = np.concatenate(records)
    return records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, labels - 1]


def _svhn_set(name, folders, part):
    """The cropped digits; the digit 0 has the label 10 there."""
    import scipy.io

    path = _find(folders, (f"{part}_32x32.mat",))
    try:
        content = scipy.io.loadmat(path)
        return content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1) % 10
    except Exception as error:  # whatever a damaged file leads to
        raise ValueError(f"Expected a .mat file of SVHN. Received: path={str(path)!r} ({error})") from error


def _find(folders, names):
    found = [folder / name for folder in folders for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"Expected the file {' or '.join(names)} in {folders[0]} or {folders[1]}. "
            f"Received: data_dir={str(folders[1])!r}"
        )
    return found[0]


def _digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = digits.images.astype("float32")[..., None] / 16.0
    x_train, x_test, y_train, y_test = train_test_split(
        x, digits.target.astype("int32"), test_size=360, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)
