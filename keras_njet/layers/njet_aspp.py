"""`NJetASPP`, a spatial pyramid whose scales are learned."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet._convolution import costs, evaluations, sizes
from keras_njet._convolution.sampling import Axis
from keras_njet._convolution.scale_space import DISCRETIZATIONS, derivative_orders
from keras_njet._resolution.following import Run
from keras_njet._resolution.scale import ScaleVariable
from keras_njet.layers._data_formats import feature_map, from_channels_last, shape_of, spatial
from keras_njet.layers._njet_layer import NJetLayer


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetASPP(NJetLayer):
    """Spatial pyramid of N-Jet convolutions: the sum of several, each with its own learned σ.

    Takes the place of `keras_njet.layers.ASPP` in DeepLabv2 (section IV-B of the paper, experiment 2(B)), where
    dilation rates are chosen by hand. By default all scales share their coefficients α; then the channels are mixed
    once for all of them, and the layer costs less than the dilated one, whatever the scales.

    Args:
        filters: Integer > 0, the number of filters: of classes, in DeepLabv2. All other arguments are given by name.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. Defaults to 3.
        sigma: Numbers σ > 0 the scales start with, in pixels. By default (3, 6, 9, 12), whose filters reach as far as
            the 3×3 ones of DeepLabv2 dilated by 6, 12, 18 and 24.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        unit: As in `keras_njet.NJetConv2D`. Defaults to 1.
        discretization: "sampled" or "integrated", as in `keras_njet.NJetConv2D`. Defaults to "sampled".
        learn_sigma: Whether the scales are trained. Defaults to True.
        sigma_learning_rate, max_sigma: As in `keras_njet.NJetConv2D`. Default to 1 and "auto".
        tied: Whether all scales share the coefficients. Defaults to True.
        use_bias: Whether to add a bias. Defaults to True.
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        coefficient_initializer: Keras initializer of α. Defaults to a normal distribution with standard deviation 0.01,
            as of the filters in DeepLabv2: the logits, and the gradients of the scales, start small.
        coefficient_regularizer: Keras regularizer of α.
        **kwargs: `name`, `dtype`, `trainable` of the layer. The scales are float32 under every dtype policy.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first".

    Output shape:
        `(batch, height, width, filters)`, or `(batch, filters, height, width)`.

    Returns:
        A tensor: the sum of the convolutions plus bias.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    >>> layer = keras_njet.NJetASPP(21)
    >>> layer(numpy.zeros((1, 41, 41, 64), "float32")).shape
    (1, 41, 41, 21)
    >>> layer.kernel_sizes
    ((13, 13), (25, 25), (37, 37), (49, 49))
    """

    @_arguments.of_a_convolution(positional=1)
    def __init__(
        self,
        filters: int,
        *,
        order: int = 3,
        sigma=(3.0, 6.0, 9.0, 12.0),
        extent: float = 2.0,
        unit: float = 1.0,
        discretization: str = "sampled",
        learn_sigma: bool = True,
        sigma_learning_rate: float = 1.0,
        max_sigma: float | str | None = "auto",
        tied: bool = True,
        use_bias: bool = True,
        data_format: str | None = None,
        coefficient_initializer=None,
        coefficient_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = _arguments.integer("filters", filters, least=1)
        self.order = _arguments.integer("order", order, least=0)
        self.initial_sigma = _arguments.several("sigma", sigma, _arguments.positive)
        self.extent = _arguments.positive("extent", extent)
        self.unit = _arguments.positive("unit", unit)
        self.discretization = _arguments.one_of("discretization", discretization, DISCRETIZATIONS)
        self.learn_sigma = bool(learn_sigma)
        self.sigma_learning_rate = _arguments.positive("sigma_learning_rate", sigma_learning_rate)
        self.max_sigma = _arguments.max_sigma(max_sigma)
        self.tied = bool(tied)
        self.use_bias = bool(use_bias)
        self.data_format = _arguments.data_format(data_format)
        self.coefficient_initializer = keras.initializers.get(
            coefficient_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )
        self.coefficient_regularizer = keras.regularizers.get(coefficient_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        self._channels = _arguments.channels(input_shape, self.data_format)
        self.coefficients = [
            self.add_weight(
                name="coefficients" if self.tied else f"coefficients_{index}",
                shape=(len(derivative_orders(self.order, axes=2)), self._channels, self.filters),
                initializer=_arguments.another(self.coefficient_initializer),
                regularizer=self.coefficient_regularizer,
            )
            for index in range(1 if self.tied else len(self.initial_sigma))
        ]
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        self.log2_sigmas = [
            ScaleVariable(
                sigma,
                self.learn_sigma,
                name=f"log2_sigma_{index}",
                unit=self.unit,
                rate=self.sigma_learning_rate,
                largest=self.max_sigma,
            )
            for index, sigma in enumerate(self.initial_sigma)
        ]
        self.built = True
        self.leave_frozen_scales_alone()

    def call(self, inputs, factor=1.0):
        factor = _arguments.positive("factor", factor)
        x = feature_map(inputs, self.data_format, self.compute_dtype)
        Run(x).watch(self, spatial(x.shape, "channels_last"), factor)
        convolution = self._convolution(ops.shape(x)[1:3], factor)
        (evaluation,) = evaluations.choices(
            convolution.workload, costs.prices("training"), implementation="matrix", scales=len(self.log2_sigmas)
        )
        outputs = sum(
            evaluation.evaluate(convolution, x, ops.convert_to_tensor(coefficients), sigmas)
            for coefficients, sigmas in self._parts(convolution.basis_dtype, factor)
        )
        outputs = ops.cast(outputs, self.compute_dtype)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return from_channels_last(outputs, self.data_format)

    @property
    def scales(self):
        return tuple(self.log2_sigmas) if self.built else ()

    @property
    def sigma(self):
        """The scales σ in pixels, a float32 tensor with one for each convolution. Assign numbers to change them."""
        self._require_built("sigma")
        return ops.stack([scale.sigma() for scale in self.log2_sigmas])

    @sigma.setter
    def sigma(self, value):
        self._require_built("sigma")
        sigmas = _arguments.sigmas(value, (len(self.log2_sigmas),))
        for scale, sigma in zip(self.log2_sigmas, sigmas, strict=True):
            scale.assign_sigma(sigma)

    @property
    def kernel_sizes(self):
        sigmas = [scale.largest() for scale in self.log2_sigmas] if self.built else self.initial_sigma
        return tuple((sizes.kernel_size(sigma, self.extent, self.unit),) * 2 for sigma in sigmas)

    @property
    def kernel(self):
        """The sum of the composed filters, of shape (size, size, channels, filters): one convolution does the same."""
        self._require_built("kernel")
        convolution = self._convolution((1, 1))
        radii = [size // 2 for size in self.kernel_size]
        return sum(
            convolution.kernel(coefficients, sigma, radii)
            for coefficients, sigmas in self._parts(convolution.basis_dtype)
            for sigma in sigmas
        )

    def resolution(self):
        return {f"sigma_{index}": scale.largest() for index, scale in enumerate(self.scales)}

    def compute_output_shape(self, input_shape):
        return shape_of(input_shape[0], spatial(input_shape, self.data_format), self.filters, self.data_format)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "order": self.order,
            "sigma": self.initial_sigma,
            "extent": self.extent,
            "unit": self.unit,
            "discretization": self.discretization,
            "learn_sigma": self.learn_sigma,
            "sigma_learning_rate": self.sigma_learning_rate,
            "max_sigma": self.max_sigma,
            "tied": self.tied,
            "use_bias": self.use_bias,
            "data_format": self.data_format,
            "coefficient_initializer": keras.saving.serialize_keras_object(self.coefficient_initializer),
            "coefficient_regularizer": keras.saving.serialize_keras_object(self.coefficient_regularizer),
        }

    @classmethod
    def from_config(cls, config):
        if "sigmas" in config:  # the name in version 0.1
            config = {**config, "sigma": config["sigmas"]}
            del config["sigmas"]
        return super().from_config(config)

    def _convolution(self, map_size, factor=1.0):
        axes = tuple(Axis(size, 0, 1, size, size) for size in map_size)
        return evaluations.Convolution(
            axes,
            self._channels,
            self.filters,
            1,
            self.order,
            self.extent,
            unit=factor * self.unit,
            discretization=self.discretization,
            dtype=self.compute_dtype,
        )

    def _parts(self, dtype, factor=1.0):
        """Pairs of coefficients and the scales that have them."""
        sigmas = [factor * scale.sigma(dtype) for scale in self.log2_sigmas]
        groups = [sigmas] if self.tied else [[sigma] for sigma in sigmas]
        return zip(self.coefficients, groups, strict=True)
