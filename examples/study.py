"""The paper's studies (section IV): each trains a set of networks and compares them.

    python examples/study.py filter_sizes               # experiment 1.1A, figure 6
    python examples/study.py fixed_sigma --seeds 3      # Table I
    python examples/study.py subsample_rate             # Table II
    python examples/study.py datasets                   # Table III
    python examples/study.py architectures              # Table IV
    python examples/study.py object_scale               # experiment 1.1B, figure 10
    python examples/study.py receptive_field            # experiment 1.2B, figure 11
    python examples/study.py pyramids --dataset voc     # experiment 2B, Table VI
    python examples/study.py fixed_sigma --quick --data-dir DIR --backend torch

Every network is trained by train_classifier.py or, from object_scale on, by train_segmentation.py, whose options can be
given after the study's own. --quick trains narrow networks on few images for minutes: it shows that everything runs,
not what the paper found. Writes into --out: runs.csv (a row for each network and seed), table.md (mean ± standard
deviation over seeds) and study.png. A study that was interrupted goes on where it stopped.
"""

import argparse
import os
import pathlib
import shlex
import statistics
import sys

import runs
import train_classifier
import train_segmentation
from studies import STUDIES


def main():
    arguments, options = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    study = STUDIES[arguments.study]
    folder = pathlib.Path(arguments.out or f"results/{arguments.study}{'-quick' if arguments.quick else ''}")
    folder.mkdir(parents=True, exist_ok=True)
    networks = list(study.networks(arguments.quick))
    rows = []
    for number, (labels, of_network) in enumerate(networks, start=1):
        for seed in range(arguments.seeds):
            print(f"\n[{number} of {len(networks)}, seed {seed}] {labels}", flush=True)
            quick = shlex.split(study.quick) if arguments.quick else []
            given = [*quick, *options, *of_network, "--backend", arguments.backend]
            rows.append({**labels, "seed": seed, **train(study, given, seed, folder / f"run-{number}-seed-{seed}")})
            runs.write_csv(rows, folder / "runs.csv")
    names = list(networks[0][0])
    table = format_table(rows, names, arguments)
    (folder / "table.md").write_text(table)
    plot(rows, names, arguments, folder / "study.png")
    print(f"\n{table}\nwritten to {folder}: table.md, runs.csv, study.png")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--quick", action="store_true", help="minutes on two cores, to see that it runs")
    parser.add_argument("--seeds", type=int, help="number of repetitions; default: 3, with --quick 1")
    parser.add_argument(
        "--backend", choices=["jax", "tensorflow", "torch"], default=os.environ.get("KERAS_BACKEND", "jax")
    )
    parser.add_argument("--out", help="folder for the results; default: results/STUDY")
    arguments, options = parser.parse_known_args()
    if arguments.seeds is None:
        arguments.seeds = 1 if arguments.quick else 3
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1. Received: seeds={arguments.seeds}")
    study = STUDIES[arguments.study]
    own = {option for _, of_network in study.networks(arguments.quick) for option in of_network} | {"--seed"}
    for option in options:
        if option.startswith("--") and option in own:
            parser.error(f"the study {arguments.study} sets {option} itself. Received: {option}")
    if study.needs_files and "--data-dir" not in options:
        parser.error("this study reads original files: expected --data-dir. Received: none")
    return arguments, options


def train(study, options, seed, folder):
    """Trains one network, by a command line of a training script; returns what the study compares."""
    import keras

    keras.utils.clear_session()
    script = train_segmentation if study.segments else train_classifier
    metrics = script.train(script.parse_arguments([*options, "--seed", str(seed), "--out", str(folder)]))["metrics"]
    found = {measure: metrics[name] for measure, name in measures(study).items() if name in metrics}
    return {**found, "seconds": metrics["seconds"], "parameters": metrics["trained_parameters"]}


def measures(study):
    """What is compared: the column of the table and its name in results.json."""
    if not study.segments:
        return {"test accuracy": "test_accuracy"}
    return {"test mIoU": "test_miou", "receptive field": "receptive_field", "mean σ": "mean_sigma"}


def grouped(rows, names):
    """The rows of each network, over its seeds."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    return groups


def format_table(rows, names, arguments):
    columns = [name for name in measures(STUDIES[arguments.study]) if any(name in row for row in rows)]
    heads = [*names, "parameters", *columns, "minutes"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for labels, of_network in grouped(rows, names).items():
        spreads = [spread([row[name] for row in of_network if name in row]) for name in columns]
        minutes = statistics.mean(row["seconds"] for row in of_network) / 60
        cells = [*labels, f"{of_network[0]['parameters']:,}", *spreads, f"{minutes:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    versions = runs.versions()
    lines += [
        "",
        f"Mean ± standard deviation over {arguments.seeds} seed(s). Command: "
        f"`{runs.command('examples/study.py', sys.argv[1:])}`; Python {versions['python']}, keras "
        f"{versions['keras']} on {versions['backend']}.",
    ]
    if arguments.quick:
        lines.append("Trained for minutes on few images: these figures say nothing about the networks.")
    return "\n".join(lines) + "\n"


def spread(values):
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def plot(rows, names, arguments, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    study = STUDIES[arguments.study]
    measure = next(iter(measures(study)))
    groups = grouped(rows, names)
    tall = 4 if study.over else 1.2 + 0.4 * len(groups)
    figure, axes = plt.subplots(figsize=(6.5, tall), layout="constrained")
    draw = draw_over if study.over else draw_beside
    draw(axes, groups, names, measure, study.over)
    axes.set_title(f"{arguments.study}, {arguments.seeds} seed(s)" + (", quick" if arguments.quick else ""))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_beside(axes, groups, names, measure, _):
    """A line for each network."""
    for position, of_network in enumerate(groups.values()):
        values = [row[measure] for row in of_network]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        axes.errorbar(statistics.mean(values), position, xerr=deviation, fmt="o", color="tab:blue", capsize=4)
    axes.set_yticks(range(len(groups)), [", ".join(labels) for labels in groups])
    axes.invert_yaxis()
    axes.set(xlabel=measure, ylabel=", ".join(names))


def draw_over(axes, groups, names, measure, over):
    """The measure over another column, a curve for each of what the first label names."""
    curves = {}
    for labels, of_network in groups.items():
        values = [row[measure] for row in of_network]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        at = [row[over] for row in of_network]
        place = at[0] if isinstance(at[0], str) else statistics.mean(at)
        curves.setdefault(labels[0], []).append((place, statistics.mean(values), deviation))
    for name, points in curves.items():
        places, means, deviations = zip(*points, strict=True)
        axes.errorbar(places, means, deviations, fmt="o-", capsize=4, label=name)
    axes.set(xlabel=over, ylabel=measure)
    axes.legend()


if __name__ == "__main__":
    main()
