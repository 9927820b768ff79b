"""Guards the benchmarks: they run on every backend, and what they print is what they measured."""

import functools
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
from benchmarks import fit_costs, layers, long_run, networks, roofline, tables, timing
from keras_njet import NJetConv2D, NJetDepthwiseConv2D, applications
from keras_njet._convolution import costs
from tests import helpers

BACKEND = keras.backend.backend()
SMALL = ("--networks", "nin order 2", "--batch-size", 1, "--image-size", 16, "--repeats", 1)


def run(name, *arguments):
    return helpers.run("-m", f"benchmarks.{name}", "--backends", BACKEND, *arguments)


@pytest.mark.parametrize("module", sorted(path.stem for path in timing.RESULTS.parent.glob("[a-z]*.py")))
def test_every_module_can_be_imported(module):
    assert importlib.import_module(f"benchmarks.{module}").__doc__


@helpers.on_torch
def test_the_table_of_layers(tmp_path):
    output = run("layers", "--workloads", "41x41x512-21", "--sigmas", 0.5, 2, "--repeats", 1, "--out", tmp_path)
    rows = json.loads((tmp_path / f"layers_{BACKEND}.json").read_text())
    assert [row["sigma"] for row in rows] == [0.5, 2.0]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["seconds"]["N-Jet"] / row["seconds"]["Keras"])
    assert f"| 41x41x512-21 | {rows[0]['ratio']:.2f} | {rows[1]['ratio']:.2f} |" in output
    assert (tmp_path / "time_over_sigma.png").stat().st_size > 5000
    assert (tmp_path / "grid.png").stat().st_size > 5000


@helpers.long
@helpers.on_torch
def test_a_cell_that_takes_too_long_gets_no_ratio(tmp_path):
    options = ("--workloads", "41x41x512-21", "--sigmas", 1, "--repeats", 1, "--limit", 0.5, "--out", tmp_path)
    output = run("layers", *options)
    (row,) = json.loads((tmp_path / f"layers_{BACKEND}.json").read_text())
    assert "Keras" not in row["seconds"]
    assert "ratio" not in row
    assert "| 41x41x512-21 | long |" in output
    assert (tmp_path / "grid.png").stat().st_size > 5000


@helpers.on_torch
def test_the_networks(tmp_path):
    kept = {"network": "unet", "versions": "of old", "seconds": {"N-Jet": 3.0, "plain": 2.0, "baseline": 1.0}}
    timing.save(tmp_path, "networks", BACKEND, [kept])
    output = run("networks", *SMALL, "--out", tmp_path)
    row, other = timing.load(tmp_path, "networks", BACKEND)
    assert other == kept
    assert row["network"] == "nin order 2"
    assert row["input_shape"] == [1, 16, 16, 3]
    seconds, counted = row["seconds"], row["multiplications"]
    assert f"| nin order 2 | {seconds['N-Jet'] / seconds['plain']:.2f} |" in output
    assert f"| {counted['N-Jet'] / counted['baseline']:.2f} | {seconds['N-Jet']:.2f} |" in output
    assert "| unet | 1.50 | – | 3.00 | – | 3.00 |" in output


@helpers.long
@helpers.on_torch
def test_the_first_step_of_networks_in_bfloat16(tmp_path):
    options = ("--first-step", "--precision", "mixed_bfloat16")
    run("networks", *SMALL, *options, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"networks_first_step_bfloat16_{BACKEND}.json"]
    (row,) = timing.load(tmp_path, "networks_first_step_bfloat16", BACKEND)
    assert row["precision"] == "mixed_bfloat16"
    for measured in (row["seconds"], row["megabytes"]):
        assert set(measured) == {"N-Jet", "plain", "baseline"}
    assert min(row["seconds"].values()) > 0.0
    assert min(row["megabytes"].values()) >= 0.0


