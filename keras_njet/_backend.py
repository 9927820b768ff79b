"""The private parts of Keras that this package leans on, all in one file.

`tests/test_backend.py` fails when one of them goes.
"""

import contextlib

import keras
from keras import ops
from keras.src.utils import backend_utils, jax_utils


def read_scalar(variable) -> float | None:
    """The value of a scalar variable as a number, or None where it has none: while JAX traces, say."""
    try:
        with _outside_of_graphs():
            return float(ops.convert_to_numpy(variable.value))
    except (TypeError, NotImplementedError, RuntimeError):
        # TypeError: a JAX tracer, or a JAX variable between the batches of `fit`, whose value is in the training state.
        # The others: a TensorFlow placeholder and a torch tensor on the "meta" device, during shape inference.
        return None


def calling_model(layer: keras.Layer) -> keras.Model | None:
    """The outermost model whose call led to the present call of `layer`, or None."""
    entry = layer._get_call_context().entry_layer
    return entry if isinstance(entry, keras.Model) else None


def inner_layers(model: keras.Model) -> list[keras.Layer]:
    """All layers and models inside a model, at any depth."""
    return model._flatten_layers(include_self=False, recursive=True)


def is_traced_for_training(layer: keras.Layer, x) -> bool:
    """Whether the present call of `layer` on the tensor `x` is being compiled, and in training mode."""
    traced = backend_utils.in_tf_graph() or jax_utils.is_in_jax_tracing_scope(x)
    return bool(traced and layer._get_call_context().get_value("training"))


def _outside_of_graphs():
    """Context in which TensorFlow's variables have values, also while a `tf.function` is traced."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()
