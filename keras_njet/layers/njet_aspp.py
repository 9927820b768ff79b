"""`NJetASPP`, a spatial pyramid whose scales are learned."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet.convolution import evaluation, sizes
from keras_njet.convolution.sampling import Axis
from keras_njet.convolution.scale_space import compose_filters, derivative_orders, gaussian_derivatives, njet_basis
from keras_njet.resolution.scale import ScaleVariable


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetASPP(keras.layers.Layer):
    """Spatial pyramid of N-Jet convolutions: the sum of several, each with its own learned σ.

    Takes the place of `keras_njet.ASPP` in DeepLabv2 (section IV-B of the paper, experiment 2(B)), where dilation rates
    are chosen by hand. By default all scales share their coefficients α; then the channels are mixed once for all of
    them, and the layer costs less than the dilated one, whatever the scales.

    Args:
        filters: Integer > 0, the number of filters: of classes, in DeepLabv2.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. Defaults to 3.
        sigmas: Numbers σ > 0 the scales start with, in pixels. By default (3, 6, 9, 12), whose filters reach as far as
            the 3×3 ones of DeepLabv2 dilated by 6, 12, 18 and 24.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        learn_sigma: Whether the scales are trained. Defaults to True.
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
    (13, 25, 37, 49)
    """

    def __init__(
        self,
        filters: int,
        order: int = 3,
        sigmas=(3.0, 6.0, 9.0, 12.0),
        extent: float = 2.0,
        learn_sigma: bool = True,
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
        self.initial_sigmas = _arguments.several("sigmas", sigmas, _arguments.positive)
        self.extent = _arguments.positive("extent", extent)
        self.learn_sigma = bool(learn_sigma)
        self.tied = bool(tied)
        self.use_bias = bool(use_bias)
        self.data_format = _arguments.data_format(data_format)
        self.coefficient_initializer = keras.initializers.get(
            coefficient_initializer or keras.initializers.RandomNormal(stddev=0.01)
        )
        self.coefficient_regularizer = keras.regularizers.get(coefficient_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        channels = _arguments.channels(input_shape, self.data_format)
        self.coefficients = [
            self.add_weight(
                name="coefficients" if self.tied else f"coefficients_{number}",
                shape=(len(derivative_orders(self.order, axes=2)), channels, self.filters),
                initializer=self.coefficient_initializer.clone(),
                regularizer=self.coefficient_regularizer,
            )
            for number in range(1 if self.tied else len(self.initial_sigmas))
        ]
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        self.log2_sigmas = [
            ScaleVariable(sigma, self.learn_sigma, name=f"log2_sigma_{number}")
            for number, sigma in enumerate(self.initial_sigmas)
        ]
        self.built = True

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Scales σ in pixels, as numbers."""
        return tuple(scale.current() for scale in self.log2_sigmas) if self.built else self.initial_sigmas

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Sizes of the square filters in pixels: 2⌈kσ⌉ + 1 for each scale."""
        return tuple(sizes.kernel_size(sigma, self.extent) for sigma in self.sigmas)

    @property
    def kernel(self):
        """The sum of the composed filters, of shape (size, size, channels, filters): one convolution does the same."""
        radius = max(self.kernel_sizes) // 2
        offsets = ops.arange(-radius, radius + 1, dtype=self._basis_dtype)
        coefficients = self.coefficients * (len(self.log2_sigmas) if self.tied else 1)
        return sum(
            compose_filters(ops.cast(alpha, self._basis_dtype), njet_basis(self._derivatives(scale, offsets)))
            for alpha, scale in zip(coefficients, self.log2_sigmas, strict=True)
        )

    def call(self, inputs):
        channels_first = self.data_format == "channels_first"
        x = ops.transpose(inputs, (0, 2, 3, 1)) if channels_first else inputs
        matrices = [[self._matrix(scale, size) for size in ops.shape(x)[1:3]] for scale in self.log2_sigmas]
        mixing = "first" if self.filters <= x.shape[-1] else "last"
        groups = [matrices] if self.tied else [[pair] for pair in matrices]
        outputs = sum(
            evaluation.convolve_at_scales(x, self._cast(coefficients), scales, mixing=mixing)
            for coefficients, scales in zip(self.coefficients, groups, strict=True)
        )
        outputs = self._cast(outputs)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return ops.transpose(outputs, (0, 3, 1, 2)) if channels_first else outputs

    def _matrix(self, scale, size):
        return self._cast(self._derivatives(scale, Axis(size, 0, 1, size, size).offsets(self._basis_dtype)))

    def _derivatives(self, scale, offsets):
        radius = sizes.filter_radius(scale.sigma(), self.extent)
        return gaussian_derivatives(offsets, scale.sigma(self._basis_dtype), self.order, radius)

    @property
    def _basis_dtype(self):
        return "float64" if self.compute_dtype == "float64" else "float32"

    def _cast(self, x):
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        if self.data_format == "channels_last":
            return (*input_shape[:3], self.filters)
        return (input_shape[0], self.filters, *input_shape[2:])

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "order": self.order,
            "sigmas": self.initial_sigmas,
            "extent": self.extent,
            "learn_sigma": self.learn_sigma,
            "tied": self.tied,
            "use_bias": self.use_bias,
            "data_format": self.data_format,
            "coefficient_initializer": keras.saving.serialize_keras_object(self.coefficient_initializer),
            "coefficient_regularizer": keras.saving.serialize_keras_object(self.coefficient_regularizer),
        }
