"""The paper's studies of classification (section IV-A): each trains a set of networks and compares them.

    python examples/study.py filter_sizes               # experiment 1.1A, figure 6
    python examples/study.py fixed_sigma --seeds 3      # Table I
    python examples/study.py subsample_rate             # Table II
    python examples/study.py datasets                   # Table III
    python examples/study.py architectures              # Table IV
    python examples/study.py fixed_sigma --quick --data-dir DIR --backend torch

Every network is trained by train_classifier.py, whose options can be given after the study's own. --quick trains
narrow networks on few images of Fashion-MNIST for minutes: it shows that everything runs, not what the paper found.
Writes into --out: runs.csv (a row a network and seed), table.md (mean ± standard deviation over seeds) and study.png.
"""

import argparse
import os
import pathlib
import platform
import shlex
import statistics
import sys

import train_classifier

QUICK = shlex.split("--dataset fashion_mnist --width 0.125 --images 512 --test-images 256 --batch-size 64 --epochs 2")
SIZES = ((3, 3, 3), (5, 5, 3), (5, 5, 5), (7, 7, 7), (9, 9, 9))
ARCHITECTURES = ("NIN", "AllCNN", "ResNet32", "ResNet110", "EfficientNetB0")


def filter_sizes(quick):
    """Do filter sizes matter? NIN with other ones, with and without pooling."""
    for sizes in SIZES[:3] if quick else SIZES:
        name = "-".join(map(str, sizes))
        options = ["--model", "NIN", "--filter-sizes", *map(str, sizes)]
        yield {"filter sizes": name, "subsampling": "pooling"}, options
        yield {"filter sizes": name, "subsampling": "none"}, [*options, "--no-subsampling"]


def fixed_sigma(quick):
    """Does σ matter? N-Jet-NIN with fixed scales, with the baseline's pooling and with safe subsampling."""
    for sigma in (0.5, 1.0, 2.0):
        options = ["--model", "NJetNIN", "--fixed-sigma", "--sigma", str(sigma)]
        yield {"σ": sigma, "subsampling": "pooling"}, [*options, "--no-subsampling"]
        yield {"σ": sigma, "subsampling": "safe"}, options


def subsample_rate(quick):
    """How far may feature maps shrink? N-Jet-NIN with learned scales at different r."""
    for rate in (2.0, 4.0, 6.0):
        yield {"r": rate}, ["--model", "NJetNIN", "--subsample-rate", str(rate)]


def data_sets(quick):
    """Does it generalise to other images? NIN and N-Jet-NIN on several data sets."""
    for dataset in ("mnist", "fashion_mnist") if quick else ("cifar10", "cifar100", "svhn"):
        for model in ("NIN", "NJetNIN"):
            yield {"data set": dataset, "network": model}, ["--model", model, "--dataset", dataset]


def architectures(quick):
    """Does it generalise to other networks? Each baseline beside its twin."""
    for model in ARCHITECTURES[:3] if quick else ARCHITECTURES:
        for twin in (model, f"NJet{model}"):
            yield {"network": twin}, ["--model", twin]


STUDIES = {
    "filter_sizes": filter_sizes,
    "fixed_sigma": fixed_sigma,
    "subsample_rate": subsample_rate,
    "datasets": data_sets,
    "architectures": architectures,
}


def main():
    arguments, options = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    folder = pathlib.Path(arguments.out or f"results/{arguments.study}{'-quick' if arguments.quick else ''}")
    folder.mkdir(parents=True, exist_ok=True)
    runs = list(STUDIES[arguments.study](arguments.quick))
    rows = []
    for number, (labels, of_run) in enumerate(runs, start=1):
        for seed in range(arguments.seeds):
            print(f"\n[{number} of {len(runs)}, seed {seed}] {labels}", flush=True)
            given = [*(QUICK if arguments.quick else []), *options, *of_run, "--backend", arguments.backend]
            rows.append({**labels, "seed": seed, **train(given, seed, folder / f"run-{number}-seed-{seed}")})
            runs.write_csv(rows, folder / "runs.csv")
    table = format_table(rows, list(runs[0][0]), arguments)
    (folder / "table.md").write_text(table)
    plot(rows, list(runs[0][0]), arguments, folder / "study.png")
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
    own = {option for _, of_run in STUDIES[arguments.study](arguments.quick) for option in of_run} | {"--seed"}
    for option in options:
        if option.startswith("--") and option in own:
            parser.error(f"the study {arguments.study} sets {option} itself. Received: {option}")
    if arguments.study == "datasets" and not arguments.quick and "--data-dir" not in options:
        parser.error("SVHN has to be read from its files: expected --data-dir. Received: none")
    return arguments, options


def train(options, seed, folder):
    """Trains one network, by a command line of train_classifier.py; returns what the study compares."""
    import keras

    keras.utils.clear_session()
    given = [*options, "--seed", str(seed), "--out", str(folder)]
    metrics = train_classifier.train(train_classifier.parse_arguments(given))["metrics"]
    return {
        "test accuracy": metrics["test_accuracy"],
        "seconds": metrics["seconds"],
        "parameters": metrics["trained_parameters"],
    }


def grouped(rows, names):
    """The rows of each network, over its seeds."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    return groups


def format_table(rows, names, arguments):
    import keras

    lines = [f"| {' | '.join(names)} | parameters | test accuracy | minutes |", "|---" * (len(names) + 3) + "|"]
    for labels, of_network in grouped(rows, names).items():
        accuracies = spread([row["test accuracy"] for row in of_network])
        minutes = statistics.mean(row["seconds"] for row in of_network) / 60
        lines.append(f"| {' | '.join(labels)} | {of_network[0]['parameters']:,} | {accuracies} | {minutes:.1f} |")
    command = train_classifier.command("examples/study.py", sys.argv[1:])
    lines += [
        "",
        f"Mean ± standard deviation over {arguments.seeds} seed(s). Command: `{command}`; Python "
        f"{platform.python_version()}, keras {keras.__version__} on {keras.backend.backend()}.",
    ]
    if arguments.quick:
        lines.append("Trained for minutes on few images: these accuracies say nothing about the networks.")
    return "\n".join(lines) + "\n"


def spread(values):
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def plot(rows, names, arguments, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = grouped(rows, names)
    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.4 * len(groups)), layout="constrained")
    for position, of_network in enumerate(groups.values()):
        accuracies = [row["test accuracy"] for row in of_network]
        deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else None
        axes.errorbar(statistics.mean(accuracies), position, xerr=deviation, fmt="o", color="tab:blue", capsize=4)
    axes.set_yticks(range(len(groups)), [", ".join(labels) for labels in groups])
    axes.invert_yaxis()
    axes.set(xlabel="test accuracy", ylabel=", ".join(names))
    axes.set_title(f"{arguments.study}, {arguments.seeds} seed(s){', quick' if arguments.quick else ''}")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
