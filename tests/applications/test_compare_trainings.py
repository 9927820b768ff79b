"""Guards the comparison of trainings: what it shows is what the runs logged."""

import csv
import json
import statistics

import pytest
from matplotlib.figure import Figure

from applications import _results, compare_trainings
from tests.helpers import ROOT, results_of

RUNS = [ROOT / f"applications/nin/results/cifar10/{name}/seed-0" for name in ("NIN", "NJetNIN")]


def test_the_curves_of_recorded_runs(tmp_path):
    arguments = compare_trainings.parse_arguments([*RUNS, "--out", tmp_path])
    results = _results.run(arguments, compare_trainings.measure, compare_trainings.report)
    plain, njet = results["runs"]
    with open(RUNS[1] / "log.csv", newline="") as file:
        logged = list(csv.DictReader(file))
    assert njet["log"]["block2_conv/sigma"] == [float(row["block2_conv/sigma"]) for row in logged]
    layers = ("block1_conv", "block2_conv", "block3_conv")
    assert compare_trainings.scales([plain]) == compare_trainings.sizes([plain]) == {}
    assert compare_trainings.scales([njet]) == {layer: f"{layer}/sigma" for layer in layers}
    assert compare_trainings.sizes([njet]) == {layer: f"{layer}/height" for layer in layers}
    assert njet["baseline_sizes"] == plain["baseline_sizes"] == [32, 16, 8]
    last = [f"{float(logged[-1][f'block{number}_conv/sigma']):.2f}" for number in (1, 2, 3)]
    row = next(line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| NJetNIN"))
    assert f"| 46,999 | {float(logged[-1]['val_accuracy']):.4f} | " in row
    assert f"| {', '.join(last)} | 28, 21, 9 |" in row
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((RUNS[0] / "results.json").read_text())["command"] in (tmp_path / "table.md").read_text()


def test_the_picture_shows_all_sizes_of_the_baseline(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    compare_trainings.plot({"runs": [compare_trainings.read(run) for run in RUNS]}, tmp_path / "unused.png")
    low, high = figures[0].axes[2].get_ylim()
    assert low == 0 < 32 < high


def test_seeds_of_a_network_are_taken_together():
    row = compare_trainings.read(RUNS[0])
    other = {**row, "seed": 1, "log": {name: [0.9 * value for value in log] for name, log in row["log"].items()}}
    table = compare_trainings.format_table(results_of([row, other]))
    accuracies = [each["log"]["val_accuracy"][-1] for each in (row, other)]
    expected = f"{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}"
    assert table.splitlines()[2].startswith(f"| NIN | 2 | 64,132 | {expected} |")


def test_trainings_for_segmentation(tmp_path):
    """Networks differ by order and scale of the objects; of ten layers the table has the least and the largest σ."""
    folder = ROOT / "applications/unet/results/object_scale"
    runs = [folder / f"{name}-s4-seed{seed}" for name in ("UNet", "NJetUNet-order2") for seed in (0, 1)]
    arguments = compare_trainings.parse_arguments([*runs, "--out", tmp_path])
    results = _results.run(arguments, compare_trainings.measure, compare_trainings.report)
    head, _, plain, njet = (tmp_path / "table.md").read_text().splitlines()[:4]
    assert "| test mIoU | training mIoU |" in head
    logs = [list(csv.DictReader((run / "log.csv").read_text().splitlines())) for run in runs[2:]]
    test = [float(log[-1]["val_miou"]) for log in logs]
    found = [name for name in logs[0][-1] if name.endswith("/sigma")]
    assert len(found) == 10
    means = [statistics.mean(float(log[-1][name]) for log in logs) for name in found]
    assert plain.startswith("| UNet, s = 4 | 2 | 118,155 | ")
    expected = f"{statistics.mean(test):.4f} ± {statistics.stdev(test):.4f}"
    assert njet.startswith(f"| NJetUNet, order 2, s = 4 | 2 | 78,949 | {expected} | ")
    assert f" | {min(means):.2f} to {max(means):.2f} | – | " in njet
    fields = [json.loads((run / "results.json").read_text())["metrics"]["receptive_field"] for run in runs[2:]]
    assert "| receptive field | minutes |" in head
    assert f" | {statistics.mean(fields):.0f} ± {statistics.stdev(fields):.0f} | " in njet
    assert len(compare_trainings.networks(results)) == 2


def test_the_scales_of_a_pyramid(monkeypatch, tmp_path):
    """They are in the table and in the picture; its feature maps have no learned sizes, so they have no panel."""
    run = ROOT / "applications/deeplab/results/camvid/NJetDeepLabV2-order3"
    results = {"runs": [compare_trainings.read(run)]}
    last = list(csv.DictReader((run / "log.csv").read_text().splitlines()))[-1]
    names = [f"head/sigma_{index}" for index in range(4)]
    shown = ", ".join(f"{float(last[name]):.2f}" for name in names)
    assert f" | {shown} | – | " in compare_trainings.format_table(results)
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    compare_trainings.plot(results, tmp_path / "unused.png")
    _, of_sigma = figures[0].axes
    assert [line.get_ydata()[-1] for line in of_sigma.lines] == [float(last[name]) for name in names]


def test_networks_are_called_by_what_differs():
    run = ROOT / "applications/unet/results/object_scale/UNet-s4-seed0"
    label = compare_trainings.train_segmentation.label
    assert label(_results.recorded(run)) == "UNet, s = 4"
    assert label(_results.recorded(run, levels=4, kernel_size=5)) == "UNet, 4 levels, 5×5, s = 4"
    scenes = {"dataset": "camvid", "scale": "4"}
    assert label(_results.recorded(run, model="DeepLabV2", tied=True, **scenes)) == "DeepLabV2, tied, camvid"


def test_an_order_that_was_not_given_is_that_of_the_network(tmp_path):
    run = ROOT / "applications/unet/results/object_scale/NJetUNet-order2-s4-seed0"
    results = json.loads((run / "results.json").read_text())
    results["configuration"]["order"] = None
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "log.csv").write_text((run / "log.csv").read_text())
    assert compare_trainings.read(tmp_path)["network"] == compare_trainings.read(run)["network"]


@pytest.mark.parametrize(("option", "value"), [("dataset", "mnist"), ("seed", 0)])
def test_runs_that_differ_in_more_than_seeds_and_backends_are_refused(option, value):
    row = compare_trainings.read(RUNS[1])
    other = {**row, "seed": 1, "configuration": {**row["configuration"], "seed": 1, "backend": "torch"}}
    compare_trainings.require_the_same_training("NJetNIN", [row, other])
    other["configuration"][option] = value
    other["seed"] = other["configuration"]["seed"]
    with pytest.raises(ValueError, match=rf"Received: network='NJetNIN', {option}=\["):
        compare_trainings.require_the_same_training("NJetNIN", [row, other])


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compare_trainings.parse_arguments([tmp_path / "nothing"])
    assert f"Received: runs=['{tmp_path / 'nothing'}']" in capsys.readouterr().err
