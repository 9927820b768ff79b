"""Experiment 4(A) of the paper, Table V: which convolution adapts to the size of the images?

    python -m applications.compare_adaptive --backend jax
    python -m applications.compare_adaptive --quick --data-dir DIR --backend torch

Toy networks of 2 and of 4 layers are trained on MNIST and on 4×MNIST, the same images at four times their size: CNNs
with several filter sizes, a CNN with 3×3 filters that are dilated by 2 (atrous), one with deformable 3×3 filters, and
an N-Jet. All have the same number of filters and of epochs, and none shrinks its feature maps, except a second N-Jet
with safe subsampling after each layer, as in the paper.

Data, sizes, depths, methods and the dilation rate are the paper's, and so are σ = 1 at the start, k = 2 and r = 4 of
safe subsampling. The paper does not say how many filters there are, how the networks classify or how they are trained:
here by global max pooling and a linear classifier, and by Adam with a learning rate that falls to zero. Of several
--learning-rates each network takes the one with which, with the first seed, it is best on a tenth of the training set
that is held out. An N-Jet of order 3 has about as many parameters as 3×3 filters. What differs: the paper has a ReLU
after each convolution, here batch normalisation stands between the two, because without it not every network began to
learn. --size makes the images of both sets smaller.

Writes into --out: table.md (accuracy on the test set, mean ± standard deviation over seeds), results.json (that of each
run, its accuracy on the training set, learning rate, parameters and learned σ) and accuracy.png. --quick shows within
seconds that it runs, and nothing else.
"""

import functools
import statistics
import types

import numpy as np
from matplotlib.figure import Figure

from applications import _results, _tables, _training
from applications._arguments import ArgumentParser
from applications.data_sets import images

FACTORS = {"MNIST": 1, "4×MNIST": 4}
DEPTHS = (2, 4)
QUICK = "--images 64 --test-images 32 --epochs 1 --seeds 1 --filters 4 --filter-sizes 3 5 --size 7"


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("compare_adaptive", __doc__, seeds=3, quick=QUICK)
    parser.add_argument("--images", type=int, help="number of training images, from the first on; default: all")
    parser.add_argument("--test-images", type=int, help="number of test images, from the first on; default: all")
    parser.add_argument("--size", type=int, default=28, help="height and width of MNIST in pixels; default: 28")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.03], help="to choose from; default: 0.03")
    parser.add_argument("--filters", type=int, default=16, help="of each layer; default: 16")
    parser.add_argument("--filter-sizes", type=int, nargs="+", default=[3, 5, 7, 11], help="of the CNNs")
    parser.add_argument("--order", type=int, default=3, help="of the N-Jet; default: 3")
    return parser.read(given)


def measure(arguments):
    """Trains all networks."""
    sets, layers = load(arguments), convolutions(arguments)
    labels = [
        {"layers": depth, "data": name, "method": method} for depth in DEPTHS for name in FACTORS for method in layers
    ]
    networks = [(each, network(each, *sets[each["data"]], layers[each["method"]], arguments)) for each in labels]
    return {"runs": _results.collect(arguments, networks)}


def load(arguments):
    """The training and the test set at each size."""
    limits = (arguments.images, arguments.test_images)
    sets = images.load("mnist", arguments.data_dir)
    sets = [(x[:limit], y[:limit]) for (x, y), limit in zip(sets, limits, strict=True)]
    # From the 1× images, so that the 4× images have no more detail.
    small = [(images.resize(x, arguments.size), y) for x, y in sets]
    return {
        name: [(images.resize(x, factor * arguments.size), y) for x, y in small] for name, factor in FACTORS.items()
    }


def convolutions(arguments):
    """For each method, a function that makes a layer of it."""
    import keras

    import keras_njet

    cnn = functools.partial(keras.layers.Conv2D, arguments.filters, padding="same", use_bias=False)
    deformable = functools.partial(keras_njet.layers.DeformableConv2D, arguments.filters, use_bias=False)
    njet = functools.partial(keras_njet.NJetConv2D, arguments.filters, order=arguments.order, use_bias=False)
    return {
        **{f"CNN, {size}×{size}": functools.partial(cnn, size) for size in arguments.filter_sizes},
        "atrous CNN": functools.partial(cnn, 3, dilation_rate=2),
        "deformable CNN": deformable,
        "N-Jet": njet,
        "N-Jet, subsampled": functools.partial(njet, subsample_rate=4.0),
    }


