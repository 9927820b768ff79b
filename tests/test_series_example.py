"""Guards the example that classifies time series: its files are read as they are, and it trains what it says."""

import importlib.util
import json
import sys

import keras
import numpy as np
import pytest

import keras_njet
from tests.test_examples import import_example, run

RNG = np.random.default_rng(0)
HEADER = """#Waves, of two periods
@problemName Waves
@timeStamps false
@univariate true
@classLabel true fast slow
@data
"""


@pytest.fixture
def series_sets():
    return import_example("series_sets")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend("examples")
    return import_example("classify_series")


def waves(count, length=32):
    """Sines of two periods at random phases and offsets, in turn."""
    periods = np.where(np.arange(count) % 2 == 0, 4.0, 16.0)[:, None]
    phases, offsets = RNG.uniform(0, 2 * np.pi, (count, 1)), RNG.normal(size=(count, 1))
    return np.sin(2 * np.pi * np.arange(length) / periods + phases) + offsets, ["fast", "slow"] * (count // 2)


def write_ts(path, x, labels, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{','.join(map(str, values))}:{label}" for values, label in zip(x, labels, strict=True)]
    path.write_text(header + "\n".join(lines) + "\n")


def write_set(folder, name="Waves"):
    sets = {part: waves(count) for part, count in (("TRAIN", 16), ("TEST", 8))}
    for part, (x, labels) in sets.items():
        write_ts(folder / f"{name}_{part}.ts", x, labels)
    return sets


@pytest.mark.parametrize("nested", [True, False])
def test_series_come_standardised_with_classes_from_0(series_sets, tmp_path, nested):
    sets = write_set(tmp_path / "Waves" if nested else tmp_path)
    for (x, y), (given, _) in zip(series_sets.load("Waves", tmp_path), sets.values(), strict=True):
        assert x.shape == (*given.shape, 1)
        assert x.dtype == "float32"
        assert y.dtype == "int32"
        np.testing.assert_array_equal(y, np.arange(len(y)) % 2)
        for series, raw in zip(x[..., 0], given, strict=True):
            assert series.mean() == pytest.approx(0.0, abs=1e-6)
            assert series.std() == pytest.approx(1.0, abs=1e-6)
            assert np.corrcoef(series, raw)[0, 1] == pytest.approx(1.0)


def test_a_constant_series_becomes_zeros(series_sets):
    np.testing.assert_array_equal(series_sets.standardised(np.full((1, 5), 3.0)), np.zeros((1, 5, 1)))


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
def test_other_files_are_named_in_the_error(series_sets, tmp_path, content):
    (tmp_path / "bad.ts").write_text(content)
    with pytest.raises(ValueError, match=r"Expected a line @data.*Received: path='.*bad.ts'$"):
        series_sets.read_ts(tmp_path / "bad.ts")


def test_missing_sets_and_classes_are_named_in_the_error(series_sets, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Waves_TRAIN.ts.*Received: data_dir="):
        series_sets.load("Waves", tmp_path)
    write_set(tmp_path)
    write_ts(tmp_path / "Waves_TEST.ts", np.ones((1, 32)), ["other"])
    with pytest.raises(ValueError, match=r"test set of Waves. Received: \['other'\]$"):
        series_sets.load("Waves", tmp_path)


def test_by_default_the_data_are_those_of_aeon_which_is_not_imported(series_sets, tmp_path, monkeypatch):
    write_set(tmp_path / "aeon/datasets/data/Waves")
    (tmp_path / "aeon/__init__.py").write_text("raise AssertionError('is imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "aeon", raising=False)
    (x, _), _ = series_sets.load("Waves")
    assert x.shape == (16, 32, 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"`pip install aeon`.*--data-dir.*Received: data_dir=None"):
        series_sets.load("Waves")


@pytest.mark.parametrize("method", ["Conv1D, 9", "N-Jet"])
def test_each_method_learns_to_tell_waves_apart(script, tmp_path, monkeypatch, method):
    write_set(tmp_path)
    given = f"--epochs 12 --batch-size 4 --filters 4 --layers 2 --filter-sizes 9 --backend {keras.backend.backend()}"
    monkeypatch.setattr(sys, "argv", ["classify_series.py", *given.split()])
    arguments = script.parse_arguments()
    sets = script.series_sets.load("Waves", tmp_path)
    row = script.train(*sets, script.convolutions(arguments)[method], 0, arguments)
    assert row["test_accuracy"] == 1.0
    basis = 9 if method == "Conv1D, 9" else 4  # numbers a filter has for each channel
    scales = 0 if method == "Conv1D, 9" else 2
    assert row["parameters"] == basis * (4 + 4 * 4) + 2 * 2 * 4 + 4 * 2 + 2 + scales
    assert list(row["sigma"]) == (["layer1", "layer2"] if scales else [])
    for sigma in row["sigma"].values():
        assert len(sigma) == 12
        assert all(value > 0 for value in sigma)
        assert len(set(sigma)) == 12


def test_the_quick_study_writes_what_it_promises(tmp_path):
    write_set(tmp_path / "Waves")
    given = ("--quick", "--backend", keras.backend.backend(), "--dataset", "Waves", "--data-dir", tmp_path)
    output = run("examples/classify_series.py", *given, "--filter-sizes", 5, "--out", tmp_path / "out")
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["command"].startswith("python examples/classify_series.py --quick --backend")
    assert str(tmp_path) not in results["command"]
    assert results["configuration"]["epochs"] == 2
    assert results["series"] == {"train": 16, "test": 8, "length": 32, "classes": 2}
    assert results["versions"]["keras_njet"] == keras_njet.__version__
    assert "core" in results["processor"]
    assert "commit" in results
    assert [(row["method"], row["seed"]) for row in results["runs"]] == [("Conv1D, 5", 0), ("N-Jet", 0)]
    assert (tmp_path / "out/table.md").read_text() in output
    assert (tmp_path / "out/series.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_means_and_deviations_over_seeds(script):
    rows = [
        {"method": method, "seed": seed, "parameters": 1000, "seconds": 60.0, "test_accuracy": accuracy + seed / 10}
        | {"sigma": {"layer1": [1.0, 2.0 + seed]} if method == "N-Jet" else {}}
        for seed in (0, 1)
        for method, accuracy in (("Conv1D, 3", 0.5), ("N-Jet", 0.7))
    ]
    results = {
        "command": "python it",
        "configuration": {"dataset": "Waves", "quick": False},
        "versions": {"python": "3", "keras": "4", "backend": "torch 5"},
        "processor": "abacus",
        "commit": "abc",
        "series": {"train": 16, "test": 8, "length": 32, "classes": 2},
        "runs": rows,
    }
    table = script.format_table(results)
    assert "\n| Conv1D, 3 | 1,000 | 0.550 ± 0.071 | 60 |\n| N-Jet | 1,000 | 0.750 ± 0.071 | 60 |\n" in table
    assert "1 at the start: layer1 2.500 ± 0.707.\n" in table
    assert "over 2 seed(s)" in table
    assert "Command: `python it`; 4.0 minutes of training on abacus; Python 3, keras 4 on torch 5; commit abc." in table
