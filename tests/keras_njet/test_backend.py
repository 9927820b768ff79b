"""Fails when a private part of Keras that the package uses is removed or changes."""

import keras
import numpy as np
import pytest

from keras_njet import _backend
from tests.helpers import on, run

FOUND = []


class Spy(keras.layers.Layer):
    """Asks during its call what the package wants to know."""

    def call(self, x, training=None):
        FOUND.append((*_backend.calling_model()[:2], _backend.is_traced(x), _backend.is_training()))
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


def test_the_calling_model_and_the_way_it_is_called():
    spy = Spy()
    model = keras.Sequential([keras.Input((3,)), spy, keras.layers.Dense(2)])
    x, y = np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32")
    compiles = keras.backend.backend() != "torch"
    calls = {"predict": (x,), "fit": (x, y), "evaluate": (x, y), "train_on_batch": (x, y), "predict_on_batch": (x,)}
    for method, arguments in calls.items():
        model.compile("sgd", "mse")
        getattr(model, method)(*arguments)
        assert FOUND[-1][:3] == (model, method, compiles)
    model(x)
    assert FOUND[-1][:3] == (model, None, False)
    spy(x)
    assert FOUND[-1][:3] == (None, None, False)


def test_what_a_callback_calls_is_not_part_of_fit():
    model = keras.Sequential([keras.Input((3,)), Spy(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32")
    found = []

    def call(epoch, logs):
        callback.model(x)
        found.append(FOUND[-1][:3])

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=call)
    model.fit(x, y, verbose=0, callbacks=[callback])
    assert found == [(callback.model, None, False)]


def test_a_loss_that_is_a_method_of_a_callback_is_part_of_fit():
    features = keras.Sequential([keras.Input((2,)), Spy()])

    class Annealed(keras.callbacks.Callback):
        def loss(self, y, predicted):
            return keras.ops.mean(keras.ops.square(features(y) - features(predicted)))

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    annealed = Annealed()
    model.compile("sgd", annealed.loss)
    model.fit(np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32"), verbose=0, callbacks=[annealed])
    assert FOUND[-1][:2] == (model, "fit")


def doubled(factor, x):
    FOUND.append(tuple(x.shape))
    return factor * x


class Doubling(keras.layers.Layer):
    def call(self, x):
        return _backend.traced_once(doubled, (2.0,), (x,))

    def compute_output_shape(self, input_shape):
        return input_shape


def test_what_several_layers_do_alike_is_traced_once():
    layers = [Doubling(), Doubling(), keras.layers.Dense(3), Doubling(), keras.layers.Dense(2), Doubling()]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    expected = 16.0 * x @ keras.ops.convert_to_numpy(model.layers[2].kernel @ model.layers[4].kernel)
    model.test_on_batch(x, y)  # Keras calls a model once for the shapes of its outputs
    of_jax = keras.backend.backend() == "jax"
    most = 4 if keras.backend.backend() == "torch" else 2  # two shapes
    FOUND.clear()
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)
    assert len(FOUND) <= most
    FOUND.clear()
    model.train_on_batch(x, y)
    assert len(FOUND) <= most
    FOUND.clear()
    model(x)
    assert len(FOUND) == (0 if of_jax else 4)  # nothing is compiled here but on JAX, which has done so before


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
def test_what_several_conditionals_do_alike_is_traced_once():
    import tensorflow as tf

    def twice(x):
        return tf.cond(tf.reduce_sum(x) > 0.0, lambda: _backend.traced_once(doubled, (2.0,), (x,)), lambda: x)

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = twice(twice(x))
        return tape.gradient(y, x)

    FOUND.clear()
    for sign, expected in ((1.0, 4.0), (-1.0, 1.0)):
        np.testing.assert_array_equal(gradient(tf.constant([sign, sign])), [expected, expected])
    assert len(FOUND) == 1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
def test_what_is_traced_once_may_be_in_a_graph_that_is_no_function():
    import tensorflow as tf

    with tf.Graph().as_default():
        y = _backend.traced_once(doubled, (2.0,), (tf.constant([1.0, 3.0]),))
        with tf.compat.v1.Session() as session:
            np.testing.assert_array_equal(session.run(y), [2.0, 6.0])


def test_training_is_known_in_a_call():
    model = keras.Sequential([keras.Input((3,)), Spy()])
    x = np.zeros((2, 3), "float32")
    model(x, training=True)
    assert FOUND[-1][3] is True
    model(x, training=False)
    assert FOUND[-1][3] is False


def test_outside_of_a_call_training_is_not_known_and_asking_leaves_no_trace():
    # A call context that is left behind takes on `training=True` in a later `fit`, and keeps it.
    assert _backend.is_training() is None
    assert _backend.get_global_attribute("current_call_ctx") is None


def test_a_variable_is_read_also_while_tensorflow_compiles_and_is_none_where_it_has_no_value():
    variable = keras.Variable(2.0)
    assert _backend.read_value(variable) == 2.0
    assert _backend.read_value(keras.Variable([1.0, 3.0, 2.0])).tolist() == [1.0, 3.0, 2.0]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        found = []
        tf.function(lambda: found.append(_backend.read_value(variable)))()
        assert found == [2.0]
    if keras.backend.backend() == "jax":
        import jax

        found = []

        def differentiate(value):
            with keras.StatelessScope([(variable, value)]):
                found.append(_backend.read_value(variable))
            return value

        jax.jit(differentiate)(variable.value)
        assert found == [None]
        variable._value = None  # as between the batches of `fit`
        assert _backend.read_value(variable) is None


def test_inner_layers_are_found_at_any_depth():
    inner = keras.Sequential([keras.layers.Dense(2, name="deep")])
    model = keras.Sequential([keras.Input((3,)), inner])
    assert [layer.name for layer in _backend.inner_layers(model) if layer.name == "deep"] == ["deep"]
    assert _backend.inner_layers(model, recursive=False)[-1] is inner
    assert "deep" not in [layer.name for layer in _backend.inner_layers(model, recursive=False)]


def test_shapes_inside_a_model_are_found_without_running_it():
    inner = keras.Sequential([keras.layers.Conv2D(3, 3, strides=2), Spy()])
    model = keras.Sequential([keras.Input((9, None, 1)), inner, keras.layers.GlobalMaxPooling2D()])
    FOUND.clear()
    shapes = _backend.layer_shapes(model, keras.KerasTensor((1, 9, 13, 1)))
    convolution, spy = inner.layers
    assert shapes[id(convolution)] == ((1, 9, 13, 1), (1, 4, 6, 3))
    assert shapes[id(spy)] == ((1, 4, 6, 3), (1, 4, 6, 3))
    assert shapes[id(inner)] == ((1, 9, 13, 1), (1, 4, 6, 3))
    assert shapes[id(model.layers[-1])] == ((1, 4, 6, 3), (1, 3))
    assert FOUND[-1][3] is False
    assert not any("call" in vars(layer) for layer in _backend.inner_layers(model))


def test_shapes_are_watched_no_longer_when_a_layer_fails():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 5)])
    with pytest.raises(Exception, match="Could not automatically infer"):
        _backend.layer_shapes(model, keras.KerasTensor((1, 2, 2, 1)))
    assert not any("call" in vars(layer) for layer in model.layers)


