"""Does the scale of a 1-D convolution adapt to time series? An N-Jet beside convolutions of several sizes.

    pip install "keras-njet[examples,series]"         # series: aeon, which ships with the data
    python examples/classify_series.py
    python examples/classify_series.py --dataset ACSF1 --seeds 3 --backend jax
    python examples/classify_series.py --quick --data-dir DIR --backend torch

The same small network is trained once with N-Jet layers that learn their σ, and once with `Conv1D` of each of several
sizes: convolutions, each with batch normalisation and ReLU, global average pooling and a linear classifier. Everything
else is equal: the number of filters and layers, Adam with a learning rate that falls to zero, the epochs. No figure on
the test set decides anything; it is computed once, after the last epoch. The series (by default OSULeaf: outlines of
leaves of six trees, 200 to train, 242 to test, 427 values each) have mean 0 and standard deviation 1 each.

Writes into --out: table.md (test accuracy, mean ± standard deviation over seeds, and the learned σ), results.json (that
of each run, σ after each epoch, what it ran on) and series.png. --quick shows within seconds that it runs, and nothing
else.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import learn_resolution
import numpy as np
import runs
import series_sets

QUICK = "--epochs 2 --seeds 1 --filters 4 --filter-sizes 3 9"


def main():
    arguments = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    train_set, test_set = series_sets.load(arguments.dataset, arguments.data_dir)
    folder = pathlib.Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    layers = convolutions(arguments)
    results = {**runs.provenance(arguments), "series": describe(train_set, test_set), "runs": []}
    for seed in range(arguments.seeds):
        for number, method in enumerate(layers, start=1):
            print(f"[seed {seed} of {arguments.seeds}, {number} of {len(layers)}] {method}", flush=True)
            row = {"method": method, "seed": seed, **train(train_set, test_set, layers[method], seed, arguments)}
            results["runs"].append(row)
            print(f"  test accuracy {row['test_accuracy']:.3f}, {row['seconds']:.0f} s", flush=True)
            (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    table = format_table(results)
    (folder / "table.md").write_text(table)
    plot(results, folder / "series.png")
    print(f"\n{table}\nwritten to {folder}: table.md, results.json, series.png")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"as if these were given first: {QUICK}")
    parser.add_argument("--dataset", default="OSULeaf", help="name of a set of .ts files; default: %(default)s")
    parser.add_argument("--data-dir", help="folder with the sets; default: that of the package aeon")
    parser.add_argument("--seeds", type=int, default=5, help="number of repetitions, seeds 0, 1, ...; default: 5")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--layers", type=int, default=3, help="number of convolutions; default: 3")
    parser.add_argument("--filters", type=int, default=32, help="of each layer; default: 32")
    parser.add_argument("--filter-sizes", type=int, nargs="+", default=[3, 9, 27], help="of the plain convolutions")
    parser.add_argument("--order", type=int, default=3, help="of the N-Jet; default: 3")
    parser.add_argument(
        "--backend", choices=["jax", "tensorflow", "torch"], default=os.environ.get("KERAS_BACKEND", "jax")
    )
    parser.add_argument("--out", help="folder for the results; default: results/classify_series/DATASET")
    given = sys.argv[1:]
    arguments = parser.parse_args([*QUICK.split(), *given] if "--quick" in given else given)
    arguments.out = arguments.out or f"results/classify_series{'-quick' if arguments.quick else ''}/{arguments.dataset}"
    arguments.command = runs.command("examples/classify_series.py", given)
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1. Received: seeds={arguments.seeds}")
    return arguments


def convolutions(arguments):
    """For each method, a function that makes a layer of it."""
    import functools

    import keras

    import keras_njet

    cnn = functools.partial(keras.layers.Conv1D, arguments.filters, padding="same", use_bias=False)
    return {
        **{f"Conv1D, {size}": functools.partial(cnn, size) for size in arguments.filter_sizes},
        "N-Jet": functools.partial(keras_njet.NJetConv1D, arguments.filters, order=arguments.order, use_bias=False),
    }


def describe(train_set, test_set):
    (x, y), (x_test, _) = train_set, test_set
    return {"train": len(x), "test": len(x_test), "length": x.shape[1], "classes": int(y.max()) + 1}


def build_model(length, classes, make_convolution, depth):
    """The network, with convolutions of one method."""
    import keras

    layers = [keras.Input((length, 1))]
    for number in range(1, depth + 1):
        normalization = keras.layers.BatchNormalization(momentum=0.9)
        layers += [make_convolution(name=f"layer{number}"), normalization, keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(classes)])


def train(train_set, test_set, make_convolution, seed, arguments):
    """Trains one network; returns what is known of it."""
    import keras

    import keras_njet

    (x, y), (x_test, y_test) = train_set, test_set
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build_model(x.shape[1], int(y.max()) + 1, make_convolution, arguments.layers)
    steps = arguments.epochs * -(-len(x) // arguments.batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(arguments.learning_rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    callbacks = [keras_njet.ResolutionCallback(), runs.progress_bar(arguments.epochs)]
    start = time.perf_counter()
    history = model.fit(x, y, arguments.batch_size, arguments.epochs, callbacks=callbacks, verbose=0).history
    seconds = time.perf_counter() - start
    _, test_accuracy = model.evaluate(x_test, y_test, 256, verbose=0)
    return {
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "train_accuracy": history["accuracy"][-1],
        "test_accuracy": test_accuracy,
        "seconds": seconds,
        "sigma": {name.split("/")[0]: values for name, values in history.items() if name.endswith("/sigma")},
    }


def select(rows, method):
    return [row for row in rows if row["method"] == method]


def format_table(results):
    rows = results["runs"]
    seeds = len({row["seed"] for row in rows})
    lines = ["| method | parameters | test accuracy | seconds of training |", "|---|---|---|---|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = select(rows, method)
        accuracy = learn_resolution.spread([row["test_accuracy"] for row in of_method])
        seconds = statistics.mean(row["seconds"] for row in of_method)
        lines.append(f"| {method} | {of_method[0]['parameters']:,} | {accuracy} | {seconds:.0f} |")
    njets, series = select(rows, "N-Jet"), results["series"]
    learned = [
        f"{layer} {learn_resolution.spread([row['sigma'][layer][-1] for row in njets])}" for layer in njets[0]["sigma"]
    ]
    versions, configuration = results["versions"], results["configuration"]
    lines += [
        "",
        f"Learned σ in time steps, 1 at the start: {', '.join(learned)}.",
        "",
        f"{configuration['dataset']}: {series['train']} series to train, {series['test']} to test, {series['length']} "
        f"values each, {series['classes']} classes. Mean ± standard deviation over {seeds} seed(s).",
        "",
        f"Command: `{results['command']}`; {sum(row['seconds'] for row in rows) / 60:.1f} minutes of training on "
        f"{results['processor']}; Python {versions['python']}, keras {versions['keras']} on {versions['backend']}; "
        f"commit {results['commit']}.",
    ]
    if configuration["quick"]:
        lines.append("Trained for seconds: these figures say nothing about the networks.")
    return "\n".join(lines) + "\n"


def plot(results, path):
    """σ of each layer over training, and the accuracy of each method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = results["runs"]
    figure, (scales, accuracies) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for row in select(rows, "N-Jet"):
        for index, (layer, sigma) in enumerate(row["sigma"].items()):
            label = layer if row["seed"] == 0 else None
            scales.plot([1.0, *sigma], color=f"C{index}", alpha=0.7, label=label)
    scales.set(xlabel="epoch", ylabel="learned σ (time steps)", title="scales of the N-Jet layers, a line a seed")
    scales.legend()
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for position, method in enumerate(methods):
        values = [row["test_accuracy"] for row in select(rows, method)]
        accuracies.plot(values, [position] * len(values), "o", color="tab:gray", alpha=0.5)
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        accuracies.errorbar(statistics.mean(values), position, xerr=deviation, fmt="s", color="tab:blue", capsize=4)
    accuracies.set_yticks(range(len(methods)), methods)
    accuracies.invert_yaxis()
    seeds = len({row["seed"] for row in rows})
    accuracies.set(xlabel="test accuracy", title=f"{results['configuration']['dataset']}, {seeds} seed(s)")
    for axes in (scales, accuracies):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
