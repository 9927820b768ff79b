"""Guards the pictures through what is drawn: the data of the axes beside known filters, sizes and gradients."""

import sys

import keras
import matplotlib
import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

import keras_njet
from keras_njet import NJetASPP, NJetConv1D, NJetConv2D, NJetConv3D, NJetDepthwiseConv2D, visualization
from keras_njet.inspection.visualization import (
    effective_receptive_field,
    plot_effective_receptive_field,
    plot_feature_map_sizes,
    plot_filters,
    plot_sigma,
)

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RNG = np.random.default_rng(0)


def built(layer, channels=2, axes=2):
    layer.build((None, *[20] * axes, channels))
    return layer


def images_in(figure):
    """The arrays that are drawn as images, panel by panel."""
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def lines_in(figure):
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in figure.axes[0].lines}


def assert_it_can_be_written(figure, folder):
    assert isinstance(figure, Figure)
    figure.savefig(folder / "figure.png")
    assert np.ptp(image.imread(folder / "figure.png")[..., :3]) > 0.5


def test_filters_beside_those_of_a_baseline(tmp_path):
    njet, baseline = built(NJetConv2D(6, sigma=2.0, name="njet")), built(keras.layers.Conv2D(5, 3, name="plain"))
    figure = plot_filters(njet, baseline, count=5, channel=1)
    drawn = images_in(figure)
    kernels = [keras.ops.convert_to_numpy(layer.kernel)[:, :, 1, :5] for layer in (njet, baseline)]
    assert len(drawn) == 10
    np.testing.assert_array_equal(np.stack(drawn[:5], axis=-1), kernels[0])
    np.testing.assert_array_equal(np.stack(drawn[5:], axis=-1), kernels[1])
    panels = [ax for ax in figure.axes if ax.images]
    for ax, filter_ in zip(panels, drawn, strict=True):
        assert ax.images[0].get_clim() == pytest.approx((-np.abs(filter_).max(), np.abs(filter_).max()))
        left, right, bottom, top = ax.images[0].get_extent()
        assert (bottom - top, right - left) == filter_.shape  # in pixels,
        assert ax.get_xlim() == (-4.5, 4.5)  # of which all panels have as many
        assert ax.get_ylim() == (4.5, -4.5)
    assert_it_can_be_written(figure, tmp_path)  # which also lays it out
    sizes = {tuple(np.round(ax.get_window_extent().size)) for ax in panels}
    assert len(sizes) == 1
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == ["njet\nσ = 2.00, 9×9 pixels", "plain\n3×3 pixels"]


@pytest.mark.parametrize("layer", [NJetDepthwiseConv2D(depth_multiplier=3), keras.layers.DepthwiseConv2D(5)])
def test_filters_of_depthwise_layers(layer):
    drawn = images_in(plot_filters(built(layer)))
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    np.testing.assert_array_equal(np.stack(drawn, axis=-1), kernel.reshape(*kernel.shape[:2], -1))


def test_filters_of_a_transposed_convolution():
    layer = built(keras.layers.Conv2DTranspose(5, 3))
    drawn = images_in(plot_filters(layer, channel=1))
    np.testing.assert_array_equal(np.stack(drawn), np.moveaxis(keras.ops.convert_to_numpy(layer.kernel)[..., 1], 2, 0))


def test_filters_with_scales_of_their_own():
    layer = built(NJetConv2D(4, sigma_sharing=2))
    layer.sigma = [1.0, 2.0]
    figure = plot_filters(layer, built(keras.layers.Conv2D(4, 3)))
    figure.draw_without_rendering()
    assert [ax.get_title() for ax in figure.axes] == ["σ = 1.00"] * 2 + ["σ = 2.00"] * 2 + [" "] * 4
    assert len({tuple(np.round(ax.get_window_extent().size)) for ax in figure.axes}) == 1
    assert figure.subfigs[0].get_suptitle().endswith("σ = 1.00–2.00, 9×9 pixels")
    layer = built(NJetConv2D(4, sigma_sharing="input"))
    assert {ax.get_title() for ax in plot_filters(layer).axes} == {""}


