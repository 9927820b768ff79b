"""Experiment 1.2(A) of the paper: does the learned scale follow the size of the images?

    python examples/learn_resolution.py
    python examples/learn_resolution.py --dataset mnist --data-dir DIR --seeds 3 --backend jax

The same small network is trained on the same images at 1×, 1.5× and 2× their size. Nothing in it depends on the size:
one N-Jet layer, batch normalisation, ReLU, global max pooling and a linear classifier. If it learns the resolution from
the data, (2 / 1.5)·σ at 1.5× is σ at 2×: the paper has 2.81 ± 0.04 and 2.82 ± 0.04 on MNIST.

Prints a table, and writes it with a CSV file and a plot of σ over training into the folder given by --out.
"""

import argparse
import os
import pathlib
import platform
import shlex
import statistics
import sys
import time

import datasets
import runs

FACTORS = (1.0, 1.5, 2.0)
EPOCHS = {"digits": 40, "mnist": 8, "fashion_mnist": 8}
BATCH_SIZES = {"digits": 32, "mnist": 128, "fashion_mnist": 128}


def main():
    arguments = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    train_set, test_set = datasets.load(arguments.dataset, arguments.data_dir)
    train_set = [part[: arguments.images] for part in train_set]
    folder = pathlib.Path(arguments.out or f"results/learn_resolution/{arguments.dataset}")
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    rows = []
    for seed in range(arguments.seeds):
        for factor in FACTORS:
            rows += train(train_set, test_set, factor, seed, arguments)
            runs.write_csv(rows, folder / "sigma.csv")
    table = format_table(rows, arguments, time.perf_counter() - start)
    (folder / "table.md").write_text(table)
    plot(rows, arguments, folder / "sigma.png")
    print(f"\n{table}\nwritten to {folder}: table.md, sigma.csv, sigma.png")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=list(EPOCHS), default="digits", help="default: %(default)s")
    parser.add_argument("--data-dir", help="folder with the original files; else Keras downloads them")
    parser.add_argument("--seeds", type=int, default=3, help="number of repetitions, seeds 0, 1, ...; default: 3")
    parser.add_argument(
        "--backend", choices=["jax", "tensorflow", "torch"], default=os.environ.get("KERAS_BACKEND", "jax")
    )
    parser.add_argument("--epochs", type=int, help="default: 40 for digits, else 8")
    parser.add_argument("--batch-size", type=int, help="default: 32 for digits, else 128")
    parser.add_argument("--images", type=int, help="train on the first so many images; default: all")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--out", help="folder for the results; default: results/learn_resolution/DATASET")
    arguments = parser.parse_args()
    arguments.epochs = arguments.epochs or EPOCHS[arguments.dataset]
    arguments.batch_size = arguments.batch_size or BATCH_SIZES[arguments.dataset]
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1. Received: seeds={arguments.seeds}")
    return arguments


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


def train(train_set, test_set, factor, seed, arguments):
    """Trains on images of `factor` times their size; returns one row an epoch."""
    import keras

    import keras_njet

    (x, y), (x_test, y_test) = train_set, test_set
    size = round(factor * x.shape[1])
    x, x_test = (resize(images, size) for images in (x, x_test))
    keras.utils.set_random_seed(seed)
    model = build_model(size, arguments.filters, arguments.order)
    steps = arguments.epochs * -(-len(x) // arguments.batch_size)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(arguments.learning_rate, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    print(f"\nseed {seed}, {size}×{size} pixels ({factor:g}×)", flush=True)
    history = model.fit(
        x,
        y,
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        callbacks=[keras_njet.ResolutionCallback(), progress_bar(arguments.epochs)],
        verbose=0,
    ).history
    _, test_accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
    print(f"σ = {history['njet/sigma'][-1]:.3f}, test accuracy {test_accuracy:.4f}", flush=True)
    return [
        {
            "seed": seed,
            "factor": factor,
            "size": size,
            "epoch": epoch + 1,
            "sigma": history["njet/sigma"][epoch],
            "kernel_size": history["njet/kernel_size"][epoch],
            "train_accuracy": history["accuracy"][epoch],
            "test_accuracy": test_accuracy if epoch + 1 == arguments.epochs else "",
        }
        for epoch in range(arguments.epochs)
    ]


def resize(images, size):
    """Resizes images bilinearly."""
    import keras

    if size == images.shape[1]:
        return images
    resized = keras.ops.image.resize(images, (size, size), interpolation="bilinear", data_format="channels_last")
    return keras.ops.convert_to_numpy(resized)


def progress_bar(epochs):
    """A bar for the whole training, one step an epoch."""
    import keras

    bar = keras.utils.Progbar(epochs, stateful_metrics=["sigma", "accuracy"], unit_name="epoch")
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: bar.update(
            epoch + 1, [("sigma", logs["njet/sigma"]), ("accuracy", logs["accuracy"])]
        )
    )


def format_table(rows, arguments, seconds):
    import keras

    last = [row for row in rows if row["epoch"] == arguments.epochs]
    sigma = {factor: [row["sigma"] for row in last if row["factor"] == factor] for factor in FACTORS}
    lines = ["| images | pixels | learned σ | test accuracy |", "|---|---|---|---|"]
    for factor in FACTORS:
        accuracies = [row["test_accuracy"] for row in last if row["factor"] == factor]
        size = next(row["size"] for row in last if row["factor"] == factor)
        lines.append(f"| {factor:g}× | {size}×{size} | {spread(sigma[factor])} | {spread(accuracies)} |")
    lines += [
        "",
        f"(2 / 1.5)·σ at 1.5× = {spread([2 / 1.5 * s for s in sigma[1.5]])} beside σ at 2× = {spread(sigma[2.0])}",
        "(the paper, on MNIST: 2.81 ± 0.04 and 2.82 ± 0.04).",
        f"Mean ± standard deviation over seeds 0-{arguments.seeds - 1}.",
        "",
        f"Command: `python {shlex.join(sys.argv)}`, {arguments.epochs} epochs, {seconds / 60:.1f} minutes; "
        f"Python {platform.python_version()}, keras {keras.__version__} on {keras.backend.backend()}.",
    ]
    return "\n".join(lines) + "\n"


def spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


def plot(rows, arguments, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for factor, color in zip(FACTORS, ("tab:blue", "tab:orange", "tab:green"), strict=True):
        for seed in range(arguments.seeds):
            of_run = [row for row in rows if row["factor"] == factor and row["seed"] == seed]
            axes.plot(
                [0] + [row["epoch"] for row in of_run],
                [1.0] + [row["sigma"] for row in of_run],
                color=color,
                alpha=0.7,
                label=f"{factor:g}× ({of_run[0]['size']} px)" if seed == 0 else None,
            )
    axes.set(xlabel="epoch", ylabel="learned σ (pixels)", title=f"{arguments.dataset}, {arguments.seeds} seeds")
    axes.legend(title="image size", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
