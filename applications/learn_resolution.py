"""Experiment 1.2(A) of the paper: does the learned scale follow the size of the images?

    python -m applications.learn_resolution
    python -m applications.learn_resolution --dataset mnist --data-dir DIR --seeds 3 --backend jax

The same small network is trained on the same images at 1×, 1.5× and 2× their size. Nothing in it depends on the size:
one N-Jet layer, batch normalisation, ReLU, global max pooling and a linear classifier. If it learns the resolution from
the data, (2 / 1.5)·σ at 1.5× is σ at 2×: the paper has 2.81 ± 0.04 and 2.82 ± 0.04 on MNIST.

Writes into --out: table.md (σ and test accuracy, mean ± standard deviation over seeds), results.json (those of each
run, σ after each epoch) and sigma.png (σ over training).
"""

import functools

from matplotlib.figure import Figure

from applications import _results, _tables, _training
from applications._arguments import ArgumentParser
from applications.data_sets import images

FACTORS = (1.0, 1.5, 2.0)
EPOCHS = {"digits": 40, "mnist": 8, "fashion_mnist": 8}
BATCH_SIZES = {"digits": 32, "mnist": 128, "fashion_mnist": 128}


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("learn_resolution", __doc__, "{recipe}/{dataset}", seeds=3)
    parser.add_argument("--dataset", choices=list(EPOCHS), default="digits", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: 40 for digits, else 8")
    parser.add_argument("--batch-size", type=int, help="default: 32 for digits, else 128")
    parser.add_argument("--images", type=int, help="train on the first so many images; default: all")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    arguments = parser.read(given)
    arguments.epochs = arguments.epochs or EPOCHS[arguments.dataset]
    arguments.batch_size = arguments.batch_size or BATCH_SIZES[arguments.dataset]
    return arguments


def measure(arguments):
    """Trains the network on images of every size."""
    train_set, test_set = images.load(arguments.dataset, arguments.data_dir)
    train_set = [part[: arguments.images] for part in train_set]
    networks = []
    for factor in FACTORS:
        size = round(factor * train_set[0].shape[1])
        sets = [(images.resize(x, size), y) for x, y in (train_set, test_set)]
        networks.append(({"factor": factor, "size": size}, functools.partial(train, *sets, size, arguments)))
    return {"runs": _results.collect(arguments, networks)}


def train(train_set, test_set, size, arguments, seed):
    """Trains one network; returns what is known of it."""
    build = functools.partial(build_model, size, arguments.filters, arguments.order)
    return _training.train_classifier(build, train_set, test_set, seed, arguments)


def build_model(size, filters, order):
    """The network: whatever the size of its images, it has the same weights and the same start."""
    import keras

    import keras_njet

    return keras.Sequential(
        [
            keras.Input((size, size, 1)),
            keras_njet.NJetConv2D(filters, order=order, sigma=1.0, use_bias=False, name="njet"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(10),
        ]
    )


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "sigma.png")


def format_table(results):
    sigma, lines = {}, []
    for factor in FACTORS:
        rows = _results.select(results["runs"], factor=factor)
        sigma[factor] = [row["sigma"]["njet"][-1] for row in rows]
        accuracy = _tables.mean_std([row["test_accuracy"] for row in rows])
        size = rows[0]["size"]
        lines.append([f"{factor:g}×", f"{size}×{size}", _tables.mean_std(sigma[factor]), accuracy])
    foretold = _tables.mean_std([2 / 1.5 * one for one in sigma[1.5]])
    return "\n".join(
        [
            _tables.markdown(["images", "pixels", "learned σ", "test accuracy"], lines),
            f"(2 / 1.5)·σ at 1.5× = {foretold} beside σ at 2× = {_tables.mean_std(sigma[2.0])}",
            "(the paper, on MNIST: 2.81 ± 0.04 and 2.82 ± 0.04).",
            "",
            _tables.footnote(results),
        ]
    )


def plot(results, path):
    chosen = results["configuration"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for index, factor in enumerate(FACTORS):
        for row in _results.select(results["runs"], factor=factor):
            label = f"{factor:g}× ({row['size']} px)" if row["seed"] == 0 else None
            axes.plot([1.0, *row["sigma"]["njet"]], color=f"C{index}", alpha=0.7, label=label)
    axes.set(xlabel="epoch", ylabel="learned σ (pixels)", title=f"{chosen['dataset']}, {chosen['seeds']} seed(s)")
    axes.legend(title="image size", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
