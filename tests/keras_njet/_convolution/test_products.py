"""Guards the products with matrices against the sum that they are, for any number of axes."""

import numpy as np
import pytest
from keras import ops

from keras_njet._convolution import products
from keras_njet._convolution.scale_space import derivative_orders
from tests.helpers import to_numpy

RNG = np.random.default_rng(0)
MAPS = {1: ((7,), (4,)), 2: ((5, 7), (4, 6)), 3: ((3, 5, 4), (4, 2, 6))}  # sizes before and after
EINSUMS = {1: "pu,buc,cf->bpf", 2: "pu,qv,buvc,cf->bpqf", 3: "pu,qv,rw,buvwc,cf->bpqrf"}


def by_einsum(x, coefficients, matrices, groups=1):
    """The sum over all orders, term by term."""
    axes = len(matrices)
    of_groups = []
    for part, alpha in zip(np.split(x, groups, -1), np.split(coefficients, groups, -1), strict=True):
        terms = [
            np.einsum(EINSUMS[axes], *[matrix[m] for matrix, m in zip(matrices, orders, strict=True)], part, one)
            for orders, one in zip(derivative_orders(len(matrices[0]) - 1, axes), alpha, strict=True)
        ]
        of_groups.append(np.sum(terms, axis=0))
    return np.concatenate(of_groups, axis=-1)


def draw(axes, order, channels, filters, groups=1):
    sizes, new_sizes = MAPS[axes]
    x = RNG.normal(size=(2, *sizes, channels))
    coefficients = RNG.normal(size=(len(derivative_orders(order, axes)), channels // groups, filters))
    matrices = [RNG.normal(size=(order + 1, new, old)) for old, new in zip(sizes, new_sizes, strict=True)]
    return x, coefficients, matrices


def tensors(x, coefficients, matrices):
    return (*(ops.convert_to_tensor(array, "float32") for array in (x, coefficients)), as_tensors(matrices))


def as_tensors(matrices):
    return [[ops.convert_to_tensor(matrix, "float32") for matrix in of_orders] for of_orders in matrices]


@pytest.mark.parametrize(("axes", "mixing"), [(a, m) for a in (1, 2, 3) for m in (*range(a + 1), "together")])
@pytest.mark.parametrize(("channels", "filters", "groups"), [(1, 7, 1), (6, 4, 1), (6, 4, 2), (4, 12, 4)])
@pytest.mark.parametrize("order", [0, 2])
def test_every_order_of_the_products_gives_the_same(axes, mixing, channels, filters, groups, order):
    x, coefficients, matrices = draw(axes, order, channels, filters, groups)
    expected = by_einsum(x, coefficients, matrices, groups)
    x, coefficients, matrices = tensors(x, coefficients, matrices)
    ours = to_numpy(products.convolve(x, coefficients, [matrices], groups, mixing))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("axes", "mixing"), [(a, m) for a in (1, 2, 3) for m in (*range(a + 1), "together")])
def test_several_scales_are_summed(axes, mixing):
    x, coefficients, first = draw(axes, 2, 3, 4)
    _, _, second = draw(axes, 2, 3, 4)
    expected = by_einsum(x, coefficients, first) + by_einsum(x, coefficients, second)
    x, coefficients, first = tensors(x, coefficients, first)
    ours = to_numpy(products.convolve(x, coefficients, [first, as_tensors(second)], mixing=mixing))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_few_filters_lead(axes):
    x, coefficients, matrices = draw(axes, 3, 3, 2)
    expected = by_einsum(x, coefficients, matrices)
    ours = to_numpy(products.convolve_few_filters(*tensors(x, coefficients, matrices)))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_responses_of_each_channel_are_those_to_single_basis_filters(axes):
    x, _, matrices = draw(axes, 2, 3, 1)
    basis = len(derivative_orders(2, axes))
    expected = np.stack(
        [
            np.concatenate(
                [by_einsum(x[..., [c]], np.eye(basis)[one][:, None, None], matrices) for c in range(3)], axis=-1
            )
            for one in range(basis)
        ],
        axis=-2,
    )
    x, _, matrices = tensors(x, x, matrices)
    ours = to_numpy(products.basis_responses(x, matrices))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
