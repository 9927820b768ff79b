"""Small images first: does training at a smaller size reach the accuracy of training at full size, and how soon?

    python -m applications.train_progressively --dataset cifar10 --data-dir DIR --seeds 2

Trains N-Jet-NIN twice with each seed, for the same number of steps by the recipe of train_classifier: always at full
size, and by `keras_njet.fit_progressively`, at half and three quarters of the size first. Filters are integrated over
pixels in both, as at half the size σ starts at half a pixel.

Writes into --out: table.md, results.json (accuracy and seconds after each epoch) and accuracy.png. Options of
train_classifier can be given. Seconds are those of epochs, with their validation and compiling; nothing else should run
meanwhile.
"""

import functools

import numpy as np
from matplotlib.figure import Figure

from applications import _pictures, _results, _tables, _training, train_classifier
from applications._arguments import ArgumentParser
from applications.data_sets import images

SCHEDULES = ("full size", "smaller first")


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    quick = "--seeds 1 --epochs 2 1 --factors 0.5 1 --images 512 --test-images 256"
    parser = ArgumentParser("train_progressively", __doc__, "{recipe}/{dataset}", seeds=2, quick=quick)
    parser.add_argument("--dataset", choices=train_classifier.CLASSES, default="cifar10", help="default: %(default)s")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 0.75, 1.0], help="sizes of the stages")
    parser.add_argument("--epochs", type=int, nargs="+", default=[6, 3, 3], help="of each stage")
    parser.add_argument("--width", type=float, default=0.25, help="multiplies all numbers of filters")
    parser.add_argument("--dropout", type=float, default=0.2)
    arguments = parser.read(given, pass_on=True)
    parser.refuse(arguments.options, {"--model", "--seed"})
    if len(arguments.factors) != len(arguments.epochs) or arguments.factors[-1] != 1.0:
        parser.error(
            "expected as many --factors as --epochs, the last factor 1. "
            f"Received: factors={arguments.factors}, epochs={arguments.epochs}"
        )
    return arguments


def measure(arguments):
    """Trains by both schedules with each seed."""
    stages = ([1.0], [sum(arguments.epochs)]), (arguments.factors, arguments.epochs)
    runs = [
        ({"schedule": name}, functools.partial(train, arguments, *each))
        for name, each in zip(SCHEDULES, stages, strict=True)
    ]
    return {"runs": _results.collect(arguments, runs)}


def train(arguments, factors, epochs, seed):
    """Trains a network in stages; returns its accuracy on the test set at full size, and what was logged."""
    import keras

    import keras_njet

    given = ["--model", "NJetNIN", "--dataset", arguments.dataset, "--epochs", sum(epochs), "--seed", seed]
    given += ["--width", arguments.width, "--dropout", arguments.dropout, "--backend", arguments.backend]
    given += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    recipe = train_classifier.parse_arguments([*given, *arguments.options])
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(recipe.precision)
    train_set, test_set = train_classifier.load_images(recipe)
    model = train_classifier.make_model("NJetNIN", {"input_shape": (None, None, train_set[0].shape[-1])}, recipe)
    model = keras_njet.rescale(model, 1.0, discretization="integrated")
    steps = -(-len(train_set[0]) // recipe.batch_size)
    optimizer = train_classifier.make_optimizer(recipe, steps)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    random_numbers = _training.random_numbers_of_epochs(recipe.seed)

    def batches(factor):
        x = resized(train_set[0], factor)
        random_numbers.batches = train_classifier.augmented_batches(x, train_set[1], recipe, factor)
        return random_numbers.batches

    histories = keras_njet.fit_progressively(
        model,
        batches,
        factors=tuple(factors),
        epochs=tuple(epochs),
        validation_data=lambda factor: (resized(test_set[0], factor), test_set[1]),
        callbacks=[random_numbers, _training.stopwatch()],
        validation_batch_size=500,
        verbose=2,
    )
    _, accuracy = model.evaluate(*test_set, batch_size=500, verbose=0)
    log = {name: [value for one in histories for value in one.history[name]] for name in ("val_accuracy", "seconds")}
    return {"test_accuracy": float(accuracy), "seconds": float(sum(log["seconds"])), "log": log}


def resized(x, factor):
    """Images resized by a factor, with anti-aliasing, as they become smaller."""
    return images.resize(x, round(factor * x.shape[1]), antialias=True)


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "accuracy.png")


def format_table(results):
    lines, full = [], None
    for schedule in SCHEDULES:
        rows = _results.select(results["runs"], schedule=schedule)
        full = rows if full is None else full
        shares = [row["seconds"] / other["seconds"] for row, other in zip(rows, full, strict=True)]
        accuracies = _tables.mean_std([row["test_accuracy"] for row in rows])
        minutes = _tables.mean_std([row["seconds"] / 60 for row in rows], 1)
        lines.append([schedule, accuracies, minutes, _tables.mean_std(shares, 2)])
    heads = ["schedule", "test accuracy", "minutes", "time, of that at full size"]
    return f"{_tables.markdown(heads, lines)}\n{_tables.footnote(results)}"


def plot(results, path):
    """The accuracy on test images of the size of the stage over time."""
    chosen = results["configuration"]
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for index, schedule in enumerate(SCHEDULES):
        for row in _results.select(results["runs"], schedule=schedule):
            minutes = np.cumsum(row["log"]["seconds"]) / 60
            label = schedule if row["seed"] == 0 else None
            axes.plot(minutes, row["log"]["val_accuracy"], label=label, markersize=4, **_pictures.style(index))
    stages = ", ".join(f"{n} epochs at ×{f:g}" for n, f in zip(chosen["epochs"], chosen["factors"], strict=True))
    axes.set(xlabel="minutes of training", ylabel="test accuracy at the size of the stage")
    axes.set_title(f"{chosen['dataset']}: {stages}", fontsize=10)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
