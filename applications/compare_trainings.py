"""Draws trainings beside each other: accuracy, scales and sizes of feature maps after each epoch (like figure 7).

    python -m applications.compare_trainings RUN [RUN ...]

A RUN is a folder that train_classifier wrote. Runs of the same network are taken together, with their mean and standard
deviation. Writes into --out: training.png, table.md and results.json (what was run, and what each epoch had).
"""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure

from applications import _pictures, _results, _tables, _training, train_classifier
from applications._arguments import ArgumentParser

DASHES = ("-", "--", ":", "-.")  # of the layers of one network
ACCURACIES = {"test accuracy": "val_accuracy", "training accuracy": "accuracy"}


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("compare_trainings", __doc__)
    parser.add_argument("given", nargs="+", type=pathlib.Path, metavar="RUN", help="folders of trained networks")
    arguments = parser.read(given)
    missing = [str(run) for run in arguments.given if not (run / "results.json").is_file()]
    if missing:
        parser.error(f"expected folders with a results.json. Received: runs={missing}")
    return arguments


def measure(arguments):
    """What the runs recorded."""
    return {"runs": [read(run) for run in arguments.given]}


def read(run):
    """What is known of one training: how it came about, and each number after each epoch."""
    results = json.loads((run / "results.json").read_text())
    recorded = _results.recorded(results)
    log = _training.read_log(run / "log.csv")
    shape = results.get("input_shape")  # which runs of version 0.1 did not record
    sizes = train_classifier.baseline_sizes(recorded, shape) if shape else {}
    return {
        "network": recorded.model,
        "seed": recorded.seed,
        "parameters": results["metrics"]["trained_parameters"],
        "seconds": results["metrics"]["seconds"],
        **{name: results.get(name) for name in ("command", "processor", "commit", "versions")},
        "log": {name: [row[name] for row in log] for name in log[0]},
        "baseline_sizes": list(sizes.values()),
    }


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "training.png")


def networks(results):
    """The runs of each network."""
    names = dict.fromkeys(row["network"] for row in results["runs"])
    return {name: _results.select(results["runs"], network=name) for name in names}


def layers(rows):
    """The names of the layers whose σ was logged."""
    return [name.removesuffix("/sigma") for name in rows[0]["log"] if name.endswith("/sigma")]


def format_table(results):
    lines = []
    for name, rows in networks(results).items():
        accuracies = [_tables.mean_std([row["log"][key][-1] for row in rows], 4) for key in ACCURACIES.values()]
        scales = [_tables.mean_std([row["log"][f"{layer}/sigma"][-1] for row in rows], 2) for layer in layers(rows)]
        sizes = [_tables.mean_std([row["log"][f"{layer}/height"][-1] for row in rows], 0) for layer in layers(rows)]
        minutes = _tables.mean_std([row["seconds"] / 60 for row in rows], 0)
        cells = [", ".join(each) or "–" for each in (scales, sizes)]
        lines.append([name, len(rows), f"{rows[0]['parameters']:,}", *accuracies, *cells, minutes])
    heads = ["network", "seeds", "parameters", *ACCURACIES, "σ, a layer", "sizes of maps", "minutes"]
    trained = [
        f"- `{row['command']}`; {row['processor']}; keras {row['versions']['keras']} on {row['versions']['backend']}; "
        f"commit {row['commit']}"
        for row in results["runs"]
    ]
    return "\n".join([_tables.markdown(heads, lines), "Trained by", "", *trained]) + "\n"


def plot(results, path):
    """Accuracies of all networks; σ and the sizes of feature maps of those that learn them."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    of_accuracy, of_sigma, of_size = figure.subplots(1, 3)
    for index, (name, rows) in enumerate(networks(results).items()):
        colour = _pictures.style(index)["color"]
        for dash, (label, key) in zip(DASHES, ACCURACIES.items(), strict=False):
            draw(of_accuracy, rows, key, label=f"{name}, {label}", color=colour, linestyle=dash)
        for position, layer in enumerate(layers(rows)):
            line = {"label": f"{name}, {layer}", "color": colour, "linestyle": DASHES[position % len(DASHES)]}
            draw(of_sigma, rows, f"{layer}/sigma", **line)
            draw(of_size, rows, f"{layer}/height", **line)
    for index, size in enumerate(results["runs"][0]["baseline_sizes"]):
        label = None if index else "spatial convolutions of the baseline"
        of_size.axhline(size, color="tab:gray", linewidth=0.8, zorder=0, label=label)
    of_accuracy.set(ylabel="accuracy", ylim=(None, 1))
    of_sigma.set(ylabel="σ (pixels)", ylim=(0, None))
    of_size.set(ylabel="size of the feature map (pixels)", ylim=(0, None))
    for axes in (of_accuracy, of_sigma, of_size):
        axes.set(xlabel="epochs")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def draw(axes, rows, key, **line):
    """A curve over the epochs, with a band of a standard deviation where there are several seeds."""
    epochs = min(len(row["log"][key]) for row in rows)
    values = np.array([row["log"][key][:epochs] for row in rows])
    at, mean = np.arange(1, epochs + 1), values.mean(axis=0)
    axes.plot(at, mean, **line)
    if len(rows) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(at, mean - spread, mean + spread, color=line["color"], alpha=0.15)


if __name__ == "__main__":
    main()
