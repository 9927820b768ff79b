"""All private parts of Keras that this package uses, in one file.

`tests/keras_njet/test_backend.py` fails when one of them is removed or changes.
"""

import contextlib
import functools
import inspect
import sys
import threading
import weakref
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

try:
    from keras.src.backend.common.global_state import get_global_attribute
    from keras.src.backend.common.symbolic_scope import in_symbolic_scope as in_symbolic_scope
    from keras.src.models.functional import Functional
    from keras.src.saving.serialization_lib import SafeModeScope
    from keras.src.utils import backend_utils, jax_utils
    from keras.src.utils.io_utils import print_msg as print_msg
except ImportError as error:
    raise ImportError(
        f"keras_njet uses private parts of Keras, one of which this version lacks: {error}. Expected Keras 3.15, "
        f"with which it is tested. Received: keras.__version__={keras.__version__!r}"
    ) from error

_STEPS = ("train", "test", "predict")
_NAME_OF_TRACED = "traced_once_by_keras_njet"
_OF_MODELS = {"one_step_on_data", "multi_step_on_iterator", "one_step_on_data_distributed", "multi_step_on_data"}
_TENSORFLOW_FUNCTIONS = weakref.WeakKeyDictionary()  # what `traced_once` has made, for each outermost graph
_TRAINER_METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


def read_value(variable) -> np.ndarray | None:
    """The value of a variable as float64 numbers, or None where it cannot be read, as while JAX traces a function."""
    try:
        with _outside_of_graphs():
            return np.asarray(ops.convert_to_numpy(_of_first_device(variable.value)), "float64")
    except (TypeError, NotImplementedError, RuntimeError):
        # TypeError: a JAX tracer, or a JAX variable between the batches of `fit`, whose value is in the training state.
        # The others: a TensorFlow placeholder and a torch tensor on the "meta" device, during shape inference.
        return None


class Caller(NamedTuple):
    """Who runs a layer.

    Attributes:
        model: The model that is being run, or None.
        method: The name of its method that runs it: `fit`, `evaluate`, `predict` or the like. None if it is run by a
            function of the user's own; then the model is the outermost one.
        thread: The identifier of the thread in which the method was called.
    """

    model: keras.Model | None
    method: str | None
    thread: int


def calling_model() -> Caller:
    """Finds who runs the present call.

    It walks up the Python frames from this call, looking at what each calls `self`. Keras' own record of the present
    call knows the model on TensorFlow and torch only, and never a model whose `train_step` calls another one. The
    search ends at Keras' list of callbacks: what a callback calls is not part of the `fit` that called the callback.

    Of a model that TensorFlow has distributed, each replica runs in a thread of its own, while the method that runs the
    model waits in another one.
    """
    caller = Caller(*_calling_model(sys._getframe(1)), threading.get_ident())
    if caller.method is None and caller.model is not None and _is_a_replica():
        for thread, frame in sys._current_frames().items():
            model, method = _calling_model(frame)
            if model is caller.model and method is not None:
                return Caller(model, method, thread)
    return caller


def _calling_model(frame):
    outermost = None
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList):
            break
        if isinstance(owner, keras.Model):
            if frame.f_code.co_name in _TRAINER_METHODS:
                return owner, frame.f_code.co_name
            outermost = owner
        frame = frame.f_back
    return outermost, None


