"""`NJetLayer`: the questions that every layer with a learned resolution answers."""

import keras
import numpy as np

from keras_njet._backend import own_variables
from keras_njet._resolution.scale import ScaleVariable

AXIS_NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""Names of the axes of a feature map, in the order of the array."""


class NJetLayer(keras.layers.Layer):
    """A layer whose filters or feature maps have sizes that follow a learned scale.

    Attributes:
        order: Integer N, the highest order of the Gaussian derivatives, or None for a layer without filters.
        extent: Number k, half-width of the filters in units of σ, or None likewise.
    """

    order: int | None = None
    extent: float | None = None

    @property
    def scales(self) -> tuple[ScaleVariable, ...]:
        """The variables that hold the scales; none before the layer is built."""
        return ()

    @property
    def sigma(self):
        """The scales σ in pixels, a float32 tensor."""
        raise AttributeError(f"The layer has no σ of its own. Received: layer={self.name!r}")

    @property
    def kernel_sizes(self) -> tuple[tuple[int, ...], ...]:
        """The size of the filters along each axis, in pixels, for each of the `scales`."""
        return ()

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """The size of the largest filters along each axis, in pixels: 2⌈kσ⌉ + 1."""
        return tuple(map(max, zip(*self.kernel_sizes, strict=True)))

    @property
    def feature_map_size(self) -> tuple[int | None, ...]:
        """The size of the output along each axis as last computed, in pixels; None where it varies, () if not noted."""
        return ()

    def leave_frozen_scales_alone(self):
        """Freezes the scales of a frozen layer, as Keras does with the weights that `add_weight` makes."""
        if not self.trainable:
            for scale in self.scales:
                scale.trainable = False

    def sigma_numbers(self) -> np.ndarray:
        """All scales σ as numbers, in pixels, as a vector."""
        return np.concatenate([np.ravel(scale.numbers()) for scale in self.scales] or [np.array([])])

    def resolution(self) -> dict[str, float]:
        """The present scales and sizes in pixels, under the names that logs use; maps are those of the training."""
        return {}

    def save_own_variables(self, store):
        """Stores log2 σ whatever `sigma_learning_rate` is, so that weights can be loaded with another rate."""
        stored = {}
        super().save_own_variables(stored)
        stored |= {name: scale.rate * keras.ops.convert_to_numpy(scale) for name, scale in self._stored_scales()}
        for name, value in stored.items():
            store[name] = value

    def load_own_variables(self, store):
        super().load_own_variables(store)
        for name, scale in self._stored_scales():
            scale.assign(np.asarray(store[name]) / scale.rate)

    def _stored_scales(self):
        """Scales that do not hold log2 σ itself, and the names by which they are stored."""
        variables = own_variables(self) if any(scale.rate != 1.0 for scale in self.scales) else []
        return [(str(index), scale) for index, scale in enumerate(variables) if isinstance(scale, ScaleVariable)]

    def _require_built(self, name):
        if not self.built:
            raise AttributeError(f"The layer must be built before `{name}` is known. Received: built=False")
