"""Guards the comparison of convolutions that adapt to the size of images: it runs, and its table is right."""

import json

import numpy as np

from applications import _results
from applications import compare_adaptive as script
from tests.helpers import DATA, long, needs_mnist, on_torch, results_of, run


@long
@on_torch
@needs_mnist
def test_the_quick_comparison_trains_every_network_and_writes_a_table_and_a_plot(tmp_path):
    # What is given beside --quick replaces its options.
    smaller = ("--filter-sizes", 3, "--images", 16, "--test-images", 16)
    given = ("--quick", "--backend", "torch", "--data-dir", DATA, *smaller, "--out", tmp_path)
    output = run("-m", "applications.compare_adaptive", *given)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["command"] == (
        "python -m applications.compare_adaptive --quick --backend torch --data-dir DIR "
        "--filter-sizes 3 --images 16 --test-images 16"
    )
    assert results["configuration"]["images"] == 16
    assert results["configuration"]["size"] == 7
    methods = ["CNN, 3×3", "atrous CNN", "deformable CNN", "N-Jet", "N-Jet, subsampled"]
    seen = [(row["layers"], row["data"], row["method"]) for row in results["runs"]]
    assert seen == [(depth, data, method) for depth in (2, 4) for data in ("MNIST", "4×MNIST") for method in methods]
    for row in results["runs"]:
        assert 0 <= row["test_accuracy"] <= 1
        assert len(row["sigma"]) == (row["layers"] if "N-Jet" in row["method"] else 0)
        assert row["learning_rate"] == 0.03
        assert all(sigma[-1] != 1.0 for sigma in row["sigma"].values())
    cnn, _, deformable, njet, subsampled = (row["parameters"] for row in results["runs"][:5])
    assert subsampled == njet
    assert cnn == 9 * 4 + 9 * 4 * 4 + 2 * 2 * 4 + 4 * 10 + 10  # filters, batch normalisation, classifier
    assert njet == cnn + (10 - 9) * (4 + 4 * 4) + 2
    assert deformable == cnn + (9 * (1 + 4) + 2) * 18  # the convolutions that predict offsets
    assert (tmp_path / "table.md").read_text() in output
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_means_and_deviations_over_seeds():
    rows = [
        {"layers": depth, "data": data, "method": "N-Jet", "seed": seed, "parameters": 1000 * depth, "seconds": 60.0}
        | {"learning_rate": 0.1 / factor, "train_accuracy": 0.9 + seed / 100}
        | {"test_accuracy": factor / 8 + seed / 10, "sigma": {name: [1.0, factor + seed] for name in "abcd"[:depth]}}
        for seed in (0, 1)
        for depth in (2, 4)
        for data, factor in script.FACTORS.items()
    ]
    results = results_of(rows, seeds=2)
    table = script.format_table(results)
    accuracies = "0.175 ± 0.071 | 0.550 ± 0.071"
    assert f"\n| N-Jet | 2,000 | {accuracies} | 4,000 | {accuracies} |\n" in table
    assert "\n- N-Jet, 2 layers, 4×MNIST: 4.50, 4.50\n" in table
    assert "\n- 0.025: N-Jet\n- 0.1: N-Jet\n" in table
    assert "Accuracy on the training set: at least 0.900." in table
    assert "over 2 seeds.\n\nCommand: `python it`; 8.0 minutes" in table


def test_the_learning_rate_is_the_one_that_is_best_on_images_held_out(monkeypatch, tmp_path):
    trained = []

    def train(build, train_set, test_set, seed, arguments):
        trained.append((arguments.learning_rate, seed, train_set[1].tolist(), test_set[1].tolist()))
        return {"test_accuracy": {0.1: 0.5, 0.2: 0.9, 0.3: 0.7}[arguments.learning_rate], "seconds": 8.0}

    monkeypatch.setattr(script._training, "train_classifier", train)
    arguments = script.parse_arguments(["--learning-rates", "0.1", "0.2", "0.3", "--seeds", "1", "--out", tmp_path])
    labels, sets = {"layers": 2}, [(np.zeros((count, 7, 7, 1)), np.arange(count)) for count in (20, 5)]

    def run_with(seeds):
        arguments.seeds = seeds
        return _results.collect(arguments, [(labels, script.network(labels, *sets, None, arguments))])

    run_with(seeds=1)  # and then it is interrupted, and goes on without another search
    rows = run_with(seeds=3)
    assert [row["learning_rate"] for row in rows] == [0.2, 0.2, 0.2]
    assert [row["seconds"] for row in rows] == [32.0, 8.0, 8.0]  # those of the search are those of the first seed
    everything, unseen = list(range(20)), list(range(5))
    chosen_on = [(rate, 0, everything[2:], everything[:2]) for rate in (0.1, 0.2, 0.3)]  # never on the test set
    assert trained == [*chosen_on, *((0.2, seed, everything, unseen) for seed in (0, 1, 2))]
