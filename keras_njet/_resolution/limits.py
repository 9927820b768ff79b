"""Tells when the scales of a model have left the range in which filters show something."""

import threading
import warnings

import numpy as np

from keras_njet._convolution.scale_space import LEAST_SIGMA

_LEAST = " or ".join(f"{least} for '{name}'" for name, least in LEAST_SIGMA.items())
_NEAR = 0.999  # share of a scale that counts as all of it


class Limits:
    """The layers that a model trains, and what has been told of them. Several threads may use it."""

    def __init__(self):
        self.layers = {}
        self.told = set()
        self.lock = threading.Lock()

    def add(self, layer):
        """Watches the scales of a layer."""
        with self.lock:
            self.layers[id(layer)] = layer

    def tell(self):
        """Warns of scales that rest on their bound, are too small or NaN: of each once."""
        for has_problem, text in _PROBLEMS.items():
            with self.lock:
                found = self._untold(has_problem)
            if found:
                names = ", ".join(f"'{layer.name}' (σ = {_shown(layer)})" for layer in found)
                warnings.warn(text.format(names), stacklevel=2)

    def _untold(self, has_problem):
        """The layers that have a problem of which nothing has been told; from now on it counts as told."""
        found = [
            layer
            for key, layer in self.layers.items()
            if (has_problem, key) not in self.told
            and any(scale.trainable and has_problem(layer, scale) for scale in layer.scales)
        ]
        self.told |= {(has_problem, id(layer)) for layer in found}
        return found


def _rests_on_its_bound(layer, scale):
    """Whether a scale has come to it; one that starts as large was chosen."""
    bound = scale.bound
    if bound is None or bound.pixels is None:
        return False
    return bool(np.any((scale.numbers() >= _NEAR * bound.pixels) & (bound.pixels > bound.start)))


def _is_too_small(layer, scale):
    """Whether a scale has become so; one that starts as small was chosen."""
    least = np.minimum(LEAST_SIGMA[layer.discretization], _NEAR * scale.initial)
    return bool(np.any(scale.numbers() < least))


def _is_nan(layer, scale):
    return bool(np.isnan(scale.numbers()).any())


_PROBLEMS = {
    _rests_on_its_bound: (
        "The scales of these layers rest on their bound: {}. Wider filters show nothing more of the feature map. "
        "Expected a smaller learning rate of σ (`sigma_learning_rate`), subsampling before these layers, or another "
        "bound (`max_sigma`)."
    ),
    _is_too_small: (
        "The scales of these layers are so small that pixels can't show the derivatives of a Gaussian: {}. Expected at "
        f"least {_LEAST} filters: a smaller learning rate of σ (`sigma_learning_rate`), a `sigma_constraint` or a "
        "`sigma_regularizer`."
    ),
    _is_nan: (
        "Training has diverged: σ is NaN in {}. Expected a smaller learning rate, or `clipnorm` of the optimizer. "
        "`keras.callbacks.TerminateOnNaN` stops such a training; `keras_njet.find_nan` names the layer where it arises."
    ),
}


def _shown(layer):
    numbers = layer.sigma_numbers()
    return " to ".join(dict.fromkeys(f"{number:.3g}" for number in (np.min(numbers), np.max(numbers))))