def network(labels, train_set, test_set, make_convolution, arguments):
    """A function of the seed that trains the network with these labels, and returns what is known of it."""

    def train(seed):
        earlier = _results.select(_results.so_far(arguments), **labels)
        rate, seconds = (earlier[0]["learning_rate"], 0.0) if earlier else best_rate()
        found = train_with(rate, train_set, test_set, seed)
        return {"learning_rate": rate, **found, "seconds": found["seconds"] + seconds}

    def best_rate():
        """The learning rate that is best on held-out images, and the seconds that the search has taken."""
        if len(arguments.learning_rates) == 1:
            return arguments.learning_rates[0], 0.0
        held_out = len(train_set[0]) // 10
        rest, judges = [part[held_out:] for part in train_set], [part[:held_out] for part in train_set]
        found = {rate: train_with(rate, rest, judges, seed=0) for rate in arguments.learning_rates}
        best = max(found, key=lambda rate: found[rate]["test_accuracy"])
        return best, sum(row["seconds"] for row in found.values())

    def train_with(rate, train_set, test_set, seed):
        def build():
            return build_model(train_set[0].shape[1:], make_convolution, labels["layers"])

        chosen = types.SimpleNamespace(**vars(arguments), learning_rate=rate)
        return _training.train_classifier(build, train_set, test_set, seed, chosen)

    return train


def build_model(shape, make_convolution, depth):
    """The network, with convolutions of one method."""
    import keras

    layers = [keras.Input(shape), *_training.stack(make_convolution, depth)]
    return keras.Sequential([*layers, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(10)])


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "accuracy.png")


def format_table(results):
    rows, select = results["runs"], _results.select
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [method]
        for depth in DEPTHS:
            of_depth = select(rows, method=method, layers=depth)
            cells.append(f"{of_depth[0]['parameters']:,}")
            for name in FACTORS:
                cells.append(_tables.mean_std([row["test_accuracy"] for row in select(of_depth, data=name)]))
        lines.append(cells)
    heads = [f"{depth} layers, {name}" for depth in DEPTHS for name in ("parameters", *FACTORS)]
    notes = ["Accuracy on the test set. Learned σ of the N-Jet, layer by layer, mean over seeds:", ""]
    for method in dict.fromkeys(row["method"] for row in rows if row["sigma"]):
        for depth in DEPTHS:
            for name in FACTORS:
                njets = select(rows, method=method, layers=depth, data=name)
                means = [statistics.mean(row["sigma"][layer][-1] for row in njets) for layer in njets[0]["sigma"]]
                notes.append(f"- {method}, {depth} layers, {name}: {', '.join(f'{mean:.2f}' for mean in means)}")
    rates = sorted({(row["learning_rate"], row["method"]) for row in rows})
    of_rate = {rate: [method for other, method in rates if other == rate] for rate, _ in rates}
    notes += ["", "Learning rates, with the methods that had them in at least one network:", ""]
    notes += [f"- {rate:g}: {', '.join(methods)}" for rate, methods in of_rate.items()]
    least = min(row["train_accuracy"] for row in rows)
    notes += ["", f"Accuracy on the training set: at least {least:.3f}."]
    return "\n".join([_tables.markdown(["method", *heads], lines), *notes, "", _tables.footnote(results)])


def plot(results, path):
    rows, chosen = results["runs"], results["configuration"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, len(DEPTHS), sharex=True, sharey=True)
    for axes, depth in zip(panels, DEPTHS, strict=True):
        for index, (name, factor) in enumerate(FACTORS.items()):
            of_set = _results.select(rows, layers=depth, data=name)
            accuracies = [[row["test_accuracy"] for row in _results.select(of_set, method=each)] for each in methods]
            axes.errorbar(
                [statistics.mean(values) for values in accuracies],
                np.arange(len(methods)) + 0.2 * (index - 0.5),
                xerr=[_tables.deviation(values) for values in accuracies],
                fmt="os"[index],
                capsize=3,
                label=f"{name}, {factor * chosen['size']}×{factor * chosen['size']} pixels",
            )
        axes.set(xlabel="test accuracy", title=f"{depth} layers, {chosen['seeds']} seed(s)")
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
