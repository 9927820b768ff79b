"""Guards `summary`: what it prints of layers whose sizes are known."""

import keras
import numpy as np
import pytest

import keras_njet
from keras_njet import (
    NJetASPP,
    NJetConv1D,
    NJetConv2D,
    NJetConv3D,
    NJetDepthwiseConv1D,
    NJetDepthwiseConv2D,
    NJetDepthwiseConv3D,
    SafeSubsample,
)
from keras_njet.inspection.summary import format_sigmas

pytestmark = pytest.mark.usefixtures("little_is_compiled")

NESTED = """\
Model: "outer"
Layer      Class                Order  σ (pixels)       Filter  Feature map  Parameters
---------------------------------------------------------------------------------------
inner/far  NJetConv2D               2        4.00        17×17        8×8×3          22
pool       MaxPooling2D                                               4×4×3
near       NJetDepthwiseConv2D      3        0.50          3×3        4×4×3          34
pyramid    NJetASPP                 1  3.00–12.00  13×13–49×49        4×4×5          54
global     GlobalMaxPooling2D                                             5
logits     Dense                                                          2          12
---------------------------------------------------------------------------------------
Parameters: 122, of these trainable: 100
"""


def nested():
    inner = keras.Sequential(
        [keras.Input((16, 16, 1)), NJetConv2D(3, order=2, sigma=4.0, subsample_rate=4.0, name="far")], name="inner"
    )
    layers = [
        inner,
        keras.layers.ReLU(name="relu"),
        keras.layers.MaxPooling2D(name="pool"),
        NJetDepthwiseConv2D(sigma=0.5, name="near"),
        NJetASPP(5, order=1, name="pyramid"),
        keras.layers.GlobalMaxPooling2D(name="global"),
        keras.layers.Dense(2, name="logits"),
    ]
    return keras.Sequential([keras.Input((16, 16, 1)), *layers], name="outer")


def lines_of(model, *arguments):
    lines = []
    assert keras_njet.summary(model, *arguments, print_fn=lines.append) is None
    assert max(map(len, lines)) <= 100
    return lines


def row(lines, name):
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return line.split()[1:]


def test_the_table_of_a_model_in_a_model():
    model = nested()
    model.layers[0].trainable = False
    assert "\n".join([*lines_of(model), ""]) == NESTED


def test_it_is_printed_to_the_terminal(capsys):
    model = nested()
    model.layers[0].trainable = False
    keras_njet.summary(model)
    assert capsys.readouterr().out == NESTED


def test_sizes_are_those_of_the_present_scale_and_of_the_real_outputs():
    model = nested()
    far = model.layers[0].layers[0]
    far.sigma = 2.0
    assert row(lines_of(model), "inner/far") == ["NJetConv2D", "2", "2.00", "9×9", "11×11×3", "22"]
    assert tuple(model.layers[0](np.zeros((1, 16, 16, 1))).shape) == (1, 11, 11, 3)


def test_rows_of_signals():
    layers = [
        NJetConv1D(4, order=2, sigma=4.0, subsample_rate=4.0, name="conv"),
        NJetDepthwiseConv1D(sigma=1.0, strides=2, name="depth"),
        keras.layers.GlobalMaxPooling1D(name="pool"),
    ]
    lines = lines_of(keras.Sequential([keras.Input((101, 2)), *layers]))
    assert row(lines, "conv") == ["NJetConv1D", "2", "4.00", "17", "50×4", "29"]  # 3·2·4 + 4 + 1
    assert row(lines, "depth") == ["NJetDepthwiseConv1D", "3", "1.00", "5", "25×4", "21"]  # 4·4 + 4 + 1
    assert row(lines, "pool") == ["GlobalMaxPooling1D", "4"]


def test_rows_of_volumes_and_of_a_sigma_for_each_axis():
    inputs = keras.Input((8, 16, 16, 2))
    convolution = NJetConv3D(4, order=1, sigma=(0.5, 1.5, 4.0), isotropic=False, subsample_rate=4.0, name="conv")
    joined = keras.layers.Concatenate()([convolution(inputs), SafeSubsample(convolution, name="sample")(inputs)])
    model = keras.Model(inputs, NJetDepthwiseConv3D(order=0, sigma=1.0, use_bias=False, name="depth")(joined))
    lines = lines_of(model)
    assert row(lines, "conv") == ["NJetConv3D", "1", "0.50–4.00", "3×7×17", "7×12×8×4", "39"]  # 4·2·4 + 4 + 3
    assert row(lines, "sample") == ["SafeSubsample", "7×12×8×2"]
    assert row(lines, "depth") == ["NJetDepthwiseConv3D", "0", "1.00", "5×5×5", "7×12×8×6", "7"]
    assert row(lines_of(model, (8, 16, 16, 2)), "conv")[-2] == "7×12×8×4"
    with pytest.raises(ValueError, match=r"Received: input_shape=\(8, 16, 2\)"):
        lines_of(model, (8, 16, 2))