def _is_a_replica():
    """Whether this code runs in one of the replicas of a function that `tf.distribute` runs."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()


def _of_first_device(value):
    """The value; of one that TensorFlow mirrors on several devices, the copy on the first device."""
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value


def is_on_accelerator() -> bool:
    """Whether the backend computes on a GPU or TPU."""
    if keras.backend.backend() == "torch":
        return ops.convert_to_tensor(0.0).device.type not in ("cpu", "meta")
    return any(not device.startswith("cpu") for device in keras.distribution.list_devices())


def functions(model: keras.Model) -> dict:
    """The functions by which a model trains, tests and predicts, as far as they have been made."""
    found = {step: getattr(model, f"{step}_function", None) for step in _STEPS}
    return {step: function for step, function in found.items() if function is not None}


def set_function(model: keras.Model, step: str, function) -> None:
    """Gives a model another function for a step: "train", "test" or "predict"."""
    setattr(model, f"{step}_function", function)


def make_function(model: keras.Model, step: str) -> None:
    """Makes a model rebuild its function for a step; it is compiled at its next call."""
    getattr(model, f"make_{step}_function")(force=True)


def make_functions(model: keras.Model) -> None:
    """Makes a model rebuild all functions that it has."""
    for step in functions(model):
        make_function(model, step)


def compile_arguments(model: keras.Model) -> dict:
    """The arguments that a model was compiled with, and the optimizer that it has."""
    return {**model._compile_config.config, "optimizer": model.optimizer}


def exclude_from_weight_decay(model, variable) -> None:
    """Excludes a variable from the weight decay of a model's optimizer, if it is one of Keras'; also once built.

    Args:
        model: A `keras.Model`.
        variable: A `keras.Variable`.
    """
    optimizer = getattr(model, "optimizer", None)  # a model with its own training loop may have none
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # `LossScaleOptimizer` wraps another optimizer
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return
    key, excluded = optimizer._var_key(variable), getattr(optimizer, "_exclude_from_weight_decay", ())
    if key in excluded:
        return
    optimizer._exclude_from_weight_decay = {*excluded, key}
    # Where Keras 3.15, and 3.16, note which variables have no weight decay.
    for noted in ("_exclude_from_weight_decay_cache", "_weight_decay_by_var_key"):
        getattr(optimizer, noted, {})[key] = False


def call_after_fit(model, function) -> None:
    """Calls a function whenever `fit` of a model has ended, if the model's optimizer is one of Keras'."""
    optimizer = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or hasattr(optimizer, "_njet_is_followed"):
        return
    finalize = optimizer.finalize_variable_values  # which `fit` calls after the last epoch, with variables in order

    @functools.wraps(finalize)
    def finalizing(variables):
        finalize(variables)
        function()

    optimizer.finalize_variable_values, optimizer._njet_is_followed = finalizing, True


def own_variables(layer: keras.Layer) -> list:
    """The variables of a layer itself, in the order in which `save_own_variables` stores them as "0", "1", ..."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def trains_step_by_step(model: keras.Model) -> bool:
    """Whether the weights of a model only change between two calls of its training function.

    True for Keras' own `train_step` with `steps_per_execution=1`.
    """
    return type(model).train_step is keras.Model.train_step and model.steps_per_execution == 1


def positions_in_state(model: keras.Model) -> dict[int, int]:
    """Where each trainable variable, by its id, stands in the state that JAX passes to a training function.

    Empty on the other backends, where variables keep their values.
    """
    if keras.backend.backend() != "jax":
        return {}
    return {id(variable): position for position, variable in enumerate(model.trainable_variables)}


def value_in_state(state, position: int) -> np.ndarray:
    """The value of a trainable variable at the beginning of a training step, as float64 numbers."""
    return np.asarray(state[0][position], "float64")


def inner_layers(model: keras.Layer, recursive: bool = True) -> list[keras.Layer]:
    """All layers and models inside a model or layer, at any depth; or only those that it holds itself."""
    return model._flatten_layers(include_self=False, recursive=recursive)


def is_graph(layer: keras.Layer) -> bool:
    """Whether a layer is a model whose graph of layers is known: a functional or sequential one."""
    return isinstance(layer, (Functional, keras.Sequential))


def copy_of(layer, **changes):
    """A new layer or operation of the same configuration, but for some changes.

    Python lambdas are allowed: one that is in memory is no less safe in a copy. So are functions that are not
    registered, for instance as activations, which Keras looks up by their names.
    """
    functions = {value.__name__: value for value in vars(layer).values() if inspect.isfunction(value)}
    with SafeModeScope(safe_mode=False), keras.saving.custom_object_scope(functions):
        return layer.__class__.from_config({**layer.get_config(), **changes})


def run_graph(model: keras.Model, inputs, call):
    """The outputs of a functional model for other inputs, where `call(layer, *args, **kwargs)` calls each layer."""
    return model._run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=call)


def call_arguments(layer, arguments: dict, training: bool | None) -> dict:
    """The arguments of a call of a layer inside a model, with `training` where the layer takes it.

    It must be given: a layer whose own default is False, as that of `Dropout`, would take this, and pass it on to all
    layers after it.
    """
    if training is None or not getattr(layer, "_call_has_training_arg", False):
        return arguments
    return {**arguments, "training": training}


def maker(tensor: keras.KerasTensor) -> keras.Operation:
    """The layer or operation whose output a symbolic tensor is."""
    return tensor._keras_history.operation


def is_traced(x) -> bool:
    """Whether the function that works on the tensor `x` is being compiled."""
    return bool(backend_utils.in_tf_graph() or jax_utils.is_in_jax_tracing_scope(x))


