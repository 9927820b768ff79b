"""Guards the comparison of convolutions that adapt to the size of images: it runs, and its table is right."""

import json

from applications import compare_adaptive as script
from tests.helpers import DATA, needs_mnist, on_torch, results_of, run


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
    methods = ["CNN, 3×3", "atrous CNN", "deformable CNN", "N-Jet"]
    seen = [(row["layers"], row["data"], row["method"]) for row in results["runs"]]
    assert seen == [(depth, data, method) for depth in (2, 4) for data in ("MNIST", "4×MNIST") for method in methods]
    for row in results["runs"]:
        assert 0 <= row["test_accuracy"] <= 1
        assert len(row["sigma"]) == (row["layers"] if row["method"] == "N-Jet" else 0)
        assert all(sigma[-1] != 1.0 for sigma in row["sigma"].values())
    cnn, _, deformable, njet = (row["parameters"] for row in results["runs"][:4])
    assert cnn == 9 * 4 + 9 * 4 * 4 + 2 * 2 * 4 + 4 * 10 + 10  # filters, batch normalisation, classifier
    assert njet == cnn + (10 - 9) * (4 + 4 * 4) + 2
    assert deformable == cnn + (9 * (1 + 4) + 2) * 18  # the convolutions that predict offsets
    assert (tmp_path / "table.md").read_text() in output
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_means_and_deviations_over_seeds():
    rows = [
        {"layers": depth, "data": data, "method": "N-Jet", "seed": seed, "parameters": 1000 * depth, "seconds": 60.0}
        | {"test_accuracy": factor / 8 + seed / 10, "sigma": {name: [1.0, factor + seed] for name in "abcd"[:depth]}}
        for seed in (0, 1)
        for depth in (2, 4)
        for data, factor in script.FACTORS.items()
    ]
    results = results_of(rows, seeds=2)
    table = script.format_table(results)
    accuracies = "0.175 ± 0.071 | 0.550 ± 0.071"
    assert f"\n| N-Jet | 2,000 | {accuracies} | 4,000 | {accuracies} |\n" in table
    assert "\n- 2 layers, 4×MNIST: 4.50, 4.50\n" in table
    assert "over 2 seeds.\n\nCommand: `python it`; 8.0 minutes" in table
