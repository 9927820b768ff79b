"""Guards the comparison on time series: it trains what it says, and its table is right."""

import json

import keras
import pytest

import keras_njet
from applications import compare_series as script
from tests.helpers import on_torch, results_of, run, write_waves


@on_torch
@pytest.mark.parametrize("method", ["Conv1D, 9", "N-Jet"])
def test_each_method_learns_to_tell_waves_apart(tmp_path, method):
    write_waves(tmp_path)
    given = f"--epochs 12 --batch-size 4 --filters 4 --layers 2 --filter-sizes 9 --backend {keras.backend.backend()}"
    arguments = script.parse_arguments(given.split())
    sets = script.series.load("Waves", tmp_path)
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


@on_torch
def test_the_quick_study_writes_what_it_promises(tmp_path):
    write_waves(tmp_path / "Waves")
    given = ("--quick", "--backend", keras.backend.backend(), "--dataset", "Waves", "--data-dir", tmp_path)
    output = run("-m", "applications.compare_series", *given, "--filter-sizes", 5, "--out", tmp_path / "out")
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["command"].startswith("python -m applications.compare_series --quick --backend")
    assert str(tmp_path) not in results["command"]
    assert results["configuration"]["epochs"] == 2
    assert results["series"] == {"train": 16, "test": 8, "length": 32, "classes": 2}
    assert results["versions"]["keras_njet"] == keras_njet.__version__
    assert "core" in results["processor"]
    assert "commit" in results
    assert [(row["method"], row["seed"]) for row in results["runs"]] == [("Conv1D, 5", 0), ("N-Jet", 0)]
    assert (tmp_path / "out/table.md").read_text() in output
    assert (tmp_path / "out/series.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_means_and_deviations_over_seeds():
    rows = [
        {"method": method, "seed": seed, "parameters": 1000, "seconds": 60.0, "test_accuracy": accuracy + seed / 10}
        | {"sigma": {"layer1": [1.0, 2.0 + seed]} if method == "N-Jet" else {}}
        for seed in (0, 1)
        for method, accuracy in (("Conv1D, 3", 0.5), ("N-Jet", 0.7))
    ]
    series = {"train": 16, "test": 8, "length": 32, "classes": 2}
    results = results_of(rows, dataset="Waves", quick=False, seeds=2) | {"series": series}
    table = script.format_table(results)
    assert "\n| Conv1D, 3 | 1,000 | 0.550 ± 0.071 | 60 |\n| N-Jet | 1,000 | 0.750 ± 0.071 | 60 |\n" in table
    assert "1 at the start: layer1 2.500 ± 0.707.\n" in table
    assert "over 2 seeds." in table
    assert "Command: `python it`; 4.0 minutes of training on abacus; Python 3, keras 4 on torch 5; commit abc." in table
