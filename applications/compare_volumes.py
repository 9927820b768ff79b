"""Is one σ enough where voxels are not cubes? Segments a volume of electron microscopy by N-Jets in three dimensions.

    python -m applications.compare_volumes --data-dir DIR
    python -m applications.compare_volumes --quick --data-dir DIR --backend torch

The stack of the ISBI 2012 challenge has 30 slices of 512×512 voxels of 50×4×4 nm: neighbouring slices are 12.5 times
as far apart as neighbouring pixels. The same small network labels each voxel as membrane or cell, once with N-Jet
layers that learn a σ for each axis, once with one σ for all axes, and with plain `Conv3D` of 3×3×3 and of 1×5×5 voxels.
It has no pooling: convolutions, each with batch normalisation and ReLU, and a linear classifier of each voxel.
Everything else is equal: the number of filters and layers, Adam with a learning rate that falls to zero, random crops
(flipped along each axis or not, transposed in the plane or not), their number and order. The last six slices are the
test set; no figure on it decides anything.

Writes into --out: table.md (accuracy, intersection over union of both classes, and the learned σ along each axis of
each layer), results.json (the same of each run, σ after each epoch, what it ran on) and predictions.png (a test slice,
the truth, and the prediction of each network of seed 0). --quick shows that it runs, and nothing else.
"""

import functools
import statistics

import numpy as np

from applications import _results, _tables, _training
from applications._arguments import ArgumentParser
from applications._pictures import draw_masks
from applications.data_sets import segmentation

CLASSES = ("membranes", "cells")
AXES = ("depth", "height", "width")
VOXEL = (50, 4, 4)  # nm
WINDOW, HALO = 128, 32  # pixels of a slice that are predicted at once, and around them
QUICK = "--epochs 1 --steps 2 --seeds 1 --filters 4 --layers 2 --batch-size 1 --crop 4 16 16 --test-size 64"


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("compare_volumes", __doc__, seeds=1, quick=QUICK)
    parser.add_argument("--test-size", type=int, help="pixels per side of the test slices; default: all")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50, help="of an epoch; default: 50")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop", type=int, nargs=3, default=[8, 64, 64], metavar=("DEPTH", "HEIGHT", "WIDTH"))
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--layers", type=int, default=4, help="number of convolutions; default: 4")
    parser.add_argument("--filters", type=int, default=12, help="of each layer; default: 12")
    parser.add_argument("--order", type=int, default=3, help="of the N-Jet; default: 3")
    arguments = parser.read(given)
    if arguments.data_dir is None:
        parser.error("expected --data-dir, the folder with isbi-em/. Received: data_dir=None")
    return arguments


def measure(arguments):
    """Trains all networks, and draws what those of seed 0 predict."""
    train_set, test_set = (load_volume(arguments.data_dir, part) for part in ("train", "test"))
    test_set = [part[:, : arguments.test_size, : arguments.test_size] for part in test_set]
    layers, networks = convolutions(arguments), []
    folder = arguments.out / _results.BACKUP  # which is removed when the run has ended
    folder.mkdir(exist_ok=True)
    files = {method: folder / f"{number}.npy" for number, method in enumerate(layers, start=1)}
    for method, make_convolution in layers.items():
        save = functools.partial(np.save, files[method])
        networks.append(
            ({"method": method}, functools.partial(run, train_set, test_set, make_convolution, save, arguments))
        )
    rows = _results.collect(arguments, networks)
    plot(test_set, {method: np.load(path) for method, path in files.items()}, arguments.out / "predictions.png")
    return {"runs": rows}


def load_volume(data_dir, part):
    """The slices of a part as one volume: float32 values of shape (depth, height, width, 1), and uint8 classes."""
    pairs = segmentation.find_pairs("isbi_em", data_dir, part)
    slices = [segmentation.read_pair("isbi_em", *paths) for paths in pairs]
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

    layers = [keras.Input((*size, 1)), *_training.stack(make_convolution, depth)]
    return keras.Sequential([*layers, keras.layers.Conv3D(len(CLASSES), 1)])


def run(train_set, test_set, make_convolution, save, arguments, seed):
    """Trains one network; returns what is known of it, and saves what it predicts if it is the first of its kind."""
    row, predicted = train(train_set, test_set, make_convolution, seed, arguments)
    if seed == 0:
        save(predicted)
    return row


def train(train_set, test_set, make_convolution, seed, arguments):
    """Trains one network; returns what is known of it, and the classes it predicts for the test set."""
    import keras

    import keras_njet

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build_model(arguments.crop, make_convolution, arguments.layers)
    model.compile(
        _training.adam(arguments.learning_rate, arguments.epochs * arguments.steps),
        keras_njet.SegmentationCrossentropy(ignore_class=None),
        metrics=[keras_njet.SegmentationIoU(len(CLASSES), objects=[0, 1], ignore_class=None)],
    )
    crops = make_crops(train_set, arguments.crop, arguments.batch_size, arguments.steps, seed)
    history, seconds = _training.fit(model, crops, epochs=arguments.epochs)
    predicted = predict(model, test_set[0])
    row = {
        "parameters": _training.trained_parameters(model),
        "seconds": seconds,
        "train_miou": history["miou"][-1],
        **scores(test_set[1], predicted),
        "sigma": {name: values for name, values in history.items() if "/sigma" in name},
    }
    print(f"IoU of membranes {row['membranes_iou']:.3f}, {seconds:.0f} s", flush=True)
    return row, predicted


def predict(model, x):
    """The classes of a volume of shape (depth, height, width, 1), window by window, mirrored at its border."""
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


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))


def format_table(results):
    rows = results["runs"]
    measures = {"test_accuracy": "test accuracy"} | {f"{name}_iou": f"IoU of {name}" for name in CLASSES}
    lines, scales = [], []
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = _results.select(rows, method=method)
        spreads = [_tables.mean_std([row[name] for row in of_method]) for name in measures]
        minutes = statistics.mean(row["seconds"] for row in of_method) / 60
        lines.append([method, f"{of_method[0]['parameters']:,}", *spreads, f"{minutes:.1f}"])
        for layer in dict.fromkeys(name.split("/")[0] for name in of_method[0]["sigma"]):
            sigmas = [[last_sigma(row["sigma"], layer, axis) for row in of_method] for axis in AXES]
            scales.append([f"{method}, {layer}", *map(_tables.mean_std, sigmas)])
    return "\n".join(
        [
            _tables.markdown(["method", "parameters", *measures.values(), "minutes of training"], lines),
            _tables.markdown(["learned σ in voxels", "along the depth", "the height", "the width"], scales),
            f"All σ are 1 at the start; a voxel is {'×'.join(map(str, VOXEL))} nm (depth, height, width).",
            "",
            _tables.footnote(results),
        ]
    )


def last_sigma(sigma, layer, axis):
    """σ of a layer along an axis after the last epoch."""
    return sigma.get(f"{layer}/sigma_{axis}", sigma.get(f"{layer}/sigma"))[-1]


def plot(test_set, predicted, path):
    """The slice in the middle of the test set, its truth and its predictions."""
    x, y = test_set
    middle = len(x) // 2
    masks = {
        "truth": y[middle],
        **{method: volume[middle] for method, volume in predicted.items()},
    }
    title = f"test slice {middle + 1} of {len(x)}"
    draw_masks([(x[middle], masks, title)], CLASSES, path)


if __name__ == "__main__":
    main()
