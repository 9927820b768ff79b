"""Rebuilds a model layer by layer: the code that `convert`, `freeze`, `rescale` and some applications share."""

from collections.abc import Callable

import keras

from keras_njet._backend import copy_of, inner_layers, is_graph, maker, run_graph


class Rebuilding:
    """Copies a functional or sequential model layer by layer; a subclass puts other layers in the place of some.

    Each layer is made once, so that what is shared stays shared. Models inside the model are copied likewise. Nothing
    is compiled, because losses and metrics may be functions that only the user knows.
    """

    keeps_sequential = False  # whether sequential models stay so; else they become functional ones

    def __init__(self):
        self._made = {}
        self._copies = []  # pairs of a layer and its copy

    def rebuild(self, model: keras.Model, shapes=None) -> keras.Model:
        """The new model, for inputs of the given shapes without the batch axis; by default those of the model."""
        rebuilt = self.graph(model, shapes)
        for layer, copy in self._copies:
            self.take_weights(layer, copy)
        return rebuilt

    def take_weights(self, layer: keras.Layer, copy: keras.Layer) -> None:
        """Gives a copy the weights of a layer."""
        copy_weights(layer, copy)

    def graph(self, graph: keras.Model, shapes=None, name: str | None = None) -> keras.Model:
        """What takes the place of a model."""
        inputs, kept = inputs_like(graph, shapes), {"name": name or graph.name, "trainable": graph.trainable}
        if self.keeps_sequential and isinstance(graph, keras.Sequential):
            return keras.Sequential([inputs, *(self.once(layer, self.layer) for layer in graph.layers)], **kept)
        return keras.Model(inputs, self.outputs(graph, inputs), **kept)

    def outputs(self, graph: keras.Model, inputs):
        """What takes the place of the outputs of a model, for new inputs. Weights are not copied."""
        if isinstance(graph, keras.Sequential):
            outputs = inputs
            for layer in graph.layers:
                outputs = self.call(layer, outputs)
            return outputs
        return run_graph(graph, inputs, self.call)

    def call(self, layer, *args, **kwargs):
        """What takes the place of the outputs of a layer, for new inputs."""

        def make(layer):
            if not is_graph(layer):
                return self.layer(layer)
            shapes = [  # those it is called with, as far as it has fixed ones
                tuple(None if old is None else new for old, new in zip(tensor.shape[1:], given.shape[1:], strict=True))
                for tensor, given in zip(layer.inputs, keras.tree.flatten(args), strict=True)
            ]
            return self.graph(layer, shapes)

        return self.once(layer, make)(*args, **kwargs)

    def layer(self, layer, **changes):
        """What takes the place of a layer: a copy, with these changes of its configuration."""
        if is_graph(layer):
            return self.graph(layer)
        copy = copy_of(layer, **changes)
        if isinstance(layer, keras.Layer):  # else an operation, which has no weights
            self._copies.append((layer, copy))
        return copy

    def once(self, layer, make, *key):
        """What `make(layer)` returned when it was first called for this layer and these further keys."""
        key = (id(layer), *key)
        if key not in self._made:
            self._made[key] = make(layer)
        return self._made[key]


def check_graph(model) -> None:
    """Raises an error if a model can't be rebuilt."""
    if not (isinstance(model, keras.Model) and is_graph(model) and model.built):
        raise ValueError(
            f"`model` must be a functional or sequential Keras model that has been built. Received: model={model!r}"
        )


def visit_calls(graph: keras.Model, visit: Callable, inputs=None):
    """Calls `visit(layer, inputs, outputs)` for each call of a layer of a model, in their order.

    Models inside the model are entered. The inputs and outputs are lists of symbolic tensors that belong to no layer:
    nothing is computed, and no layer records the call.

    Returns:
        The symbolic outputs of the model.
    """

    def call(layer, *args, **kwargs):
        if is_graph(layer):
            return visit_calls(layer, visit, *args)
        outputs = layer.compute_output_spec(*args, **kwargs)
        tensors = [tensor for tensor in keras.tree.flatten((args, kwargs)) if keras.backend.is_keras_tensor(tensor)]
        visit(layer, tensors, keras.tree.flatten(outputs))
        return outputs

    if inputs is None:
        inputs = as_inputs(graph, [keras.KerasTensor(tensor.shape, tensor.dtype) for tensor in graph.inputs])
    if not isinstance(graph, keras.Sequential):
        return run_graph(graph, inputs, call)
    for layer in graph.layers:
        inputs = call(layer, inputs)
    return inputs


def copy_weights(layer: keras.Layer, copy: keras.Layer) -> None:
    """Gives a copy the weights of a layer, in new arrays: JAX may free the old ones, which it donates to a function."""
    if layer.built and not copy.built:  # a layer that is the activation of another one
        copy.build_from_config(layer.get_build_config())
    copy.set_weights(layer.get_weights())
    for inner in [copy, *inner_layers(copy)]:
        if isinstance(inner, keras.layers.Normalization) and inner.built:
            inner.finalize_state()  # else it keeps using the statistics it was built with


def as_inputs(model: keras.Model, tensors: list):
    """Tensors in the structure in which a model takes its inputs; Keras warns of any other."""
    if is_graph(model) and not isinstance(model, keras.Sequential):
        return keras.tree.pack_sequence_as(model.input, tensors)
    return tensors if len(tensors) > 1 else tensors[0]


def inputs_like(model: keras.Model, shapes=None):
    """New inputs in the structure of a model's, which differ in their shapes alone: those given, without the batch."""
    shapes = [tensor.shape[1:] for tensor in model.inputs] if shapes is None else shapes
    inputs = [
        _input_like(maker(tensor), (tensor.shape[0], *shape))
        for shape, tensor in zip(shapes, model.inputs, strict=True)
    ]
    return as_inputs(model, inputs)


def _input_like(layer: keras.layers.InputLayer, batch_shape):
    kept = ("dtype", "name", "sparse", "ragged", "optional")
    return keras.Input(batch_shape=batch_shape, **{name: getattr(layer, name) for name in kept})
