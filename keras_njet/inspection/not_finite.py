"""`find_nan`, which names the layer in which a training diverges."""

import keras
import numpy as np

from keras_njet._backend import calling_through, inner_layers, own_variables


def find_nan(model: keras.Model, x, y, batch_size: int = 32) -> tuple[keras.Layer, str] | None:
    """Names the layer in which NaN or infinity arises first while a model is trained.

    First load the weights that the model had before it diverged, as a callback has saved them; pass the same data. The
    model is trained batch by batch, and each batch is first run without compiling, to look at every layer, so this
    takes longer than `fit`. At the end the weights and the state of the optimizer are what they were.

    Args:
        model: A compiled `keras.Model`.
        x: Input as for `fit`: an array, or a structure of arrays. Batches are taken in the order of the array.
        y: Targets, likewise.
        batch_size: Integer, number of examples in a step. Defaults to 32.

    Returns:
        None if everything stays finite. Otherwise a pair of a layer and a string:

        - `"output"`: the output of the layer is not finite, though its input is;
        - `"loss"`: the output of the model is finite, but its loss is not; the layer is the model;
        - `"gradient"`: the loss is finite, but not the gradients of this layer and of those before it. NaN arises in
          this layer, or in a layer without weights after it. With an optimizer that has `global_clipnorm` one such
          gradient spoils all, and the layer is the last one with weights: compile without it to find the right one.

    Raises:
        ValueError: If the model is not compiled.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8, 8, 1)), keras_njet.NJetConv2D(2), keras.layers.Activation("log_sigmoid", name="fine"),
    ...      keras.layers.Lambda(keras.ops.log, name="logarithm"), keras.layers.GlobalMaxPooling2D()]
    ... )
    >>> model.compile("sgd", "mse")
    >>> layer, where = find_nan(model, numpy.ones((4, 8, 8, 1)), numpy.zeros((4, 2)))
    >>> layer.name, where
    ('logarithm', 'output')
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(f"Expected a compiled model. Received: model={model}")
    if not model.built:
        model(keras.tree.map_structure(lambda array: keras.ops.convert_to_tensor(array[:1]), x))
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    before = [(variable, keras.ops.convert_to_numpy(variable)) for variable in (*model.variables, *optimizer.variables)]
    try:
        for start in range(0, len(keras.tree.flatten(x)[0]), batch_size):
            batch = keras.tree.map_structure(lambda array, start=start: array[start : start + batch_size], (x, y))
            found = _find_in_batch(model, *batch)
            if found is not None:
                return found
    finally:
        for variable, value in before:
            variable.assign(value)
    return None


def _find_in_batch(model, x, y):
    layer = _with_bad_output(model, x)
    if layer is not None:
        return layer, "output"
    loss = np.ravel(model.train_on_batch(x, y))[0]
    if not np.isfinite(loss):
        return model, "loss"
    broken = [layer for layer in inner_layers(model) if not _are_finite(own_variables(layer))]
    return (broken[-1], "gradient") if broken else None


def _with_bad_output(model, x):
    """The first layer whose output is not finite though its inputs are; None if there is none."""
    found = []

    def watched(layer, call, *args, **kwargs):
        outputs = call(*args, **kwargs)
        if not found and _are_finite((args, kwargs)) and not _are_finite(outputs):
            found.append(layer)
        return outputs

    with calling_through(watched, inner_layers(model)):
        model(keras.tree.map_structure(keras.ops.convert_to_tensor, x), training=True)
    return found[0] if found else None


def _are_finite(structure):
    """Whether all numbers in a structure of tensors are finite; only floating-point tensors are looked at."""
    return all(
        bool(np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(one, "float32"))).all())
        for one in keras.tree.flatten(structure)
        if keras.ops.is_tensor(one) or isinstance(one, keras.Variable)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(one.dtype))
    )
