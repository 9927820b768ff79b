"""Guards `adapt_batch_statistics`: the exact statistics of all images, computed again in NumPy, and nothing else."""

import keras
import numpy as np
import pytest

from keras_njet import NJetConv2D, adapt_batch_statistics
from tests.helpers import to_numpy

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)
IMAGES = (RNG.normal(2.0, 3.0, (23, 8, 6, 2)) * RNG.uniform(0.5, 2.0, (23, 1, 1, 1))).astype("float32")
EPSILON = 1e-3


class Batches(keras.utils.PyDataset):
    """Batches of 5 images, the last one of 3, with labels."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        images = IMAGES[5 * index : 5 * index + 5]
        return images, np.zeros(len(images))


def of_tensorflow():
    return pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices(IMAGES).batch(7)


def network():
    """Two branches and three normalisations, the first and the last one after another, with dropout between them."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 6, 2))
    x = keras.layers.BatchNormalization(name="first", gamma_initializer="random_normal")(inputs)
    mixed = keras.layers.Dense(3, activation="tanh", name="mix")(x)
    mixed = keras.layers.Dropout(0.5)(mixed)
    beside = keras.layers.BatchNormalization(name="beside", axis=1, trainable=False)(inputs)
    last = keras.layers.BatchNormalization(name="last", beta_initializer="ones")(mixed)
    outputs = keras.layers.Concatenate()([last, beside])
    return keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(outputs))


def by_hand(model, x):
    """What the statistics have to be, layer after layer, in float64."""
    x = x.astype("float64")
    first = x.mean((0, 1, 2)), x.var((0, 1, 2))
    gamma, beta = (to_numpy(weight) for weight in model.get_layer("first").trainable_weights)
    kernel, bias = (to_numpy(weight) for weight in model.get_layer("mix").weights)
    mixed = np.tanh(((x - first[0]) / np.sqrt(first[1] + EPSILON) * gamma + beta) @ kernel + bias)
    beside = x.mean((0, 2, 3)), x.var((0, 2, 3))
    return {"first": first, "beside": beside, "last": (mixed.mean((0, 1, 2)), mixed.var((0, 1, 2)))}


