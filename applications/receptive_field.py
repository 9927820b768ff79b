"""Draws the effective receptive field of trained U-Nets (like figure 13 of the paper).

    python -m applications.receptive_field RUN [RUN ...] --data-dir DIR

A RUN is a folder that train_segmentation wrote. The field is the magnitude of the gradient of the largest logit of a
pixel with respect to the input. In each test image it is that of the pixel of an object that is nearest to the middle
of the objects around the centre of the image; these fields, each around its pixel, are averaged. Writes into --out:
receptive_field.png and results.json (the radius of the disc with half of each field).
"""

import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from applications import _results, train_segmentation
from applications._arguments import ArgumentParser


def main():
    _results.main(parse_arguments(), measure)


def parse_arguments(given=None):
    parser = ArgumentParser("receptive_field", __doc__)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, help="folders of trained U-Nets")
    parser.add_argument("--images", type=int, default=20, help="the first one of each batch; default: %(default)s")
    return parser.read(given)


def measure(arguments):
    """The field of each network, drawn; returns their radii."""
    fields, labels = {}, labels_of(arguments.runs)
    for run in arguments.runs:
        model, test_set, _ = train_segmentation.trained(run, data_dir=arguments.data_dir)
        fields[labels[run]] = effective_field(model, test_set, arguments.images)
    plot(fields, arguments.out / "receptive_field.png")
    return {"metrics": {f"pixels of half of the field, {name}": radius(field) for name, field in fields.items()}}


def labels_of(runs):
    """A label for each run, with its folder where runs are alike but for their seeds or smaller differences."""
    labels = {run: train_segmentation.label(_results.recorded(run)) for run in runs}
    common = [label for label in labels.values() if list(labels.values()).count(label) > 1]
    return {run: f"{label}\n{run}" if label in common else label for run, label in labels.items()}


def effective_field(model, test_set, images):
    """Mean magnitude of the gradient of a pixel's logit, around that pixel: an array of odd size."""
    from keras_njet import visualization

    fields = []
    for index in range(min(images, len(test_set))):
        x, y = (part[:1] for part in test_set[index])
        rows, columns = np.nonzero((y[0] > 0) & (y[0] < 255))
        reach = min(x.shape[1:3]) // 4
        inside = (abs(rows - x.shape[1] // 2) < reach) & (abs(columns - x.shape[2] // 2) < reach)
        if not inside.any():
            continue
        at = np.median(rows[inside]), np.median(columns[inside])
        middle = np.argmin(np.where(inside, abs(rows - at[0]) + abs(columns - at[1]), np.inf))
        row, column = int(rows[middle]), int(columns[middle])
        field = visualization.effective_receptive_field(model, x, position=(row, column))
        fields.append(field[row - reach : row + reach + 1, column - reach : column + reach + 1])
    fields = np.mean(fields, axis=0)
    return fields / fields.max()


def radius(field):
    """Radius in pixels of the disc around the centre that holds half of the field."""
    centre = len(field) // 2
    rows, columns = np.mgrid[: len(field), : len(field)] - centre
    distances = np.hypot(rows, columns).ravel()
    order = np.argsort(distances)
    share = np.cumsum(field.ravel()[order]) / field.sum()
    return float(distances[order][np.searchsorted(share, 0.5)])


def plot(fields, path):
    figure = Figure(figsize=(3 * len(fields), 3.2), layout="constrained")
    axes = figure.subplots(1, len(fields), squeeze=False)
    for (name, field), axis in zip(fields.items(), axes[0], strict=True):
        reach = len(field) // 2
        shown = axis.imshow(np.sqrt(field), extent=(-reach, reach, reach, -reach), cmap="magma")
        axis.add_patch(Circle((0, 0), radius(field), fill=False, color="white", linestyle="--"))
        axis.set_title(f"{name}\nhalf within {radius(field):.1f} pixels", fontsize=9)
        axis.set(xlabel="pixels")
    figure.colorbar(shown, ax=axes, label="√ |gradient|, largest = 1", shrink=0.8)
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
