"""Time series and their classes, from the .ts files of the time series classification archive.

The package aeon ships with some of its sets; --data-dir names another folder, with NAME/NAME_TRAIN.ts and
NAME/NAME_TEST.ts for each set.
"""

import importlib.util
import pathlib

import numpy as np


def load(name: str, data_dir: str | None = None):
    """Loads a set of series of one length, each with a class.

    Args:
        name: Name of the set, such as "OSULeaf".
        data_dir: Folder with a folder of that name, or that folder itself. By default the data of the package aeon.

    Returns:
        `((x_train, y_train), (x_test, y_test))`: float32 series of shape (n, length, 1), each with mean 0 and standard
        deviation 1, and int32 classes, which count from 0.
    """
    folder = data_folder() if data_dir is None else pathlib.Path(data_dir)
    train, test = (read_ts(_find(folder, name, part)) for part in ("TRAIN", "TEST"))
    classes = np.unique(train[1])
    unknown = np.setdiff1d(test[1], classes)
    if unknown.size:
        raise ValueError(
            f"Expected the classes {classes.tolist()} in the test set of {name}. Received: classes={unknown.tolist()}"
        )
    return tuple((standardised(x), np.searchsorted(classes, labels).astype("int32")) for x, labels in (train, test))


def data_folder() -> pathlib.Path:
    """The folder of the data that the package aeon ships with; aeon itself is not imported."""
    spec = importlib.util.find_spec("aeon")
    if spec is None:
        raise FileNotFoundError(
            "Expected a folder of .ts files: `pip install aeon` installs one, or name one by --data-dir. "
            "Received: data_dir=None, and aeon is not installed"
        )
    return pathlib.Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def read_ts(path):
    """Reads a .ts file: below a line @data a case a line, its values separated by commas, then a colon and its class.

    Returns:
        `(x, labels)`: a float64 array of shape (cases, length) and an array of strings.
    """
    lines = [line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    start = next((number for number, line in enumerate(lines, start=1) if line.lower() == "@data"), len(lines))
    cases = [line.split(":") for line in lines[start:] if line]
    try:
        x = np.array([values.split(",") for values, _ in cases], "float64")
    except ValueError:  # gaps, several lengths, or several series a case
        x = np.empty(0)
    if not x.size or not np.isfinite(x).all():
        raise ValueError(
            "Expected a line @data, and below it lines of one series and its class, all of one length and without "
            f"gaps. Received: path={str(path)!r}"
        )
    return x, np.array([label for _, label in cases])


def standardised(x):
    """Series with mean 0 and standard deviation 1, of shape (n, length, 1)."""
    deviations = np.std(x, axis=1, keepdims=True)
    x = (x - np.mean(x, axis=1, keepdims=True)) / np.where(deviations > 0, deviations, 1.0)
    return x[..., None].astype("float32")


def _find(folder, name, part):
    places = [folder / name / f"{name}_{part}.ts", folder / f"{name}_{part}.ts"]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"Expected the file {places[0]} or {places[1]}. Received: data_dir={str(folder)!r}")
    return found
