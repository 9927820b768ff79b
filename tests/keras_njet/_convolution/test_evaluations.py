"""Guards the choice of an evaluation, and what layers make of it."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_njet import NJetConv1D, NJetConv2D, NJetConv3D
from keras_njet._convolution import costs, evaluations
from keras_njet._convolution.evaluations import Dense, Matrices
from keras_njet._convolution.sharing import Sharing
from keras_njet._convolution.sizes import MAX_RADIUS

LAYERS = {1: NJetConv1D, 2: NJetConv2D, 3: NJetConv3D}


def workload(sizes, channels, filters, order=3):
    return costs.Workload(sizes, sizes, sizes, channels, filters, 1, order)


def choices(sizes, channels, filters, backend="tensorflow", order=3, **arguments):
    return evaluations.choices(
        workload(sizes, channels, filters, order), costs.prices("training", backend), **arguments
    )


@pytest.mark.parametrize(
    ("channels", "filters", "expected"), [(3, 192, "together"), (48, 192, 2), (96, 96, 1), (2048, 21, 0)]
)
def test_channels_are_mixed_when_they_are_fewest(channels, filters, expected):
    assert choices((32, 32), channels, filters)[-1].mixing == expected


@given(
    sizes=st.lists(st.integers(1, 600), min_size=1, max_size=3).map(tuple),
    channels=st.integers(1, 300),
    filters=st.integers(1, 300),
    order=st.integers(0, 5),
    backend=st.sampled_from(["tensorflow", "jax", "torch"]),
)
@settings(deadline=None)
def test_what_reaches_farther_costs_more_and_the_last_reaches_everywhere(sizes, channels, filters, order, backend):
    found = choices(sizes, channels, filters, backend, order)
    prices = costs.prices("training", backend)
    all_costs = [
        one.cost(workload(sizes, channels, filters, order), prices) * (0.8 if isinstance(one, Dense) else 1.0)
        for one in found
    ]
    assert all(a.reach < b.reach for a, b in itertools.pairwise(found))
    assert all(a < b for a, b in itertools.pairwise(all_costs))
    assert isinstance(found[-1], Matrices)
    assert found[-1].reach == MAX_RADIUS


def test_matrices_must_save_a_fifth_in_training_as_they_need_more_memory():
    of_layer = workload((56, 56), 16, 16)
    for phase, share in (("training", 0.8), ("inference", 1.0)):
        prices = costs.prices(phase, "torch")
        found = evaluations.choices(of_layer, prices)
        radius = max(one.reach for one in found if isinstance(one, Dense))
        best = min(one.cost(of_layer, prices) for one in found if isinstance(one, Matrices))
        assert share * Dense(radius).cost(of_layer, prices) < best <= share * Dense(radius + 1).cost(of_layer, prices)


@pytest.mark.parametrize(
    ("sizes", "groups", "largest"), [((4096,), 1, 12), ((512, 512), 1, 6), ((512, 512), 4, 12), ((64, 64, 64), 1, 6)]
)
def test_composed_filters_stay_on_the_fast_path_of_libraries(sizes, groups, largest):
    dear = costs.Prices(small_axis=1e9)  # so that no matrices pay
    found = evaluations.choices(dataclasses.replace(workload(sizes, 4, 4), groups=groups), dear)
    assert [one.reach for one in found if isinstance(one, Dense)] == list(range(1, largest + 1))


def test_dense_pays_for_small_filters_and_tiles_on_large_maps_and_long_signals():
    def kinds(*arguments):
        return [type(one) for one in choices(*arguments)]

    assert kinds((32, 32), 96, 192).count(Dense) < kinds((224, 224), 3, 64).count(Dense)
    assert any(isinstance(one, Matrices) and one.reach < MAX_RADIUS for one in choices((512, 512), 64, 64))
    assert any(isinstance(one, Matrices) and one.reach < MAX_RADIUS for one in choices((16_000,), 16, 16))


def test_filters_that_have_scales_of_their_own_have_one_way_of_mixing_and_no_small_tiles():
    for sharing, mixing in ((Sharing(4), 0), (Sharing(4, of_inputs=True), "together")):
        found = choices((512, 512), 4, 4, sharing=sharing)
        assert {one.mixing for one in found if isinstance(one, Matrices)} == {mixing}
        assert {one.reach for one in found if isinstance(one, Matrices)} == {MAX_RADIUS}


def test_channels_of_several_scales_are_mixed_at_once():
    assert {one.mixing for one in choices((41, 41), 64, 21, scales=4) if isinstance(one, Matrices)} <= {0, 2}
    assert choices((41, 41), 2048, 21, scales=4, implementation="matrix")[0].mixing == 0


@pytest.mark.parametrize(
    ("sizes", "arguments", "expected"),
    [
        ((128, 128), {"sigma": 0.5}, "dense"),
        ((128, 128), {"sigma": 9.0}, "whole"),
        ((512, 512), {"sigma": 6.0}, "tiles"),
        ((128, 128), {"sigma": 0.5, "implementation": "matrix"}, "whole"),
        ((512, 512), {"sigma": 6.0, "implementation": "matrix"}, "whole"),
        ((512, 512), {"sigma": 6.0, "padding": "valid"}, "tiles"),
        ((512, 512), {"sigma": 6.0, "strides": 2}, "tiles"),
        ((256, 256), {"sigma": 0.5, "subsample_rate": 4.0}, "dense"),
        # It saves too little to be compiled again when σ outgrows it; torch compiles nothing.
        ((8, 8), {"sigma": 0.5}, "dense" if keras.backend.backend() == "torch" else "whole"),
        ((32, 32), {"sigma": 9.0, "implementation": "dense"}, "dense"),
        ((16_000,), {"sigma": 20.0}, "tiles"),
        ((16_000,), {"sigma": 400.0, "implementation": "matrix"}, "tiles"),
        ((16_000,), {"sigma": 20.0, "subsample_rate": 50.0, "strides": 2}, "tiles"),
        ((6, 7, 8), {"sigma": 2.0, "implementation": "matrix"}, "whole"),
    ],
)
def test_layers_take_the_cheapest_evaluation_that_is_possible(chosen, sizes, arguments, expected):
    LAYERS[len(sizes)](4, order=1, **arguments)(np.zeros((1, *sizes, 4), "float32"))
    (one,) = chosen
    is_cut = isinstance(one, Matrices) and any(size > one.block + 2 * one.reach for size in sizes)
    assert ("dense" if isinstance(one, Dense) else "tiles" if is_cut else "whole") == expected


def test_inference_has_costs_of_its_own(monkeypatch, chosen):
    phases = {"training": costs.prices("training"), "inference": costs.Prices(dense=1e9)}
    monkeypatch.setattr(costs, "prices", phases.get)
    x = np.zeros((1, 128, 128, 4), "float32")
    model = keras.Sequential([keras.Input(x.shape[1:]), NJetConv2D(4, order=1, sigma=0.5)])
    chosen.clear()
    model(x, training=True)
    assert {type(one) for one in chosen} == {Dense}
    chosen.clear()
    model.predict(x, verbose=0)
    assert {type(one) for one in chosen} == {Matrices}
