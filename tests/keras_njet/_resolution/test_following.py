"""Guards the heart of the package: sizes follow σ in plain `fit`, and after whatever else changes σ."""

import functools
import gc
import itertools
import threading
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_njet import NJetConv2D, NJetDepthwiseConv2D, ResolutionCallback, SafeSubsample, update_sizes
from keras_njet._convolution import evaluations
from tests.helpers import long, njet_convolution, to_numpy

X = np.random.default_rng(0).normal(size=(10, 24, 20, 1)).astype("float32")
Y = np.zeros((10, 3), "float32")
COMPILES = keras.backend.backend() != "torch"  # where Keras runs eagerly
JIT = "auto" if keras.backend.backend() != "tensorflow" else False  # which TensorFlow compiles more quickly


def sizes_for(sigma, rate=4.0):
    return tuple(max(1, int(size * 0.5 ** (sigma / rate) * (1 + 1e-5))) for size in (24, 20))


class Probe(keras.layers.Layer):
    """Notes the height and width of the maps that pass; all of them, for one shape is one compilation."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []

    def call(self, x):
        self.seen.append((x.shape[1], x.shape[2]))
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tests")
def growth(sigma):
    """Regulariser that has SGD multiply σ by 2^rate at each step."""
    return -ops.log(sigma) / np.log(2.0)


def build(speed=0.0, jit_compile=JIT, run_eagerly=False, trainable=True, metrics=()):
    """A model whose σ grows by a factor of 2^speed a step, two steps an epoch, the last on a smaller batch."""
    inputs = keras.Input((24, 20, 1))
    layer = NJetConv2D(
        3,
        order=1,  # with few derivatives it is compiled quickly
        sigma=1.0,
        subsample_rate=4.0,
        learn_sigma=trainable,
        max_sigma=None,
        sigma_regularizer=growth,
        name="njet",
    )
    x = Probe(name="probe")(layer(inputs))
    shortcut = SafeSubsample(layer, name="shortcut")(inputs)
    x = keras.layers.Concatenate()([x, shortcut])
    outputs = keras.layers.Dense(3, name="dense")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.SGD(speed, clipvalue=1.0)
    model.compile(optimizer, "mse", metrics=list(metrics), jit_compile=jit_compile, run_eagerly=run_eagerly)
    # The loss of zero weights does not depend on σ, so that only the regulariser moves it.
    for variable in (layer.coefficients, *model.get_layer("dense").trainable_variables):
        variable.assign(np.zeros(variable.shape))
        variable.trainable = False
    return model


def feature_map(model, x=X):
    """The size that a model up to the probe, made for this question, predicts with."""
    probe = model.get_layer("probe")
    inner = keras.Model(model.input, probe.output)
    sizes = inner.predict(x, verbose=0).shape[1:3]
    return tuple(sizes)


@pytest.mark.parametrize(("jit_compile", "with_validation"), [(COMPILES, True), (False, False)])
def test_sizes_follow_sigma_in_plain_fit(jit_compile, with_validation):
    model = build(speed=0.25, jit_compile=jit_compile)
    validation = {"validation_data": (X, Y)} if with_validation else {}
    sigmas = [1.0]
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: sigmas.append(float(ops.convert_to_numpy(note.model.get_layer("njet").sigma)))
    )
    model.fit(X, Y, batch_size=6, epochs=4, verbose=0, callbacks=[note], **validation)
    np.testing.assert_allclose(sigmas, [2 ** (0.5 * epoch) for epoch in range(5)], rtol=1e-4)
    seen = list(dict.fromkeys(model.get_layer("probe").seen))
    # Each epoch trains with the size of the σ it starts with; validation uses the one it ends with.
    expected = [sizes_for(sigma) for sigma in (sigmas if with_validation else sigmas[:-1])]
    assert seen == expected
    assert model.predict(X, verbose=0).shape == (10, 3)
    assert model.get_layer("probe").seen[-1] == sizes_for(sigmas[-1])


def test_sizes_follow_in_an_eager_fit():
    model = build(speed=0.25, run_eagerly=True)
    model.fit(X, Y, batch_size=6, epochs=3, verbose=0)
    seen = list(dict.fromkeys(model.get_layer("probe").seen))
    assert seen == [sizes_for(2 ** (0.5 * epoch)) for epoch in range(3)]


def test_nothing_is_added_to_logs_metrics_or_results():
    model = build(metrics=["mae"])
    history = model.fit(X, Y, verbose=0)
    assert sorted(history.history) == ["loss", "mae"]
    assert model.metrics_names == ["loss", "compile_metrics"]
    assert len(model.evaluate(X, Y, verbose=0)) == 2
    assert isinstance(build().evaluate(X, Y, verbose=0), float)


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly")
def test_functions_are_compiled_once_an_epoch_at_the_most_and_only_for_a_new_size():
    model = build(speed=0.05)
    model.fit(X, Y, batch_size=10, epochs=6, verbose=0)
    seen = model.get_layer("probe").seen
    sizes = {sizes_for(2 ** (0.05 * epoch)) for epoch in range(6)}
    assert 1 < len(sizes) < 6
    assert set(seen) == sizes
    # One compilation for each size: the first may call the layer once more, to infer shapes.
    assert all(seen.count(size) <= seen.count(seen[0]) for size in sizes)
    assert len(seen) <= len(sizes) + 1, seen


@pytest.mark.filterwarnings("ignore:The scales of these layers")
@pytest.mark.parametrize(
    ("first", "trainable"), [("predict", True), ("evaluate", True), ("fit", True), ("predict", False)]
)
def test_the_next_call_uses_the_right_sizes_after_a_direct_assign(first, trainable):
    model = build(trainable=trainable)

    def run():
        return model.predict(X, verbose=0) if first == "predict" else getattr(model, first)(X, Y, verbose=0)

    for sigma in (3.0, 0.2, 3.0, 60.0):  # also before anything was compiled
        model.get_layer("njet").log2_sigma.assign(np.log2(sigma))
        model.get_layer("probe").seen.clear()
        run()
        seen = set(model.get_layer("probe").seen)
        # An empty set is a function compiled before for this very size.
        assert seen <= {sizes_for(sigma)}
        assert seen or sigma == 3.0
        assert feature_map(model) == sizes_for(sigma)


def after(change):
    """The size with which a model predicts that has predicted before, after `change(model)`."""
    model = build(speed=0.3)
    model.predict(X, verbose=0)
    model = change(model) or model
    sigma = float(ops.convert_to_numpy(model.get_layer("njet").sigma))
    model.predict(X, verbose=0)
    assert model.get_layer("probe").seen[-1] == sizes_for(sigma)
    return sigma


def donor(sigma=5.0):
    model = build()
    model.get_layer("njet").sigma = sigma
    return model


def test_after_set_weights():
    assert after(lambda model: model.set_weights(donor().get_weights())) == pytest.approx(5.0)


def test_after_load_weights(tmp_path):
    donor().save_weights(tmp_path / "model.weights.h5")
    assert after(lambda model: model.load_weights(tmp_path / "model.weights.h5")) == pytest.approx(5.0)


def test_after_clone_model():
    original = donor()
    clone = keras.models.clone_model(original)
    clone.set_weights(original.get_weights())
    assert clone.predict(X, verbose=0).shape == (10, 3)
    assert feature_map(clone) == sizes_for(5.0)
    assert clone.get_layer("shortcut").find_source() is clone.get_layer("njet")
    clone.get_layer("njet").sigma = 2.0
    assert feature_map(clone) == sizes_for(2.0)
    assert feature_map(original) == sizes_for(5.0)


def test_a_frozen_model_whose_first_call_comes_after_set_weights():
    model = build()
    model.trainable = False
    model.set_weights(donor().get_weights())
    model.predict(X, verbose=0)
    assert model.get_layer("probe").seen[-1] == sizes_for(5.0)


def test_after_early_stopping_restored_the_best_weights():
    def change(model):
        stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=2, restore_best_weights=True)
        model.fit(X, Y, epochs=6, batch_size=6, verbose=0, callbacks=[stop])
        assert stop.best_epoch == 0

    # The loss falls as σ grows, so the first epoch is the best by its maximum.
    assert after(change) == pytest.approx(2**0.6, rel=1e-3)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_after_swapping_in_averaged_weights(swap_on_epoch):
    model = build()
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5, clipvalue=1.0)
    model.compile(optimizer, "mse")
    averages, training = [], []
    sigma = lambda: float(ops.convert_to_numpy(model.get_layer("njet").sigma))  # noqa: E731
    note = keras.callbacks.LambdaCallback(
        on_test_begin=lambda logs: averages.append(sigma()), on_epoch_begin=lambda epoch, logs: training.append(sigma())
    )
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
    model.fit(X, Y, epochs=3, batch_size=6, verbose=0, callbacks=[swap, note], validation_data=(X, Y))
    seen = list(dict.fromkeys(model.get_layer("probe").seen))
    assert len(averages) == len(training) == 3
    expected = {sizes_for(value) for value in averages} | {sizes_for(value) for value in training}
    assert set(seen) == expected
    final = sigma()
    model.predict(X, verbose=0)
    assert model.get_layer("probe").seen[-1] == sizes_for(final)


def test_predict_within_an_epoch_uses_the_live_sigma():
    model = build(speed=0.3)
    found = []

    def predict(batch, logs):
        synced = callback.model  # on JAX, reading this gives the variables their values
        found.append((feature_map(synced), float(ops.convert_to_numpy(synced.get_layer("njet").sigma))))

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=predict)
    model.fit(X, Y, batch_size=5, epochs=2, verbose=0, callbacks=[callback])
    assert len(found) == 4
    for size, sigma in found:
        assert size == sizes_for(sigma)


def test_sigma_set_at_the_start_of_an_epoch_counts_for_this_epoch():
    model = build()
    values = {2: 4.0, 3: 0.65}
    change = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(model.get_layer("njet"), "sigma", values.get(epoch, 1.0))
    )
    model.fit(X, Y, epochs=5, batch_size=10, verbose=0, callbacks=[change])
    seen = [size for size, _ in itertools.groupby(model.get_layer("probe").seen)]
    assert seen == [sizes_for(sigma) for sigma in (1.0, 4.0, 0.65, 1.0)]


@pytest.mark.parametrize(
    ("use", "in_a_thread"),
    [("predict", False), ("predict", True), ("predict_on_batch", False), ("evaluate", False), ("call", True)],
)
def test_sigma_set_counts_for_this_epoch_though_the_model_was_used_before(use, in_a_thread):
    if keras.backend.backend() == "jax" and in_a_thread:
        pytest.skip("there Keras takes the weights from a model that trains")
    model = build()
    uses = {
        "predict": lambda model: model.predict(X, verbose=0),
        "predict_on_batch": lambda model: model.predict_on_batch(X),
        "evaluate": lambda model: model.evaluate(X, Y, verbose=0),
        "call": lambda model: model(X, training=False),
    }

    def change(epoch, logs):
        if in_a_thread:
            thread = threading.Thread(target=uses[use], args=(callback.model,))
            thread.start()
            thread.join()
        else:
            uses[use](callback.model)
        callback.model.get_layer("njet").sigma = 4.0 if epoch == 1 else 1.0
        del model.get_layer("probe").seen[:]

    def note(epoch, logs):
        used.append(set(model.get_layer("probe").seen))

    used = []
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=change, on_epoch_end=note)
    model.fit(X, Y, epochs=3, batch_size=10, verbose=0, callbacks=[callback])
    assert used == [{sizes_for(sigma)} for sigma in (1.0, 4.0, 1.0)]


def test_sigma_set_after_an_evaluation_within_an_epoch_counts_from_the_next_epoch_on():
    model = build()

    def change(batch, logs):
        if len(used) == 0 and batch == 0:
            callback.model.evaluate(X, Y, verbose=0)
            callback.model.get_layer("njet").sigma = 4.0

    def note(epoch, logs):
        used.append(set(model.get_layer("probe").seen))
        del model.get_layer("probe").seen[:]

    used = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=change, on_epoch_end=note)
    model.fit(X, Y, epochs=2, batch_size=2, verbose=0, callbacks=[callback])
    assert used == [{sizes_for(1.0)}, {sizes_for(4.0)}]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
def test_replicas_that_run_in_threads_keep_the_sizes_of_an_epoch():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = build(speed=0.3)
    model.fit(X, Y, epochs=3, batch_size=5, verbose=0)
    seen = [size for size, _ in itertools.groupby(model.get_layer("probe").seen)]
    expected = [sizes_for(2.0 ** (0.3 * 2 * epoch)) for epoch in range(3)]
    assert [size for size in seen if size != (None, None)] == expected


def test_a_layer_made_of_layers_gets_no_warning_when_its_shape_is_inferred():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.convolution = NJetConv2D(2, subsample_rate=4.0)

        def call(self, x):
            return keras.ops.relu(self.convolution(x))

    inputs = keras.Input((24, 20, 1))
    block = Block()
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(block(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(X, np.zeros((10, 2)), verbose=0)
    block.convolution.sigma = 8.0
    model.predict(X, verbose=0)
    assert block.convolution.feature_map_size == (6, 5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles for unknown sizes")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_dataset_of_unknown_sizes(jit_compile):
    import tensorflow as tf

    layer = NJetConv2D(3, subsample_rate=4.0)
    model = keras.Sequential([keras.Input((None, None, 1)), layer, keras.layers.GlobalAveragePooling2D()])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    expected = np.mean([np.square(ops.convert_to_numpy(model(x)) - Y).mean() for x in (X, X[:, :9, :11])])
    specification = (tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None, 3)))
    data = tf.data.Dataset.from_generator(lambda: iter([(X, Y), (X[:, :9, :11], Y)]), output_signature=specification)
    data = data.repeat()
    losses = model.fit(data, epochs=2, steps_per_epoch=2, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles for unknown sizes")
@pytest.mark.parametrize("kind", ["convolution", "depthwise"])
def test_composed_filters_that_grow_on_images_of_unknown_sizes(kind, monkeypatch):
    """They outgrow the size that was compiled for in mid-epoch, and need no matrices as large as the images."""
    import tensorflow as tf

    evaluated = set()
    for evaluation in (evaluations.Dense, evaluations.Matrices):
        call = evaluation.evaluate
        monkeypatch.setattr(
            evaluation, "evaluate", lambda self, *args, call=call: evaluated.add(self) or call(self, *args)
        )
    make = functools.partial(NJetConv2D, 3) if kind == "convolution" else NJetDepthwiseConv2D
    layer = make(implementation="dense", data_format="channels_last")
    model = keras.Sequential([keras.Input((None, None, 3)), layer, keras.layers.GlobalAveragePooling2D()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(2, size, 9, 3)).astype("float32") for size in (12, 7, 12, 7)]
    targets = np.zeros((2, 3), "float32")
    specification = (tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, 3)))
    data = tf.data.Dataset.from_generator(
        lambda: iter([(x, targets) for x in images]), output_signature=specification
    ).repeat()
    scales = [0.9, 1.2, 2.2, 3.7]
    expected = []
    for x, sigma in zip(images, scales, strict=True):
        layer.sigma = sigma
        expected.append(np.mean(np.square(ops.convert_to_numpy(model(x)))))
    evaluated.clear()
    grow = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: setattr(layer, "sigma", scales[batch]),
    )
    (loss,) = model.fit(data, steps_per_epoch=4, callbacks=[grow], verbose=0).history["loss"]
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
    assert {type(evaluation) for evaluation in evaluated} == {evaluations.Dense}


def test_train_on_batch_and_predict_on_batch_follow():
    model = build(speed=0.5)
    for step in range(4):
        model.train_on_batch(X, Y)
        assert model.get_layer("probe").seen[-1] == sizes_for(2 ** (0.5 * step))
        model.predict_on_batch(X)
        assert model.get_layer("probe").seen[-1] == sizes_for(2 ** (0.5 * (step + 1)))


def test_one_layer_in_two_models():
    model = build(speed=0.5)
    inner = keras.Model(model.input, model.get_layer("probe").output)
    assert inner.predict(X, verbose=0).shape[1:3] == sizes_for(1.0)
    model.fit(X, Y, epochs=2, batch_size=10, verbose=0)
    assert inner.predict(X, verbose=0).shape[1:3] == sizes_for(2.0)
    model.fit(X, Y, epochs=2, batch_size=10, verbose=0)
    assert inner.predict(X, verbose=0).shape[1:3] == sizes_for(4.0)


def test_a_model_with_its_own_metrics_and_train_step():
    class Distiller(keras.Model):
        """Trains a model that it calls in `train_step`, as in Keras' guides."""

        def __init__(self, student):
            super().__init__()
            self.student = student
            self.tracker = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.tracker]

        def call(self, x):
            return self.student(x)

    distiller = Distiller(build())
    distiller.compile(keras.optimizers.SGD(0.5), "mse")
    distiller.fit(X, Y, epochs=3, batch_size=10, verbose=0)
    seen = list(dict.fromkeys(distiller.student.get_layer("probe").seen))
    assert seen[-3:] == [sizes_for(2 ** (0.5 * epoch)) for epoch in range(3)]


