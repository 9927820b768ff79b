"""Pictures of what a network has learned: filters, sizes of feature maps, receptive fields, σ over training.

They are drawn by matplotlib, an extra: `pip install matplotlib`. Each function returns a
`matplotlib.figure.Figure`, which notebooks show and `savefig` writes; nothing is shown by itself. To draw into a figure
of your own, also one of `matplotlib.pyplot`, pass `ax` or `figure`.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._gradients import gradient
from keras_njet.inspection.summary import (
    format_filter_size,
    format_sigmas,
    layers_by_path,
    map_size,
    require_built,
    shapes_of_layers,
    sigmas_of,
)
from keras_njet.layers._base_njet_conv import BaseNJetConv
from keras_njet.transforms._rebuilding import as_inputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "effective_receptive_field",
    "plot_effective_receptive_field",
    "plot_feature_map_sizes",
    "plot_filters",
    "plot_sigma",
]

_MOST_NAMED = 24  # layers whose names find room below an axis or in a legend


def plot_filters(
    layer: keras.Layer,
    baseline: keras.Layer | None = None,
    count: int = 16,
    channel: int = 0,
    figure: Figure | None = None,
) -> Figure:
    """Draws the filters of a layer, beside those of the layer it takes the place of (figure 12 of the paper).

    All filters have pixels of the same size, so that large ones look large. Grey is 0, black and white are minus and
    plus the largest magnitude of each filter.

    Args:
        layer: A built `keras_njet.NJetConv2D` or other convolution with a 2-D `kernel`.
        baseline: Another convolution, for instance a `keras.layers.Conv2D`, or None. Defaults to None.
        count: Integer > 0, how many filters of each are drawn at most. Defaults to 16.
        channel: Integer ≥ 0, the input channel whose part of the filters is drawn. Depthwise convolutions have 0 alone.
            Defaults to 0.
        figure: `matplotlib.figure.Figure` or `SubFigure` to draw into, by default a new one.

    Returns:
        The figure.

    Raises:
        ValueError: If a layer has no 2-D kernel or is not built, or an argument is out of its range.
        ImportError: If matplotlib is not installed.

    Example:

    >>> layer = keras_njet.NJetConv2D(16, sigma=2.0)
    >>> baseline = keras.layers.Conv2D(16, 3)
    >>> layer.build((None, 28, 28, 1)), baseline.build((None, 28, 28, 1))
    (None, None)
    >>> figure = plot_filters(layer, baseline)
    """
    count = _arguments.integer("count", count, least=1)
    layers = [layer] if baseline is None else [layer, baseline]
    kernels = [_kernel(each, channel) for each in layers]
    labels = [_labels(each, kernel.shape[2]) for each, kernel in zip(layers, kernels, strict=True)]
    panels = min(count, max(kernel.shape[2] for kernel in kernels))
    columns = math.ceil(math.sqrt(panels))
    rows = math.ceil(panels / columns)
    reach = max(max(kernel.shape[:2]) for kernel in kernels) / 2
    figure = figure or _new_figure(figsize=(len(layers) * (0.75 * columns + 0.4), 0.75 * rows + 0.6))
    (parts,) = figure.subfigures(1, len(layers), squeeze=False, wspace=0.06)
    for part, each, kernel, label in zip(parts, layers, kernels, labels, strict=True):
        sigmas = sigmas_of(each)
        sigma = f"σ = {format_sigmas(sigmas)}, " if sigmas.size else ""
        part.suptitle(f"{each.name}\n{sigma}{format_filter_size(each)} pixels", fontsize="medium")
        for index, ax in enumerate(part.subplots(rows, columns, squeeze=False).flat):
            if index >= min(panels, kernel.shape[2]):
                ax.axis("off")
                continue
            _draw_filter(kernel[..., index], reach, ax)
            if any(labels):  # also blank ones, which keep all panels at one size
                ax.set_title(label[index] if label else " ", fontsize="x-small", pad=2)
    return figure.figure


def plot_feature_map_sizes(
    models: keras.Model | dict[str, keras.Model],
    input_shape=None,
    layers: Callable[[keras.Layer], bool] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws the size of the feature map of each layer, of one model or several (figures 7 and 8 of the paper).

    Args:
        models: A built `keras.Model`, or a dict of them by the names under which they are drawn.
        input_shape: Shape of the input without the batch axis, in pixels and channels; a list of them if there are
            several inputs. Defaults to that of each model.
        layers: Function of a layer that returns whether it is drawn. Defaults to all convolutions.
        ax: `matplotlib.axes.Axes` to draw into, by default a new one.

    Returns:
        The figure. It shows √(height·width) in pixels, the side of a square feature map, at the present σ; of a signal
        its length, of a volume the side of a cube of as many pixels.

    Raises:
        ValueError: If `models` is neither of these, a model is not built, the shape of the input is not known, or a
            model has no feature map to draw.
        ImportError: If matplotlib is not installed.

    Example:

    >>> njet = keras.Sequential([keras.Input((28, 28, 1)), keras_njet.NJetConv2D(8, subsample_rate=4.0)])
    >>> baseline = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(8, 3, strides=2)])
    >>> figure = plot_feature_map_sizes({"N-Jet": njet, "baseline": baseline})
    """
    models = models if isinstance(models, dict) else {getattr(models, "name", ""): models}
    sizes = {name: _feature_map_sizes(model, input_shape, layers or _is_convolution) for name, model in models.items()}
    if not sizes or not all(sizes.values()):
        raise ValueError(
            "There must be a feature map to draw in each model. Received: "
            f"models={ {name: list(found) for name, found in sizes.items()} }"
        )
    longest = max(map(len, sizes.values()))
    ax = ax or _new_axes(figsize=(min(12.0, max(5.0, 3.0 + 0.3 * longest)), 3.6))
    for (name, found), marker in zip(sizes.items(), "osD^v<>p*hX" * len(sizes), strict=False):
        ax.plot(range(1, len(found) + 1), found.values(), marker=marker, markersize=5, alpha=0.8, label=name)
    names = next(iter(sizes.values()))
    if len(names) <= _MOST_NAMED and all(list(found) == list(names) for found in sizes.values()):
        ax.set_xticks(range(1, len(names) + 1), names, rotation=45, ha="right", fontsize="small")
    else:
        ax.set_xlabel("layer")
    ax.set_ylabel("size of feature map (pixels)")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    if len(sizes) > 1:
        ax.legend()
    return ax.figure.figure


