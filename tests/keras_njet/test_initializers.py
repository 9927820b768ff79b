"""Guards the initialiser of the coefficients; the stack of ten layers is in `layers/test_njet_conv2d.py`."""

import keras
import numpy as np
import pytest

from keras_njet import NJetVarianceScaling
from keras_njet._convolution.scale_space import sampled_derivatives
from keras_njet.initializers import transmitted_variance
from tests.helpers import to_numpy


@pytest.mark.parametrize(
    ("order", "axes", "shape"), [(0, 2, (1, 8, 600)), (3, 2, (10, 8, 100)), (3, 1, (4, 8, 200)), (1, 3, (4, 8, 200))]
)
def test_the_variance_is_that_of_its_formula(order, axes, shape):
    draw = to_numpy(NJetVarianceScaling(sigma=1.5, rectified=True, axes=axes, seed=0)(shape))
    expected = 2.0 / (8 * transmitted_variance((1.5,) * axes, 2.0, order, True))
    assert draw.shape == shape
    assert np.var(draw) == pytest.approx(expected, rel=0.1)
    assert abs(np.mean(draw)) < 4 * np.sqrt(expected / draw.size)


def test_the_first_step_of_the_recursion_is_the_energy_of_the_filters():
    # White noise passes each filter with its energy Σ G², by Parseval.
    derivatives = sampled_derivatives(1.2, 3, 2)
    energy = [np.sum(derivative**2) for derivative in derivatives]
    expected = sum(energy[i] * energy[j] for i in range(3) for j in range(3 - i))
    assert transmitted_variance((1.2, 1.2), 2.0, 2, False, depth=1) == pytest.approx(expected)


def test_each_axis_counts_with_its_own_sigma():
    energies = [np.sum(sampled_derivatives(sigma, radius, 1) ** 2, axis=1) for sigma, radius in ((0.9, 2), (1.2, 3))]
    expected = energies[0][0] * energies[1][0] + energies[0][1] * energies[1][0] + energies[0][0] * energies[1][1]
    assert transmitted_variance((0.9, 1.2), 2.0, 1, False, depth=1) == pytest.approx(expected)


def test_a_gaussian_alone_passes_smooth_maps():
    # The deeper the stack, the smoother its maps, and a Gaussian leaves a constant as it is.
    assert transmitted_variance((1.0, 1.0), 2.0, 0, False, depth=200) == pytest.approx(1.0, abs=0.01)


def test_seed_and_configuration():
    initializer = NJetVarianceScaling(sigma=2.0, extent=3.0, rectified=True, seed=7)
    other = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert other.get_config() == initializer.get_config()
    np.testing.assert_array_equal(to_numpy(other((3, 2, 4))), to_numpy(initializer((3, 2, 4))))


def test_errors():
    with pytest.raises(ValueError, match=r"Received: sigma=0$"):
        NJetVarianceScaling(sigma=0)
    with pytest.raises(ValueError, match=r"Received: shape=\(5, 2, 4\)$"):
        NJetVarianceScaling()((5, 2, 4))
    with pytest.raises(ValueError, match=r"the shape \(basis, channels, filters\).*Received: shape=\(3, 3, 8, 8\)$"):
        NJetVarianceScaling()((3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"2 of them, one per axis. Received: sigma=\(1.0, 2.0, 3.0\)$"):
        NJetVarianceScaling(sigma=(1.0, 2.0, 3.0))