def test_nested_models_follow():
    inputs = keras.Input((24, 20, 1))
    inner = build()
    outer = keras.Model(inputs, inner(inputs))
    outer.compile(keras.optimizers.SGD(0.5), "mse")
    outer.fit(X, Y, epochs=3, batch_size=10, verbose=0)
    seen = list(dict.fromkeys(inner.get_layer("probe").seen))
    assert seen[-3:] == [sizes_for(2 ** (0.5 * epoch)) for epoch in range(3)]


def test_the_callback_updates_within_an_epoch():
    model = build(speed=0.5)
    model.fit(X, Y, epochs=1, batch_size=2, verbose=0, callbacks=[ResolutionCallback(update_freq=2)])
    seen = list(dict.fromkeys(model.get_layer("probe").seen))
    assert seen == [sizes_for(2 ** (0.5 * step)) for step in (0, 2, 4)]


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly")
def test_a_training_function_of_ones_own_gets_a_warning_that_names_the_remedy():
    model = build()

    def compile_and_run():
        if keras.backend.backend() == "jax":
            import jax

            state = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
            return jax.jit(lambda x: model.stateless_call(*state, x)[0])(X)
        import tensorflow as tf

        return tf.function(model)(X)

    with pytest.warns(UserWarning, match=r"layer 'njet'.*`keras_njet.update_sizes\(model\)`"):
        compile_and_run()
    assert model.get_layer("probe").seen[-1] == sizes_for(1.0)
    model.get_layer("njet").sigma = 6.0
    assert update_sizes(model)
    assert not update_sizes(model)
    with pytest.warns(UserWarning, match="layer 'njet'"):
        compile_and_run()
    assert model.get_layer("probe").seen[-1] == sizes_for(6.0)
    model.trainable = False
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The size of the feature map")
        compile_and_run()