@helpers.on_torch
@pytest.mark.parametrize("network", ["nin", "resnet32", "efficientnetb0", "unet"])
def test_the_plain_network_has_filters_of_the_support_of_the_njet(network):
    njet, plain, _ = networks.make_models(network, image_size=32).values()
    assert not any(type(layer).__module__.startswith("keras_njet") for layer in plain.layers)
    spatial = [layer for layer in njet.layers if isinstance(layer, (NJetConv2D, NJetDepthwiseConv2D))]
    assert len(spatial) > 2
    for layer in spatial:
        twin = plain.get_layer(layer.name)
        assert isinstance(twin, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
        assert twin.kernel_size == (7, 7)  # 2·⌈2·1.1⌉ + 1
        assert twin.kernel.trainable
        kernel = ops.convert_to_numpy(layer.kernel)
        assert kernel.shape[:2] == (7, 7)
        assert np.abs(kernel[[0, -1], 3]).max() > 0.0


@helpers.on_torch
def test_the_plain_network_has_the_feature_maps_of_the_njet():
    njet, plain, _ = networks.make_models("nin", image_size=32).values()
    spatial = [layer for layer in njet.layers if isinstance(layer, NJetConv2D)]
    resized = {layer.name for layer in spatial if layer.subsample_rate is not None}  # by a layer of its own in `plain`
    shared = {layer.name for layer in plain.layers[1:]} - resized
    names = [layer.name for layer in njet.layers if layer.name in shared]
    assert len(names) > len(spatial)
    x, _ = networks.data(plain, batch_size=1)
    maps = [keras.Model(model.input, [model.get_layer(name).output for name in names]) for model in (njet, plain)]
    for name, ours, theirs in zip(names, *(model.predict_on_batch(x) for model in maps), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3, err_msg=name)


@helpers.on_torch
def test_the_multiply_accumulates_of_published_networks():
    resnet = applications.ResNet32()
    assert networks.multiplications(resnet, (32, 32, 3)) == pytest.approx(69e6, rel=0.01)
    efficientnet = applications.EfficientNetB0(weights=None)
    assert networks.multiplications(efficientnet, (224, 224, 3)) == pytest.approx(0.39e9, rel=0.03)


@pytest.mark.parametrize("groups", ["one", "depthwise"])
def test_the_multiply_accumulates_of_njet_layers(groups):
    options = {"order": 0, "sigma": 1.1, "strides": 2}

    def counted(**more):
        kind = NJetDepthwiseConv2D if groups == "depthwise" else functools.partial(NJetConv2D, 4)
        model = keras.Sequential([keras.Input((16, 16, 4)), kind(**options, **more)])
        return networks.multiplications(model, (16, 16, 4))

    mixing = 4 if groups == "depthwise" else 16
    assert counted(implementation="dense") == 8 * 8 * 7 * 7 * mixing
    along_rows, along_columns = 16 * 8 * 16 * 4, 8 * 8 * 16 * 4
    assert counted(implementation="matrix") == along_rows + along_columns + 8 * 8 * mixing


@helpers.long
@helpers.on("tensorflow")  # where it is compiled
def test_the_first_step(tmp_path):
    output = run("first_step", "--workload", "41x41x512-21", "--out", tmp_path)
    row = json.loads((tmp_path / f"first_step_{BACKEND}.json").read_text())
    for layer in ("N-Jet", "composed", "Keras"):
        assert re.search(rf"\| {layer} \| .* \| {row[layer]['megabytes']:.0f} \|", output)
        assert row[layer]["megabytes"] > 0


@helpers.long
@helpers.on_torch
def test_the_memory_of_a_long_run(tmp_path):
    output = run("long_run", "--epochs", 18, "--out", tmp_path)
    row = json.loads((tmp_path / f"long_run_{BACKEND}.json").read_text())
    for layer in ("N-Jet", "Keras"):
        found, in_use = row[layer]["megabytes"], row[layer]["in_use"]
        assert len(found) == len(in_use) == 6
        growths = f"{(found[-1] - found[2]) / 3:.1f} | {(in_use[-1] - in_use[2]) / 3:.3f}"
        assert f"| {layer} | 6 | {found[-1]:.0f} | {growths} |" in output


HELD = """
from benchmarks import long_run
import numpy
before = long_run.megabytes_in_use()
large = numpy.ones(5_000_000)
print(long_run.megabytes_in_use() - before)
small = [float(number) for number in range(1_000_000)]
print(long_run.megabytes_in_use() - before)
del large, small
print(long_run.megabytes_in_use() - before)
"""


@helpers.on_torch
def test_memory_in_use_is_what_was_asked_for_and_not_given_back():
    output = helpers.run("-c", HELD, **long_run.ALLOCATION)
    large, both, nothing = map(float, output.split())
    assert large == pytest.approx(40, abs=2)
    assert both - large == pytest.approx(8 + 32, abs=2)  # the list, and 24 bytes an object in pieces of 32
    assert nothing == pytest.approx(0, abs=2)


@helpers.long
@helpers.on_torch
def test_what_a_sigma_for_each_filter_costs(tmp_path):
    output = run("sharing", "--workload", "41x41x512-21", "--sigmas", 0.5, "--repeats", 1, "--out", tmp_path)
    (row,) = json.loads((tmp_path / f"sharing_{BACKEND}.json").read_text())
    assert f" | {row['seconds']['layer'] / row['seconds']['Keras']:.2f} | " in output
    assert set(row["seconds"]) == {"Keras", "layer", "3", "filter", "input"}


@helpers.long
@helpers.on_torch
def test_predictions_for_enlarged_images(tmp_path, monkeypatch):
    output = run("enlarged", "--networks", "N-Jet-NIN", "--repeats", 1, "--out", tmp_path)
    (row,) = timing.load(tmp_path, "enlarged", BACKEND)
    assert len(row["seconds"]) == 1 + 2 * 4
    ratio = row["seconds"]["×4, rescaled"] / row["seconds"]["own size"]
    assert f"| N-Jet-NIN | ×4, rescaled | {ratio:.2f} |" in output
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    assert f"| N-Jet-NIN | ×4, rescaled | – | – | {ratio:.1f} |" in list(tables.enlarged())


@helpers.long
@helpers.on_torch
def test_growth(tmp_path):
    output = run("growth", "--varied", "channels", "--most", 16, "--repeats", 1, "--out", tmp_path)
    (row,) = json.loads((tmp_path / f"growth_{BACKEND}.json").read_text())
    assert f"| channels | 16 | {row['N-Jet']:.3f} | {row['Conv2D']:.3f} |" in output
    assert (tmp_path / "growth.png").stat().st_size > 5000


@helpers.long
@helpers.on_torch
def test_results_of_another_order_have_a_file_of_their_own(tmp_path):
    options = ("--workloads", "41x41x512-21", "--sigmas", 1, "--repeats", 1, "--limit", 0.5, "--out", tmp_path)
    run("layers", *options, "--order", 2)
    (row,) = json.loads((tmp_path / f"layers_order2_{BACKEND}.json").read_text())
    assert row["order"] == 2
    assert not (tmp_path / f"layers_{BACKEND}.json").exists()


@helpers.long
@helpers.on_torch
def test_layers_in_bfloat16_have_files_of_their_own(tmp_path):
    options = ("--workloads", "41x41x512-21", "--sigmas", 1, "--repeats", 1, "--out", tmp_path)
    run("layers", *options, "--precision", "mixed_bfloat16")
    (row,) = timing.load(tmp_path, "layers_bfloat16", BACKEND)
    assert row["precision"] == "mixed_bfloat16"
    assert timing.load(tmp_path, "layers", BACKEND) == []
    assert (tmp_path / "grid_bfloat16.png").stat().st_size > 5000


def test_options_that_a_layer_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"Received: \{'implementation': 'dense'\}"):
        layers.make_layers("pyramid", 2, 2, 1.1, implementation="dense")


