"""Guards the initialiser of the coefficients; the stack of ten layers is in `layers/test_njet_conv2d.py`."""

import keras
import numpy as np
import pytest

from keras_njet import NJetVarianceScaling
from keras_njet.convolution.scale_space import sampled_derivatives
from keras_njet.initializers import transmitted_variance
from tests.oracles import to_numpy


@pytest.mark.parametrize(("order", "shape"), [(0, (1, 8, 600)), (3, (10, 8, 100))])
def test_the_variance_is_that_of_its_formula(order, shape):
    draw = to_numpy(NJetVarianceScaling(sigma=1.5, rectified=True, seed=0)(shape))
    expected = 2.0 / (8 * transmitted_variance(1.5, 2.0, order, True))
    assert draw.shape == shape
    assert np.var(draw) == pytest.approx(expected, rel=0.1)
    assert abs(np.mean(draw)) < 4 * np.sqrt(expected / draw.size)


def test_the_first_step_of_the_recursion_is_the_energy_of_the_filters():
    # White noise passes each filter with its energy Σ G², by Parseval.
    derivatives = sampled_derivatives(1.2, 3, 2)
    energy = [np.sum(derivative**2) for derivative in derivatives]
    expected = sum(energy[i] * energy[j] for i in range(3) for j in range(3 - i))
    assert transmitted_variance(1.2, 2.0, 2, False, depth=1) == pytest.approx(expected)


def test_a_gaussian_alone_passes_smooth_maps():
    # The deeper the stack, the smoother its maps, and a Gaussian leaves a constant as it is.
    assert transmitted_variance(1.0, 2.0, 0, False, depth=200) == pytest.approx(1.0, abs=0.01)


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
