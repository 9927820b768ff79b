"""Guards the examples: they run from their command line and give what they promise."""

import csv
import gzip
import importlib.util
import json
import os
import pathlib
import struct
import subprocess
import sys

import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
DATA = os.environ.get("KERAS_NJET_DATA", "")
needs_mnist = pytest.mark.skipif(
    not (pathlib.Path(DATA) / "mnist").is_dir() or not DATA, reason="KERAS_NJET_DATA names no folder with mnist in it"
)


def skip_without(*folders):
    """Skips a test whose data sets are not all there."""
    missing = [folder for folder in folders if not (pathlib.Path(DATA) / folder).is_dir()]
    if missing:
        pytest.skip(f"KERAS_NJET_DATA has no {', '.join(missing)}")


def import_example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def datasets():
    return import_example("datasets")


def run(script, *arguments):
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def learn_resolution(folder, *arguments):
    backend = keras.backend.backend()
    output = run("examples/learn_resolution.py", "--backend", backend, "--out", folder, *arguments)
    with open(folder / "sigma.csv") as file:
        return output, list(csv.DictReader(file))


def test_the_learned_scale_grows_with_the_size_of_digits(tmp_path):
    output, rows = learn_resolution(tmp_path, "--seeds", "1", "--epochs", "20")
    assert len(rows) == 3 * 20
    assert "(2 / 1.5)·σ at 1.5×" in output
    assert "± " in (tmp_path / "table.md").read_text()
    assert (tmp_path / "sigma.png").read_bytes().startswith(b"\x89PNG")
    last = {row["size"]: float(row["sigma"]) for row in rows if row["epoch"] == "20"}
    assert last["16"] > 1.05 * last["8"]


@needs_mnist
def test_the_example_runs_on_real_mnist(tmp_path):
    arguments = ("--dataset", "mnist", "--data-dir", DATA, "--seeds", "1", "--epochs", "1", "--images", "256")
    _, rows = learn_resolution(tmp_path, *arguments)
    assert [row["size"] for row in rows] == ["28", "42", "56"]
    assert all(float(row["sigma"]) != 1.0 for row in rows)


@needs_mnist
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_original_files_are_read(datasets, name):
    (x, y), (x_test, y_test) = datasets.load(name, DATA)
    assert x.shape == (60000, 28, 28, 1)
    assert x_test.shape == (10000, 28, 28, 1)
    assert x.min() == 0.0
    assert x.max() == 1.0
    assert np.bincount(y_test).tolist() == ([1000] * 10 if name == "fashion_mnist" else np.bincount(y_test).tolist())
    assert set(y) == set(range(10))


def test_digits_are_split_the_same_way_each_time(datasets):
    (x, _), (x_test, y_test) = datasets.load("digits")
    assert x.shape == (1437, 8, 8, 1)
    assert x_test.shape == (360, 8, 8, 1)
    np.testing.assert_array_equal(y_test, datasets.load("digits")[1][1])


def write_idx(path, array):
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx_files_gzipped_or_not(datasets, tmp_path):
    images = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    for name in ("a", "a.gz"):
        write_idx(tmp_path / name, images)
        np.testing.assert_array_equal(datasets.read_idx(tmp_path / name), images)


def test_bad_files_are_named_in_the_error(datasets, tmp_path):
    (tmp_path / "text").write_text("no IDX file")
    with pytest.raises(ValueError, match=r"IDX file of unsigned bytes. Received: path=.*text"):
        datasets.read_idx(tmp_path / "text")
    write_idx(tmp_path / "cut", np.zeros((2, 3), "uint8"))
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"Received: path=.*cut"):
        datasets.read_idx(tmp_path / "cut")
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        datasets.load("mnist", tmp_path)


def test_cifar_in_its_binary_version(datasets, tmp_path):
    rng = np.random.default_rng(0)
    for name, folder, labels in (("cifar10", "cifar-10-batches-bin", 1), ("cifar100", "cifar-100-binary", 2)):
        (tmp_path / folder).mkdir()
        for files in datasets.CIFAR_FILES[name].values():
            for file in files:
                rng.integers(0, 10, size=(3, labels + 3072), dtype="uint8").tofile(tmp_path / folder / file)
        record = np.fromfile(tmp_path / folder / datasets.CIFAR_FILES[name]["test"][0], "uint8")[: labels + 3072]
        (x, y), (x_test, y_test) = datasets.load_pixels(name, tmp_path)
        assert x.shape == ((15 if name == "cifar10" else 3), 32, 32, 3)
        assert len(y) == len(x)
        assert y_test[0] == record[labels - 1]  # the fine label of CIFAR-100
        assert x_test[0, 2, 5, 1] == record[labels + 1024 + 2 * 32 + 5]
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"records of 3073 bytes. Received: path=.*test_batch.bin"):
        datasets.load_pixels("cifar10", tmp_path)


def test_svhn_in_its_mat_files(datasets, tmp_path):
    import scipy.io

    images = np.random.default_rng(0).integers(0, 256, size=(32, 32, 3, 4), dtype="uint8")
    for part in ("train", "test"):
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": np.array([[1], [10], [5], [9]], "uint8")})
    (x, y), _ = datasets.load_pixels("svhn", tmp_path)
    np.testing.assert_array_equal(x[2], images[..., 2])
    assert y.tolist() == [1, 0, 5, 9]
    with pytest.raises(ValueError, match="Received: data_dir=None"):
        datasets.load_pixels("svhn")


def test_filters_are_fitted_better_by_higher_orders(tmp_path):
    options = ("--orders", 1, 3, "--patches", 10, "--backend", keras.backend.backend(), "--out", tmp_path)
    output = run("examples/fit_filters.py", *options)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(row["filters"], row["order"]) for row in rows] == [
        ("patches", 1), ("patches", 3), ("first layer of NIN", 1), ("first layer of NIN", 3),
    ]  # fmt: skip
    for row in rows:
        assert row["error_each"] <= row["error"]
        assert f"| {row['sigma']:.2f} | {row['error']:.3f} |" in output
    assert rows[1]["error"] < rows[0]["error"]
    assert rows[3]["error"] < rows[2]["error"]
    assert (tmp_path / "first_layer_of_NIN.png").stat().st_size > 5000
