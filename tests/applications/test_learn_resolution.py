"""Guards experiment 1.2(A): σ grows with the images, and the tables are right."""

import json

import pytest

from applications import _training, learn_resolution
from tests.helpers import DATA, long, needs_mnist, on_torch, results_of, run


def learn(folder, *arguments):
    output = run("-m", "applications.learn_resolution", "--out", folder, *arguments)
    return output, json.loads((folder / "results.json").read_text())["runs"]


@long
@on_torch
def test_the_learned_scale_grows_with_the_size_of_digits(tmp_path):
    output, rows = learn(tmp_path, "--seeds", 1, "--epochs", 20)
    assert [(row["size"], len(row["sigma"]["njet"])) for row in rows] == [(8, 20), (12, 20), (16, 20)]
    assert "(2 / 1.5)·σ at 1.5×" in output
    assert (tmp_path / "table.md").read_text() in output
    assert (tmp_path / "sigma.png").read_bytes().startswith(b"\x89PNG")
    last = {row["size"]: row["sigma"]["njet"][-1] for row in rows}
    assert last[16] > 1.05 * last[8]


@long
@on_torch
@needs_mnist
def test_it_runs_on_real_mnist(tmp_path):
    arguments = ("--dataset", "mnist", "--data-dir", DATA, "--seeds", 1, "--epochs", 1, "--images", 256)
    _, rows = learn(tmp_path, *arguments)
    assert [row["size"] for row in rows] == [28, 42, 56]
    assert all(row["sigma"]["njet"][-1] != 1.0 for row in rows)


def test_the_table_has_means_and_deviations_over_seeds():
    rows = [
        {"factor": factor, "size": round(8 * factor), "seed": seed, "seconds": 60.0, "test_accuracy": 0.5 + seed / 10}
        | {"train_accuracy": 0.75, "epochs_to_settle": 10 * (1 + seed), "settled": seed == 0}
        | {"sigma": {"njet": [1.0, factor + seed]}}
        for seed in (0, 1)
        for factor in (1.0, 1.5, 2.0)
    ]
    results = results_of(rows, seeds=2)
    table = learn_resolution.format_table(results)
    assert "| 1.5× | 12×12 | 2.000 ± 0.707 | 0.750 ± 0.000 | 0.550 ± 0.071 | 10, never |\n" in table
    assert "(2 / 1.5)·σ at 1.5× = 2.667 ± 0.943 beside σ at 2× = 2.500 ± 0.707" in table
    assert "over 2 seeds." in table


def test_the_power_of_the_size_with_which_sigma_grows():
    rows = [
        {"factor": factor, "seed": seed, "sigma": {"njet": [1.0, 1.3 * factor**power]}}
        for seed, power in ((0, 1.0), (1, 0.5))
        for factor in (0.75, 1.0, 2.0)
    ]
    assert learn_resolution.powers(rows) == pytest.approx([1.0, 0.5])


def test_scales_settle_when_their_mean_no_longer_changes():
    settling = _training.Settling(share=0.01, epochs=2)
    assert not settling.has_settled([[1.0, 1.0, 1.0]])  # too few epochs
    assert settling.has_settled([[9.0, 2.0, 1.9, 1.9, 2.0]])
    assert not settling.has_settled([[2.0, 2.0, 2.03, 2.03]])
    assert not settling.has_settled([[2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.1, 1.1]])  # one of two


@on_torch
def test_training_until_sigma_has_settled(tmp_path):
    few = ("--factors", 1, 2, "--epochs", 2, "--most-epochs", 12, "--sigma-learning-rate", 0.001)
    output, rows = learn(tmp_path, "--seeds", 1, "--until-settled", *few)
    assert [row["epochs_to_settle"] for row in rows] == [10, 10]  # as σ hardly learns
    assert all(row["settled"] and len(row["sigma"]["njet"]) == 12 for row in rows)
    assert "| 2× | 16×16 |" in output
    assert "σ ∝ size^p with p = 0.0" in output


def test_epochs_depend_on_the_data():
    assert learn_resolution.parse_arguments([]).epochs == 40
    assert learn_resolution.parse_arguments(["--dataset", "mnist"]).batch_size == 128
    with pytest.raises(SystemExit):
        learn_resolution.parse_arguments(["--seeds", "0"])
    with pytest.raises(SystemExit):  # which would change nothing
        learn_resolution.parse_arguments(["--most-epochs", "9"])
