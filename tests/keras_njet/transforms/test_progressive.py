"""Guards `fit_progressively`: it trains what `rescale` makes, the model's own variables, and loses nothing between."""

import keras
import numpy as np
import pytest

import keras_njet
from keras_njet import NJetConv2D, fit_progressively, rescale
from tests.helpers import on_torch, to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)
IMAGES = np.repeat(np.repeat(RNG.normal(size=(8, 6, 6, 1)), 2, 1), 2, 2).astype("float32")  # 12×12 pixels
LABELS = RNG.integers(0, 3, 8)


def network(size=12, optimizer=None):
    keras.utils.set_random_seed(0)
    layers = [
        NJetConv2D(4, sigma=1.6, subsample_rate=5.0, activation="relu", name="first"),
        NJetConv2D(4, sigma=1.3, activation="relu", name="second"),
    ]
    model = keras.Sequential(
        [keras.Input((size, size, 1)), *layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def in_half(images):
    """Bilinear resizing with anti-aliasing, by hand: weights 1, 3, 3, 1 along each axis, within the image."""
    matrix = np.zeros((6, 12))
    for row in range(6):
        for column, weight in zip(range(2 * row - 1, 2 * row + 3), (1, 3, 3, 1), strict=True):
            if 0 <= column < 12:
                matrix[row, column] = weight
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.einsum("pu,qv,buvc->bpqc", matrix, matrix, images).astype("float32")


def weights(model):
    return {variable.path: to_numpy(variable) for variable in model.weights}


def test_a_stage_trains_what_rescale_makes():
    model, other = network(), network()
    fit_progressively(model, IMAGES, LABELS, factors=(0.5,), epochs=(3,), batch_size=8, shuffle=False, verbose=0)
    smaller = rescale(other, 0.5)
    smaller.compile(other.optimizer, other.loss)
    smaller.fit(in_half(IMAGES), LABELS, epochs=3, batch_size=8, shuffle=False, verbose=0)
    expected = rescale(smaller, 2.0).get_weights()
    untrained = network().get_weights()
    for ours, theirs, before in zip(model.get_weights(), expected, untrained, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(theirs - before).max() > 1e-4  # so that training shows


def test_the_optimizer_goes_on_from_stage_to_stage_and_so_does_the_count_of_epochs():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([7], [0.1, 0.0])  # no change from the eighth step on
    optimizer = keras.optimizers.SGD(schedule, momentum=0.0, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["log2_sigma"])
    model = network(optimizer=optimizer)
    seen = []
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(weights(model)))
    stages = fit_progressively(
        model,
        IMAGES,
        LABELS,
        factors=(0.5, 1.0),
        epochs=(3, 3),
        validation_data=(IMAGES, LABELS),
        batch_size=4,
        callbacks=[after],
        verbose=0,
    )
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 12
    assert [stage.epoch for stage in stages] == [[0, 1, 2], [3, 4, 5]]
    assert all("val_accuracy" in stage.history for stage in stages)
    assert any(np.abs(one - seen[1][path]).max() > 0 for path, one in seen[2].items())
    for path, last in seen[5].items():
        np.testing.assert_array_equal(last, seen[4][path])


def test_data_of_each_size_may_come_from_a_function():
    asked = []

    def data(factor):
        asked.append(factor)
        size = round(12 * factor)
        return Batches(size)

    class Batches(keras.utils.PyDataset):
        def __init__(self, size):
            super().__init__()
            self.size = size

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return RNG.normal(size=(4, self.size, self.size, 1)).astype("float32"), LABELS[:4]

    stages = fit_progressively(
        network(), data, factors=(0.75, 1.0), epochs=(1, 2), validation_data=data, verbose=0, shuffle=False
    )
    assert asked == [0.75, 0.75, 1.0, 1.0]
    assert [len(stage.history["val_loss"]) for stage in stages] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": (0.5, 1.0), "epochs": (1,)}, "Each stage needs a factor.*Received: factors=.*, epochs="),
        ({"factors": (0.0,), "epochs": (1,)}, "`factors` must be .*Received: factors="),
        ({"factors": (0.5,), "epochs": (1,), "initial_epoch": 2}, "Received: initial_epoch=2$"),
        ({"factors": (0.5,), "epochs": (0,)}, "`epochs` must be .*Received: epochs=0"),
        ({"factors": (0.5,), "epochs": (1,), "x": [IMAGES]}, r"`x` must be an array.*Received: type\(x\)=list"),
        (  # before the first stage, which needs no resizing
            {"factors": (1.0, 0.5), "epochs": (1, 1), "validation_data": ("images", LABELS)},
            r"`validation_data` must be an array.*Received: type\(validation_data\)=str",
        ),
        ({"factors": (0.5,), "epochs": (1,), "x": lambda factor: IMAGES}, r"`y` must be None.*type\(y\)=ndarray"),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(arguments, message):
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        fit_progressively(model, **{"x": IMAGES, "y": LABELS, **arguments})
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_is_not_compiled_is_refused():
    model = keras.Sequential([keras.Input((12, 12, 1)), NJetConv2D(2)])
    with pytest.raises(ValueError, match=r"must be compiled.*Received: model="):
        fit_progressively(model, IMAGES, LABELS, factors=(1.0,), epochs=(1,))


@on_torch  # TensorFlow pools no such maps on a CPU
def test_images_are_resized_in_the_data_format_of_the_model(monkeypatch):
    layers = [NJetConv2D(2, data_format="channels_first"), keras.layers.GlobalAveragePooling2D("channels_first")]
    model = keras.Sequential([keras.Input((1, 16, 12)), *layers])
    resize, shapes = keras.ops.image.resize, []

    def noted(*args, **options):
        resized = resize(*args, **options)
        shapes.append(tuple(resized.shape))
        return resized

    monkeypatch.setattr(keras.ops.image, "resize", noted)
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 1, 16, 12), "float32"), np.zeros((4, 2), "float32")
    fit_progressively(model, x, y, factors=(0.5,), epochs=(1,), verbose=0)
    assert shapes == [(4, 1, 8, 6)]


