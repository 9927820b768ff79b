"""Turns a trained network into an N-Jet network, trains it for another epoch, and turns it back.

    python -m applications.convert_nin --data-dir DIR

The network is the NIN with 5×5 and 3×3 filters that was trained on Fashion-MNIST and ships with the package. For
several orders, with one σ for each layer and one for each filter: the error of its filters, and the test accuracy of
the network as it was, as converted, after an epoch of training, and frozen; and of the NIN that is not converted, after
such an epoch. Writes table.md and results.json into --out.
"""

import logging
import sys
import time

import numpy as np

from applications import _results, _tables
from applications._arguments import ArgumentParser
from applications.data_sets import images


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("convert_nin", __doc__, seed=True)
    parser.add_argument("--orders", type=int, nargs="+", default=[2, 4, 6, 8])
    parser.add_argument("--sharing", nargs="+", choices=["layer", "filter"], default=["layer", "filter"])
    parser.add_argument("--images", type=int, help="number of training images, from the first on; default: all")
    parser.add_argument("--test-images", type=int, help="number of test images, from the first on; default: all")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of Adam")
    parser.add_argument("--fixed-sigma", action="store_true", help="keep the scales that fit the filters")
    parser.add_argument("--margin", type=float, default=0.1, help="of `convert`; default: %(default)s")
    return parser.read(given)


def measure(arguments):
    """Converts, trains and freezes, for every order."""
    import keras

    import keras_njet

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    pixels = images.load_pixels("fashion_mnist", arguments.data_dir)
    counts = (arguments.images, arguments.test_images)
    preprocess = keras_njet.applications.nin.preprocess_input
    (x_train, y_train), (x_test, y_test) = [
        (preprocess(x[:count].astype("float32"), "channels_last", "fashion_mnist"), y[:count])
        for (x, y), count in zip(pixels, counts, strict=True)
    ]

    def accuracy(model):
        model.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
        return float(model.evaluate(x_test, y_test, batch_size=250, verbose=0)[1])

    def train(model):
        model.compile(keras.optimizers.Adam(arguments.learning_rate), "sparse_categorical_crossentropy")
        model.fit(x_train, y_train, batch_size=128, epochs=1, verbose=2)
        return model

    def trained_nin():
        keras.utils.set_random_seed(arguments.seed)
        given = {"width": 0.25, "dropout": 0.2, "input_shape": (28, 28, 1)}  # as it was trained
        return keras_njet.applications.NIN(weights="fashion_mnist", **given)

    rows = []
    for sharing in arguments.sharing:
        for order in arguments.orders:
            model = trained_nin()
            converted, report = keras_njet.convert(
                model,
                order,
                learn_sigma=not arguments.fixed_sigma,
                sigma_sharing=sharing,
                max_error=1.0,
                return_report=True,
                margin=arguments.margin,
            )
            row = {
                "order": order,
                "sharing": sharing,
                "errors": [layer.error for layer in report],
                "fitted_sigmas": [layer.sigma for layer in report],
                "converted": accuracy(converted),
            }
            start = time.perf_counter()
            train(converted)
            row["seconds"] = time.perf_counter() - start
            row["trained"] = accuracy(converted)
            row["frozen"] = accuracy(keras_njet.freeze(converted))
            scales = [keras.ops.convert_to_numpy(converted.get_layer(layer.name).sigma) for layer in report]
            row["sigmas"] = [float(np.mean(sigma)) for sigma in scales]
            rows.append(row)
    return {"original": accuracy(trained_nin()), "original_trained": accuracy(train(trained_nin())), "runs": rows}


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))


def format_table(results):
    heads = ["order", "σ", "error of the filters", "converted", "after an epoch", "frozen", "σ after it"]
    lines = []
    for row in results["runs"]:
        accuracies = [f"{row[name]:.4f}" for name in ("converted", "trained", "frozen")]
        errors, sigmas = (", ".join(f"{number:.3f}" for number in row[name]) for name in ("errors", "sigmas"))
        lines.append([row["order"], f"for each {row['sharing']}", errors, *accuracies, sigmas])
    own = (
        f"Test accuracy of NIN itself: {results['original']:.4f}; after such an epoch, not converted: "
        f"{results['original_trained']:.4f}.\n"
    )
    return "\n".join([_tables.markdown(heads, lines), own, _tables.footnote(results)])


if __name__ == "__main__":
    main()
