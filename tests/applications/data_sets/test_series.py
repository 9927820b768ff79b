"""Guards the data sets of series: .ts files are read as they are, and errors name the file."""

import importlib.util
import sys

import numpy as np
import pytest

from applications.data_sets import series
from tests.helpers import write_ts, write_waves


@pytest.mark.parametrize("nested", [True, False])
def test_series_come_standardised_with_classes_from_0(tmp_path, nested):
    sets = write_waves(tmp_path / "Waves" if nested else tmp_path)
    for (x, y), (given, _) in zip(series.load("Waves", tmp_path), sets.values(), strict=True):
        assert x.shape == (*given.shape, 1)
        assert x.dtype == "float32"
        assert y.dtype == "int32"
        np.testing.assert_array_equal(y, np.arange(len(y)) % 2)
        for one, raw in zip(x[..., 0], given, strict=True):
            assert one.mean() == pytest.approx(0.0, abs=1e-6)
            assert one.std() == pytest.approx(1.0, abs=1e-6)
            assert np.corrcoef(one, raw)[0, 1] == pytest.approx(1.0)


def test_a_constant_series_becomes_zeros():
    np.testing.assert_array_equal(series.standardised(np.full((1, 5), 3.0)), np.zeros((1, 5, 1)))


@pytest.mark.parametrize(
    "content",
    [
        "1.0,2.0:a\n",  # no line @data
        "@data\n",
        "@data\n1.0,2.0:a\n1.0:b\n",
        "@data\n1.0,?:a\n",
        "@data\n1.0,NaN:a\n",
        "@data\n1.0,2.0:3.0,4.0:a\n",  # two series a case
        "@data\n1.0,2.0\n",
    ],
)
def test_other_files_are_named_in_the_error(tmp_path, content):
    (tmp_path / "bad.ts").write_text(content)
    with pytest.raises(ValueError, match=r"Expected a line @data.*Received: path='.*bad.ts'$"):
        series.read_ts(tmp_path / "bad.ts")


def test_missing_sets_and_classes_are_named_in_the_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Waves_TRAIN.ts.*Received: data_dir="):
        series.load("Waves", tmp_path)
    write_waves(tmp_path)
    write_ts(tmp_path / "Waves_TEST.ts", np.ones((1, 32)), ["other"])
    with pytest.raises(ValueError, match=r"test set of Waves. Received: classes=\['other'\]$"):
        series.load("Waves", tmp_path)


def test_by_default_the_data_are_those_of_aeon_which_is_not_imported(tmp_path, monkeypatch):
    write_waves(tmp_path / "aeon/datasets/data/Waves")
    (tmp_path / "aeon/__init__.py").write_text("raise AssertionError('is imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "aeon", raising=False)
    (x, _), _ = series.load("Waves")
    assert x.shape == (16, 32, 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"`pip install aeon`.*--data-dir.*Received: data_dir=None"):
        series.load("Waves")