def test_filters_of_a_pyramid_and_into_a_figure_of_ones_own():
    figure = Figure()
    left, right = figure.subfigures(1, 2)
    assert plot_filters(built(NJetASPP(2, sigma=(1.0, 2.0))), figure=left) is figure
    assert left.subfigs[0].get_suptitle().endswith("σ = 1.00–2.00, 5×5–9×9 pixels")
    assert not right.subfigs


def twins():
    def stack(*convolutions):
        top = [keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)]
        return keras.Sequential([keras.Input((32, 32, 1)), *convolutions, *top])

    conv = keras.layers.Conv2D
    return {
        "baseline": stack(conv(2, 3, 2, "same", name="conv1"), conv(2, 3, 4, "same", name="conv2")),
        "N-Jet": stack(
            NJetConv2D(2, sigma=1.0, subsample_rate=4.0, name="conv1"),
            NJetConv2D(2, sigma=4.0, subsample_rate=4.0, name="conv2"),
        ),
    }


def test_sizes_of_feature_maps_of_twins(tmp_path):
    figure = plot_feature_map_sizes(twins())
    lines = lines_in(figure)
    np.testing.assert_array_equal(lines["baseline"], ([1, 2], [16, 4]))
    np.testing.assert_array_equal(lines["N-Jet"], ([1, 2], [26, 13]))  # ⌊32·½^¼⌋, ⌊26·½⌋
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["conv1", "conv2"]
    assert_it_can_be_written(figure, tmp_path)


def test_sizes_of_feature_maps_of_chosen_layers_of_one_model_for_given_images():
    inputs = keras.Input((None, None, 1))
    inner = keras.Sequential([keras.layers.Conv2D(1, 3), keras.layers.MaxPooling2D(name="pool2")], name="inner")
    x = keras.layers.MaxPooling2D(name="pool1")(inputs)
    model = keras.Model(inputs, inner(x), name="whole")
    figure, ax = own_axes()
    assert plot_feature_map_sizes(model, (16, 64, 1), layers=lambda layer: "pool" in layer.name, ax=ax) is figure
    np.testing.assert_allclose(lines_in(figure)["whole"], ([1, 2], [16.0, np.sqrt(3 * 15)]))  # √(8·32), ...
    assert [label.get_text() for label in ax.get_xticklabels()] == ["pool1", "inner/pool2"]


@pytest.mark.parametrize(
    ("convolution", "sizes", "expected"),
    [(NJetConv1D, (64,), [64, 32]), (NJetConv3D, (4, 16, 8), [8, (3 * 8 * 2) ** (1 / 3)])],
)
def test_sizes_of_signals_and_volumes(convolution, sizes, expected):
    sigma = (4.0,) if len(sizes) == 1 else (1.0, 4.0, 8.0)
    layers = [
        convolution(1, order=1, name="conv1"),
        convolution(1, order=1, sigma=sigma, isotropic=False, subsample_rate=4.0, name="conv2"),
    ]
    model = keras.Sequential([keras.Input((*sizes, 1)), *layers], name="model")
    np.testing.assert_allclose(lines_in(plot_feature_map_sizes(model))["model"], ([1, 2], expected))


def test_layers_have_numbers_where_their_names_differ():
    models = {
        name: keras.Sequential([keras.Input((8, 8, 1)), NJetConv2D(1, sigma=sigma, subsample_rate=4.0, name=name)])
        for name, sigma in (("a", 4.0), ("b", 8.0))
    }
    figure = plot_feature_map_sizes(models)
    assert figure.axes[0].get_xlabel() == "layer"
    assert [list(size) for _, size in lines_in(figure).values()] == [[4.0], [2.0]]


def own_axes():
    figure = Figure()
    return figure, figure.subplots()


def one_convolution(layer, **arguments):
    return keras.Sequential([keras.Input((17, 17, 1), **arguments), layer])


def test_the_field_of_one_convolution_is_its_filter(tmp_path):
    layer = NJetConv2D(1, sigma=1.5, use_bias=False)
    model = one_convolution(layer)
    field = effective_receptive_field(model)
    expected = np.zeros((17, 17))
    expected[5:12, 5:12] = np.abs(keras.ops.convert_to_numpy(layer.kernel))[..., 0, 0]
    np.testing.assert_allclose(field, expected, atol=1e-6)
    figure = plot_effective_receptive_field(model)
    (drawn,) = images_in(figure)[:1]
    np.testing.assert_allclose(drawn, expected / expected.max(), atol=1e-5)
    assert figure.axes[0].images[0].get_extent() == [-8.5, 8.5, 8.5, -8.5]
    assert_it_can_be_written(figure, tmp_path)


