"""`NJetDepthwiseConv2D`, a depthwise convolution that learns the size of its filters."""

import keras
from keras import ops

from keras_njet import _arguments
from keras_njet.convolution.sharing import Sharing
from keras_njet.layers.base_njet_conv import BaseNJetConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetDepthwiseConv2D(BaseNJetConv):
    """Depthwise 2-D convolution whose filters are linear combinations of Gaussian derivatives of a learned size.

    Each channel is convolved with `depth_multiplier` filters of its own; channels are not mixed. The filters are those
    of `keras_njet.NJetConv2D` (equation 5 of the paper), by default with one σ for the layer, and so is the choice of
    the evaluation: where a backend is slow in depthwise convolutions, it is by matrices also for small filters.

    Args:
        depth_multiplier: Integer > 0, number of filters for each input channel. Defaults to 1.
        order, sigma, extent, learn_sigma, strides, padding, data_format, activation, use_bias, subsample_rate,
            implementation: As in `keras_njet.NJetConv2D`.
        sigma_sharing: "layer", "input" for a σ for each channel of the input, or an integer for that many groups of
            channels with one each, see `keras_njet.NJetConv2D`. Defaults to "layer".
        coefficient_initializer, bias_initializer, coefficient_regularizer, sigma_regularizer, bias_regularizer,
            activity_regularizer, coefficient_constraint, sigma_constraint, bias_constraint: As in
            `keras_njet.NJetConv2D`. The coefficients have the shape `(basis, 1, channels·depth_multiplier)`.
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first".

    Output shape:
        `(batch, new_height, new_width, channels·depth_multiplier)`, or with the channels first. Height and width are
        None in a symbolic call where they depend on σ.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range, or the channels of the input are unknown.

    Example:

    >>> layer = keras_njet.NJetDepthwiseConv2D(depth_multiplier=2, order=2, sigma=1.5)
    >>> layer(numpy.zeros((1, 32, 32, 3), "float32")).shape
    (1, 32, 32, 6)
    >>> layer.kernel.shape
    (7, 7, 3, 2)
    """

    def __init__(
        self,
        depth_multiplier: int = 1,
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
        super().__init__(
            order=order,
            sigma=sigma,
            extent=extent,
            learn_sigma=learn_sigma,
            strides=strides,
            padding=padding,
            data_format=data_format,
            activation=activation,
            use_bias=use_bias,
            subsample_rate=subsample_rate,
            implementation=implementation,
            sigma_sharing=sigma_sharing,
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
            return Sharing()
        count = channels if self.sigma_sharing == "input" else self.sigma_sharing
        if channels % count != 0:
            raise ValueError(
                "The number of channels must be divisible by the number of groups that share a σ. Received: "
                f"channels={channels}, sigma_sharing={self.sigma_sharing}"
            )
        return Sharing(count, of_inputs=True, is_depthwise=True)

    @property
    def kernel(self):
        """The composed filters, (size, size, channels, depth_multiplier) as in `keras.layers.DepthwiseConv2D`."""
        kernel = super().kernel
        return ops.reshape(kernel, (*kernel.shape[:2], -1, self.depth_multiplier))

    def get_config(self):
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}
