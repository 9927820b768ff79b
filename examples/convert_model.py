"""Turns a trained network into an N-Jet network, trains it on for an epoch, and turns it back into plain convolutions.

    python examples/convert_model.py --data-dir DIR            # a table, and results.json in results/convert_model/

The network is the NIN with 5×5 and 3×3 filters that was trained on Fashion-MNIST and ships with the package. For
several orders, with one σ a layer and one a filter: the error of its filters, and the test accuracy of the network as
it was, as converted, after an epoch of training, and frozen.
"""

import argparse
import json
import logging
import os
import pathlib
import sys

import datasets
import numpy as np
import runs


def main(given=None):
    arguments = parse_arguments(given)
    os.environ["KERAS_BACKEND"] = arguments.backend
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = measure(arguments)
    results = {"command": arguments.command, "versions": runs.versions(), "rows": rows}
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1))
    print(
        "| order | σ | error of the filters | converted | after an epoch | frozen | σ after it |\n" + "|---" * 7 + "|"
    )
    for row in rows:
        accuracies = " | ".join(f"{row[name]:.4f}" for name in ("converted", "trained", "frozen"))
        errors, sigmas = (", ".join(f"{number:.3f}" for number in row[name]) for name in ("errors", "sigmas"))
        print(f"| {row['order']} | for each {row['sharing']} | {errors} | {accuracies} | {sigmas} |")
    print(f"test accuracy of NIN itself: {rows[0]['original']:.4f}")


def parse_arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, nargs="+", default=(2, 4, 6, 8))
    parser.add_argument("--sharing", nargs="+", choices=["layer", "filter"], default=("layer", "filter"))
    parser.add_argument("--data-dir", help="folder with the original files; else Keras downloads them")
    parser.add_argument("--images", type=int, help="train on the first so many images; default: all")
    parser.add_argument("--test-images", type=int, help="test on the first so many images; default: all")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--backend", choices=["jax", "tensorflow", "torch"], default=os.environ.get("KERAS_BACKEND", "jax")
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results" / "convert_model")
    arguments = parser.parse_args(given)
    arguments.command = runs.command("examples/convert_model.py", sys.argv[1:] if given is None else given)
    return arguments


def measure(arguments):
    import keras

    import keras_njet

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    pixels = datasets.load_pixels("fashion_mnist", arguments.data_dir)
    counts = (arguments.images, arguments.test_images)
    (x_train, y_train), (x_test, y_test) = [
        (keras_njet.applications.nin.preprocess_input(x[:count].astype("float32"), dataset="fashion_mnist"), y[:count])
        for (x, y), count in zip(pixels, counts, strict=True)
    ]

    def accuracy(model):
        model.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
        return float(model.evaluate(x_test, y_test, batch_size=250, verbose=0)[1])

    rows = []
    for sharing in arguments.sharing:
        for order in arguments.orders:
            keras.utils.set_random_seed(arguments.seed)
            model = keras_njet.applications.NIN(weights="fashion_mnist", width=0.25, input_shape=(28, 28, 1))
            converted, report = keras_njet.convert(
                model, order, sigma_sharing=sharing, max_error=1.0, return_report=True
            )
            row = {
                "order": order,
                "sharing": sharing,
                "errors": [layer.error for layer in report],
                "fitted_sigmas": [layer.sigma for layer in report],
                "original": accuracy(model),
                "converted": accuracy(converted),
            }
            converted.compile(keras.optimizers.Adam(arguments.learning_rate), "sparse_categorical_crossentropy")
            converted.fit(x_train, y_train, batch_size=128, epochs=1, verbose=2)
            row["trained"] = accuracy(converted)
            row["frozen"] = accuracy(keras_njet.freeze(converted))
            scales = [keras.ops.convert_to_numpy(converted.get_layer(layer.name).sigma) for layer in report]
            row["sigmas"] = [float(np.mean(sigma)) for sigma in scales]
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
