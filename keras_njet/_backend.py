"""The private parts of Keras that this package leans on, all in one file.

`tests/test_backend.py` fails when one of them goes.
"""

import contextlib
import sys

import keras
from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope as in_symbolic_scope
from keras.src.utils import backend_utils, jax_utils

_TRAINER_METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


def read_scalar(variable) -> float | None:
    """The value of a scalar variable as a number, or None where it has none: while JAX traces, say."""
    try:
        with _outside_of_graphs():
            return float(ops.convert_to_numpy(variable.value))
    except (TypeError, NotImplementedError, RuntimeError):
        # TypeError: a JAX tracer, or a JAX variable between the batches of `fit`, whose value is in the training state.
        # The others: a TensorFlow placeholder and a torch tensor on the "meta" device, during shape inference.
        return None


def calling_model() -> tuple[keras.Model | None, bool]:
    """The model that is being run, and whether it is its own `fit`, `evaluate` or `predict` that runs it.

    Found among the callers, for Keras' call context knows the model on TensorFlow and torch only, and never a model
    whose `train_step` calls another one. In a function of the user's own it is the outermost model among the callers.
    """
    outermost, frame = None, sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Model):
            if frame.f_code.co_name in _TRAINER_METHODS:
                return owner, True
            outermost = owner
        frame = frame.f_back
    return outermost, False


def inner_layers(model: keras.Model) -> list[keras.Layer]:
    """All layers and models inside a model, at any depth."""
    return model._flatten_layers(include_self=False, recursive=True)


def is_traced(x) -> bool:
    """Whether the function that works on the tensor `x` is being compiled."""
    return bool(backend_utils.in_tf_graph() or jax_utils.is_in_jax_tracing_scope(x))


def is_training(layer: keras.Layer) -> bool | None:
    """The `training` argument of the present call of a model or layer, None where it is not known."""
    return layer._get_call_context().get_value("training")


def _outside_of_graphs():
    """Context in which TensorFlow's variables have values, also while a `tf.function` is traced."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()
