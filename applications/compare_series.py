"""Does the scale of a 1-D convolution adapt to time series? An N-Jet beside convolutions of several sizes.

    pip install aeon                                  # which ships with the data
    python -m applications.compare_series
    python -m applications.compare_series --dataset ACSF1 --seeds 3 --backend jax
    python -m applications.compare_series --quick --data-dir DIR --backend torch

The same small network is trained once with N-Jet layers that learn their σ, and once with `Conv1D` of each of several
sizes: convolutions, each with batch normalisation and ReLU, global average pooling and a linear classifier. Everything
else is equal: the number of filters and layers, Adam with a learning rate that falls to zero, the epochs. No figure on
the test set decides anything; it is computed once, after the last epoch. The series (by default OSULeaf: outlines of
leaves of six trees, 200 to train, 242 to test, 427 values each) have mean 0 and standard deviation 1 each.

Writes into --out: table.md (test accuracy, mean ± standard deviation over seeds, and the learned σ), results.json (that
of each run, σ after each epoch, what it ran on) and series.png. --quick shows within seconds that it runs, and nothing
else.
"""

import functools
import statistics

from matplotlib.figure import Figure

from applications import _results, _tables, _training
from applications._arguments import ArgumentParser
from applications.data_sets import series

QUICK = "--epochs 2 --seeds 1 --filters 4 --filter-sizes 3 9"


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("compare_series", __doc__, "{recipe}/{dataset}", seeds=5, quick=QUICK)
    parser.add_argument("--dataset", default="OSULeaf", help="name of a set of .ts files; default: %(default)s")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--layers", type=int, default=3, help="number of convolutions; default: 3")
    parser.add_argument("--filters", type=int, default=32, help="of each layer; default: 32")
    parser.add_argument("--filter-sizes", type=int, nargs="+", default=[3, 9, 27], help="of the plain convolutions")
    parser.add_argument("--order", type=int, default=3, help="of the N-Jet; default: 3")
    return parser.read(given)


def measure(arguments):
    """Trains all networks."""
    sets = series.load(arguments.dataset, arguments.data_dir)
    networks = [
        ({"method": method}, functools.partial(train, *sets, make_convolution, arguments=arguments))
        for method, make_convolution in convolutions(arguments).items()
    ]
    return {"series": describe(*sets), "runs": _results.collect(arguments, networks)}


def convolutions(arguments):
    """For each method, a function that makes a layer of it."""
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

    layers = [keras.Input((length, 1)), *_training.stack(make_convolution, depth)]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(classes)])


def train(train_set, test_set, make_convolution, seed, arguments):
    """Trains one network; returns what is known of it."""
    x, y = train_set
    return _training.train_classifier(
        lambda: build_model(x.shape[1], int(y.max()) + 1, make_convolution, arguments.layers),
        train_set,
        test_set,
        seed,
        arguments,
    )


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "series.png")


def format_table(results):
    rows, found = results["runs"], results["series"]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = _results.select(rows, method=method)
        accuracy = _tables.mean_std([row["test_accuracy"] for row in of_method])
        seconds = statistics.mean(row["seconds"] for row in of_method)
        lines.append([method, f"{of_method[0]['parameters']:,}", accuracy, f"{seconds:.0f}"])
    njets = _results.select(rows, method="N-Jet")
    learned = [f"{layer} {_tables.mean_std([row['sigma'][layer][-1] for row in njets])}" for layer in njets[0]["sigma"]]
    return "\n".join(
        [
            _tables.markdown(["method", "parameters", "test accuracy", "seconds of training"], lines),
            f"Learned σ in time steps, 1 at the start: {', '.join(learned)}.",
            "",
            f"{results['configuration']['dataset']}: {found['train']} series to train, {found['test']} to test, "
            f"{found['length']} values each, {found['classes']} classes.",
            "",
            _tables.footnote(results),
        ]
    )


def plot(results, path):
    """σ of each layer over training, and the accuracy of each method."""
    rows, chosen = results["runs"], results["configuration"]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    scales, accuracies = figure.subplots(1, 2)
    for row in _results.select(rows, method="N-Jet"):
        for index, (layer, sigma) in enumerate(row["sigma"].items()):
            label = layer if row["seed"] == 0 else None
            scales.plot([1.0, *sigma], color=f"C{index}", alpha=0.7, label=label)
    scales.set(xlabel="epoch", ylabel="learned σ (time steps)", title="scales of the N-Jet layers, a line a seed")
    scales.legend()
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for position, method in enumerate(methods):
        values = [row["test_accuracy"] for row in _results.select(rows, method=method)]
        accuracies.plot(values, [position] * len(values), "o", color="tab:gray", alpha=0.5)
        mean, deviation = statistics.mean(values), _tables.deviation(values)
        accuracies.errorbar(mean, position, xerr=deviation, fmt="s", color="tab:blue", capsize=4)
    accuracies.set_yticks(range(len(methods)), methods)
    accuracies.invert_yaxis()
    accuracies.set(xlabel="test accuracy", title=f"{chosen['dataset']}, {chosen['seeds']} seed(s)")
    for axes in (scales, accuracies):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
