"""Guards the data sets of images: original files are read as they are, and errors name the file."""

import gzip
import struct

import numpy as np
import pytest

from applications.data_sets import images
from tests.helpers import DATA, bilinear_resize, needs_mnist


@needs_mnist
@pytest.mark.parametrize(
    ("name", "counts"),
    [("mnist", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]), ("fashion_mnist", [1000] * 10)],
)
def test_original_files_are_read(name, counts):
    (x, y), (x_test, y_test) = images.load(name, DATA)
    assert x.shape == (60000, 28, 28, 1)
    assert x_test.shape == (10000, 28, 28, 1)
    assert x.min() == 0.0
    assert x.max() == 1.0
    assert np.bincount(y_test).tolist() == counts
    assert set(y) == set(range(10))


def test_digits_are_split_the_same_way_each_time():
    (x, _), (x_test, y_test) = images.load("digits")
    assert x.shape == (1437, 8, 8, 1)
    assert x_test.shape == (360, 8, 8, 1)
    np.testing.assert_array_equal(y_test, images.load("digits")[1][1])


def write_idx(path, array):
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx_files_gzipped_or_not(tmp_path):
    pixels = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    for name in ("a", "a.gz"):
        write_idx(tmp_path / name, pixels)
        np.testing.assert_array_equal(images.read_idx(tmp_path / name), pixels)


def test_bad_files_are_named_in_the_error(tmp_path):
    (tmp_path / "text").write_text("no IDX file")
    with pytest.raises(ValueError, match=r"IDX file of unsigned bytes. Received: path=.*text"):
        images.read_idx(tmp_path / "text")
    write_idx(tmp_path / "cut", np.zeros((2, 3), "uint8"))
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"Received: path=.*cut"):
        images.read_idx(tmp_path / "cut")
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        images.load("mnist", tmp_path)


def test_cifar_in_its_binary_version(tmp_path):
    rng = np.random.default_rng(0)
    for name, folder, labels in (("cifar10", "cifar-10-batches-bin", 1), ("cifar100", "cifar-100-binary", 2)):
        (tmp_path / folder).mkdir()
        for files in images.CIFAR_FILES[name].values():
            for file in files:
                rng.integers(0, 10, size=(3, labels + 3072), dtype="uint8").tofile(tmp_path / folder / file)
        record = np.fromfile(tmp_path / folder / images.CIFAR_FILES[name]["test"][0], "uint8")[: labels + 3072]
        (x, y), (x_test, y_test) = images.load_pixels(name, tmp_path)
        assert x.shape == ((15 if name == "cifar10" else 3), 32, 32, 3)
        assert len(y) == len(x)
        assert y_test[0] == record[labels - 1]  # the fine label of CIFAR-100
        assert x_test[0, 2, 5, 1] == record[labels + 1024 + 2 * 32 + 5]
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"records of 3073 bytes. Received: path=.*test_batch.bin"):
        images.load_pixels("cifar10", tmp_path)


def test_svhn_in_its_mat_files(tmp_path):
    import scipy.io

    pixels = np.random.default_rng(0).integers(0, 256, size=(32, 32, 3, 4), dtype="uint8")
    for part in ("train", "test"):
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": np.array([[1], [10], [5], [9]], "uint8")})
    (x, y), _ = images.load_pixels("svhn", tmp_path)
    np.testing.assert_array_equal(x[2], pixels[..., 2])
    assert y.tolist() == [1, 0, 5, 9]
    with pytest.raises(ValueError, match="Received: data_dir=None"):
        images.load_pixels("svhn")


def test_images_are_resized_bilinearly():
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(images.resize(x, 12), bilinear_resize(x, 12, 12), atol=1e-6)
    assert images.resize(x, 8) is x
