"""`NJetDepthwiseConv2D`, a depthwise convolution of images that learns the size of its filters."""

import keras

from keras_njet.layers._njet_depthwise_conv import NJetDepthwiseConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetDepthwiseConv2D(NJetDepthwiseConv):
    """Depthwise 2-D convolution whose filters are linear combinations of Gaussian derivatives of a learned size.

    Each channel is convolved with `depth_multiplier` filters of its own; channels are not mixed. The filters are those
    of `keras_njet.NJetConv2D` (equation 5 of the paper), by default with one σ for the layer. The evaluation is chosen
    as there. Where a backend is slow in depthwise convolutions, small filters are evaluated by matrices, too.

    Args:
        depth_multiplier: Integer > 0, number of filters for each input channel. Defaults to 1. All arguments are given
            by name.
        sigma_sharing: "layer", "input" for a σ for each channel of the input, or an integer for that many groups of
            channels with one each, see `keras_njet.NJetConv2D`. Defaults to "layer".
        order, sigma, extent, unit, discretization, learn_sigma, sigma_learning_rate, max_sigma, isotropic,
            subsample_rate, strides, padding, data_format, activation, use_bias, implementation: As in
            `keras_njet.NJetConv2D`.
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
        ValueError: If an argument is out of its range or does not go with another, or the channels of the input are
            unknown or not divisible by the number of groups that share a σ.

    Example:

    >>> layer = keras_njet.NJetDepthwiseConv2D(depth_multiplier=2, order=2, sigma=1.5)
    >>> layer(numpy.zeros((1, 32, 32, 3), "float32")).shape
    (1, 32, 32, 6)
    >>> layer.kernel.shape
    (7, 7, 3, 2)
    """

    rank = 2
