"""Experiment 1.2(A) of the paper: does the learned scale follow the size of the images?

    python -m applications.learn_resolution
    python -m applications.learn_resolution --dataset mnist --data-dir DIR --seeds 3 --backend jax
    python -m applications.learn_resolution --dataset mnist --data-dir DIR --until-settled --factors 0.75 1 1.5 2

The same small network is trained on the same images at 1×, 1.5× and 2× their size. Nothing in it depends on the size:
one N-Jet layer, batch normalisation, ReLU, global max pooling and a linear classifier. If it learns the resolution from
the data, (2 / 1.5)·σ at 1.5× is σ at 2×: the paper has 2.81 ± 0.04 and 2.82 ± 0.04 on MNIST. And p is 1 in
σ ∝ (size of the images)^p.

With --until-settled it is first trained at the full learning rate until σ has settled: until its mean over 5 epochs is
within 1 % of that over the 5 epochs before. Then the rate falls to zero, for --epochs.

Writes into --out: table.md (σ and test accuracy, mean ± standard deviation over seeds, and p), results.json (those of
each run, σ after each epoch) and sigma.png (σ over training).
"""

import functools

import numpy as np
from matplotlib.figure import Figure

from applications import _pictures, _results, _tables, _training
from applications._arguments import ArgumentParser
from applications.data_sets import images

EPOCHS = {"digits": 40, "mnist": 8, "fashion_mnist": 8}
BATCH_SIZES = {"digits": 32, "mnist": 128, "fashion_mnist": 128}


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("learn_resolution", __doc__, "{recipe}/{dataset}", seeds=3)
    parser.add_argument("--dataset", choices=list(EPOCHS), default="digits", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="default: 40 for digits, else 8")
    parser.add_argument("--batch-size", type=int, help="default: 32 for digits, else 128")
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0, 1.5, 2.0], help="sizes of the images")
    parser.add_argument("--until-settled", action="store_true", help="train until σ has settled, as above")
    parser.add_argument("--most-epochs", type=int, help="with --until-settled, before the last ones; default: 100")
    parser.add_argument("--sigma-learning-rate", type=float, default=1.0, help="factor of σ's learning rate")
    parser.add_argument("--images", type=int, help="number of training images, from the first on; default: all")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    arguments = parser.read(given)
    arguments.epochs = arguments.epochs or EPOCHS[arguments.dataset]
    arguments.batch_size = arguments.batch_size or BATCH_SIZES[arguments.dataset]
    if arguments.until_settled:
        arguments.most_epochs = arguments.most_epochs or 100
    elif arguments.most_epochs:
        parser.error(f"expected --until-settled with --most-epochs. Received: most_epochs={arguments.most_epochs}")
    return arguments


def measure(arguments):
    """Trains the network on images of every size."""
    train_set, test_set = images.load(arguments.dataset, arguments.data_dir)
    train_set = [part[: arguments.images] for part in train_set]
    networks = []
    for factor in arguments.factors:
        size = round(factor * train_set[0].shape[1])
        sets = [(images.resize(x, size), y) for x, y in (train_set, test_set)]
        networks.append(({"factor": factor, "size": size}, functools.partial(train, *sets, size, arguments)))
    return {"runs": _results.collect(arguments, networks)}


def train(train_set, test_set, size, arguments, seed):
    """Trains one network; returns what is known of it."""
    build = functools.partial(build_model, size, arguments.filters, arguments.order, arguments.sigma_learning_rate)
    settling = _training.Settling(most=arguments.most_epochs) if arguments.until_settled else None
    return _training.train_classifier(build, train_set, test_set, seed, arguments, settling)


def build_model(size, filters, order, sigma_learning_rate=1.0):
    """The network: whatever the size of its images, it has the same weights and the same start."""
    import keras

    import keras_njet

    scale = {"sigma": 1.0, "sigma_learning_rate": sigma_learning_rate}
    return keras.Sequential(
        [
            keras.Input((size, size, 1)),
            keras_njet.NJetConv2D(filters, order=order, **scale, use_bias=False, name="njet"),
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
    runs, lines, settles = results["runs"], [], "settled" in results["runs"][0]
    factors = sorted({row["factor"] for row in runs})
    of_factor = {factor: _results.select(runs, factor=factor) for factor in factors}
    for factor, rows in of_factor.items():
        sigma = _tables.mean_std([last_sigma(row) for row in rows])
        accuracies = [_tables.mean_std([row[name] for row in rows]) for name in ("train_accuracy", "test_accuracy")]
        lines.append([f"{factor:g}×", "×".join(2 * [str(rows[0]["size"])]), sigma, *accuracies])
        if settles:
            lines[-1].append(", ".join(str(row["epochs_to_settle"]) if row["settled"] else "never" for row in rows))
    heads = ["images", "pixels", "learned σ", "training accuracy", "test accuracy"]
    heads += ["epochs until σ had settled"] if settles else []
    return "\n".join(
        [
            _tables.markdown(heads, lines),
            *foretold(of_factor),
            f"σ ∝ size^p with p = {_tables.mean_std(powers(runs), 2)}.",
            "",
            _tables.footnote(results),
        ]
    )


def foretold(of_factor):
    """What σ at 1.5× predicts for σ at 2×."""
    if not {1.5, 2.0} <= set(of_factor):
        return []
    middle, large = ([last_sigma(row) for row in of_factor[factor]] for factor in (1.5, 2.0))
    return [
        f"(2 / 1.5)·σ at 1.5× = {_tables.mean_std([2 / 1.5 * one for one in middle])} beside σ at 2× = "
        f"{_tables.mean_std(large)}",
        "(the paper, on MNIST: 2.81 ± 0.04 and 2.82 ± 0.04).",
        "",
    ]


def last_sigma(row):
    """The σ that was learned."""
    return row["sigma"]["njet"][-1]


def powers(runs):
    """For each seed, the power of the size of the images with which σ grows: the slope of the logarithms."""
    of_seeds = [_results.select(runs, seed=seed) for seed in sorted({row["seed"] for row in runs})]
    logarithms = [np.log([(row["factor"], last_sigma(row)) for row in rows]) for rows in of_seeds]
    return [float(np.polyfit(*each.T, 1)[0]) for each in logarithms if len(each) > 1]


def plot(results, path):
    chosen = results["configuration"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for index, factor in enumerate(chosen["factors"]):
        colour = _pictures.style(index)["color"]
        for row in _results.select(results["runs"], factor=factor):
            label = f"{factor:g}× ({row['size']} px)" if row["seed"] == 0 else None
            axes.plot([1.0, *row["sigma"]["njet"]], color=colour, alpha=0.7, label=label)
    axes.set(xlabel="epoch", ylabel="learned σ (pixels)", title=f"{chosen['dataset']}, {chosen['seeds']} seed(s)")
    axes.legend(title="image size", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
