"""Is one σ enough where voxels are not cubes? Segments a volume of electron microscopy by N-Jets in three dimensions.

    python examples/segment_volume.py --data-dir DIR
    python examples/segment_volume.py --quick --data-dir DIR --backend torch

The stack of the ISBI 2012 challenge has 30 slices of 512×512 voxels of 50×4×4 nm: neighbouring slices are twelve times
as far apart as neighbouring pixels. The same small network labels each voxel as membrane or cell, once with N-Jet
layers that learn a σ for each axis, once with one σ for all axes, and with plain `Conv3D` of 3×3×3 and of 1×5×5 voxels.
It has no pooling: convolutions, each with batch normalisation and ReLU, and a linear classifier of each voxel.
Everything else is equal: the number of filters and layers, Adam with a learning rate that falls to zero, random crops
(flipped along each axis or not, transposed in the plane or not), their number and order. The last six slices are the
test set; no figure on it decides anything.

Writes into --out: table.md (accuracy, intersection over union of both classes, and the learned σ along each axis of
each layer), results.json (the same of each run, σ after each epoch, what it ran on) and predictions.png (a test slice,
the truth, what each network of seed 0 says). --quick shows that it runs, and nothing else.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import learn_resolution
import numpy as np
import runs
import segmentation_sets

CLASSES = ("membranes", "cells")
AXES = ("depth", "height", "width")
VOXEL = (50, 4, 4)  # nm
WINDOW, HALO = 128, 32  # pixels of a slice that are predicted at once, and around them
QUICK = "--epochs 1 --steps 2 --seeds 1 --filters 4 --layers 2 --batch-size 1 --crop 4 16 16 --test-size 64"


def main():
    arguments = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    train_set, test_set = (load_volume(arguments.data_dir, part) for part in ("train", "test"))
    test_set = [part[:, : arguments.test_size, : arguments.test_size] for part in test_set]
    folder = pathlib.Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    layers = convolutions(arguments)
    results, shown = {**runs.provenance(arguments), "runs": []}, {}
    for seed in range(arguments.seeds):
        for number, method in enumerate(layers, start=1):
            print(f"\n[seed {seed} of {arguments.seeds}, {number} of {len(layers)}] {method}", flush=True)
            row, predicted = train(train_set, test_set, layers[method], seed, arguments)
            results["runs"].append({"method": method, "seed": seed, **row})
            shown.setdefault(method, predicted)
            print(f"IoU of membranes {row['membranes_iou']:.3f}, {row['seconds']:.0f} s", flush=True)
            (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    table = format_table(results)
    (folder / "table.md").write_text(table)
    plot(test_set, shown, folder / "predictions.png")
    print(f"\n{table}\nwritten to {folder}: table.md, results.json, predictions.png")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"as if these were given first: {QUICK}")
    parser.add_argument("--data-dir", required=True, help="folder with isbi-em/, or that folder")
    parser.add_argument("--test-size", type=int, help="test on the first so many pixels a side; default: all")
    parser.add_argument("--seeds", type=int, default=1, help="number of repetitions, seeds 0, 1, ...; default: 1")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50, help="of an epoch; default: 50")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop", type=int, nargs=3, default=[8, 64, 64], metavar=("DEPTH", "HEIGHT", "WIDTH"))
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--layers", type=int, default=4, help="number of convolutions; default: 4")
    parser.add_argument("--filters", type=int, default=12, help="of each layer; default: 12")
    parser.add_argument("--order", type=int, default=3, help="of the N-Jet; default: 3")
    parser.add_argument(
        "--backend", choices=["jax", "tensorflow", "torch"], default=os.environ.get("KERAS_BACKEND", "jax")
    )
    parser.add_argument("--out", help="folder for the results; default: results/segment_volume")
    given = sys.argv[1:]
    arguments = parser.parse_args([*QUICK.split(), *given] if "--quick" in given else given)
    arguments.out = arguments.out or f"results/segment_volume{'-quick' if arguments.quick else ''}"
    arguments.command = runs.command("examples/segment_volume.py", given)
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1. Received: seeds={arguments.seeds}")
    return arguments


def load_volume(data_dir, part):
    """The slices of a part as one volume: float32 values of shape (depth, height, width, 1), and uint8 classes."""
    pairs = segmentation_sets.find_pairs("isbi_em", data_dir, part)
    slices = [segmentation_sets.read_pair("isbi_em", *paths) for paths in pairs]
    x, y = (np.stack(parts) for parts in zip(*slices, strict=True))
    return x.astype("float32") / 127.5 - 1.0, y


def make_crops(volume, size, batch_size, steps, seed):
    """Makes a `keras.utils.PyDataset` of random crops of a volume, flipped and transposed at random.

    Args:
        volume: `(x, y)` as from `load_volume`.
        size: (depth, height, width) of the crops, in voxels.
        batch_size: Crops a batch.
        steps: Batches an epoch.
        seed: Integer; the same seed gives the same crops, others in each epoch.
    """
    import keras

    x, y = volume
    if any(length > whole for length, whole in zip(size, y.shape, strict=True)):
        raise ValueError(f"Expected a crop that fits into a volume of {y.shape} voxels. Received: crop={list(size)}")

    class Crops(keras.utils.PyDataset):
        epoch = 0

        def __len__(self):
            return steps

        def __getitem__(self, index):
            rng = np.random.default_rng([seed, self.epoch, index])
            crops = [random_crop(x, y, size, rng) for _ in range(batch_size)]
            return np.stack([crop for crop, _ in crops]), np.stack([labels for _, labels in crops]).astype("int32")

        def on_epoch_end(self):
            self.epoch += 1

    return Crops()


def random_crop(x, y, size, rng):
    """Cuts out a part of a volume and of its labels, flips it along each axis or not, and transposes it or not."""
    depth, height, width = size
    transposed = rng.random() < 0.5 and max(height, width) <= min(y.shape[1:])
    cut = (depth, width, height) if transposed else size
    corner = [rng.integers(whole - length + 1) for whole, length in zip(y.shape, cut, strict=True)]
    steps = rng.choice([-1, 1], size=3)
    place = tuple(slice(start, start + length) for start, length in zip(corner, cut, strict=True))
    flip = tuple(slice(None, None, step) for step in steps)
    x, y = x[place][flip], y[place][flip]
    return (x.swapaxes(1, 2), y.swapaxes(1, 2)) if transposed else (x, y)


def convolutions(arguments):
    """For each method, a function that makes a layer of it."""
    import functools

    import keras

    import keras_njet

    cnn = functools.partial(keras.layers.Conv3D, arguments.filters, padding="same", use_bias=False)
    njet = functools.partial(keras_njet.NJetConv3D, arguments.filters, order=arguments.order, use_bias=False)
    return {
        "Conv3D, 3×3×3": functools.partial(cnn, 3),
        "Conv3D, 1×5×5": functools.partial(cnn, (1, 5, 5)),
        "N-Jet, one σ": njet,
        "N-Jet, σ for each axis": functools.partial(njet, isotropic=False),
    }


def build_model(size, make_convolution, depth):
    """The network, for volumes of one size, with convolutions of one method."""
    import keras

    layers = [keras.Input((*size, 1))]
    for number in range(1, depth + 1):
        normalization = keras.layers.BatchNormalization(momentum=0.9)
        layers += [make_convolution(name=f"layer{number}"), normalization, keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.Conv3D(len(CLASSES), 1)])


def train(train_set, test_set, make_convolution, seed, arguments):
    """Trains one network; returns what is known of it, and the classes it predicts for the test set."""
    import keras

    import keras_njet

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build_model(arguments.crop, make_convolution, arguments.layers)
    rate = keras.optimizers.schedules.CosineDecay(arguments.learning_rate, arguments.epochs * arguments.steps)
    model.compile(
        keras.optimizers.Adam(rate),
        keras_njet.SegmentationCrossentropy(ignore_class=None),
        metrics=[keras_njet.SegmentationIoU(len(CLASSES), objects=[0, 1], ignore_class=None)],
    )
    crops = make_crops(train_set, arguments.crop, arguments.batch_size, arguments.steps, seed)
    verbose = 1 if sys.stdout.isatty() else 2
    start = time.perf_counter()
    history = model.fit(
        crops, epochs=arguments.epochs, callbacks=[keras_njet.ResolutionCallback()], verbose=verbose
    ).history
    seconds = time.perf_counter() - start
    predicted = predict(model, test_set[0])
    row = {
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "seconds": seconds,
        "train_miou": history["miou"][-1],
        **scores(test_set[1], predicted),
        "sigma": {name: values for name, values in history.items() if "/sigma" in name},
    }
    return row, predicted


def predict(model, x):
    """The classes of a volume of shape (depth, height, width, 1), window by window; what lies around it is mirrored."""
    import keras

    _, height, width, _ = x.shape
    size = min(WINDOW, max(height, width))
    corners = [(top, left) for top in range(0, height, size) for left in range(0, width, size)]
    around = [(HALO, HALO + -length % size) for length in (height, width)]
    x = np.pad(x, [(0, 0), *around, (0, 0)], mode="symmetric")
    windows = np.stack([x[:, top : top + size + 2 * HALO, left : left + size + 2 * HALO] for top, left in corners])
    same_layers = keras.Sequential([keras.Input(windows.shape[1:]), *model.layers])
    logits = same_layers.predict(windows, batch_size=1, verbose=0)
    predicted = np.empty((len(x), height, width), "uint8")
    for (top, left), classes in zip(corners, np.argmax(logits, axis=-1), strict=True):
        inner = classes[:, HALO : HALO + min(size, height - top), HALO : HALO + min(size, width - left)]
        predicted[:, top : top + size, left : left + size] = inner
    return predicted


def scores(truth, predicted):
    """The share of voxels that are right, and the intersection over union of each class."""
    found = {"test_accuracy": float(np.mean(truth == predicted))}
    for index, name in enumerate(CLASSES):
        union = np.sum((truth == index) | (predicted == index))
        found[f"{name}_iou"] = float(np.sum((truth == index) & (predicted == index)) / max(union, 1))
    return found


def format_table(results):
    rows = results["runs"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    measures = {"test_accuracy": "test accuracy"} | {f"{name}_iou": f"IoU of {name}" for name in CLASSES}
    heads = ["method", "parameters", *measures.values(), "minutes of training"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    scales = ["", "| learned σ in voxels | along the depth | the height | the width |", "|---|---|---|---|"]
    for method in methods:
        of_method = [row for row in rows if row["method"] == method]
        cells = [method, f"{of_method[0]['parameters']:,}"]
        cells += [learn_resolution.spread([row[name] for row in of_method]) for name in measures]
        cells.append(f"{statistics.mean(row['seconds'] for row in of_method) / 60:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
        for layer in dict.fromkeys(name.split("/")[0] for name in of_method[0]["sigma"]):
            sigmas = [[last_sigma(row["sigma"], layer, axis) for row in of_method] for axis in AXES]
            scales.append(f"| {method}, {layer} | {' | '.join(map(learn_resolution.spread, sigmas))} |")
    versions, minutes = results["versions"], sum(row["seconds"] for row in rows) / 60
    lines += [
        *scales,
        "",
        f"All σ are 1 at the start; a voxel is {'×'.join(map(str, VOXEL))} nm (depth, height, width). Mean ± standard "
        f"deviation over {len({row['seed'] for row in rows})} seed(s).",
        "",
        f"Command: `{results['command']}`; {minutes:.1f} minutes of training on {results['processor']}; Python "
        f"{versions['python']}, keras {versions['keras']} on {versions['backend']}; commit {results['commit']}.",
    ]
    if results["configuration"]["quick"]:
        lines.append("Trained for seconds: these figures say nothing about the networks.")
    return "\n".join(lines) + "\n"


def last_sigma(sigma, layer, axis):
    """σ of a layer along an axis after the last epoch."""
    return sigma.get(f"{layer}/sigma_{axis}", sigma.get(f"{layer}/sigma"))[-1]


def plot(test_set, predicted, path):
    """The slice in the middle of the test set, its truth and its predictions."""
    x, y = test_set
    middle = len(x) // 2
    masks = {
        "truth (0 membrane, 1 cell)": y[middle],
        **{method: volume[middle] for method, volume in predicted.items()},
    }
    title = f"test slice {middle + 1} of {len(x)}"
    segmentation_sets.picture([(x[middle], masks, title)], len(CLASSES), path)


if __name__ == "__main__":
    main()