def test_the_field_of_a_stack_stays_within_its_support_and_follows_position_and_images():
    model = keras.Sequential(
        [keras.Input((None, None, 3))]
        + [keras.layers.Conv2D(4, 3, padding="same", activation="tanh") for _ in range(3)]
    )
    x = RNG.normal(size=(3, 14, 19, 3))
    part = keras.Model(model.inputs, model.layers[-1].output)
    field = effective_receptive_field(part, x, position=(4, 12))
    rows, columns = field.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 7, 9, 15)
    each = [effective_receptive_field(model, x[number : number + 1], position=(4, 12)) for number in range(3)]
    np.testing.assert_allclose(field, np.mean(each, axis=0), rtol=1e-5, atol=1e-7)
    figure = plot_effective_receptive_field(model, x, position=(4, 12), ax=own_axes()[1])
    np.testing.assert_allclose(figure.axes[0].images[0].get_extent(), (-12.5, 6.5, 9.5, -4.5))


def test_the_largest_channel_counts_or_the_one_that_is_given():
    layer = keras.layers.Conv2D(2, 1)
    model = one_convolution(layer)
    layer.set_weights([np.array([[[[2.0, -3.0]]]]), np.array([100.0, 0.0])])
    assert effective_receptive_field(model)[8, 8] == 2.0
    assert effective_receptive_field(model, channel=1)[8, 8] == 3.0


def test_the_field_is_the_gradient_by_finite_differences_through_safe_subsampling():
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            NJetConv2D(3, sigma=2.0, subsample_rate=4.0, activation="tanh"),
            NJetConv2D(2, order=2, sigma=1.0),
        ]
    )
    x = RNG.normal(size=(1, 12, 12, 1)).astype("float32")
    field = effective_receptive_field(model, x, position=(3, 5), channel=1)
    for row, column in ((4, 7), (6, 8)):
        step = np.zeros_like(x)
        step[0, row, column] = 1e-2
        after, before = (keras.ops.convert_to_numpy(model(x + way * step))[0, 3, 5, 1] for way in (1, -1))
        assert field[row, column] == pytest.approx(abs(after - before) / 2e-2, rel=2e-2, abs=1e-4)
    figure = plot_effective_receptive_field(model, x, position=(3, 5), channel=1)
    below = 3.5 * 12 / 8 - 0.5  # the output has 8×8 pixels
    assert figure.axes[0].images[0].get_extent()[3] == pytest.approx(-0.5 - below)


@pytest.mark.usefixtures("channels_first")
def test_the_field_with_channels_first():
    layer = NJetConv2D(1, sigma=1.0, use_bias=False)
    model = keras.Sequential([keras.Input((1, 9, 11)), layer])
    expected = np.zeros((9, 11))
    expected[2:7, 3:8] = np.abs(keras.ops.convert_to_numpy(layer.kernel))[..., 0, 0]
    np.testing.assert_allclose(effective_receptive_field(model), expected, atol=1e-6)


def test_sigma_over_the_epochs_of_a_fit(tmp_path):
    model = keras.Sequential(
        [keras.Input((9, 9, 1)), NJetConv2D(2, sigma=1.5, name="conv"), NJetASPP(2, name="pyramid")]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = RNG.normal(size=(4, 9, 9, 1)), RNG.normal(size=(4, 9, 9, 2))
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[keras_njet.ResolutionCallback()])
    figure = plot_sigma(history)
    lines = lines_in(figure)
    np.testing.assert_array_equal(lines["conv"], ([1, 2, 3], history.history["conv/sigma"]))
    np.testing.assert_array_equal(lines["pyramid 3"], ([1, 2, 3], history.history["pyramid/sigma_3"]))
    assert list(lines) == ["conv"] + [f"pyramid {number}" for number in range(4)]
    assert_it_can_be_written(figure, tmp_path)
    of_dict, ax = own_axes()
    assert plot_sigma({"loss": [1.0], "a/b/sigma": [2.0]}, ax=ax) is of_dict
    assert list(lines_in(of_dict)) == ["a/b"]