def test_the_momentum_goes_on_from_stage_to_stage():
    model, other = network(), network()
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    fit_progressively(model, IMAGES, LABELS, factors=(1.0, 1.0), epochs=(2, 2), **options)
    other.fit(IMAGES, LABELS, epochs=4, **options)
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("outputs", [lambda x: [x], lambda x: x])
def test_losses_by_name_and_outputs_in_a_list(outputs):
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.GlobalAveragePooling2D()(NJetConv2D(2)(inputs))
    model = keras.Model(inputs, outputs(keras.layers.Dense(3, name="scores")(x)))
    model.compile("sgd", loss={"scores": "mse"}, metrics={"scores": ["mae"]})
    targets = RNG.normal(size=(8, 3)).astype("float32")
    small, whole = fit_progressively(model, IMAGES, targets, factors=(0.5, 1.0), epochs=(1, 1), verbose=0)
    for stage in (small, whole):
        assert {"loss", "mae"} <= {name.removeprefix("scores_") for name in stage.history}
    # Predictions of another shape than the targets would be broadcast.
    assert keras_njet.ScaleChannels(model, (1.0, 2.0)).predict(IMAGES, verbose=0).shape == (8, 3)


def test_what_callbacks_save_is_the_model(tmp_path):
    model = network()
    save = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    whole = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    seen = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.get_weights()))
    given = {"factors": (0.5, 1.0), "epochs": (1, 1), "callbacks": [note, save, whole], "verbose": 0}
    fit_progressively(model, IMAGES, LABELS, **given)
    for epoch, expected in enumerate(seen, start=1):
        model.load_weights(tmp_path / f"{epoch}.weights.h5")
        loaded = keras.saving.load_model(tmp_path / f"{epoch}.keras")
        assert isinstance(loaded, keras.Sequential)
        for one, other, third in zip(model.get_weights(), loaded.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, third)
            np.testing.assert_array_equal(other, third)


def test_a_stage_that_diverges_is_the_last_and_one_that_ends_early_is_not():
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", True))
    given = {"factors": (0.5, 1.0), "epochs": (3, 3), "verbose": 0}
    stages = fit_progressively(network(), IMAGES, LABELS, callbacks=[stop], **given)
    assert [stage.epoch for stage in stages] == [[0], [1]]
    images = np.where(np.arange(12)[:, None] == 3, np.nan, IMAGES)
    with pytest.warns(UserWarning, match="Training has diverged"):
        stages = fit_progressively(network(), images, LABELS, callbacks=[keras.callbacks.TerminateOnNaN()], **given)
    assert [stage.epoch for stage in stages] == [[0]]
