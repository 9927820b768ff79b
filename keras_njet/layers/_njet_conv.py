"""`NJetConv`: what N-Jet convolutions of signals, images and volumes have in common."""

from keras_njet import _arguments
from keras_njet._convolution.sharing import SHARED_BY_ALL, Sharing
from keras_njet.layers._base_njet_conv import BaseNJetConv


class NJetConv(BaseNJetConv):
    """An N-Jet convolution of any number of axes, `rank`, that mixes channels. See `keras_njet.NJetConv2D`."""

    @_arguments.of_a_convolution(positional=1)
    def __init__(
        self,
        filters: int,
        *,
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
        groups: int = 1,
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
        self.filters = _arguments.integer("filters", filters, least=1)
        self.groups = _arguments.integer("groups", groups, least=1)
        if self.filters % self.groups != 0:
            raise ValueError(
                f"The number of filters must be divisible by the number of groups. Received: filters={filters}, "
                f"groups={groups}"
            )
        if self.sigma_sharing != "layer" and self.groups > 1:
            raise ValueError(
                f'With groups of channels, `sigma_sharing` must be "layer". Received: sigma_sharing={sigma_sharing!r}, '
                f"groups={groups}"
            )
        if isinstance(self.sigma_sharing, int) and self.filters % self.sigma_sharing != 0:
            raise ValueError(
                "The number of filters must be divisible by the number of groups that share a σ. Received: "
                f"filters={filters}, sigma_sharing={sigma_sharing}"
            )

    def filters_and_groups(self, channels: int) -> tuple[int, int]:
        if channels is not None and channels % self.groups != 0:
            raise ValueError(
                f"The number of input channels must be divisible by the number of groups. Received: "
                f"channels={channels}, groups={self.groups}"
            )
        return self.filters, self.groups

    def sharing(self, channels: int) -> Sharing:
        if self.sigma_sharing == "layer":
            return SHARED_BY_ALL
        if self.sigma_sharing == "input":
            return Sharing(channels, of_inputs=True)
        return Sharing(self.filters if self.sigma_sharing == "filter" else self.sigma_sharing)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}