def test_sigma_of_each_axis_over_the_epochs_of_a_fit():
    layers = [NJetConv3D(1, order=1, isotropic=False, name="conv"), NJetConv3D(1, order=1, name="other")]
    model = keras.Sequential([keras.Input((4, 5, 6, 1)), *layers])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = RNG.normal(size=(2, 4, 5, 6, 1)), RNG.normal(size=(2, 4, 5, 6, 1))
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[keras_njet.ResolutionCallback()])
    lines = lines_in(plot_sigma(history))
    assert list(lines) == ["conv depth", "conv height", "conv width", "other"]
    np.testing.assert_array_equal(lines["conv height"], ([1, 2], history.history["conv/sigma_height"]))
    assert len({tuple(values) for _, values in lines.values()}) == 4


@pytest.mark.parametrize(
    ("message", "draw"),
    [
        ("Received: layer=3", lambda: plot_filters(3)),
        ("Received: layer=<NJetConv2D", lambda: plot_filters(NJetConv2D(2))),
        ("Received: layer=<Conv1D", lambda: plot_filters(built(NJetConv2D(2)), built_1d())),
        ("must have a 2-D kernel.*layer=<NJetConv1D", lambda: plot_filters(built(NJetConv1D(2), axes=1))),
        ("must have a 2-D kernel.*layer=<NJetConv3D", lambda: plot_filters(built(NJetConv3D(2), axes=3))),
        ("Received: count=0", lambda: plot_filters(built(NJetConv2D(2)), count=0)),
        ("Received: channel=2", lambda: plot_filters(built(NJetConv2D(2)), channel=2)),
        ("Received: channel=-1", lambda: plot_filters(built(NJetDepthwiseConv2D()), channel=-1)),
        ("Received: model=7", lambda: plot_feature_map_sizes({"name": 7})),
        ("Received: models={}", lambda: plot_feature_map_sizes({})),
        ("Received: input_shape=None, model='any'", lambda: plot_feature_map_sizes(of_any_size())),
        ("Received: models={'all': \\[\\]}", lambda: plot_feature_map_sizes({"all": dense()})),
        ("Received: model='d', output_shape=\\(8, 2\\)", lambda: plot_effective_receptive_field(dense())),
        ("Received: model=<Sequential", lambda: effective_receptive_field(keras.Sequential())),
        (
            "Received: images=None, input_shape=\\(None",
            lambda: effective_receptive_field(of_any_size()),
        ),
        ("Received: images.shape=\\(3,\\)", lambda: effective_receptive_field(dense(), np.zeros(3))),
        ("Received: position=\\[17, 0\\]", lambda: field_of_one(position=(17, 0))),
        ("Received: position=\\[1.5, 0\\]", lambda: field_of_one(position=(1.5, 0))),
        ("Received: position=\\[1\\]", lambda: field_of_one(position=(1,))),
        ("Received: channel=2", lambda: field_of_one(channel=2)),
        ("Received: history={'loss': \\[1.0\\]}", lambda: plot_sigma({"loss": [1.0]})),
        ("Received: history=4", lambda: plot_sigma(4)),
    ],
)
def test_bad_arguments(message, draw):
    with pytest.raises(ValueError, match=message):
        draw()


def built_1d():
    layer = keras.layers.Conv1D(2, 3)
    layer.build((None, 9, 1))
    return layer


def of_any_size():
    return keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1)], name="any")


def dense():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)], name="d")


def field_of_one(**arguments):
    return effective_receptive_field(one_convolution(keras.layers.Conv2D(2, 1)), **arguments)


@pytest.mark.parametrize("name", [name for name in visualization.__all__ if name.startswith("plot")])
def test_without_matplotlib_the_error_says_what_to_install(name, monkeypatch):
    arguments = {
        "plot_filters": built(NJetConv2D(1)),
        "plot_sigma": {"a/sigma": [1.0]},
    }.get(name, one_convolution(NJetConv2D(1)))
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        getattr(visualization, name)(arguments)


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    plot_sigma({"a/sigma": [1.0, 2.0]})
    plot_filters(built(NJetConv2D(1)))
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