def test_sizes_of_images_are_taken_from_the_argument_if_the_model_has_none():
    inputs = keras.Input((None, None, 2))
    convolution = NJetConv2D(4, sigma=4.0, strides=2, name="conv")
    outputs = SafeSubsample(convolution, name="sample")(convolution(inputs))
    model = keras.Model(inputs, keras.layers.ZeroPadding2D(1, name="pad")(outputs))
    lines = lines_of(model)
    assert row(lines, "conv")[-2:] == ["?", "85"]
    assert row(lines, "sample") == ["SafeSubsample", "?"]
    lines = lines_of(model, (20, 40, 2))
    assert row(lines, "conv")[-2:] == ["10×20×4", "85"]
    assert row(lines, "sample") == ["SafeSubsample", "5×10×4"]
    assert row(lines, "pad") == ["ZeroPadding2D", "7×12×4"]


def test_several_inputs_and_shared_layers_and_own_weights_of_composed_ones():
    class Scaled(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = NJetConv2D(2, order=0, name="inner")

        def build(self, shape):
            self.inner.build(shape)
            self.factor = self.add_weight(shape=(7,))

        def call(self, x):
            return self.inner(x) * keras.ops.sum(self.factor)

    inputs = {name: keras.Input((8, 8, 1), name=name) for name in ("left", "right")}
    shared = Scaled(name="shared")
    outputs = [keras.layers.GlobalMaxPooling2D()(shared(each)) for each in inputs.values()]
    model = keras.Model(inputs, keras.layers.Add()(outputs))
    lines = lines_of(model)
    assert row(lines, "shared") == ["Scaled", "8×8×2", "7"]
    assert row(lines, "shared/inner")[-2:] == ["8×8×2", "5"]
    assert lines[-1] == "Parameters: 12, of these trainable: 12"
    assert row(lines_of(model, [(8, 8, 1), (8, 8, 1)]), "shared")[-2] == "8×8×2"
    with pytest.raises(ValueError, match=r"Received: input_shape=\(8, 8, 1\), model=.*, inputs=\[.*\]$"):
        lines_of(model, (8, 8, 1))


def test_a_subclassed_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = NJetConv2D(2, sigma=4.0, subsample_rate=4.0, name="conv")
            self.top = keras.layers.Dense(3, name="top")

        def call(self, x):
            return self.top(keras.ops.max(self.convolution(x), axis=(1, 2)))

    model = Model()
    with pytest.raises(ValueError, match=r"has been built. Received: model=<"):
        lines_of(model)
    model(np.zeros((1, 12, 12, 1)))
    assert row(lines_of(model), "conv")[-2] == "?"
    assert row(lines_of(model, (12, 12, 1)), "conv")[-2] == "6×6×2"
    assert row(lines_of(model, (12, 12, 1)), "top")[-2] == "3"


@pytest.mark.usefixtures("channels_first")
def test_channels_are_shown_last():
    model = keras.Sequential([keras.Input((1, 10, 20)), NJetConv2D(3, name="conv")])
    assert row(lines_of(model), "conv")[-2] == "10×20×3"


def test_summarising_leaves_the_model_as_it_was():
    model = nested()
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 1))
    before = model.predict(x, verbose=0)
    lines_of(model)
    assert not any("call" in vars(layer) for layer in model.layers)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_long_names_keep_their_ends():
    model = keras.Sequential([keras.Input((64, 64, 1)), NJetASPP(100, name="pyramid" * 20)])
    assert lines_of(model)[3].startswith("…")
    assert "pyramidpyramid  NJetASPP" in lines_of(model)[3]


def test_a_training_that_diverged():
    model = keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(1, name="conv")])
    model.layers[0].log2_sigma.assign(np.nan)
    assert row(lines_of(model), "conv")[2:4] == ["nan", "?"]


def test_several_scales_are_a_range():
    layer = NJetConv2D(2, sigma_sharing="filter", name="conv")
    model = keras.Sequential([keras.Input((8, 8, 1)), layer])
    layer.sigma = [2.0, 1.0]
    assert row(lines_of(model), "conv")[2:4] == ["1.00–2.00", "9×9"]
    assert format_sigmas(np.array([1.0])) == "1.00"
    assert format_sigmas(np.array([2.0, 1.0, 1.5])) == "1.00–2.00"


@pytest.mark.parametrize("shape", [(8, 8), (8, None, 1), (0, 8, 1), 8, [(8, 8, 1), (8, 8, 1)], "8", [[8, 8, 1.5]]])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match=r"Received: input_shape=.*, model=.*, inputs=.*$"):
        keras_njet.summary(keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(1)]), shape, print_fn=lambda line: None)


def test_bad_model():
    with pytest.raises(ValueError, match=r"Received: model=3$"):
        keras_njet.summary(3)


def test_a_layer_whose_filter_size_is_one_number():
    class Own(keras.layers.Layer):
        kernel_size = 3

        def build(self, shape):
            self.kernel = self.add_weight(shape=(5,))

        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((8, 8, 1)), Own(name="own")])
    assert row(lines_of(model), "own")[:2] == ["Own", "3"]
