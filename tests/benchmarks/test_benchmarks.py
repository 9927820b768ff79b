"""Guards the benchmarks: they run on every backend, and what they print is what they measured."""

import importlib
import json
import pathlib
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_njet
from applications import _results
from benchmarks import fit_costs, tables, timing
from keras_njet._convolution import costs
from tests import helpers

BACKEND = keras.backend.backend()


def run(name, *arguments):
    return helpers.run("-m", f"benchmarks.{name}", "--backends", BACKEND, *arguments)


@pytest.mark.parametrize("module", sorted(path.stem for path in timing.RESULTS.parent.glob("[a-z]*.py")))
def test_every_module_can_be_imported(module):
    assert importlib.import_module(f"benchmarks.{module}").__doc__


def test_the_table_of_layers(tmp_path):
    output = run("layers", "--workloads", "41x41x512-21", "--sigmas", 0.5, 2, "--repeats", 1, "--out", tmp_path)
    rows = json.loads((tmp_path / f"layers_{BACKEND}.json").read_text())
    assert [row["sigma"] for row in rows] == [0.5, 2.0]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds"]["N-Jet"] / row["seconds"]["Keras"])
    assert f"| 41x41x512-21 | {rows[0]['ratio']:.2f} | {rows[1]['ratio']:.2f} |" in output
    assert (tmp_path / "time_over_sigma.png").stat().st_size > 5000
    assert (tmp_path / "grid.png").stat().st_size > 5000


def test_a_cell_that_takes_too_long_gets_a_bound(tmp_path):
    options = ("--workloads", "41x41x512-21", "--sigmas", 1, "--repeats", 1, "--limit", 0.5, "--out", tmp_path)
    output = run("layers", *options)
    (row,) = json.loads((tmp_path / f"layers_{BACKEND}.json").read_text())
    assert "Keras" not in row["seconds"]
    assert row["ratio"] == pytest.approx(row["seconds"]["N-Jet"] / 0.5)
    assert f"| 41x41x512-21 | <{row['ratio']:.2f} |" in output


def test_the_networks(tmp_path):
    output = run("nin", "--batch-size", 2, "--width", 0.05, "--repeats", 1, "--out", tmp_path)
    seconds = json.loads((tmp_path / f"nin_{BACKEND}.json").read_text())["seconds"]
    ratio = seconds["N-Jet-NIN, order 3"] / seconds["NIN"]
    assert f"| N-Jet-NIN, order 3 | NIN | {ratio:.2f} |" in output
    assert output.count("| N-Jet-NIN, order") == 4


def test_the_first_step(tmp_path):
    output = run("first_step", "--workload", "41x41x512-21", "--out", tmp_path)
    row = json.loads((tmp_path / f"first_step_{BACKEND}.json").read_text())
    assert f"{row['N-Jet']['megabytes']:.2f} | {row['Keras']['megabytes']:.2f}" in output
    assert row["N-Jet"]["megabytes"] > 0


def test_what_a_sigma_for_each_filter_costs(tmp_path):
    output = run("sharing", "--workload", "41x41x512-21", "--sigmas", 0.5, "--repeats", 1, "--out", tmp_path)
    (row,) = json.loads((tmp_path / f"sharing_{BACKEND}.json").read_text())
    assert f" | {row['seconds']['layer'] / row['seconds']['Keras']:.2f} | " in output
    assert set(row["seconds"]) == {"Keras", "layer", "3", "filter", "input"}


def test_growth(tmp_path):
    output = run("growth", "--varied", "channels", "--most", 16, "--repeats", 1, "--out", tmp_path)
    (row,) = json.loads((tmp_path / f"growth_{BACKEND}.json").read_text())
    assert f"| channels | 16 | {row['N-Jet']:.3f} | {row['Conv2D']:.3f} |" in output
    assert (tmp_path / "growth.png").stat().st_size > 5000


def test_results_of_another_order_have_a_file_of_their_own(tmp_path):
    options = ("--workloads", "41x41x512-21", "--sigmas", 1, "--repeats", 1, "--limit", 0.5, "--out", tmp_path)
    run("layers", *options, "--order", 2)
    (row,) = json.loads((tmp_path / f"layers_order2_{BACKEND}.json").read_text())
    assert row["order"] == 2
    assert not (tmp_path / f"layers_{BACKEND}.json").exists()


def test_layers_in_bfloat16_have_files_of_their_own(tmp_path):
    options = ("--workloads", "41x41x512-21", "--sigmas", 1, "--repeats", 1, "--out", tmp_path)
    run("layers", *options, "--precision", "mixed_bfloat16")
    (row,) = timing.load(tmp_path, "layers_bfloat16", BACKEND)
    assert row["precision"] == "mixed_bfloat16"
    assert timing.load(tmp_path, "layers", BACKEND) == []
    assert (tmp_path / "grid_bfloat16.png").stat().st_size > 5000


