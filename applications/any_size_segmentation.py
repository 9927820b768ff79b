"""Masks at full size: the released N-Jet-U-Net on images that are larger or smaller than those of its training.

    python -m applications.any_size_segmentation --data-dir DIR

It was trained on multi-scale Fashion-MNIST, objects enlarged four times. Here they are enlarged 2, 4 and 8 times, and
the masks are as large as the images. Compared are the network as it is, images resized to the size of the training and
predictions resized back, and `keras_njet.rescale`, with filters sampled and integrated over pixels. Nothing is trained.

Writes into --out: table.md, results.json (mean IoU of the object classes) and predictions.png. What predictions cost at
each size is measured by `python -m benchmarks.enlarged`.
"""

import functools
import warnings

import numpy as np

from applications import _results, _tables, train_segmentation
from applications._arguments import ArgumentParser
from applications._pictures import draw_masks
from applications.data_sets import images
from applications.data_sets import multiscale_fashion_mnist as multiscale

SCALE = 4  # of the training
METHODS = ("as it is", "resized there and back", "rescaled", "rescaled, integrated")


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("any_size_segmentation", __doc__, seed=True)
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 4, 8], help="sizes of the objects")
    parser.add_argument("--test-images", type=int, default=40, help="default: %(default)s")
    return parser.read(given)


def measure(arguments):
    """Evaluates every method at every scale, and draws what it predicts at the largest."""
    import keras_njet

    model = keras_njet.applications.NJetUNet(weights="multiscale_fashion_mnist", filters=16)
    _, test_set = images.load_pixels("fashion_mnist", arguments.data_dir)
    rows, shown = [], {}
    for scale in arguments.scales:
        batches = multiscale.make_dataset(*test_set, scale, arguments.test_images, seed=2 * arguments.seed + 1)
        for method in METHODS:
            predict = predictor(model, method, scale / SCALE)
            miou, shown[scale, method] = evaluate(predict, batches)
            rows.append({"scale": scale, "method": method, "miou": miou})
            print(f"  s = {scale}, {method}: {miou:.3f}", flush=True)
    scale = max(arguments.scales)
    image, mask = (part[0] for part in multiscale.make_dataset(*test_set, scale, 1, seed=2 * arguments.seed + 1)[0])
    masks = {"mask": mask, **{method: shown[scale, method] for method in METHODS}}
    draw_masks([(image, masks, f"objects enlarged {scale} times")], multiscale.NAMES, arguments.out / "predictions.png")
    return {"runs": rows}


def predictor(model, method, factor):
    """A function from images enlarged by a factor to their masks."""
    import keras_njet

    if method == "resized there and back":
        return functools.partial(there_and_back, model, factor)
    prepared = model
    if method.startswith("rescaled"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Below some σ", UserWarning)  # at half the size
            discretization = "integrated" if "integrated" in method else None
            prepared = keras_njet.rescale(model, factor, discretization=discretization)
    return lambda x: prepared.predict(x, verbose=0).argmax(-1)


def there_and_back(model, factor, x):
    size = x.shape[1]
    logits = model.predict(images.resize(x, round(size / factor)), verbose=0)
    return images.resize(logits, size).argmax(-1)


def evaluate(predict, batches):
    """The mean IoU over the object classes, and the first prediction."""
    import keras

    metric = train_segmentation.mean_iou(multiscale.CLASSES, "multiscale_fashion_mnist")
    first = None
    for index in range(len(batches)):
        x, y = batches[index]
        predicted = predict(x)
        metric.update_state(y, keras.ops.one_hot(predicted, multiscale.CLASSES))
        first = predicted[0] if first is None else first
    return float(metric.result()), np.asarray(first)


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))


def format_table(results):
    rows, lines = results["runs"], []
    scales = results["configuration"]["scales"]
    for method in METHODS:
        found = [_results.select(rows, method=method, scale=scale)[0] for scale in scales]
        lines.append([method, *(f"{row['miou']:.3f}" for row in found)])
    heads = ["mean IoU", *(f"objects enlarged {scale} times" for scale in scales)]
    return f"{_tables.markdown(heads, lines)}\n{_tables.footnote(results)}"


if __name__ == "__main__":
    main()
