"""Releases the weights of a run of train_classifier or train_segmentation with the package.

    python -m applications.release results/train_classifier/fashion_mnist/NJetNIN/seed-0 --data-dir DIR

Packs the weights in half precision into keras_njet/applications/weights/ and notes there, in released.json, what they
are: `weights="fashion_mnist"` then loads them. The test accuracy, or mean IoU, that is noted is that of the packed
weights. What is released already is replaced with --replace only.
"""

import json
import pathlib

from applications import _results, train_classifier, train_segmentation
from applications._arguments import ArgumentParser

# Arguments of an application that change what its weights mean, and must be given again to load them.
NJET = {"width": 1.0, "order": 3, "extent": 2.0, "subsample_rate": 4.0}
ARGUMENTS = {
    "NIN": {"width": 1.0, "kernel_sizes": [5, 5, 3], "subsample": True},
    "NJetNIN": NJET,
    "AllCNN": {"width": 1.0},
    "NJetAllCNN": NJET,
    "ResNet32": {"width": 1.0},
    "NJetResNet32": NJET,
    "UNet": {"levels": 3, "filters": 64, "kernel_size": 3},
    "NJetUNet": {"levels": 3, "filters": 64, "order": 2, "extent": 2.0},
}
LICENCES = {
    "mnist": "CC BY-SA 3.0",
    "fashion_mnist": "MIT",
    "multiscale_fashion_mnist": "MIT",
    "cifar10": "none stated by its authors",
    "cifar100": "none stated by its authors",
    "svhn": "for non-commercial use",
}


def main(given=None):
    parser = ArgumentParser("release", __doc__, out=None)
    parser.add_argument("run", type=pathlib.Path, help="folder that a training recipe wrote")
    parser.add_argument("--weights", type=pathlib.Path, help="weights file; default: model.weights.h5 in the folder")
    parser.add_argument("--replace", action="store_true", help="replace weights that have been released")
    chosen = parser.read(given)

    import keras

    from keras_njet.applications import _weights

    arguments = _results.recorded(chosen.run, data_dir=chosen.data_dir)
    if arguments.model not in ARGUMENTS or arguments.dataset not in LICENCES:
        parser.error(
            f"expected one of {list(ARGUMENTS)} trained on one of {list(LICENCES)}. "
            f"Received: model={arguments.model!r}, dataset={arguments.dataset!r}"
        )
    released = _weights.released()
    if arguments.dataset in released.get(arguments.model, {}) and not chosen.replace:
        parser.error(
            "expected a model and data that have no released weights, or --replace. "
            f"Received: model={arguments.model!r}, dataset={arguments.dataset!r}"
        )
    make = make_segmenter if arguments.model.endswith("UNet") else make_classifier
    model, channels, classes, given, evaluate = make(arguments)
    model.load_weights(chosen.weights or chosen.run / "model.weights.h5")
    file = f"{arguments.model}-{arguments.dataset}.npz"
    with _results.replacing(_weights.FOLDER / file) as packed:
        checksum = _weights.pack(model, packed)
        _weights.unpack(model, packed)
        metric, value = evaluate(model)
    released.setdefault(arguments.model, {})[arguments.dataset] = {
        "file": file,
        "sha256": checksum,
        "classes": classes,
        "channels": channels,
        "arguments": {name: given.get(name, usual) for name, usual in ARGUMENTS[arguments.model].items()},
        metric: round(value, 4),
        "trained_by": json.loads((chosen.run / "results.json").read_text())["command"],
        "licence_of_the_data": LICENCES[arguments.dataset],
    }
    with _results.replacing(_weights.FOLDER / "released.json") as unfinished:
        unfinished.write_text(json.dumps(released, indent=1) + "\n")
    size = (_weights.FOLDER / file).stat().st_size / 1e3
    print(f"{file}: {size:.0f} kB, {metric} {value:.4f} in half precision, keras {keras.__version__}")


def make_classifier(arguments):
    """The network, its channels, classes and arguments, and a function that evaluates it."""
    _, (x_test, y_test) = train_classifier.load_images(arguments)
    model = train_classifier.make_model(arguments.model, {"input_shape": x_test.shape[1:]}, arguments)

    def evaluate(model):
        model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return "test_accuracy", model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]

    given = train_classifier.options(arguments.model, arguments)
    return model, x_test.shape[-1], train_classifier.CLASSES[arguments.dataset], given, evaluate


def make_segmenter(arguments):
    """Likewise for a U-Net."""
    train_set, test_set, classes = train_segmentation.load(arguments)
    channels = test_set[0][0].shape[-1]
    model = train_segmentation.make_model(classes, channels, arguments)

    def evaluate(model):
        train_segmentation.compile_model(model, classes, train_set, arguments)
        return "test_miou", model.evaluate(test_set, verbose=0, return_dict=True)["miou"]

    given = {name: value for name, value in vars(arguments).items() if value is not None}
    return model, channels, classes, given, evaluate


if __name__ == "__main__":
    main()
