"""`NJetDepthwiseConv1D`, a depthwise convolution of signals that learns the size of its filters."""

import keras

from keras_njet.layers._njet_depthwise_conv import NJetDepthwiseConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetDepthwiseConv1D(NJetDepthwiseConv):
    """Depthwise 1-D convolution whose filters are linear combinations of Gaussian derivatives of a learned size.

    Each channel is convolved with `depth_multiplier` filters of its own, those of `keras_njet.NJetConv1D` (equation 5
    of the paper with one axis); channels are not mixed.

    Args:
        depth_multiplier: Integer > 0, number of filters for each input channel. Defaults to 1.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. N + 1 coefficients
            for each filter. Defaults to 3.
        sigma: Number σ > 0 the scale starts with, in samples; a Keras initializer that draws one
            for all filters; or, with `isotropic=False`, a number for each axis. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        isotropic: Whether one σ serves all axes. Defaults to True.
        unit, discretization, learn_sigma, sigma_learning_rate, max_sigma, sigma_sharing, subsample_rate, strides,
            padding, data_format, activation, use_bias, implementation, coefficient_initializer, bias_initializer,
            coefficient_regularizer, sigma_regularizer, bias_regularizer, activity_regularizer, coefficient_constraint,
            sigma_constraint, bias_constraint: As in `keras_njet.NJetDepthwiseConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Input shape:
        `(batch, length, channels)`, or `(batch, channels, length)` with "channels_first".

    Output shape:
        `(batch, new_length, channels·depth_multiplier)`, or with the channels first. Sizes that depend on σ
        are None in a symbolic call.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range or does not go with another, or the channels of the input are
            unknown.

    Example:

    >>> layer = keras_njet.NJetDepthwiseConv1D(depth_multiplier=2, sigma=1.5)
    >>> layer(numpy.zeros((1, 100, 3), "float32")).shape
    (1, 100, 6)
    >>> layer.kernel.shape
    (7, 3, 2)
    """

    rank = 1
