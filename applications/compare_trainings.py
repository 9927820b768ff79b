"""Draws trainings beside each other: accuracy, scales and sizes of feature maps after each epoch (like figure 7).

    python -m applications.compare_trainings RUN [RUN ...]

A RUN is a folder that train_classifier or train_segmentation wrote, all by the same one. Runs of the same network are
taken together, with their mean and standard deviation: they must have different seeds, and may have different backends,
but no other different options. Writes into --out: training.png, table.md and results.json (what was run, and what each
epoch had).
"""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure

from applications import _pictures, _results, _tables, _training, train_classifier, train_segmentation
from applications._arguments import ArgumentParser

DASHES = ("-", "--", ":", "-.")  # of the layers of one network
MAY_DIFFER = ("seed", "backend")  # options, among the runs of one network
METRICS = {"accuracy": "accuracy", "miou": "mIoU"}  # in the log: how it is called


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
    results = {"runs": [read(run) for run in arguments.given]}
    for name, rows in networks(results).items():
        require_the_same_training(name, rows)
    return results


def require_the_same_training(name, rows):
    """Ends with an error if runs of a network were trained in different ways, or twice from one seed."""
    seeds = [row["seed"] for row in rows]
    options = {option: [row["configuration"].get(option) for row in rows] for option in rows[0]["configuration"]}
    different = {
        option: found
        for option, found in options.items()
        if option not in MAY_DIFFER and found != found[:1] * len(rows)
    }
    different |= {"seed": seeds} if len(set(seeds)) < len(seeds) else {}
    if different:
        shown = ", ".join(f"{option}={found}" for option, found in different.items())
        raise ValueError(
            "Expected runs of a network that have different seeds, and differ in nothing else but their backends. "
            f"Received: network={name!r}, {shown}"
        )


def read(run):
    """What is known of one training: how it came about, and each number after each epoch."""
    results = json.loads((run / "results.json").read_text())
    recorded = _results.recorded(results)
    log = _training.read_log(run / "log.csv")
    classifies = recorded.model in train_classifier.MODELS
    fixed = train_classifier.baseline_sizes(recorded, results["input_shape"]) if classifies else {}
    return {
        "network": recorded.model if classifies else train_segmentation.label(recorded),
        "seed": recorded.seed,
        "configuration": results["configuration"],
        "parameters": results["metrics"]["trained_parameters"],
        "seconds": results["metrics"]["seconds"],
        "receptive_field": results["metrics"].get("receptive_field"),
        **{name: results.get(name) for name in ("command", "processor", "commit", "versions")},
        "log": {name: [row[name] for row in log] for name in log[0]},
        "baseline_sizes": list(fixed.values()),
    }


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "training.png")


def networks(results):
    """The runs of each network."""
    names = dict.fromkeys(row["network"] for row in results["runs"])
    return {name: _results.select(results["runs"], network=name) for name in names}


def curves(results):
    """The curves of the metric: how each is called, and its name in the log."""
    (found,) = (name for name in METRICS if name in results["runs"][0]["log"])
    return {f"test {METRICS[found]}": f"val_{found}", f"training {METRICS[found]}": found}


def scales(rows):
    """What has a scale, a layer or a part of a pyramid, and the name of that scale in the log."""
    return {name.removesuffix("/sigma"): name for name in rows[0]["log"] if "/sigma" in name}


def sizes(rows):
    """The layers with learned sizes of feature maps, and their names in the log; none if the layers are many."""
    found = {layer: f"{layer}/height" for layer in scales(rows)}
    return {layer: name for layer, name in found.items() if name in rows[0]["log"] and not are_many(found)}


def format_table(results):
    lines, has_field = [], any(row["receptive_field"] for row in results["runs"])
    for name, rows in networks(results).items():
        metrics = [_tables.mean_std([row["log"][key][-1] for row in rows], 4) for key in curves(results).values()]
        minutes = _tables.mean_std([row["seconds"] / 60 for row in rows], 0)
        field = [_tables.mean_std([row["receptive_field"] for row in rows], 0)] if has_field else []
        lines.append(
            [name, len(rows), f"{rows[0]['parameters']:,}", *metrics, *scales_and_sizes(rows), *field, minutes]
        )
    field = ["receptive field"] if has_field else []
    heads = ["network", "seeds", "parameters", *curves(results), "σ, a layer", "sizes of maps", *field, "minutes"]
    trained = [f"- `{row['command']}`; {_tables.origin(row)}" for row in results["runs"]]
    return "\n".join([_tables.markdown(heads, lines), "Trained by", "", *trained]) + "\n"


def scales_and_sizes(rows):
    """Cells of a table: σ and size of the map of each layer; if there are many, the least and the largest σ alone."""
    of_scales, of_sizes = (
        [[row["log"][name][-1] for row in rows] for name in names.values()] for names in (scales(rows), sizes(rows))
    )
    if not are_many(of_scales):
        return in_a_cell(of_scales, 2), in_a_cell(of_sizes, 0)
    means = [float(np.mean(of_layer)) for of_layer in of_scales]
    return f"{min(means):.2f} to {max(means):.2f}", "–"


def in_a_cell(of_layers, digits):
    return ", ".join(_tables.mean_std(of_layer, digits) for of_layer in of_layers) or "–"


def are_many(names):
    """Whether layers are too many to tell them apart in a picture."""
    return len(names) > len(DASHES)


def plot(results, path):
    """The metric of all networks; σ of those that learn it, and the sizes of feature maps unless layers are many."""
    panels = 3 if any(sizes(rows) for rows in networks(results).values()) else 2
    figure = Figure(figsize=(4.3 * panels, 4), layout="constrained")
    of_metric, of_sigma, *others = figure.subplots(1, panels)
    for index, (name, rows) in enumerate(networks(results).items()):
        colour = _pictures.style(index)["color"]
        for dash, (metric, key) in zip(DASHES, curves(results).items(), strict=False):
            draw(of_metric, rows, key, label=f"{name}, {metric}", color=colour, linestyle=dash)
        for axes, found in zip((of_sigma, *others), (scales(rows), sizes(rows)), strict=False):
            for position, (layer, key) in enumerate(found.items()):
                line = {"label": f"{name}, {layer}", "color": colour, "linestyle": DASHES[position % len(DASHES)]}
                if are_many(found):
                    line = {"label": None if position else f"{name}, each layer", "color": colour, "linewidth": 0.8}
                draw(axes, rows, key, **line)
    for axes in others:
        fixed = {tuple(row["baseline_sizes"]) for row in results["runs"]}
        for index, size in enumerate(fixed.pop() if len(fixed) == 1 else ()):
            text = None if index else "spatial convolutions of the baseline"
            axes.axhline(size, color="tab:gray", linewidth=0.8, zorder=0, label=text)
        axes.set(ylabel="size of the feature map (pixels)", ylim=(0, None))  # of all lines, so at the end
    of_metric.set(ylabel=next(iter(curves(results))).removeprefix("test "), ylim=(None, 1))
    of_sigma.set(ylabel="σ (pixels)", ylim=(0, None))
    counts = [len(axes.get_legend_handles_labels()[0]) for axes in figure.axes]
    height = 4 + 0.25 * max(counts)
    figure.set_figheight(height)
    for axes, count in zip(figure.axes, counts, strict=True):
        axes.set(xlabel="epochs")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if count:  # below the curves, not on them
            axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.8 / height))
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
