"""What all N-Jet convolutions share: the variables, how sizes follow σ, and the choice of the evaluation."""

import keras
import numpy as np
from keras import ops

from keras_njet import _arguments
from keras_njet._backend import is_training
from keras_njet.convolution import costs, evaluation, sizes
from keras_njet.convolution.sampling import Axis, strided_positions
from keras_njet.convolution.scale_space import compose_filters, derivative_orders, gaussian_derivatives, njet_basis
from keras_njet.convolution.sharing import Sharing
from keras_njet.initializers import NJetVarianceScaling
from keras_njet.resolution.following import follow, is_up_to_date
from keras_njet.resolution.scale import ScaleVariable

_RECTIFIERS = ("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "mish", "hard_silu")


class BaseNJetConv(keras.layers.Layer):
    """A 2-D convolution whose filters are linear combinations of Gaussian derivatives of a learned scale.

    A subclass says in `filters_and_groups` how many filters it has. The arguments are those of
    `keras_njet.NJetConv2D`.
    """

    def __init__(
        self,
        order: int = 3,
        sigma=1.0,
        extent: float = 2.0,
        learn_sigma: bool = True,
        strides=1,
        padding: str | int = "same",
        data_format: str | None = None,
        activation=None,
        use_bias: bool = True,
        subsample_rate: float | None = None,
        implementation: str = "auto",
        sigma_sharing: str | int = "layer",
        coefficient_initializer=None,
        bias_initializer="zeros",
        coefficient_regularizer=None,
        sigma_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        coefficient_constraint=None,
        sigma_constraint=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.order = _arguments.integer("order", order, least=0)
        self.initial_sigma = _arguments.positive("sigma", _arguments.drawn(sigma))
        self.extent = _arguments.positive("extent", extent)
        self.learn_sigma = bool(learn_sigma)
        self.strides = _arguments.pair_of_integers("strides", strides)
        self.padding = _arguments.padding(padding)
        self.data_format = _arguments.data_format(data_format)
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.subsample_rate = None if subsample_rate is None else _arguments.positive("subsample_rate", subsample_rate)
        self.implementation = _arguments.one_of("implementation", implementation, ("auto", "matrix", "dense"))
        self.sigma_sharing = _arguments.sigma_sharing(sigma_sharing)
        if self.subsample_rate is not None:
            self.check_one_sigma()
        self.coefficient_initializer = keras.initializers.get(coefficient_initializer) or NJetVarianceScaling(
            self.initial_sigma, self.extent, rectified=getattr(self.activation, "__name__", None) in _RECTIFIERS
        )
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.coefficient_regularizer = keras.regularizers.get(coefficient_regularizer)
        self.sigma_regularizer = keras.regularizers.get(sigma_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.coefficient_constraint = keras.constraints.get(coefficient_constraint)
        self.sigma_constraint = keras.constraints.get(sigma_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self._map_size = (None, None)

    def filters_and_groups(self, channels: int) -> tuple[int, int]:
        """Number of filters and of groups of channels, for a number of input channels."""
        raise NotImplementedError

    def sharing(self, channels: int) -> Sharing:
        """Which filters share a σ, for a number of input channels."""
        raise NotImplementedError

    def build(self, input_shape):
        channels = _arguments.channels(input_shape, self.data_format)
        filters, groups = self.filters_and_groups(channels)
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={self._channel_axis: channels})
        self.coefficients = self.add_weight(
            name="coefficients",
            shape=(len(derivative_orders(self.order, axes=2)), channels // groups, filters),
            initializer=self.coefficient_initializer,
            regularizer=self.coefficient_regularizer,
            constraint=self.coefficient_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.log2_sigma = ScaleVariable(
            self.initial_sigma,
            self.learn_sigma,
            self.sigma_regularizer,
            self.sigma_constraint,
            shape=self.sharing(channels).shape,
        )
        self.built = True

    @property
    def sigma(self):
        """Scale σ in pixels, a scalar tensor, or one for each group of filters. Assign numbers to change it."""
        self._require_built("sigma")
        return self.log2_sigma.sigma()

    @sigma.setter
    def sigma(self, value):
        self._require_built("sigma")
        sigmas = _arguments.positives("sigma", value)
        if sigmas.shape not in ((), tuple(self.log2_sigma.shape)):
            raise ValueError(
                f"`sigma` must be a number or have the shape {tuple(self.log2_sigma.shape)}. Received: sigma={value!r}"
            )
        self.log2_sigma.assign(np.broadcast_to(np.log2(sigmas), self.log2_sigma.shape))

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Size (height, width) of the filters in pixels: 2⌈kσ⌉ + 1, for the largest σ if there are several."""
        sigma = self.log2_sigma.current() if self.built else self.initial_sigma
        size = sizes.kernel_size(sigma, self.extent)
        return size, size

    @property
    def feature_map_size(self) -> tuple[int | None, int | None]:
        """Size (height, width) of the output as last computed, in pixels; None before a call and where it varies."""
        return self._map_size

    @property
    def kernel(self):
        """The composed filters, of shape (size, size, channels / groups, filters) as in `keras.layers.Conv2D`."""
        self._require_built("kernel")
        return self._compose(sizes.filter_radius(self.log2_sigma.current(), self.extent))

    def check_one_sigma(self):
        """Raises an error if filters have scales of their own: the size of a feature map can only follow one."""
        if self.sigma_sharing != "layer":
            raise ValueError(
                'A feature map can only follow one σ: subsampling needs sigma_sharing="layer". Received: '
                f"sigma_sharing={self.sigma_sharing!r}"
            )

    def subsampled_size(self, size, rate: float, inputs):
        """Computes the size to which this layer's σ lets a feature map shrink, along one axis.

        Args:
            size: Size of the feature map in pixels, an integer, or an integer tensor where it is not known.
            rate: Number r > 0, the σ at which the size is halved.
            inputs: Tensor on which the present call works.

        Returns:
            ⌊s·½^(σ/r)⌋, of the type of `size`.
        """
        if isinstance(size, int):
            return follow(self, inputs, self.log2_sigma, sizes.subsampled_size, size, rate)
        if not ops.is_tensor(size):
            raise ValueError(
                "The size of a feature map that is subsampled must be known, or a tensor; JAX can't derive the new one "
                f"from a symbolic size. Received: size={size}"
            )
        return sizes.subsampled_size(follow(self, inputs, self.log2_sigma, float), size, rate)

    def call(self, inputs):
        channels_first = self.data_format == "channels_first"
        outputs = self.convolution_op(ops.transpose(inputs, (0, 2, 3, 1)) if channels_first else inputs)
        outputs = self._cast(outputs)  # on torch, `keras.ops.matmul` of float64 gives float32
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        if channels_first:
            outputs = ops.transpose(outputs, (0, 3, 1, 2))
        return self.activation(outputs)

    def convolution_op(self, x):
        """Convolves a "channels_last" feature map; neither bias nor activation."""
        axes = [self._axis(x, number) for number in (0, 1)]
        self._map_size = _known(axis.new_size for axis in axes)
        in_size, channels = _known(axis.size for axis in axes), x.shape[-1]
        workload = costs.Workload(in_size, self._map_size, channels, *self.filters_and_groups(channels), self.order)
        choice = self._choose_evaluation(workload, x, axes)
        outputs = self._evaluate(choice, x, axes)
        if choice.reach == sizes.MAX_RADIUS or is_up_to_date(x):
            return outputs
        # Until the choice is brought up to date, a filter that has outgrown it is evaluated by matrices. The
        # convolution stands outside of the conditional, where XLA would run it on a single thread; and what is inside
        # is computed again for its gradient, since a conditional keeps room for that whether it is needed or not.
        fits = ops.max(self._live_radius(self.log2_sigma.sigma())) <= choice.reach

        def outgrown():
            return self._convolve_by_matrices(costs.by_matrices(workload, self._mixing), x, axes, keras.remat)

        return ops.cond(fits, lambda: outputs, outgrown)

    def _axis(self, x, number):
        size, stride = ops.shape(x)[1 + number], self.strides[number]
        margin = self._compiled_radius(x) if self.padding == "valid" else self.padding
        start, count = strided_positions(size, stride, margin)
        if self.subsample_rate is None:
            return Axis(size, start, stride, count, count)
        return Axis(size, start, stride, count, self.subsampled_size(count, self.subsample_rate, x))

    def _choose_evaluation(self, workload, x, axes):
        """The evaluation for filters of the present size; it is brought up to date between the epochs."""
        known = None not in workload.in_size
        if self.implementation == "dense" and known:
            choices = costs.DENSE_EVALUATIONS
        elif self.implementation == "auto" and known and self.subsample_rate is None:
            tiles = self.sigma_sharing == "layer" and all(axis.keeps_all_pixels for axis in axes)
            phase = "inference" if is_training() is False else "training"
            choices = costs.evaluations(workload, tiles, self._mixing, phase)
        else:
            return costs.by_matrices(workload, self._mixing)
        if len(choices) == 1:
            return choices[0]
        reaches = tuple(choice.reach for choice in choices)
        return choices[follow(self, x, self.log2_sigma, sizes.first_that_reaches, self.extent, reaches, slack=1)]

    def _evaluate(self, choice, x, axes):
        evaluate = {
            "dense": self._convolve_densely,
            "tiles": self._convolve_by_tiles,
            "matrices": self._convolve_by_matrices,
        }
        return evaluate[choice.kind](choice, x, axes)

    def _convolve_by_matrices(self, choice, x, axes, transform=lambda function: function):
        def convolve(x, coefficients, sigma):
            if self._sharing.of_inputs:
                responses = self._sharing.of_each_input(
                    lambda x, sigma: evaluation.basis_responses(x, *self._matrices(axes, sigma)), x, sigma
                )
                return evaluation.mix_responses(responses, coefficients, self._groups)
            if self._sharing.count:
                return self._sharing.of_each_filter(
                    lambda alpha, sigma: evaluation.convolve_few_filters(x, alpha, *self._matrices(axes, sigma)),
                    coefficients,
                    sigma,
                )
            matrices = self._matrices(axes, sigma)
            return evaluation.convolve_by_matrices(x, coefficients, *matrices, self._groups, choice.mixing)

        return transform(convolve)(x, self._cast(self.coefficients), self._sigma)

    def _convolve_by_tiles(self, choice, x, axes):
        matrix = self._matrix(Axis.of_tile(choice.block, halo=choice.reach), self._sigma)
        coefficients = self._cast(self.coefficients)
        return evaluation.convolve_by_tiles(x, coefficients, matrix, matrix, self._groups, choice.mixing)

    def _convolve_densely(self, choice, x, axes):
        kernel = self._cast(self._compose(choice.reach))
        starts, counts = tuple(axis.start for axis in axes), tuple(axis.count for axis in axes)
        outputs = evaluation.convolve_densely(x, kernel, starts, counts, self.strides, self._groups)
        if self.subsample_rate is None:
            return outputs
        return evaluation.resample(outputs, *[self._cast(axis.subsampling(self._basis_dtype)) for axis in axes])

    def _matrices(self, axes, sigma):
        height, width = axes
        along_height = self._matrix(height, sigma)
        is_square = height.is_known and width.is_known and height == width
        return along_height, along_height if is_square else self._matrix(width, sigma)

    def _matrix(self, axis, sigma):
        """Matrices of shape (order + 1, new size, size) that differentiate, and subsample, along an axis."""
        offsets = axis.offsets(self._basis_dtype)
        derivatives = gaussian_derivatives(offsets, sigma, self.order, self._live_radius(sigma))
        if axis.is_subsampled:
            derivatives = ops.matmul(axis.subsampling(self._basis_dtype), derivatives)
        return self._cast(derivatives)

    def _compose(self, radius):
        offsets = ops.arange(-radius, radius + 1, dtype=self._basis_dtype)

        def compose(coefficients, sigma):
            derivatives = gaussian_derivatives(
                offsets, sigma, self.order, self._live_radius(sigma), covers_support=True
            )
            return compose_filters(coefficients, njet_basis(derivatives))

        return self._sharing.compose(compose, ops.cast(self.coefficients, self._basis_dtype), self._sigma)

    def _compiled_radius(self, x):
        """Radius as an integer, brought up to date between the epochs; the live one is a tensor."""
        return follow(self, x, self.log2_sigma, sizes.filter_radius, self.extent)

    def _live_radius(self, sigma):
        return sizes.filter_radius(sigma, self.extent)

    @property
    def _sigma(self):
        return self.log2_sigma.sigma(self._basis_dtype)

    @property
    def _sharing(self):
        return self.sharing(self._channels)

    @property
    def _mixing(self):
        """When channels are mixed by matrices: before or after the products that differ between scales."""
        if self.sigma_sharing == "layer":
            return None
        return "together" if self._sharing.of_inputs else "first"

    @property
    def _basis_dtype(self):
        """Gaussian derivatives are computed in float32 under mixed precision, in float64 for a float64 layer."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def _cast(self, x):
        return ops.cast(x, self.compute_dtype)

    @property
    def _groups(self):
        return self.filters_and_groups(self._channels)[1]

    @property
    def _channels(self):
        return self.input_spec.axes[self._channel_axis]

    @property
    def _channel_axis(self):
        return 3 if self.data_format == "channels_last" else 1

    def _require_built(self, name):
        if not self.built:
            raise AttributeError(f"The layer must be built before `{name}` is known. Received: built=False")

    def compute_output_shape(self, input_shape):
        spatial = input_shape[1:3] if self.data_format == "channels_last" else input_shape[2:4]
        if self.subsample_rate is not None or self.padding == "valid":
            spatial = (None, None)
        else:
            spatial = [
                None if size is None else strided_positions(size, stride, self.padding)[1]
                for size, stride in zip(spatial, self.strides, strict=True)
            ]
        filters, _ = self.filters_and_groups(input_shape[self._channel_axis])
        if self.data_format == "channels_last":
            return (input_shape[0], *spatial, filters)
        return (input_shape[0], filters, *spatial)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "order": self.order,
            "sigma": self.initial_sigma,
            "extent": self.extent,
            "learn_sigma": self.learn_sigma,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "subsample_rate": self.subsample_rate,
            "implementation": self.implementation,
            "sigma_sharing": self.sigma_sharing,
            "coefficient_initializer": serialize(self.coefficient_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "coefficient_regularizer": serialize(self.coefficient_regularizer),
            "sigma_regularizer": serialize(self.sigma_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
            "activity_regularizer": serialize(self.activity_regularizer),
            "coefficient_constraint": serialize(self.coefficient_constraint),
            "sigma_constraint": serialize(self.sigma_constraint),
            "bias_constraint": serialize(self.bias_constraint),
        }


def _known(sizes):
    """Sizes as a tuple, None for a tensor: a size that is not known when a function is compiled."""
    return tuple(size if isinstance(size, int) else None for size in sizes)
