"""What all N-Jet convolutions share, whatever the number of axes and the filters they have."""

import functools

import keras
import numpy as np
from keras import ops

from keras_njet import _arguments
from keras_njet._convolution import evaluations, sizes
from keras_njet._convolution.sampling import Axis, strided_positions
from keras_njet._convolution.scale_space import DISCRETIZATIONS, derivative_orders
from keras_njet._convolution.sharing import Sharing
from keras_njet._resolution.following import Run
from keras_njet._resolution.scale import ScaleVariable
from keras_njet.initializers import NJetVarianceScaling
from keras_njet.layers._data_formats import feature_map, from_channels_last, shape_of, spatial
from keras_njet.layers._njet_layer import AXIS_NAMES, NJetLayer

_RECTIFIERS = ("relu", "relu6", "leakyrelu", "prelu", "elu", "selu", "gelu", "silu", "softplus", "mish", "hardsilu")


class BaseNJetConv(NJetLayer):
    """A convolution whose filters are linear combinations of Gaussian derivatives of a learned scale.

    A subclass says in `rank` how many axes its feature maps have, and in `filters_and_groups` and `sharing` which
    filters it has. The arguments are those of `keras_njet.NJetConv2D`.
    """

    rank: int

    def __init__(
        self,
        *,
        order,
        sigma,
        extent,
        unit,
        discretization,
        learn_sigma,
        sigma_learning_rate,
        max_sigma,
        isotropic,
        sigma_sharing,
        subsample_rate,
        strides,
        padding,
        data_format,
        activation,
        use_bias,
        implementation,
        coefficient_initializer,
        bias_initializer,
        coefficient_regularizer,
        sigma_regularizer,
        bias_regularizer,
        activity_regularizer,
        coefficient_constraint,
        sigma_constraint,
        bias_constraint,
        **kwargs,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.order = _arguments.integer("order", order, least=0)
        self.isotropic = bool(isotropic)
        self.initial_sigma = _arguments.scale(sigma, self.rank, self.isotropic)
        self.extent = _arguments.positive("extent", extent)
        self.unit = _arguments.unit(unit, self.rank, self.isotropic)
        self.discretization = _arguments.one_of("discretization", discretization, DISCRETIZATIONS)
        self.learn_sigma = bool(learn_sigma)
        self.sigma_learning_rate = _arguments.positive("sigma_learning_rate", sigma_learning_rate)
        self.max_sigma = _arguments.max_sigma(max_sigma)
        self.sigma_sharing = _arguments.sigma_sharing(sigma_sharing)
        self.subsample_rate = None if subsample_rate is None else _arguments.positive("subsample_rate", subsample_rate)
        if self.subsample_rate is not None:
            self.check_one_sigma()
        self.strides = _arguments.integers("strides", strides, self.rank)
        self.padding = _arguments.padding(padding)
        self.data_format = _arguments.data_format(data_format)
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.implementation = _arguments.one_of("implementation", implementation, ("auto", "matrix", "dense"))
        self.coefficient_initializer = keras.initializers.get(coefficient_initializer) or NJetVarianceScaling(
            self.initial_sigma,
            self.extent,
            rectified=_rectifies(self.activation),
            axes=self.rank,
        )
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.coefficient_regularizer = keras.regularizers.get(coefficient_regularizer)
        self.sigma_regularizer = keras.regularizers.get(sigma_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.coefficient_constraint = keras.constraints.get(coefficient_constraint)
        self.sigma_constraint = keras.constraints.get(sigma_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2)
        self._map_size = (None,) * self.rank
        self._trained_map_size = None

    def filters_and_groups(self, channels: int) -> tuple[int, int]:
        """Number of filters and of groups of channels, for a number of input channels."""
        raise NotImplementedError

    def sharing(self, channels: int) -> Sharing:
        """Which filters share a σ, for a number of input channels."""
        raise NotImplementedError

    def build(self, input_shape):
        channels = _arguments.channels(input_shape, self.data_format)
        filters, groups = self.filters_and_groups(channels)
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2, axes={self._channel_axis: channels})
        self.coefficients = self.add_weight(
            name="coefficients",
            shape=(len(derivative_orders(self.order, self.rank)), channels // groups, filters),
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
            shape=self.sharing(channels).shape + (() if self.isotropic else (self.rank,)),
            per_axis=not self.isotropic,
            unit=self.unit,
            rate=self.sigma_learning_rate,
            largest=self.max_sigma,
        )
        self.built = True
        self.leave_frozen_scales_alone()

    def call(self, inputs, factor=1.0):
        x = feature_map(inputs, self.data_format, self.compute_dtype)
        outputs = self.convolution_op(x, _arguments.positive("factor", factor))
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(from_channels_last(outputs, self.data_format))

    def convolution_op(self, x, factor=1.0):
        """Convolves a "channels_last" feature map with σ times a factor; neither bias nor activation."""
        run = Run(x)
        run.watch(self, spatial(x.shape, "channels_last"), factor)
        convolution = self._convolution([self._axis(x, index, run, factor) for index in range(self.rank)], factor)
        self._map_size = convolution.workload.out_size
        if run.is_training_step:
            self._trained_map_size = self._map_size
        # For a filter's radius, multiplying the extent is the same as multiplying σ, and σ itself stays as it is.
        units = tuple(sorted({factor * unit for unit in self.units}))
        reach = functools.partial(run.reach, self.log2_sigma, factor * self.extent, units)
        chosen, everywhere = evaluations.choose(convolution, self.implementation, run.phase, reach)
        coefficients = ops.convert_to_tensor(self.coefficients)
        sigma = factor * self.log2_sigma.sigma(convolution.basis_dtype)
        may_outgrow = run.may_outgrow(self.log2_sigma)
        return evaluations.evaluate(
            chosen, everywhere, convolution, x, coefficients, sigma, may_outgrow, run.is_training_step
        )

    def subsampled_size(self, size, rate: float, index: int, run: Run, factor: float = 1.0):
        """Computes the size to which this layer's σ lets a feature map shrink, along one axis.

        Args:
            size: Size of the feature map in pixels, an integer, or an integer tensor where it is not known.
            rate: Number r > 0, the σ at which the size is halved.
            index: Integer, the axis, from 0 on.
            run: The present call.
            factor: Number > 0, by which σ, the rate and the unit are multiplied in this call.

        Returns:
            ⌊s·½^(σ/r)⌋, of the type of `size`.
        """
        unit = factor * self.units[index]
        if isinstance(size, int):
            return run.size(self, self.log2_sigma, index, sizes.subsampled_size, size, rate, unit)
        if not ops.is_tensor(size):
            raise ValueError(
                "The size of a feature map that is subsampled must be known, or a tensor; JAX can't derive the new one "
                f"from a symbolic size. Received: size={size}"
            )
        return sizes.size_of_parts(size, run.size(self, self.log2_sigma, index, sizes.kept_parts, rate), unit)

    def check_one_sigma(self):
        """Raises an error if filters have scales of their own: the size of a feature map can only follow one."""
        if self.sigma_sharing != "layer":
            raise ValueError(
                'A feature map can only follow one σ: subsampling needs sigma_sharing="layer". Received: '
                f"sigma_sharing={self.sigma_sharing!r}"
            )

    @property
    def scales(self):
        return (self.log2_sigma,) if self.built else ()

    @property
    def sigma(self):
        """The scale σ in pixels, a float32 tensor: one, or one for each group of filters. Assign numbers to change it.

        With `isotropic=False` its last axis stands for the axes of the feature map.
        """
        self._require_built("sigma")
        return self.log2_sigma.sigma()

    @sigma.setter
    def sigma(self, value):
        self._require_built("sigma")
        self.log2_sigma.assign_sigma(_arguments.sigmas(value, tuple(self.log2_sigma.shape)))

    @property
    def kernel_sizes(self):
        if self.built:
            sigmas = [self.log2_sigma.largest(index) for index in range(self.rank)]
        else:
            sigmas = np.broadcast_to(self.initial_sigma, self.rank).tolist()
        along_axes = zip(sigmas, self.units, strict=True)
        return (tuple(sizes.kernel_size(sigma, self.extent, unit) for sigma, unit in along_axes),)

    @property
    def kernel(self):
        """The composed filters, of the shape of Keras' kernels: (*sizes, channels / groups, filters)."""
        self._require_built("kernel")
        convolution = self._convolution([Axis(1, 0, 1, 1, 1)] * self.rank)
        radii = [size // 2 for size in self.kernel_size]
        return convolution.kernel(self.coefficients, self.log2_sigma.sigma(convolution.basis_dtype), radii)

    @property
    def feature_map_size(self):
        return self._map_size

    def filter_sigmas(self) -> np.ndarray | None:
        """σ of each filter or group of filters as numbers in pixels, the largest of all axes.

        None if filters do not differ in it: if all share one, or if each channel of the input has its own.
        """
        sharing = self.sharing(self._channels) if self.built else None
        if sharing is None or sharing.count is None or (sharing.of_inputs and not sharing.is_depthwise):
            return None
        numbers = self.log2_sigma.numbers()
        return numbers if self.isotropic else numbers.max(axis=-1)

    def resolution(self):
        if not self.built:
            return {}
        names = AXIS_NAMES[self.rank]
        if self.isotropic:
            found = {"sigma": self.log2_sigma.largest()}
        else:
            found = {f"sigma_{name}": self.log2_sigma.largest(index) for index, name in enumerate(names)}
        has_diverged = not np.isfinite(self.sigma_numbers()).all()
        found["kernel_size"] = np.nan if has_diverged else max(self.kernel_size)
        known = zip(names, self._trained_map_size or self.feature_map_size, strict=True)
        return found | {name: size for name, size in known if size is not None}

    def compute_output_spec(self, inputs, factor=1.0):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape, factor), dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape, factor=1.0):
        known = spatial(input_shape, self.data_format)
        if self.subsample_rate is not None or self.padding == "valid":  # then σ decides it
            known = (None,) * self.rank
        else:
            margin = self._fixed_margin(factor)
            known = [
                None if size is None else strided_positions(size, stride, margin)[1]
                for size, stride in zip(known, self.strides, strict=True)
            ]
        filters, _ = self.filters_and_groups(input_shape[self._channel_axis])
        return shape_of(input_shape[0], known, filters, self.data_format)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "order": self.order,
            "sigma": self.initial_sigma,
            "extent": self.extent,
            "unit": self.unit,
            "discretization": self.discretization,
            "learn_sigma": self.learn_sigma,
            "sigma_learning_rate": self.sigma_learning_rate,
            "max_sigma": self.max_sigma,
            "isotropic": self.isotropic,
            "sigma_sharing": self.sigma_sharing,
            "subsample_rate": self.subsample_rate,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "implementation": self.implementation,
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

    def _convolution(self, axes, factor=1.0):
        return evaluations.Convolution(
            tuple(axes),
            self._channels,
            *self.filters_and_groups(self._channels),
            self.order,
            self.extent,
            self.isotropic,
            self.sharing(self._channels),
            tuple(factor * unit for unit in self.units) if isinstance(self.unit, tuple) else factor * self.unit,
            self.discretization,
            self.compute_dtype,
        )

    def _axis(self, x, index, run, factor):
        size, stride, margin = ops.shape(x)[1 + index], self.strides[index], self.padding
        if margin == "valid":
            extent, unit = factor * self.extent, factor * self.units[index]
            margin = run.size(self, self.log2_sigma, index, sizes.valid_margin, extent, unit)
        else:
            margin = self._fixed_margin(factor)
        start, count = strided_positions(size, stride, margin)
        if self.subsample_rate is None:
            return Axis(size, start, stride, count, count)
        return Axis(size, start, stride, count, self.subsampled_size(count, self.subsample_rate, index, run, factor))

    def _fixed_margin(self, factor):
        """What the output leaves of the input's border, where that does not follow σ: "same", or a number of pixels."""
        return "same" if self.padding == "same" else sizes.rounded(factor * self.padding)

    @property
    def units(self) -> tuple[float, ...]:
        """The size of a unit along each axis, in pixels."""
        return tuple(np.broadcast_to(self.unit, self.rank).tolist())

    @property
    def _channel_axis(self):
        return self.rank + 1 if self.data_format == "channels_last" else 1

    @property
    def _channels(self):
        return self.input_spec.axes[self._channel_axis]


def _rectifies(activation):
    """Whether an activation, a function or a layer of Keras, is known to let little through below zero."""
    activation = getattr(activation, "activation", activation)  # of a `keras.layers.Activation`
    name = getattr(activation, "__name__", type(activation).__name__)
    return name.lower().replace("_", "") in _RECTIFIERS