def test_the_functions_of_a_model_are_found_replaced_and_made_again():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    assert _backend.functions(model) == {}
    x, y = np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32")
    model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert set(_backend.functions(model)) == {"train", "predict"}
    calls, predict = [], _backend.functions(model)["predict"]
    _backend.set_function(model, "predict", lambda *arguments: calls.append(1) or predict(*arguments))
    model.predict(x, verbose=0)
    assert calls == [1]
    _backend.make_functions(model)
    model.predict(x, verbose=0)
    assert calls == [1]


def test_messages_go_to_the_terminal(capsys):
    _backend.print_msg("σ = 1")
    assert capsys.readouterr().out == "σ = 1\n"


def test_graphs_are_told_from_layers_and_tensors_know_their_maker():
    inputs = keras.Input((3,), name="only")
    layer = keras.layers.Dense(1)
    outputs = layer(inputs)
    assert _backend.maker(outputs) is layer
    assert _backend.maker(inputs).name == "only"
    assert _backend.is_graph(keras.Model(inputs, outputs))
    assert _backend.is_graph(keras.Sequential([inputs, layer]))
    assert not _backend.is_graph(layer)


def test_copies_have_the_configuration_but_for_the_changes():
    layer = keras.layers.Lambda(lambda x: x + 1, name="add", trainable=False)
    copy = _backend.copy_of(layer, name="other")
    assert copy is not layer
    assert (copy.name, copy.trainable) == ("other", False)
    assert copy.function(1) == 2
    pad = _backend.maker(keras.ops.pad(keras.Input((3,)), ((0, 0), (1, 2))))
    assert _backend.copy_of(pad)(keras.KerasTensor((None, 3))).shape == (None, 6)


