"""`summary`, the table of a network with what its layers have learned; and the functions that build the table."""

import math
import numbers
from collections.abc import Callable

import keras
import numpy as np

from keras_njet import _arguments
from keras_njet._backend import inner_layers, layer_shapes, print_msg
from keras_njet.layers._data_formats import spatial
from keras_njet.layers._njet_layer import NJetLayer
from keras_njet.transforms._rebuilding import as_inputs

_WIDTH = 100  # columns of a terminal
_HEADER = ("Layer", "Class", "Order", "σ (pixels)", "Filter", "Feature map", "Parameters")


def summary(model: keras.Model, input_shape=None, print_fn: Callable[[str], None] | None = None) -> None:
    """Prints a table of the layers of a model, with σ and all sizes as they are now.

    `keras.Model.summary` has None wherever a size depends on σ. Here filters and feature maps have the sizes that
    belong to the present scales (sections III-C and IV of the paper). There is a row for each layer that has weights or
    changes the size of its input, also inside models that the model contains. The model is not run to find the sizes.

    Args:
        model: A `keras.Model` that has been built.
        input_shape: Shape of the input without the batch axis, in pixels and channels; a list of them if there are
            several inputs. Defaults to that of the model; if that is not fixed, feature maps are shown as "?".
        print_fn: Function that is called on each line. By default lines are printed as Keras prints them.

    Raises:
        ValueError: If `model` is no Keras model or is not built, or if `input_shape` does not fit it.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((32, 32, 3)), keras_njet.NJetConv2D(8, subsample_rate=4.0, name="njet")], name="small"
    ... )
    >>> summary(model)
    Model: "small"
    Layer  Class       Order  σ (pixels)  Filter  Feature map  Parameters
    ---------------------------------------------------------------------
    njet   NJetConv2D      3        1.00     5×5      26×26×8         249
    ---------------------------------------------------------------------
    Parameters: 249, of these trainable: 249
    """
    print_fn = print_msg if print_fn is None else print_fn
    layers = layers_by_path(require_built(model))
    has_diverged = not all(np.isfinite(sigmas_of(layer)).all() for _, layer in layers)
    shapes = {} if has_diverged else shapes_of_layers(model, input_shape)
    rows = []
    for path, layer in layers:
        within = {id(weight) for inner in inner_layers(layer) for weight in inner.weights}
        own = [weight for weight in layer.weights if id(weight) not in within]
        if own or isinstance(layer, NJetLayer) or (not inner_layers(layer) and _resizes(layer, shapes)):
            rows.append((path, *_describe(layer), _shape(layer, shapes), f"{_count(own):,}" if own else ""))
    total, trainable = _count(model.weights), _count(model.trainable_weights)
    for line in (
        f'Model: "{model.name}"',
        *table(_HEADER, rows, left=2),
        f"Parameters: {total:,}, of these trainable: {trainable:,}",
    ):
        print_fn(line)


def layers_by_path(model: keras.Model) -> list[tuple[str, keras.Layer]]:
    """All layers inside a model, each once, after the names of the layers that lead to it: "encoder/conv1"."""
    found = {}

    def visit(container, prefix):
        for layer in inner_layers(container, recursive=False):
            if id(layer) not in found:
                found[id(layer)] = prefix + layer.name, layer
                visit(layer, f"{prefix}{layer.name}/")

    visit(model, "")
    return list(found.values())


def shapes_of_layers(model: keras.Model, input_shape=None, required: bool = False) -> dict[int, tuple[tuple, tuple]]:
    """Shapes of the input and the output of each layer at the present σ, by the id of the layer.

    Args:
        model: A `keras.Model` that has been built.
        input_shape: As in `summary`.
        required: Whether to raise ValueError if the shape of the input is not known. Else the result is empty.
    """
    tensors = getattr(require_built(model), "inputs", None) or []
    for layer in inner_layers(model):
        if isinstance(layer, NJetLayer):
            layer.sigma_numbers()  # remembers σ, which torch changes in place: shapes are found without values
    given = [tensor.shape[1:] for tensor in tensors] if input_shape is None else _arguments.input_shapes(input_shape)
    if not given or not all(map(_is_fixed, given)) or (tensors and not _fit(given, tensors)):
        if input_shape is None and not required:
            return {}
        raise ValueError(
            "`input_shape` must give the shape of the input without the batch axis, as integers above 0 (a list of "
            f"shapes if there are several inputs). Received: input_shape={input_shape}, model={model.name!r}, "
            f"inputs={[tuple(tensor.shape) for tensor in tensors]}"
        )
    batches = [tensor.shape[0] or 1 for tensor in tensors] or [1] * len(given)
    dtypes = [tensor.dtype for tensor in tensors] or [keras.config.floatx()] * len(given)
    inputs = [
        keras.KerasTensor((batch, *shape), dtype) for batch, shape, dtype in zip(batches, given, dtypes, strict=True)
    ]
    return layer_shapes(model, as_inputs(model, inputs))