def test_the_versions_name_the_processor():
    assert timing.versions().startswith(f"keras {keras.__version__}, {BACKEND} ")
    assert timing.versions().endswith(f", {_results.processor()}")
    if pathlib.Path("/proc/cpuinfo").exists():
        assert _results.processor().rsplit(", ", 1)[0] in pathlib.Path("/proc/cpuinfo").read_text()


@pytest.mark.parametrize(("mixing", "bytes_"), [(0, 4 * 5 + 1 * 3 + 2 * 5), (1, 4 * 3 + 2 * 3 + 1 * 5)])
def test_bytes_of_a_signal_whose_channels_are_mixed_first_or_last(mixing, bytes_):
    """Three channels, five filters, two derivatives; each result of a product along the axis is written and read."""
    work = costs.Workload((7,), (7,), (7,), channels=3, filters=5, groups=1, order=1)
    device = roofline.Device(float("inf"), float("inf"), bandwidth=1.0, bytes_of_a_number=1)
    assert roofline.of_matrices(work, mixing, 1, device) == pytest.approx(roofline.PASSES * 7 * bytes_)


def test_the_results_that_are_kept_are_not_the_default():
    assert timing.argument_parser("It.").parse_args([]).out == pathlib.Path("results/benchmarks")


@helpers.on_torch
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


def test_a_table_has_the_networks_that_were_measured(monkeypatch):
    row = {"network": "unet", "seconds": {"N-Jet": 3.0, "plain": 2.0, "baseline": 1.0}}
    row["multiplications"] = {"N-Jet": 6, "plain": 8, "baseline": 2}
    row["megabytes"] = {"N-Jet": 500.0, "plain": 400.0, "baseline": 250.0}
    monkeypatch.setattr(tables, "read", lambda _: {"tensorflow": [], "jax": [row], "torch": []})
    assert list(tables.networks())[2:] == ["| U-Net, order 2 | JAX | 1.50 | 0.75 | 3.00 | 3.00 |"]
    assert list(tables.networks_first_step())[2:] == ["| U-Net, order 2 | JAX | 3.0 | 2.0 | 1.0 | 3.00 | 500 | 2.00 |"]


def test_a_table_is_replaced_and_nothing_else():
    text = "Before.\n\n<!-- table: rates -->\n\n| old |\n|---|\n| 0 |\n\nAfter.\n"
    updated = tables.updated(text)
    assert updated.startswith("Before.\n\n<!-- table: rates -->\n\n|  | multiply-accumulates")
    assert updated.endswith(" |\n\nAfter.\n")
    assert "old" not in updated