def traced_once(function, static: tuple, tensors: tuple):
    """`function(*static, *tensors)`, traced once in a compiled function however many layers and conditionals call it.

    Layers that do the same share what TensorFlow and JAX make of it, the gradient included, which shortens the first
    step of a deep network. On JAX it is compiled outside of a compiled function, too: each operation would be, alone.

    Args:
        function: A function at the top of a module, without state. It takes `static`, then `tensors`.
        static: Values that can be hashed.
        tensors: Tensors, whose shapes and dtypes tell calls apart, too.
    """
    if keras.backend.backend() == "jax":
        return _jitted(function, len(static))(*static, *tensors)
    if not is_traced(tensors[0]):
        return function(*static, *tensors)
    import tensorflow as tf

    tensors = tuple(map(tf.convert_to_tensor, tensors))
    specs = tuple(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors)
    made = _TENSORFLOW_FUNCTIONS.setdefault(_graphs(tf.compat.v1.get_default_graph())[-1], {})
    if (function, static, specs) not in made:  # made for its specification alone: a `tf.function` is traced twice
        traced = functools.partial(function, *static)
        traced.__name__ = _NAME_OF_TRACED
        made[function, static, specs] = tf.function(traced, autograph=False).get_concrete_function(*specs)
    return made[function, static, specs](*tensors)


def graph_being_traced():
    """The graph that TensorFlow traces in this thread, None if it traces none and on other backends."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.compat.v1.get_default_graph() if tf.inside_function() else None


def free_graphs(graph) -> None:
    """Frees a graph of TensorFlow that nothing runs any more, those around it, and what `traced_once` has made in it.

    TensorFlow itself would keep them for as long as the process lives. Where one of them is not of a model's functions,
    but of one of the user's, none is freed.
    """
    from tensorflow.python.framework.func_graph import dismantle_func_graph
    from tensorflow.python.framework.ops import gradient_registry

    graphs = _graphs(graph)
    if not {graph.name for graph in graphs} <= _OF_MODELS:
        return
    _TENSORFLOW_FUNCTIONS.pop(graphs[-1], None)
    for graph in graphs:
        for operation in graph.get_operations():
            gradient = operation.node_def.attr["_gradient_op_type"].s.decode()
            if gradient.startswith("CustomGradient-"):  # which is registered for this operation alone
                gradient_registry._registry.pop(gradient, None)
        for name, function in list(graph._functions.items()):
            if _NAME_OF_TRACED in name and function._cached_graph is not None:  # forwards and backwards
                dismantle_func_graph(function._cached_graph)
        dismantle_func_graph(graph)


def _graphs(graph):
    """A graph that TensorFlow traces, then those of the functions, conditionals and loops around it, outermost last."""
    from tensorflow.python.framework.func_graph import FuncGraph

    graphs = [graph]
    while isinstance(getattr(graphs[-1], "outer_graph", None), FuncGraph):
        graphs.append(graphs[-1].outer_graph)
    return graphs


@functools.cache
def _jitted(function, static):
    import jax

    return jax.jit(function, static_argnums=tuple(range(static)))


def is_training() -> bool | None:
    """The `training` argument of the present call of a model or layer, None where it is not known."""
    # Not by `_get_call_context`: outside of a call it makes a context, which would outlive this one.
    context = get_global_attribute("current_call_ctx")
    return None if context is None else context.get_value("training")


def layer_shapes(model: keras.Model, inputs) -> dict[int, tuple[tuple, tuple]]:
    """Shapes of the input and the output of all layers inside a model, by the id of the layer; nothing is computed.

    Symbolic calls have None wherever a size depends on σ. Here the model runs on the backend's own abstract tensors,
    and is watched. Of a layer that is called several times the last call counts, of one with several inputs the first
    input; layers that do not return one tensor are left out.

    Args:
        model: A model that has been built.
        inputs: `keras.KerasTensor` without unknown sizes, or a structure of them.
    """
    shapes = {}

    def watched(layer, call, *args, **kwargs):
        outputs = call(*args, **kwargs)
        if args and ops.is_tensor(outputs):
            shapes[id(layer)] = tuple(keras.tree.flatten(args[0])[0].shape), tuple(outputs.shape)
        return outputs

    class Run(keras.Operation):
        def call(self, inputs):
            shapes.clear()  # torch first tries a device without data, and may give up half-way
            return model(inputs, training=False)

    with calling_through(watched, inner_layers(model)):
        Run().compute_output_spec(inputs)
    return shapes


@contextlib.contextmanager
def calling_through(function, layers):
    """Context in which `function(layer, call, *args, **kwargs)` stands in the place of the calls of layers."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            vars(layer)["call"] = functools.partial(function, layer, layer.call)  # Keras looks it up on the instance
            stack.callback(vars(layer).pop, "call")
        yield


def _outside_of_graphs():
    """Context in which variables have values, also while a `tf.function` or `torch.export` is traced."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if keras.backend.backend() == "torch":
        from torch.utils._python_dispatch import _disable_current_modes

        return _disable_current_modes()
    return contextlib.nullcontext()