def map_size(layer: keras.Layer, shape: tuple) -> tuple[int, ...] | None:
    """Size of a feature map of this shape along each axis, in pixels; None if it is not a feature map's."""
    return spatial(shape, _data_format(layer)) if 3 <= len(shape) <= 5 else None


def sigmas_of(layer: keras.Layer) -> np.ndarray:
    """The scales σ of a layer in pixels, as a vector; empty if it has none."""
    return layer.sigma_numbers() if isinstance(layer, NJetLayer) else np.array([])


def format_sigmas(sigmas: np.ndarray) -> str:
    """A scale, or the range of several."""
    least, most = f"{sigmas.min():.2f}", f"{sigmas.max():.2f}"
    return least if least == most else f"{least}–{most}"


def format_filter_size(layer: keras.Layer) -> str:
    """Size of a layer's filters, or the range of several; empty if it has none."""
    if not np.isfinite(sigmas_of(layer)).all():
        return "?"  # training has diverged
    sizes = layer.kernel_sizes if isinstance(layer, NJetLayer) else [_kernel_size(layer)]
    if not any(sizes):
        return ""
    texts = dict.fromkeys("×".join(map(str, size)) for size in (min(sizes), max(sizes)))
    return "–".join(texts)


def _kernel_size(layer):
    """The size of the filters of a layer that Keras or somebody else wrote; empty if it has none."""
    size = getattr(layer, "kernel_size", ())
    return tuple(size) if isinstance(size, (tuple, list)) else (size,) if isinstance(size, int) else ()


def require_built(model) -> keras.Model:
    """A Keras model, which must have been built."""
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"`model` must be a Keras model that has been built. Received: model={model!r}")
    return model


def table(header: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> list[str]:
    """Lines of a table, at most as wide as a terminal: long names are cut at the beginning.

    Args:
        header: Names of the columns.
        rows: Texts, one for each column.
        left: Integer, how many columns are aligned at the left; the others are at the right.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    room = max(12, _WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1))
    widths[0] = min(widths[0], room)
    rows = [(name if len(name) <= room else "…" + name[1 - room :], *others) for name, *others in rows]
    lines = [
        "  ".join(
            text.ljust(width) if index < left else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:], rule]


def _describe(layer):
    """Class, order, σ and filter size of a layer, as texts."""
    sigmas = sigmas_of(layer)
    order, sigma = (str(layer.order), format_sigmas(sigmas)) if sigmas.size else ("", "")
    return type(layer).__name__, order, sigma, format_filter_size(layer)


def _shape(layer, shapes):
    """Shape of a layer's output without the batch axis, the channels last."""
    if id(layer) not in shapes:
        return "?"
    _, output = shapes[id(layer)]
    size = map_size(layer, output)
    if size is not None:
        output = (output[0], *size, output[-1 if _data_format(layer) == "channels_last" else 1])
    return "×".join(map(str, output[1:]))


def _resizes(layer, shapes):
    """Whether a layer changes the size of its input along an axis, or turns a feature map into something else."""
    sizes = [map_size(layer, shape) for shape in shapes.get(id(layer), ())]
    return len(set(sizes)) > 1


def _count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def _data_format(layer):
    return getattr(layer, "data_format", None) or keras.config.image_data_format()


def _fit(shapes, tensors):
    """Whether shapes without the batch axis are those of a model's inputs, as far as these are known."""
    known = [tuple(tensor.shape[1:]) for tensor in tensors]
    return list(map(len, shapes)) == list(map(len, known)) and all(
        size == of_model or of_model is None
        for shape, whole in zip(shapes, known, strict=True)
        for size, of_model in zip(shape, whole, strict=True)
    )


def _is_fixed(shape):
    return isinstance(shape, (tuple, list)) and all(isinstance(size, numbers.Integral) and size > 0 for size in shape)