def effective_receptive_field(
    model: keras.Model, images=None, input_shape=None, position: tuple[int, int] | None = None, channel=None
) -> np.ndarray:
    """Computes how much one pixel of the output depends on each pixel of the input (figure 13 of the paper).

    That is the magnitude of the gradient of the output with respect to the input, summed over the input's channels: a
    mean over images.

    Args:
        model: `keras.Model` whose output is a feature map. Of a classifier take a part that ends in one:
            `keras.Model(model.inputs, model.get_layer("conv3").output)`.
        images: Array of shape `(count, height, width, channels)`, or with the channels first if that is
            `keras.config.image_data_format()`: one batch. By default 8 images of normal noise, always the same.
        input_shape: Shape `(height, width, channels)` of the noise. Defaults to that of the model.
        position: Row and column of the pixel of the output. Defaults to the middle one.
        channel: Integer, the channel of the output. By default, for each image, the one that is largest at this pixel:
            the class that is predicted.

    Returns:
        An array of shape `(height, width)`.

    Raises:
        ValueError: If an argument is out of its range, the shape of the input is not known, or the output is not a
            feature map.

    Example:

    >>> model = keras.Sequential([keras.Input((15, 15, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    >>> rows, columns = effective_receptive_field(model).nonzero()
    >>> sorted({*rows.tolist()})
    [6, 7, 8]
    """
    return _field(model, images, input_shape, position, channel)[0]


