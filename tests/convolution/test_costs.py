"""Guards the rule that chooses an evaluation: its counts against the work that is really done."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_njet import NJetConv2D
from keras_njet.convolution import costs, evaluation
from keras_njet.convolution.sizes import MAX_RADIUS


def workload(size, channels, filters, groups=1, order=3):
    return costs.Workload((size, size), (size, size), channels, filters, groups, order)


@pytest.fixture
def chosen(monkeypatch):
    """The kinds of evaluation that layers choose, a list that grows."""
    kinds = []
    evaluate = NJetConv2D._evaluate
    monkeypatch.setattr(
        NJetConv2D, "_evaluate", lambda self, choice, *rest: kinds.append(choice.kind) or evaluate(self, choice, *rest)
    )
    return kinds


@pytest.mark.parametrize("mixing", ["first", "between", "last", "together"])
def test_the_counts_are_the_multiplications_that_are_done(monkeypatch, mixing):
    done = []
    matmul = ops.matmul

    def counted(a, b):
        product = matmul(a, b)
        done.append(int(np.prod(product.shape)) * a.shape[-1])
        return product

    monkeypatch.setattr(ops, "matmul", counted)
    x = ops.ones((1, 7, 9, 4))
    coefficients, down, across = ops.ones((6, 4, 5)), ops.ones((3, 3, 7)), ops.ones((3, 8, 9))
    evaluation.convolve_by_matrices(x, coefficients, down, across, mixing=mixing)
    assert sum(done) == sum(costs.multiplications(costs.Workload((7, 9), (3, 8), 4, 5, 1, 2))[mixing])


@pytest.mark.parametrize(
    ("channels", "filters", "expected"),
    [(3, 192, "together"), (48, 192, "last"), (96, 96, "between"), (2048, 21, "first")],
)
def test_channels_are_mixed_when_they_are_fewest(channels, filters, expected):
    assert costs.by_matrices(workload(32, channels, filters)).mixing == expected


@given(
    size=st.integers(1, 600),
    channels=st.integers(1, 300),
    filters=st.integers(1, 300),
    order=st.integers(0, 5),
    tiles=st.booleans(),
)
@settings(deadline=None)
def test_what_reaches_farther_costs_more_and_the_last_reaches_everywhere(size, channels, filters, order, tiles):
    found = costs.evaluations(workload(size, channels, filters, order=order), tiles)
    assert all(a.reach < b.reach and a.cost < b.cost for a, b in itertools.pairwise(found))
    assert (found[-1].kind, found[-1].reach) == ("matrices", MAX_RADIUS)
    assert {one.kind for one in found} <= {"matrices", "dense", *(["tiles"] if tiles else [])}


def test_dense_pays_for_small_filters_and_tiles_on_large_maps():
    def kinds(size, channels, filters):
        return [one.kind for one in costs.evaluations(workload(size, channels, filters), tiles=True)]

    assert kinds(32, 96, 192).count("dense") < kinds(224, 3, 64).count("dense")
    assert kinds(32, 96, 192)[-1] == "matrices"
    assert "tiles" in kinds(512, 64, 64)


def test_a_size_that_is_not_known_counts_as_a_usual_one():
    unknown = costs.Workload((None, None), (None, None), 64, 64, 1, 3)
    assert costs.evaluations(unknown, False) == costs.evaluations(workload(64, 64, 64), False)


@pytest.mark.parametrize(
    ("size", "arguments", "expected"),
    [
        (128, {"sigma": 0.5}, "dense"),
        (128, {"sigma": 9.0}, "matrices"),
        (512, {"sigma": 6.0}, "tiles"),
        (128, {"sigma": 0.5, "implementation": "matrix"}, "matrices"),
        (512, {"sigma": 6.0, "implementation": "matrix"}, "matrices"),
        (512, {"sigma": 6.0, "padding": "valid"}, "matrices"),
        (512, {"sigma": 6.0, "strides": 2}, "matrices"),
        (128, {"sigma": 0.5, "subsample_rate": 4.0}, "matrices"),
        # It saves too little to be compiled anew when σ outgrows it; torch compiles nothing.
        (32, {"sigma": 0.5}, "dense" if keras.backend.backend() == "torch" else "matrices"),
        (32, {"sigma": 9.0, "implementation": "dense"}, "dense"),
    ],
)
def test_layers_take_the_cheapest_evaluation_that_is_possible(chosen, size, arguments, expected):
    NJetConv2D(4, order=1, **arguments)(np.zeros((1, size, size, 4), "float32"))
    assert chosen == [expected]


def test_inference_has_costs_of_its_own(monkeypatch, chosen):
    monkeypatch.setitem(costs.NARROW, "inference", 1e9)
    costs.evaluations.cache_clear()
    x = np.zeros((1, 128, 128, 4), "float32")
    model = keras.Sequential([keras.Input(x.shape[1:]), NJetConv2D(4, order=1, sigma=0.5)])
    chosen.clear()
    model(x, training=True)
    assert chosen == ["dense"]
    model.predict(x, verbose=0)
    assert set(chosen[1:]) == {"matrices"}
    costs.evaluations.cache_clear()


def test_another_backend_has_a_cost_too(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "another")
    assert costs.densely(workload(8, 4, 4), radius=1).cost > 0