def test_dense_filters_grow_with_sigma():
    layer = NJetConv2D(3, implementation="dense", use_bias=False)
    model = keras.Sequential([keras.Input((24, 20, 1)), layer])
    for sigma in (1.0, 2.6, 0.6):
        layer.sigma = sigma
        expected = njet_convolution(X, to_numpy(layer.coefficients), sigma, 3)
        np.testing.assert_allclose(model.predict(X, verbose=0), expected, atol=1e-5 * np.abs(expected).max())


def test_valid_convolutions_shrink_with_sigma():
    layer = NJetConv2D(3, padding="valid")
    model = keras.Sequential([keras.Input((24, 20, 1)), layer])
    for sigma, radius in ((1.0, 2), (2.6, 6), (0.3, 1)):
        layer.sigma = sigma
        assert model.predict(X, verbose=0).shape == (10, 24 - 2 * radius, 20 - 2 * radius, 3)


class OwnStep(keras.Model):
    """A `train_step` of the user's own, which Keras runs in place of its own."""

    def train_step(self, *args):
        return super().train_step(*args)


def train(implementation, training=None, model_class=keras.Model, validation_data=None, **compiled):
    """Three epochs of two steps in which σ grows from 0.5 to 4 in steps of √2; with the sizes of filters seen.

    Returns the losses, those of the validation if there is one.
    """
    keras.utils.set_random_seed(0)
    layer = NJetConv2D(
        3, order=2, sigma=0.5, sigma_regularizer=growth, implementation=implementation, activation="tanh", name="njet"
    )
    probe = Probe()
    base = keras.Sequential([keras.Input((24, 20, 1)), layer, probe])
    inputs = keras.Input((24, 20, 1))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(base(inputs, training=training)))
    model = model_class(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.5, clipvalue=1.0), "mse", **compiled)
    probe.seen.clear()
    options = {"epochs": 3, "batch_size": 5, "shuffle": False, "verbose": 0, "validation_data": validation_data}
    losses = model.fit(X, Y, **options).history["val_loss" if validation_data else "loss"]
    return losses, layer, len(probe.seen)


