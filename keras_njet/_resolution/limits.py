"""Warns when the scales of a model have left the range in which filters are useful."""

import threading
import warnings

import numpy as np

from keras_njet._convolution.scale_space import LEAST_SIGMA

_LEAST = " or ".join(f"{least} for '{name}'" for name, least in LEAST_SIGMA.items())
_NEAR = 0.999  # share of a scale that counts as all of it


class Limits:
    """The layers that a model trains, and what has been warned of. Several threads may use it."""

    def __init__(self):
        self.layers = {}  # id -> (layer, the σ of each of its scales when it was trained first)
        self.told = set()
        self.lock = threading.Lock()

    def add(self, layer):
        """Watches the scales of a layer, from what they are now."""
        with self.lock:
            if id(layer) not in self.layers:
                self.layers[id(layer)] = layer, [scale.numbers() for scale in layer.scales]

    def tell(self):
        """Warns of scales that have reached their bound, are too small, or are NaN: once for each layer and problem."""
        for has_problem, text in _PROBLEMS.items():
            with self.lock:
                found = self._untold(has_problem)
            if found:
                names = ", ".join(f"'{layer.name}' (σ = {_shown(layer)})" for layer in found)
                warnings.warn(text.format(names), stacklevel=2)

    def _untold(self, has_problem):
        """The layers with a problem that was not warned of yet; from now on it counts as warned of."""
        found = [
            layer
            for key, (layer, starts) in self.layers.items()
            if (has_problem, key) not in self.told
            and any(
                scale.trainable and has_problem(layer, scale, start)
                for scale, start in zip(layer.scales, starts, strict=True)
            )
        ]
        self.told |= {(has_problem, id(layer)) for layer in found}
        return found


def _rests_on_its_bound(layer, scale, start):
    """Whether training has taken a scale to its bound. One that starts there was chosen so, and does not count."""
    bound = scale.bound
    if bound is None or bound.pixels is None:
        return False
    return bool(np.any((scale.numbers() >= _NEAR * bound.pixels) & (bound.pixels > bound.start)))


def _is_too_small(layer, scale, start):
    """Whether training has made a scale too small. One that starts small counts only once it is smaller still."""
    least = np.minimum(LEAST_SIGMA[layer.discretization], _NEAR * start)
    return bool(np.any(scale.numbers() < least))


def _is_nan(layer, scale, start):
    return bool(np.isnan(scale.numbers()).any())


_PROBLEMS = {
    _rests_on_its_bound: (
        "The scales of these layers have reached their upper bound: {}. With the default bound, wider filters show "
        "hardly more of the feature map. Use a smaller learning rate of σ (`sigma_learning_rate`), subsampling before "
        "these layers, or another bound (`max_sigma`)."
    ),
    _is_too_small: (
        "The scales of these layers are too small for the derivatives of a Gaussian on the pixel grid: {}. Expected a "
        f"σ of at least {_LEAST} filters. Use a smaller learning rate of σ (`sigma_learning_rate`), a "
        "`sigma_constraint` or a `sigma_regularizer`."
    ),
    _is_nan: (
        "Training has diverged: σ is NaN in {}. Expected a smaller learning rate, or `clipnorm` of the optimizer. "
        "`keras.callbacks.TerminateOnNaN` stops such a training; `keras_njet.find_nan` names the layer where it arises."
    ),
}


def _shown(layer):
    numbers = layer.sigma_numbers()
    return " to ".join(dict.fromkeys(f"{number:.3g}" for number in (np.min(numbers), np.max(numbers))))
