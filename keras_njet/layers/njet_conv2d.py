"""`NJetConv2D`, a convolution that learns the size of its filters."""

import keras

from keras_njet import _arguments
from keras_njet.convolution.sharing import Sharing
from keras_njet.layers.base_njet_conv import BaseNJetConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetConv2D(BaseNJetConv):
    """2-D convolution whose filters are linear combinations of Gaussian derivatives and learn their own size.

    A filter is F = Σ α_{ij}·G^{i,j}(x, y; σ) over the Gaussian derivatives of orders 0 ≤ i + j ≤ `order`, the N-Jet
    (equation 5 of the paper). The coefficients α and the scale σ, by default one a layer, are learned by
    back-propagation. σ sets the size of the filters, 2⌈kσ⌉ + 1 pixels (section III-C), at every training step, and no
    array has a shape that depends on it: nothing is compiled anew while the filters grow or shrink.

    With `subsample_rate` the feature map is safely subsampled (section IV) to ⌊s·½^(σ/r)⌋ pixels, and by matrices only
    those are computed. Then the size of the output follows σ; it is brought up to date at the start of every epoch,
    evaluation and prediction. See also `keras_njet.SafeSubsample`.

    Args:
        filters: Integer > 0, the number of filters.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. (N + 1)(N + 2) / 2 coefficients for each
            filter and input channel. Defaults to 3.
        sigma: Number σ > 0 the scale starts with, in pixels, or a Keras initializer that draws it. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        learn_sigma: Whether σ is trained. Defaults to True.
        strides: Integer or pair of integers. Defaults to 1.
        padding: "same" (zeros around the input), "valid", or an integer m ≥ 0. The output of "valid" shrinks by 2⌈kσ⌉
            pixels; like the sizes of subsampling that is brought up to date at the start of every epoch. With m it
            always shrinks by 2m pixels, as that of a "valid" filter of 2m + 1 pixels, and a filter that is larger meets
            zeros outside of the input. Defaults to "same".
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        groups: Integer, number of groups of channels that are convolved separately. Defaults to 1.
        activation: Keras activation. Defaults to none.
        use_bias: Whether to add a bias to each filter's output. Defaults to True.
        subsample_rate: Number r > 0, the σ at which the feature map has half its size, or None not to subsample. The
            paper's value is 4. Defaults to None.
        implementation: "matrix", "dense" or "auto". "matrix" evaluates by Gaussian-derivative matrices: any σ costs
            the same, and nothing is ever compiled anew. "dense" composes the filter and convolves: cheaper for small
            filters on large maps; compiled anew, at most once an epoch, when the filter has outgrown its size. "auto"
            takes what is cheapest by a measured rule: matrices on small maps; on large ones dense while the filter is
            small, then matrices tile by tile, then whole ones. All give the same numbers. Defaults to "auto".
        sigma_sharing: Which filters share a σ. "layer": all do, as in the paper. "filter": each filter has its own.
            "input": there is one for each channel of the input. An integer: that many groups of filters have one each.
            The support is as large as the largest σ asks for. Evaluation by matrices then costs more, as nothing along
            the axes is shared; dense evaluation costs the same. Neither with `subsample_rate` nor with `groups`.
            Defaults to "layer".
        coefficient_initializer: Keras initializer of α. Defaults to `keras_njet.NJetVarianceScaling` at this layer's
            `sigma` and `extent`, which keeps the variance of activations. The paper's is
            `keras.initializers.RandomNormal(stddev=1.0)`.
        bias_initializer: Keras initializer of the bias. Defaults to "zeros".
        coefficient_regularizer, sigma_regularizer, bias_regularizer: Keras regularizers. That of σ is applied to σ in
            pixels.
        activity_regularizer: Keras regularizer of the output.
        coefficient_constraint, sigma_constraint, bias_constraint: Keras constraints. That of σ is applied to σ in
            pixels.
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with "channels_first".

    Output shape:
        `(batch, new_height, new_width, filters)`, or `(batch, filters, new_height, new_width)`. Height and width are
        None in a symbolic call where they depend on σ.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range or does not go with another, or the channels of the input are
            unknown or not divisible by `groups`.

    Example:

    >>> layer = keras_njet.NJetConv2D(16, order=3, sigma=1.0)
    >>> layer(numpy.zeros((1, 32, 32, 3), "float32")).shape
    (1, 32, 32, 16)
    >>> layer.kernel_size
    (5, 5)
    >>> layer.sigma = 2.5
    >>> layer.kernel_size
    (11, 11)
    """

    def __init__(
        self,
        filters: int,
        order: int = 3,
        sigma=1.0,
        extent: float = 2.0,
        learn_sigma: bool = True,
        strides=1,
        padding: str | int = "same",
        data_format: str | None = None,
        groups: int = 1,
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
            return Sharing()
        if self.sigma_sharing == "input":
            return Sharing(channels, of_inputs=True)
        count = self.filters if self.sigma_sharing == "filter" else self.sigma_sharing
        return Sharing(count)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}