def plot_effective_receptive_field(
    model: keras.Model,
    images=None,
    input_shape=None,
    position: tuple[int, int] | None = None,
    channel=None,
    ax: Axes | None = None,
) -> Figure:
    """Draws how much one pixel of the output depends on each pixel of the input (figure 13 of the paper).

    Args:
        model, images, input_shape, position, channel: As in `keras_njet.visualization.effective_receptive_field`.
        ax: `matplotlib.axes.Axes` to draw into, by default a new one.

    Returns:
        The figure. Distances are in pixels of the input; the largest gradient is 1, and colours show its square root.

    Raises:
        ValueError: As `keras_njet.visualization.effective_receptive_field`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> model = keras.Sequential([keras.Input((31, 31, 1)), keras_njet.NJetConv2D(4, sigma=3.0)])
    >>> figure = plot_effective_receptive_field(model)
    """
    ax = ax or _new_axes(figsize=(4.4, 3.6))
    from matplotlib.colors import PowerNorm

    field, (row, column) = _field(model, images, input_shape, position, channel)
    extent = (-0.5 - column, field.shape[1] - 0.5 - column, field.shape[0] - 0.5 - row, -0.5 - row)
    norm = PowerNorm(0.5, vmin=0.0, vmax=1.0)
    image = ax.imshow(field / (field.max() or 1.0), cmap="magma", norm=norm, extent=extent)
    scale = ax.inset_axes((1.04, 0.0, 0.05, 1.0))  # as high as the image
    ax.figure.colorbar(image, cax=scale, label="|gradient|, largest = 1", ticks=(0.0, 0.1, 0.25, 0.5, 1.0))
    ax.set(xlabel="pixels", title=model.name)
    return ax.figure.figure


def plot_sigma(history, ax: Axes | None = None) -> Figure:
    """Draws σ of each layer over the epochs of a training (figure 5 of the paper).

    Args:
        history: What `fit` returns with a `keras_njet.ResolutionCallback` among its callbacks, or its dict `history`.
        ax: `matplotlib.axes.Axes` to draw into, by default a new one.

    Returns:
        The figure, with a line for each scale, in pixels. The first layer is the darkest.

    Raises:
        ValueError: If no σ is in the history.
        ImportError: If matplotlib is not installed.

    Example:

    >>> figure = plot_sigma({"conv1/sigma": [1.0, 1.4], "conv2/sigma": [1.0, 2.1]})
    """
    logs = getattr(history, "history", history)
    found = {key: re.fullmatch(r"(.+)/sigma(?:_(.+))?", key) for key in logs} if isinstance(logs, dict) else {}
    lines = {" ".join(filter(None, match.groups())): logs[key] for key, match in found.items() if match}
    if not lines:
        raise ValueError(
            "`history` must hold σ: pass `keras_njet.ResolutionCallback()` to `fit` as a callback. "
            f"Received: history={history!r}"
        )
    ax = ax or _new_axes(figsize=(6.4, 3.6))
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    for index, (name, values) in enumerate(lines.items()):
        color = colormaps["viridis"](0.9 * index / max(1, len(lines) - 1))
        ax.plot(range(1, len(values) + 1), values, color=color, label=name)
    ax.set(xlabel="epoch", ylabel="σ (pixels)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    if len(lines) <= _MOST_NAMED:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small" if len(lines) <= 12 else "xx-small")
    return ax.figure.figure


def _new_figure(**arguments):
    """A figure outside of pyplot: it is not shown, and is freed when it is no longer used."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures are drawn by matplotlib: `pip install matplotlib`.") from error
    return Figure(layout="constrained", **arguments)


def _new_axes(**arguments):
    return _new_figure(**arguments).subplots()


def _kernel(layer, channel):
    """The filters of a layer for one input channel, shape (height, width, filters)."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) != 4:
        raise ValueError(f"A layer must have a 2-D kernel, and have been built. Received: layer={layer!r}")
    kernel = keras.ops.convert_to_numpy(kernel)
    if hasattr(layer, "depth_multiplier"):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    elif isinstance(layer, keras.layers.Conv2DTranspose):  # whose kernel has the output channels first
        kernel = np.moveaxis(kernel, 2, 3)
    if not _is_index(channel, kernel.shape[2]):
        raise ValueError(
            f"`channel` must be one of the {kernel.shape[2]} that the filters of {layer.name!r} have, counted from 0. "
            f"Received: channel={channel}"
        )
    return kernel[:, :, channel]