def test_the_versions_name_the_processor():
    assert timing.versions().startswith(f"keras {keras.__version__}, {BACKEND} ")
    assert timing.versions().endswith(f", {_results.processor()}")
    if pathlib.Path("/proc/cpuinfo").exists():
        assert _results.processor().rsplit(", ", 1)[0] in pathlib.Path("/proc/cpuinfo").read_text()


def test_the_results_that_are_kept_are_not_the_default():
    assert timing.argument_parser("It.").parse_args([]).out == pathlib.Path("results/benchmarks")


def test_the_evaluations_that_are_timed_compute_the_layer(monkeypatch):
    monkeypatch.setitem(fit_costs.WORKLOADS, "small", (1, (60, 9), 4, 3, (0, 1, 2, "together")))
    x = np.random.default_rng(0).normal(size=(1, 60, 9, 4)).astype("float32")
    njet = keras_njet.NJetConv2D(3, order=fit_costs.ORDER, sigma=fit_costs.SIGMA, use_bias=False)
    expected = ops.convert_to_numpy(njet(x))
    ways = [(kind, mixing) for mixing in fit_costs.WORKLOADS["small"][-1] for kind in ("matrices", "tiles")]
    for way in (("dense", None), *ways):
        layer = fit_costs.make_layer("small", *way)
        layer.build(x.shape)
        layer.coefficients.assign(njet.coefficients)
        np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, atol=1e-4)


def test_prices_that_foretell_the_times_have_no_regret():
    prices = costs.Prices()
    ways = [
        (name, kind, mixing)
        for name, of_one in fit_costs.WORKLOADS.items()
        for mixing in of_one[-1]
        for kind in ("matrices", "tiles")
    ]
    regret, error, dense = fit_costs.judge(
        {("torch",): [[*way, fit_costs.estimate(*way, prices) / 3.0, 0.0] for way in ways]}, "training", prices
    )
    assert regret == 0.0
    assert error == pytest.approx(0.0, abs=1e-12)
    assert dense == pytest.approx({("torch",): 3.0})
    wrong = [[*way, 0.0, 1.0 / fit_costs.estimate(*way, prices)] for way in ways]
    assert fit_costs.judge({("torch",): wrong}, "inference", prices)[0] > 0.1


def test_the_fit_prints_its_prices_as_they_stand_in_the_code(capsys):
    fit_costs.fit({("torch",): fit_costs.read(timing.RESULTS)["torch",]}, draws=3)
    names = re.findall(r"^ *(\w+)(?:: float)? = ", capsys.readouterr().out, re.MULTILINE)
    assert names == ["small_axis", "few_channels", "writing", "_DENSE", "_NARROW"]
    assert all(hasattr(costs.Prices, name) or hasattr(costs, name) for name in names)


def test_the_tables_of_the_readme_files_are_what_was_measured():
    for path in tables.FILES:
        text = path.read_text()
        assert text.count("<!-- table: ") > 0
        assert tables.updated(text) == text


def test_one_set_of_prices_serves_several_processors(capsys):
    measured = {key: rows for key, rows in fit_costs.read(timing.RESULTS).items() if key[0] == "torch"}
    assert len(measured) > 1
    fit_costs.fit(measured, draws=3)
    printed = capsys.readouterr().out
    regrets = [float(found) for found in re.findall(r"^  torch.*: regret ([\d.]+),", printed, re.MULTILINE)]
    assert len(regrets) == 2 * len(measured)
    prices = [float(found) for found in re.findall(r"price of dense convolutions ([\d.]+)", printed)]
    ours = json.loads(re.search(r"_DENSE = (.*)", printed)[1])["training"]["torch"]
    assert ours == pytest.approx(np.sqrt(np.prod(prices[: len(measured)])), abs=0.02)


def test_a_cell_that_was_not_measured_has_a_dash(monkeypatch):
    row = {"workload": "4096x64-64", "sigma": 1.0, "ratio": 0.5}
    measured = {"tensorflow": [], "jax": [row], "torch": [row, {**row, "sigma": 2.0, "ratio": 0.25}]}
    monkeypatch.setattr(tables, "read", lambda _: measured)
    assert list(tables.layers("ratio"))[2:] == [
        "| 4096×64→64, batch 8 | TensorFlow | – | – |",
        "|  | JAX | 0.50 | – |",
        "|  | torch | 0.50 | 0.25 |",
    ]


def test_a_table_is_replaced_and_nothing_else():
    text = "Before.\n\n<!-- table: rates -->\n\n| old |\n|---|\n| 0 |\n\nAfter.\n"
    updated = tables.updated(text)
    assert updated.startswith("Before.\n\n<!-- table: rates -->\n\n|  | multiply-accumulates")
    assert updated.endswith(" |\n\nAfter.\n")
    assert "old" not in updated