def assert_adapted(model, expected):
    for name, (mean, variance) in expected.items():
        layer = model.get_layer(name)
        np.testing.assert_allclose(to_numpy(layer.moving_mean), mean, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(to_numpy(layer.moving_variance), variance, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("images", [lambda: IMAGES, Batches, of_tensorflow], ids=["array", "PyDataset", "tf.data"])
def test_the_statistics_are_those_of_all_images(images):
    model = network()
    others = {id(weight): to_numpy(weight) for weight in model.weights if "moving" not in weight.name}
    model.compile("sgd", "mse")
    adapt_batch_statistics(model, images(), batch_size=10 if images is not Batches else None, verbose=0)
    assert_adapted(model, by_hand(model, IMAGES))
    for weight in model.weights:
        if id(weight) in others:
            np.testing.assert_array_equal(to_numpy(weight), others[id(weight)])
    assert model.compiled
    assert not model.get_layer("beside").trainable


def test_models_in_models_and_models_of_ones_own():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def call(self, x):
            return self.inner(x)

    inputs = keras.Input((8, 6, 2))
    inner = network()
    outer = keras.Model(inputs, keras.layers.ReLU()(inner(inputs)))
    adapt_batch_statistics(outer, IMAGES, verbose=0)
    assert_adapted(inner, by_hand(inner, IMAGES))
    own = Own()
    own(IMAGES)
    adapt_batch_statistics(own, IMAGES, verbose=0)
    assert_adapted(own.inner, by_hand(own.inner, IMAGES))


def test_networks_whose_sizes_follow_their_scale():
    inputs = keras.Input((16, 16, 1))
    x = NJetConv2D(3, sigma=1.5, subsample_rate=4.0, name="njet")(inputs)
    x = keras.layers.BatchNormalization(name="normalize")(x)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
    model.predict(np.zeros((1, 16, 16, 1)), verbose=0)
    model.get_layer("njet").sigma = 3.0
    images = RNG.normal(size=(9, 16, 16, 1)).astype("float32")
    adapt_batch_statistics(model, images, batch_size=4, verbose=0)
    maps = to_numpy(model.get_layer("njet")(images)).astype("float64")
    assert_adapted(model, {"normalize": (maps.mean((0, 1, 2)), maps.var((0, 1, 2)))})


def test_a_layer_that_is_called_twice_has_the_statistics_of_both_calls():
    inputs = keras.Input((4, 2))
    shared = keras.layers.BatchNormalization(name="shared")
    model = keras.Model(inputs, keras.layers.Add()([shared(inputs), shared(3.0 * inputs)]))
    x = RNG.normal(1.0, 2.0, (11, 4, 2)).astype("float32")
    adapt_batch_statistics(model, x, verbose=0)
    both = np.concatenate([x, 3.0 * x]).astype("float64")
    assert_adapted(model, {"shared": (both.mean((0, 1)), both.var((0, 1)))})


def test_what_is_masked_does_not_count():
    inputs = keras.Input((6, 2))
    x = keras.layers.Masking()(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="normalize")(x))
    x = RNG.normal(1.0, 2.0, (11, 6, 2)).astype("float32")
    x[:, 4:] = 0.0
    adapt_batch_statistics(model, x, batch_size=4, verbose=0)
    seen = x[:, :4].astype("float64")
    assert_adapted(model, {"normalize": (seen.mean((0, 1)), seen.var((0, 1)))})


def test_its_progress_is_shown_as_that_of_predict(capsys):
    model = network()
    adapt_batch_statistics(model, IMAGES, batch_size=8)
    shown = capsys.readouterr().out
    assert shown.count("Pass ") == 3
    assert "3/3" in shown
    adapt_batch_statistics(model, IMAGES, verbose=0)
    assert capsys.readouterr().out == ""


def test_passes_end_when_nothing_changes(capsys):
    model = network()
    adapt_batch_statistics(model, IMAGES, verbose=0)
    capsys.readouterr()
    adapt_batch_statistics(model, IMAGES, verbose=2)
    assert capsys.readouterr().out.count("Pass ") == 1


def test_errors_leave_the_model_as_it_was():
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"not a generator. Received: images="):
        adapt_batch_statistics(model, (image for image in IMAGES))
    with pytest.raises(ValueError, match=r"must have a BatchNormalization layer. Received: model="):
        adapt_batch_statistics(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), IMAGES)
    with pytest.raises(ValueError, match="has been built"):
        adapt_batch_statistics(keras.Sequential([keras.layers.BatchNormalization()]), IMAGES)

    class Ends(Batches):
        passes = 0

        def __getitem__(self, index):
            Ends.passes += index == 0
            if Ends.passes > 2:  # Keras looks at the first batch once more
                raise InterruptedError
            return super().__getitem__(index)

    with pytest.raises(InterruptedError):
        adapt_batch_statistics(model, Ends(), verbose=0)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_images_of_which_nothing_counts_are_an_error():
    normalization = keras.layers.BatchNormalization(name="normalize")
    model = keras.Sequential([keras.Input((4, 1)), keras.layers.Masking(), normalization])
    with pytest.raises(
        ValueError, match=r"an unmasked pixel for each batch normalisation. Received: layer='normalize'$"
    ):
        adapt_batch_statistics(model, np.zeros((2, 4, 1), "float32"), verbose=0)
    np.testing.assert_array_equal(to_numpy(normalization.moving_mean), [0.0])


def test_several_inputs_and_renormalisation():
    one, other = keras.Input((8, 6, 2)), keras.Input((4,))
    normalised = keras.layers.BatchNormalization(name="maps")(one)
    renormalised = keras.layers.BatchNormalization(renorm=True, name="vector")(other)
    model = keras.Model([one, other], [normalised, renormalised])
    vectors = RNG.normal(1.0, 2.0, (23, 4)).astype("float32")
    adapt_batch_statistics(model, [IMAGES, vectors], batch_size=10, verbose=0)
    assert_adapted(model, {"maps": (IMAGES.mean((0, 1, 2)), IMAGES.var((0, 1, 2)))})
    assert_adapted(model, {"vector": (vectors.mean(0), vectors.var(0))})
    layer = model.get_layer("vector")
    np.testing.assert_allclose(to_numpy(layer.moving_stddev), np.sqrt(vectors.var(0) + layer.epsilon), rtol=1e-4)


def test_a_loader_of_torch():
    data = pytest.importorskip("torch.utils.data")
    model = network()
    adapt_batch_statistics(model, data.DataLoader([(image, 0) for image in IMAGES], batch_size=5), verbose=0)
    assert_adapted(model, by_hand(model, IMAGES))