def test_whether_keras_trains_step_by_step():
    class OwnStep(keras.Sequential):
        def train_step(self, *arguments):
            return super().train_step(*arguments)

    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    functional = keras.Model(plain.inputs, plain.outputs)
    for model in (plain, functional):
        model.compile("sgd", "mse")
        assert _backend.trains_step_by_step(model)
    plain.compile("sgd", "mse", steps_per_execution=2)
    assert not _backend.trains_step_by_step(plain)
    own = OwnStep([keras.Input((3,)), keras.layers.Dense(2)])
    own.compile("sgd", "mse")
    assert not _backend.trains_step_by_step(own)


def test_where_variables_stand_in_the_state_of_a_training():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.make_train_function()
    found, inner = [], model.train_function

    def watched(state, *others):
        found.append({p: _backend.value_in_state(state, p) for p in _backend.positions_in_state(model).values()})
        return inner(state, *others)

    if keras.backend.backend() != "jax":
        assert _backend.positions_in_state(model) == {}
        return
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.train_function = watched
    model.fit(np.ones((2, 3)), np.ones((2, 1)), verbose=0)
    positions = _backend.positions_in_state(model)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(found[0][positions[id(variable)]], value)


def test_the_kind_of_the_device_is_known():
    if keras.backend.backend() == "torch":
        import torch

        assert _backend.is_on_accelerator() == torch.cuda.is_available()
    elif keras.backend.backend() == "jax":
        import jax

        assert _backend.is_on_accelerator() == (jax.default_backend() != "cpu")
    else:
        import tensorflow as tf

        assert _backend.is_on_accelerator() == bool(tf.config.list_physical_devices("GPU"))


def test_a_model_tells_what_it_was_compiled_with():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=["mae"], steps_per_execution=3)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.compile(**_backend.compile_arguments(model))
    assert other.optimizer is model.optimizer
    assert (other.loss, other.steps_per_execution) == ("mse", 3)


@on("jax")
@pytest.mark.parametrize("part", ["models.functional.Functional", "utils.jax_utils", "utils.io_utils.print_msg"])
def test_a_keras_that_has_lost_a_private_part_is_named_when_importing(part):
    module, _, name = part.rpartition(".")
    code = f"""
import importlib, sys
import keras
module = importlib.import_module("keras.src.{module}")
sys.modules.pop("keras.src.{part}", None)
vars(module).pop("{name}")
sys.meta_path.insert(0, type("Gone", (), dict(find_spec=staticmethod(gone))))
try:
    import keras_njet
except ImportError as error:
    print(error)
"""
    gone = f"""
def gone(name, path=None, target=None):
    if name == "keras.src.{part}":
        raise ModuleNotFoundError(name)
"""
    printed = run("-c", gone + code)
    assert f"Expected Keras 3.15, with which it is tested. Received: keras.__version__='{keras.__version__}'" in printed
    assert name in printed
