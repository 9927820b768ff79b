"""Guards the rule that chooses an evaluation: its counts against the work that is really done."""

import numpy as np
import pytest
from keras import ops

from keras_njet import NJetConv2D, costs, evaluation


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
    assert sum(done) == sum(costs.multiplications((7, 9), (3, 8), 4, 5, 1, 2)[mixing])


@pytest.mark.parametrize(
    ("channels", "filters", "expected"),
    [(3, 192, "together"), (48, 192, "last"), (96, 96, "between"), (2048, 21, "first")],
)
def test_channels_are_mixed_when_they_are_fewest(channels, filters, expected):
    assert costs.choose_mixing((32, 32), (32, 32), channels, filters, 1, 3) == expected


def test_dense_pays_for_small_filters_on_large_maps():
    def limit(size, channels, filters):
        return costs.largest_dense_radius((size, size), (size, size), channels, filters, 1, 3)

    assert limit(32, 96, 192) < limit(224, 3, 64)
    assert limit(16, 64, 64) <= limit(512, 64, 64) <= costs.LARGEST_DENSE_RADIUS
    assert costs.largest_dense_radius((None, None), (None, None), 64, 64, 1, 3) == limit(64, 64, 64)


def test_auto_is_dense_only_where_sigma_is_fixed_and_small(monkeypatch):
    used = []
    for name in ("_convolve_by_matrices", "_convolve_densely"):
        original = getattr(NJetConv2D, name)
        monkeypatch.setattr(
            NJetConv2D, name, lambda *arguments, name=name, original=original: used.append(name) or original(*arguments)
        )
    x = np.zeros((1, 64, 64, 3), "float32")
    for arguments, expected in (
        ({"sigma": 0.5, "learn_sigma": False}, "_convolve_densely"),
        ({"sigma": 9.0, "learn_sigma": False}, "_convolve_by_matrices"),
        ({"sigma": 0.5}, "_convolve_by_matrices"),
    ):
        used.clear()
        NJetConv2D(16, **arguments)(x)
        assert used[0] == expected  # JAX traces the other one, too, for a filter that has outgrown its radius
