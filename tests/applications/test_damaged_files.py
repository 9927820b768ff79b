"""Guards what is read: a file that is cut short or has a bit flipped is named in the error, or is read as it was.

Bits of pixels, and numbers in JSON, can't be told from others; there reading must only end without another error.
"""

import argparse
import contextlib
import gzip
import json
import pathlib
import tempfile

import keras
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from applications import _results
from applications.data_sets import images
from keras_njet import NJetConv2D, applications
from tests.helpers import on_torch

pytestmark = on_torch  # no file knows backends
X = np.random.default_rng(0).normal(size=(2, 12, 12, 1)).astype("float32")


@st.composite
def damages(draw):
    """A function of bytes: the first part of them, or all with one bit flipped."""
    place, bit = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(0, 7))

    def cut(content):
        return content[: int(place * len(content))]

    def flip(content):
        flipped = bytearray(content)
        flipped[int(place * len(content))] ^= 1 << bit
        return bytes(flipped)

    return draw(st.sampled_from([cut, flip]))


def damaged(examples=60):
    """Runs a test with many kinds of damage."""
    unscoped = [HealthCheck.function_scoped_fixture]

    def decorate(test):
        return settings(max_examples=examples, deadline=None, suppress_health_check=unscoped)(given(damages())(test))

    return decorate


def is_read_or_named(read, path):
    """Reads a file; None where the error names it."""
    try:
        return read(path)
    except ValueError as error:
        text = str(error)
    assert path.name in text
    assert "Received: " in text
    return None


def idx():
    return b"\x00\x00\x08\x03" + np.array([2, 5, 5], ">u4").tobytes() + bytes(range(50))


@pytest.mark.parametrize("name", ["plain", "zipped.gz"])
@damaged()
def test_idx_files(name, tmp_path, damage):
    path = tmp_path / name
    path.write_bytes(damage(gzip.compress(idx(), mtime=0) if name.endswith("gz") else idx()))
    found = is_read_or_named(images.read_idx, path)
    if found is not None:
        assert found.dtype == np.uint8
        assert found.size == 50
        assert name == "plain" or np.array_equal(found.ravel(), np.arange(50))  # gzip has a checksum


@damaged(30)
def test_svhn(tmp_path, damage):
    path = tmp_path / "train_32x32.mat"
    rng = np.random.default_rng(0)
    scipy.io.savemat(path, {"X": rng.integers(0, 256, (32, 32, 3, 4), "uint8"), "y": np.arange(4)[:, None]})
    path.write_bytes(damage(path.read_bytes()))
    is_read_or_named(lambda path: images._svhn_set("svhn", [path.parent], "train"), path)


@damaged()
def test_results(tmp_path, damage):
    arguments = argparse.Namespace(command="it", out=tmp_path / "out", data_dir=None, epochs=2)
    (tmp_path / "out").mkdir(exist_ok=True)
    for name, content in (("configuration.json", {"epochs": 2}), ("results.json", {"runs": [1.5, "ü"]})):
        path = tmp_path / "out" / name
        path.write_bytes(damage(json.dumps(content, ensure_ascii=False).encode()))
        is_read_or_named(lambda path: _results._read(path, dict), path)
    with contextlib.suppress(ValueError):
        _results.run(arguments, lambda arguments: {"runs": []})


@damaged(40)
def test_weights_of_a_file(tmp_path, damage):
    """HDF5 has no checksum of arrays: a flipped bit of a weight can't be seen. It may keep a damaged file open."""
    path = pathlib.Path(tempfile.mkdtemp(dir=tmp_path)) / "nin.weights.h5"
    make_model().save_weights(path)
    path.write_bytes(damage(path.read_bytes()))
    is_read_or_named(lambda path: make_model(weights=path), path)


def make_model(weights=None):
    return applications.NJetNIN(weights=weights, input_shape=(12, 12, 1), width=0.05)


@damaged(40)
def test_archives_are_read_as_they_were_or_not_at_all(tmp_path, damage):
    """Keras' own errors; its archives have checksums."""
    model = keras.Sequential([keras.Input((12, 12, 1)), NJetConv2D(2), keras.layers.GlobalMaxPooling2D()])
    path = tmp_path / "model.keras"
    model.save(path)
    expected = model.predict(X, verbose=0)
    path.write_bytes(damage(path.read_bytes()))
    try:
        loaded = keras.models.load_model(path)
    except Exception:
        return
    np.testing.assert_allclose(loaded.predict(X, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.weights.h5"
    applications.NIN(weights=None, input_shape=(12, 12, 1), width=0.05).save_weights(path)
    with pytest.raises(ValueError, match=r"Expected a file with the weights of this network.*other\.weights\.h5"):
        make_model(weights=path)
