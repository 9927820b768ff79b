"""`NJetDepthwiseConv3D`, a depthwise convolution of volumes that learns the size of its filters."""

import keras

from keras_njet.layers._njet_depthwise_conv import NJetDepthwiseConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetDepthwiseConv3D(NJetDepthwiseConv):
    """Depthwise 3-D convolution whose filters are linear combinations of Gaussian derivatives of a learned size.

    Each channel is convolved with `depth_multiplier` filters of its own, those of `keras_njet.NJetConv3D` (equation 5
    of the paper with three axes); channels are not mixed. Keras has no such layer of its own.

    Args:
        depth_multiplier: Integer > 0, number of filters for each input channel. Defaults to 1.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. (N + 1)(N + 2)(N + 3) / 6 coefficients
            for each filter. Defaults to 3.
        sigma: Number σ > 0 the scale starts with, in voxels; a Keras initializer that draws one
            for all filters; or, with `isotropic=False`, a number for each axis. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        isotropic: Whether one σ serves all axes. Defaults to True.
        unit, discretization, learn_sigma, sigma_learning_rate, max_sigma, sigma_sharing, subsample_rate, strides,
            padding, data_format, activation, use_bias, implementation, coefficient_initializer, bias_initializer,
            coefficient_regularizer, sigma_regularizer, bias_regularizer, activity_regularizer, coefficient_constraint,
            sigma_constraint, bias_constraint: As in `keras_njet.NJetDepthwiseConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Input shape:
        `(batch, depth, height, width, channels)`, or `(batch, channels, depth, height, width)` with "channels_first".

    Output shape:
        `(batch, new_depth, new_height, new_width, channels·depth_multiplier)`, or with the channels first. Sizes that
        depend on σ are None in a symbolic call.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range or does not go with another, or the channels of the input are
            unknown.

    Example:

    >>> layer = keras_njet.NJetDepthwiseConv3D(order=1)
    >>> layer(numpy.zeros((1, 4, 8, 8, 3), "float32")).shape
    (1, 4, 8, 8, 3)
    """

    rank = 3