def _draw_filter(filter_, reach, ax):
    """Draws a filter in the middle of 2·reach pixels."""
    (height, width), limit = filter_.shape, np.abs(filter_).max() or 1.0
    extent = (-width / 2, width / 2, height / 2, -height / 2)
    ax.imshow(filter_, cmap="gray", vmin=-limit, vmax=limit, extent=extent)
    ax.set(xticks=[], yticks=[], xlim=(-reach, reach), ylim=(reach, -reach))
    ax.set_facecolor("lavender")  # neither black, grey nor white: there the filter has ended
    ax.spines[:].set_visible(False)


def _labels(layer, filters):
    """σ of each filter, where filters or groups of filters have one of their own; empty otherwise."""
    sigmas = layer.filter_sigmas() if isinstance(layer, BaseNJetConv) else None
    return [] if sigmas is None else [f"σ = {sigma:.2f}" for sigma in np.repeat(sigmas, filters // sigmas.size)]


def _is_convolution(layer):
    return bool(getattr(layer, "kernel_size", ()))


def _feature_map_sizes(model, input_shape, is_chosen):
    """The side, in pixels, of a square with as many pixels as the feature map of each chosen layer, by path."""
    shapes = shapes_of_layers(model, input_shape, required=True)
    sizes = {
        path: map_size(layer, shapes[id(layer)][1])
        for path, layer in layers_by_path(model)
        if id(layer) in shapes and is_chosen(layer)
    }
    return {path: float(np.prod(size) ** (1 / len(size))) for path, size in sizes.items() if size is not None}


def _field(model, images, input_shape, position, channel):
    """The effective receptive field, and the row and column of the input below the pixel of the output."""
    images = _noise(require_built(model), input_shape) if images is None else images
    images = np.asarray(images, keras.config.floatx())
    if images.ndim != 4 or not images.size:
        raise ValueError(f"`images` must be feature maps, with four axes. Received: images.shape={images.shape}")
    channels_last = keras.config.image_data_format() == "channels_last"
    shape = tuple(keras.ops.shape(model(as_inputs(model, [images]), training=False)))
    if len(shape) != 4:
        raise ValueError(
            "The output must be a feature map; of a classifier take a part: `keras.Model(model.inputs, "
            f'model.get_layer("conv").output)`. Received: model={model.name!r}, output_shape={shape}'
        )
    size, channels = (shape[1:3], shape[3]) if channels_last else (shape[2:4], shape[1])
    position = [length // 2 for length in size] if position is None else list(position)
    if len(position) != 2 or not all(_is_index(at, length) for at, length in zip(position, size, strict=True)):
        raise ValueError(f"`position` must be a row and a column of {size} pixels. Received: position={position}")
    if channel is not None and not _is_index(channel, channels):
        raise ValueError(
            f"`channel` must be one of the {channels} of the output, counted from 0. Received: channel={channel}"
        )

    def value(images):
        outputs = model(as_inputs(model, [images]), training=False)
        row, column = position
        logits = outputs[:, row, column] if channels_last else outputs[:, :, row, column]
        return keras.ops.sum(keras.ops.max(logits, axis=-1) if channel is None else logits[:, channel])

    field = np.abs(gradient(value, images)).sum(axis=-1 if channels_last else 1).mean(axis=0)
    below = [(at + 0.5) * pixels / length - 0.5 for at, pixels, length in zip(position, field.shape, size, strict=True)]
    return field, below


def _is_index(value, length):
    return isinstance(value, numbers.Integral) and 0 <= value < length


def _noise(model, input_shape):
    """Images of normal noise."""
    if input_shape is None:
        tensors = getattr(model, "inputs", None) or [None]
        input_shape = None if tensors[0] is None else tuple(tensors[0].shape[1:])
    if input_shape is None or len(input_shape) != 3 or None in input_shape:
        raise ValueError(
            "`images` or `input_shape` must be given if the model takes images of any size. "
            f"Received: images=None, input_shape={input_shape}"
        )
    return np.random.default_rng(0).normal(size=(8, *input_shape))
