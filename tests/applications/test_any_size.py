"""Guards the study of networks that are tested at other sizes: it runs, and reports what it measured."""

import json

import keras
import numpy as np
import pytest

from applications import any_size
from keras_njet import NJetConv2D
from tests.helpers import DATA, long, on_torch, results_of, run, skip_without


@long
@on_torch
def test_released_networks_keep_their_accuracy_on_enlarged_images(tmp_path):
    skip_without("fashion-mnist")
    given = ("--backend", "torch", "--data-dir", DATA, "--released", "--seeds", 1, "--factors", 1.5, "--out", tmp_path)
    few = ("--evaluated", 200, "--statistics", 50, "--tuned-on", 50, "--channel-epochs", 1)
    output = run("-m", "applications.any_size", *given, *few)
    plain, njet = json.loads((tmp_path / "results.json").read_text())["runs"]
    accuracy = {method: found["1.5"]["accuracy"] for method, found in njet["methods"].items()}
    assert accuracy["rescaled"] > 0.85 > 0.75 > accuracy["as it is"]
    assert plain["methods"]["images resized back"]["1.5"]["accuracy"] > 0.85
    converted = plain["methods"]["converted, rescaled, statistics"]["1.5"]["accuracy"]
    assert converted > 0.85 > 0.8 > plain["methods"]["as it is"]["1.5"]["accuracy"]
    assert set(accuracy) == set(any_size.METHODS["NJetNIN"])
    assert f"| N-Jet-NIN | rescaled | {accuracy['rescaled']:.3f} |" in output
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_a_column_for_each_factor_and_means_over_seeds():
    def row(network, seed):
        found = {"1": {"accuracy": 0.5}, "2": {"accuracy": 0.6 + seed / 10}}
        return {"network": network, "seed": seed, "methods": dict.fromkeys(any_size.METHODS[network], found)}

    results = results_of([row(network, seed) for seed in (0, 1) for network in any_size.METHODS], seeds=2)
    table = any_size.format_table(results)
    assert "| network | method | ×1 | ×2 |" in table
    assert "| NIN | last layer tuned | 0.500 ± 0.000 | 0.650 ± 0.071 |" in table
    assert len(table.split("\n\n")[0].splitlines()) == 2 + sum(map(len, any_size.METHODS.values()))


def test_released_weights_are_of_one_data_set_and_one_seed():
    with pytest.raises(SystemExit):
        any_size.parse_arguments(["--released", "--dataset", "mnist", "--seeds", "1"])
    with pytest.raises(SystemExit):
        any_size.parse_arguments(["--released"])
    assert "fashion_mnist" in any_size.released_for(any_size.METHODS)
    assert any_size.released_for(["NJetUNet"]) == ["multiscale_fashion_mnist"]
    assert any_size.released_for(["NIN", "NJetUNet"]) == []
    assert any_size.parse_arguments(["--dataset", "cifar10"]).epochs == 12


@pytest.mark.parametrize("option", [["--epochs", "9"], ["--learning-rate", "3"]])
def test_options_of_a_training_are_refused_where_nothing_is_trained(option, capsys):
    with pytest.raises(SystemExit):
        any_size.parse_arguments(["--released", "--seeds", "1", *option])
    assert "expected no options of a training with --released" in capsys.readouterr().err


def test_options_of_the_training_reach_the_network_that_is_evaluated(tmp_path):
    given = ["--dataset", "cifar10", "--order", "2", "--subsample-rate", "2", "--dropout", "0.1", "--out", tmp_path]
    recipe = any_size.recipe_of("NJetNIN", any_size.parse_arguments(given), seed=0)
    njet = any_size.make_model("NJetNIN", None, recipe)
    layers = [layer for layer in njet.layers if isinstance(layer, NJetConv2D)]
    assert {(layer.order, layer.subsample_rate) for layer in layers} == {(2, 2.0)}
    assert {layer.rate for layer in njet.layers if isinstance(layer, keras.layers.Dropout)} == {0.1}


def test_what_the_study_sets_itself_is_refused():
    for option in (["--seed", "5"], ["--model=NIN"]):
        with pytest.raises(SystemExit):
            any_size.parse_arguments(option)


def test_images_are_enlarged_as_was_chosen():
    skip_without("fashion-mnist")
    common = ["--released", "--seeds", "1", "--data-dir", str(DATA), "--evaluated", "2"]
    smooth = {}
    for interpolation in any_size.INTERPOLATIONS:
        data = any_size.Data(any_size.parse_arguments([*common, "--interpolation", interpolation]))
        enlarged = data.at(data.test[0], 2.0)
        assert enlarged.shape == (2, 56, 56, 1)
        smooth[interpolation] = np.square(np.diff(enlarged, axis=1)).sum()
    assert smooth["bilinear"] < 0.95 * smooth["bicubic"]  # which keeps more of the detail


def test_some_methods_alone():
    chosen = ["rescaled", "scale channels"]
    arguments = any_size.parse_arguments(["--methods", *chosen, "--released", "--seeds", "1"])
    assert arguments.methods == chosen
    row = {"network": "NJetNIN", "seed": 0, "methods": {m: {"1": {"accuracy": 0.5}} for m in chosen}}
    table = any_size.format_table(results_of([row], seeds=1))
    assert [line.split(" | ")[1] for line in table.splitlines()[2:4]] == chosen
    with pytest.raises(SystemExit):
        any_size.parse_arguments(["--methods", "magic", "--released", "--seeds", "1"])
