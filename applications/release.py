"""Releases the weights of a run of examples/train_classifier.py with the package.

    python applications/release.py applications/nin/results/fashion_mnist/NJetNIN/seed-0 --weights model.weights.h5

Packs the weights in half precision into keras_njet/applications/weights/ and notes there, in released.json, what they
are: `weights="fashion_mnist"` then loads them. The test accuracy that is noted is that of the packed weights.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import train_classifier  # noqa: E402

# Arguments of an application that change what its weights mean, and must be given again to load them.
NJET = {"width": 1.0, "order": 3, "extent": 2.0, "subsample_rate": 4.0}
ARGUMENTS = {
    "NIN": {"width": 1.0, "filter_sizes": [5, 5, 3], "subsample": True},
    "NJetNIN": NJET,
    "AllCNN": {"width": 1.0},
    "NJetAllCNN": NJET,
    "ResNet32": {"width": 1.0},
    "NJetResNet32": NJET,
}
LICENCES = {
    "mnist": "CC BY-SA 3.0",
    "fashion_mnist": "MIT",
    "cifar10": "none stated by its authors",
    "cifar100": "none stated by its authors",
    "svhn": "for non-commercial use",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="folder that train_classifier.py wrote")
    parser.add_argument("--weights", type=pathlib.Path, help="weights file; default: model.weights.h5 in the folder")
    parser.add_argument("--data-dir", help="folder with the original files; else Keras downloads them")
    chosen = parser.parse_args()

    import keras

    from keras_njet.applications import _weights

    results = json.loads((chosen.run / "results.json").read_text())
    arguments = argparse.Namespace(**{**results["configuration"], "data_dir": chosen.data_dir})
    if arguments.model not in ARGUMENTS or arguments.dataset not in LICENCES:
        parser.error(
            f"expected one of {list(ARGUMENTS)} trained on one of {list(LICENCES)}. "
            f"Received: model={arguments.model!r}, dataset={arguments.dataset!r}"
        )
    _, (x_test, y_test) = train_classifier.load_images(arguments)
    model = train_classifier.make_model(arguments.model, {"input_shape": x_test.shape[1:]}, arguments)
    model.load_weights(chosen.weights or chosen.run / "model.weights.h5")
    file = f"{arguments.model}-{arguments.dataset}.npz"
    checksum = _weights.pack(model, _weights.FOLDER / file)
    _weights.unpack(model, _weights.FOLDER / file)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    _, accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
    given = train_classifier.options(arguments.model, arguments)
    released = _weights.released()
    released.setdefault(arguments.model, {})[arguments.dataset] = {
        "file": file,
        "sha256": checksum,
        "classes": train_classifier.CLASSES[arguments.dataset],
        "channels": x_test.shape[-1],
        "arguments": {name: given.get(name, usual) for name, usual in ARGUMENTS[arguments.model].items()},
        "test_accuracy": round(accuracy, 4),
        "trained_by": results["command"],
        "licence_of_the_data": LICENCES[arguments.dataset],
    }
    (_weights.FOLDER / "released.json").write_text(json.dumps(released, indent=1) + "\n")
    size = (_weights.FOLDER / file).stat().st_size / 1e3
    print(f"{file}: {size:.0f} kB, test accuracy {accuracy:.4f} in half precision, keras {keras.__version__}")


if __name__ == "__main__":
    main()
