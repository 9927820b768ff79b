"""`NJetDepthwiseConv`: what depthwise N-Jet convolutions of signals, images and volumes have in common."""

from keras import ops

from keras_njet import _arguments
from keras_njet._convolution.sharing import SHARED_BY_ALL, Sharing
from keras_njet.layers._base_njet_conv import BaseNJetConv


class NJetDepthwiseConv(BaseNJetConv):
    """An N-Jet convolution of any number of axes, `rank`, of each channel. See `keras_njet.NJetDepthwiseConv2D`."""

    @_arguments.of_a_convolution(positional=0)
    def __init__(
        self,
        *,
        depth_multiplier: int = 1,
        order: int = 3,
        sigma=1.0,
        extent: float = 2.0,
        unit=1.0,
        discretization: str = "sampled",
        learn_sigma: bool = True,
        sigma_learning_rate: float = 1.0,
        max_sigma: float | str | None = "auto",
        isotropic: bool = True,
        sigma_sharing: str | int = "layer",
        subsample_rate: float | None = None,
        strides=1,
        padding: str | int = "same",
        data_format: str | None = None,
        activation=None,
        use_bias: bool = True,
        implementation: str = "auto",
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
        super().__init__(
            order=order,
            sigma=sigma,
            extent=extent,
            unit=unit,
            discretization=discretization,
            learn_sigma=learn_sigma,
            sigma_learning_rate=sigma_learning_rate,
            max_sigma=max_sigma,
            isotropic=isotropic,
            sigma_sharing=sigma_sharing,
            subsample_rate=subsample_rate,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            implementation=implementation,
            coefficient_initializer=coefficient_initializer,
            bias_initializer=bias_initializer,
            coefficient_regularizer=coefficient_regularizer,
            sigma_regularizer=sigma_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            coefficient_constraint=coefficient_constraint,
            sigma_constraint=sigma_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        if self.sigma_sharing == "filter":
            raise ValueError(
                '`sigma_sharing` of a depthwise convolution must be "layer", "input" (one σ for each channel) or a '
                f"number of groups of channels. Received: sigma_sharing={sigma_sharing!r}"
            )
        self.depth_multiplier = _arguments.integer("depth_multiplier", depth_multiplier, least=1)

    def filters_and_groups(self, channels: int) -> tuple[int, int]:
        return (None if channels is None else channels * self.depth_multiplier), channels

    def sharing(self, channels: int) -> Sharing:
        if self.sigma_sharing == "layer":
            return SHARED_BY_ALL
        count = channels if self.sigma_sharing == "input" else self.sigma_sharing
        if channels % count != 0:
            raise ValueError(
                "The number of channels must be divisible by the number of groups that share a σ. Received: "
                f"channels={channels}, sigma_sharing={self.sigma_sharing}"
            )
        return Sharing(count, of_inputs=True, is_depthwise=True)

    @property
    def kernel(self):
        """The composed filters, of the shape of Keras' depthwise kernels: (*sizes, channels, depth_multiplier)."""
        kernel = super().kernel
        return ops.reshape(kernel, (*kernel.shape[: self.rank], -1, self.depth_multiplier))

    def get_config(self):
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}
