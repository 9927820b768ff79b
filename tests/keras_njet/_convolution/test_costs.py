"""Guards the costs of evaluations: their counts against the work that is really done."""

import numpy as np
import pytest
from keras import ops

from keras_njet._convolution import costs, products
from keras_njet._convolution.evaluations import Dense, choices
from keras_njet._convolution.scale_space import derivative_orders

PRICES = costs.prices("training", "torch")
WAYS = [(axes, mixing) for axes in (1, 2, 3) for mixing in (*range(axes + 1), "together")]


def workload(sizes, new_sizes=None, channels=4, filters=5, groups=1, order=2):
    new_sizes = new_sizes or sizes
    return costs.Workload(sizes, sizes, new_sizes, channels, filters, groups, order)


@pytest.mark.parametrize(("axes", "mixing"), WAYS)
def test_the_counts_are_the_multiplications_that_are_done(monkeypatch, axes, mixing):
    done = []
    matmul = ops.matmul

    def counted(a, b):
        product = matmul(a, b)
        done.append(int(np.prod(product.shape)) * a.shape[-1])
        return product

    monkeypatch.setattr(ops, "matmul", counted)
    sizes, new_sizes = (7, 9, 5)[:axes], (3, 8, 4)[:axes]
    x = ops.ones((1, *sizes, 4))
    coefficients = ops.ones((len(derivative_orders(2, axes)), 4, 5))
    matrices = [[ops.ones((new, old))] * 3 for old, new in zip(sizes, new_sizes, strict=True)]
    products.convolve(x, coefficients, [matrices], mixing=mixing)
    along_axes, mixed = costs.multiplications(workload(sizes, new_sizes), mixing)
    assert sum(done) == mixed + sum(count for count, _, _ in along_axes)


def test_a_tile_costs_what_a_map_of_its_size_costs_and_copying_it():
    whole = costs.of_matrices(workload((24,), (16,)), 0, block=2048, halo=1024, prices=PRICES)
    signal = workload((1600,))
    tiles = costs.of_matrices(signal, 0, block=16, halo=4, prices=PRICES)
    copied = PRICES.writing * (2 * 24 * 4 + 16 * 5)
    assert tiles == pytest.approx(100 * (whole + copied))


def test_what_a_dense_convolution_costs_grows_with_the_number_of_pixels_of_its_filters():
    for axes in (1, 2, 3):
        one, two = (Dense(radius).cost(workload((32,) * axes), PRICES) for radius in (1, 2))
        assert two / one == pytest.approx((5 / 3) ** axes)


def test_a_size_that_is_not_known_counts_as_a_usual_one():
    unknown = workload((None, None))
    assert costs.of_matrices(unknown, 1, 2048, 1024, PRICES) == costs.of_matrices(
        workload((64, 64)), 1, 2048, 1024, PRICES
    )


def test_another_backend_has_prices_too():
    assert costs.prices("training", "another").dense > 0
    assert costs.prices("training", "another") != costs.prices("inference", "another")


def test_on_an_accelerator_small_filters_are_composed(monkeypatch):
    monkeypatch.setattr(costs, "is_on_accelerator", lambda: True)
    prices = costs.prices("training", "jax")
    assert prices != costs._prices("training", "jax", False)
    for size, channels in ((56, 64), (28, 128), (128, 64), (224, 64)):
        found_in = workload((size, size), channels=channels, filters=channels, order=3)
        found = choices(found_in, prices)
        assert [one.reach for one in found[:2]] == [1, 2]
        assert isinstance(found[0], Dense)
    assert costs.prices("training", "torch").worth_compiling == 0.0