WAYS = {
    "fit": {},
    "training=False": {"training": False},  # as for fine-tuning with frozen statistics
    "own train_step": {"model_class": OwnStep},
    "several steps at once": {"steps_per_execution": 2},
    "eager": {"run_eagerly": True},
    "without XLA": {"jit_compile": False},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_filter_that_outgrows_its_evaluation_within_an_epoch_is_trained_as_any_other(way):
    if way == "several steps at once" and not COMPILES:
        pytest.skip("Keras takes one step at a time on torch")
    losses, layer, _ = train("dense", **WAYS[way])
    expected, reference, _ = train("matrix")
    assert layer.kernel_size == (17, 17)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for ours, theirs in zip(layer.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly")
def test_filters_evaluated_by_matrices_grow_without_being_compiled_again():
    _, layer, traces = train("matrix")
    assert layer.kernel_size == (17, 17)
    model = keras.Sequential([keras.Input((24, 20, 1)), NJetConv2D(3, learn_sigma=False), probe := Probe()])
    model.compile("sgd", "mse")
    probe.seen.clear()
    model.fit(X, np.zeros((10, 24, 20, 3), "float32"), batch_size=5, verbose=0)
    assert traces == len(probe.seen)


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly")
def test_an_evaluation_is_kept_while_it_reaches():
    layer, probe = NJetConv2D(3, sigma=0.9, implementation="dense"), Probe()
    model = keras.Sequential([keras.Input((24, 20, 1)), layer, probe])
    model.predict(X, verbose=0)
    for sigma, is_compiled_again in ((0.4, False), (1.0, False), (1.1, True), (0.9, False), (1.4, False), (1.6, True)):
        probe.seen.clear()
        layer.sigma = sigma
        model.predict(X, verbose=0)
        assert bool(probe.seen) == is_compiled_again, sigma


@pytest.mark.parametrize("way", ["fit", "training=False"])
def test_a_validation_has_the_filters_that_were_just_trained(way):
    # They outgrow, within an epoch, what the validation of the epoch before was compiled for.
    losses, expected = (train(which, validation_data=(X, Y), **WAYS[way])[0] for which in ("dense", "matrix"))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def fit_growing(sigma, rate, epochs, **kwargs):
    """The number of times that the training function is compiled while σ grows by a factor of 2^rate a step."""
    options = {"order": 1, "sigma_regularizer": growth, "max_sigma": None, "implementation": "dense"}
    layer = NJetConv2D(2, sigma=sigma, **options, name="njet")
    inputs = keras.Input((24, 20, 1))
    probe = Probe()
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(probe(layer(inputs))))
    model.compile(keras.optimizers.SGD(rate, clipvalue=1.0), "mse")
    layer.coefficients.assign(np.zeros(layer.coefficients.shape))
    probe.seen.clear()
    model.fit(X, np.zeros((10, 2)), epochs=epochs, batch_size=5, verbose=0, **kwargs)
    return len(probe.seen), model


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly")
def test_a_scale_that_grows_a_little_neither_compiles_nor_falls_back():
    still, _ = fit_growing(1.0, 0.0, 1)
    growing, model = fit_growing(1.0, np.log2(1.01) / 2, 1)
    assert float(to_numpy(model.get_layer("njet").sigma)) == pytest.approx(1.01, rel=1e-3)
    assert growing == still


@pytest.mark.skipif(not COMPILES, reason="torch runs eagerly")
def test_head_room_bounds_how_often_a_growing_scale_compiles():
    still, _ = fit_growing(1.0, 0.0, 1)
    traces, model = fit_growing(1.0, 0.125, 16)
    # 32 steps, in each of which σ grows by more than the first head-room and, from the second on, by a pixel.
    assert model.get_layer("njet").kernel_size == (65, 65)
    assert 2 <= traces - still <= 10


def compiled_inference(model, x):
    """A function of the user's own that runs a model, compiled once."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda: model(x, training=False))
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(lambda *state: model.stateless_call(*state, x, training=False)[0])
        return lambda: compiled([v.value for v in model.trainable_variables], [])
    return lambda: model(x, training=False)


@pytest.mark.parametrize("method", ["predict", "predict_on_batch", "evaluate", "test_on_batch", "function"])
def test_a_filter_that_outgrew_its_evaluation_is_right_in_inference(method):
    x = np.random.default_rng(0).normal(size=(1, 128, 128, 4)).astype("float32")
    zeros = np.zeros_like(x)
    layer = NJetConv2D(4, order=1, sigma=0.5, name="njet")
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile("sgd", "mse")
    run = {
        "predict": lambda: model.predict(x, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch(x),
        "evaluate": lambda: model.evaluate(x, zeros, verbose=0),
        "test_on_batch": lambda: model.test_on_batch(x, zeros),
        "function": compiled_inference(model, x),
    }[method]
    for sigma in (0.5, 6.0):
        layer.sigma = sigma
        found, expected = run(), njet_convolution(x, to_numpy(layer.coefficients), sigma, 1)
        if method in ("evaluate", "test_on_batch"):
            expected = np.mean(expected**2)
        np.testing.assert_allclose(to_numpy(found), expected, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others keep no graphs")
@pytest.mark.parametrize("method", ["fit", pytest.param("predict", marks=long)])
def test_functions_that_were_made_again_are_freed(method):
    """TensorFlow itself keeps the graphs of each for as long as the process lives."""
    from tensorflow.python.framework.func_graph import FuncGraph

    layer = NJetConv2D(2, order=1, subsample_rate=4.0)
    model = keras.Sequential([keras.Input((16, 16, 1)), layer, keras.layers.GlobalMaxPooling2D()])
    model.compile("sgd", "mse")
    data = [np.zeros((4, 16, 16, 1), "float32"), np.zeros((4, 2), "float32")][: 2 if method == "fit" else 1]
    operations = []
    for sigma in (1.0, 3.0) * 3:
        layer.sigma = sigma
        for _ in range(2):
            getattr(model, method)(*data, batch_size=2, verbose=0)
        gc.collect()
        graphs = [found for found in gc.get_objects() if type(found) is FuncGraph]
        operations.append(sum(len(graph.get_operations()) for graph in graphs))
    assert operations[-2:] == operations[2:4]
    assert layer.feature_map_size == (9, 9)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others keep no graphs")
def test_a_function_of_the_users_within_a_model_is_not_freed():
    import tensorflow as tf

    layer = NJetConv2D(2, subsample_rate=4.0)
    inner = keras.Sequential([keras.Input((16, 16, 1)), layer, keras.layers.GlobalMaxPooling2D()])
    compiled = tf.function(lambda x: inner(x, training=False))

    class Outer(keras.Model):
        def call(self, x):
            return compiled(x)

    model = Outer()
    x = np.ones((4, 16, 16, 1), "float32")
    before = model.predict(x, verbose=0)
    layer.sigma = 3.0
    update_sizes(model)
    model.predict(x, verbose=0)
    layer.sigma = 1.0
    np.testing.assert_allclose(compiled(tf.constant(x)), before, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), before, rtol=1e-5)


def test_sizes_of_what_is_no_model_are_not_updated():
    with pytest.raises(ValueError, match=r"Expected a `keras.Model`. Received: model=3$"):
        update_sizes(3)


def test_models_inside_a_model_are_brought_up_to_date_too():
    inner = build()
    inputs = keras.Input((24, 20, 1))
    outer = keras.Model(inputs, inner(inputs))
    for model in (inner, outer):
        model.predict(X, verbose=0)
    inner.get_layer("njet").sigma = 6.0
    assert update_sizes(outer)
    assert not update_sizes(inner)
    for model in (inner, outer):
        inner.get_layer("probe").seen.clear()
        model.predict(X, verbose=0)
        assert set(inner.get_layer("probe").seen) == {sizes_for(6.0)}
