"""A new model of the layers of another one: what `convert` and `freeze` share."""

import keras

from keras_njet._backend import copy_of, copy_weights, inputs_like, is_graph, run_graph


class Rebuilding:
    """Copies a functional or sequential model layer by layer; a subclass puts other layers in the place of some.

    Each layer is made once, so that what is shared stays shared. Models inside the model are copied likewise. Nothing
    is compiled, for losses and metrics may be functions that only the user knows.
    """

    def __init__(self):
        self._made = {}
        self._copies = []  # pairs of a layer and its copy

    def rebuild(self, model: keras.Model, shapes=None) -> keras.Model:
        """The new model, for inputs of the given shapes without the batch axis; by default those of the model."""
        rebuilt = self.graph(model, shapes)
        for layer, copy in self._copies:
            copy_weights(layer, copy)
        return rebuilt

    def graph(self, graph: keras.Model, shapes=None, name: str | None = None) -> keras.Model:
        """What takes the place of a model."""
        inputs = inputs_like(graph, shapes)
        if isinstance(graph, keras.Sequential):
            outputs = inputs
            for layer in graph.layers:
                outputs = self.call(layer, outputs)
        else:
            outputs = run_graph(graph, inputs, self.call)
        return keras.Model(inputs, outputs, name=name or graph.name, trainable=graph.trainable)

    def call(self, layer, *args, **kwargs):
        """What takes the place of the outputs of a layer, for new inputs."""
        return self.once(layer, self.layer)(*args, **kwargs)

    def layer(self, layer):
        """What takes the place of a layer."""
        if is_graph(layer):
            return self.graph(layer)
        copy = copy_of(layer)
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
