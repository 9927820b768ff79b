"""Pictures that several recipes draw, and the styles of lines in all of them."""

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

# Colours of Okabe and Ito, which colour-blind people tell apart too; markers tell where there are more lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_MARKERS = "osD^vP*"


def style(index):
    """How the line with this index is drawn: `color` and `marker`."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": _MARKERS[index % 7]}


def draw_masks(rows, names, path):
    """Draws images beside their masks.

    Args:
        rows: List of `(image, masks, title)`: the masks are a dictionary from title to array.
        names: Names of the classes, in their order.
        path: File to write.
    """
    columns, classes = 1 + len(rows[0][1]), len(names)
    figure = Figure(figsize=(3 * columns, 2.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    colours = colours_of(classes).with_extremes(over="white")  # what is ignored
    for (image, masks, title), row in zip(rows, axes, strict=True):
        first = row[0] is axes[0, 0]
        image = np.squeeze(image)
        row[0].imshow(image, cmap="gray" if image.ndim == 2 else None)
        row[0].set_ylabel(title)
        for (name, mask), axis in zip(masks.items(), row[1:], strict=True):
            shown = axis.imshow(mask, cmap=colours, vmin=-0.5, vmax=classes - 0.5, interpolation="nearest")
            if first:
                axis.set_title(name)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    some_ignored = any(np.max(mask) >= classes for _, masks, _ in rows for mask in masks.values())
    label = "white: ignored" if some_ignored else None
    bar = figure.colorbar(shown, ax=axes, ticks=range(classes), shrink=0.8, label=label)
    bar.ax.set_yticklabels(names)
    figure.savefig(path, dpi=100, bbox_inches="tight")


def colours_of(classes):
    """A map with a colour for each class; those of up to 20 are as far apart as can be."""
    twenty, more = matplotlib.colormaps["tab20"], matplotlib.colormaps["tab20b"]
    return twenty.resampled(classes) if classes <= 20 else ListedColormap([*twenty.colors, *more.colors][:classes])
