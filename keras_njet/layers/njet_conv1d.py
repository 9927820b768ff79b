"""`NJetConv1D`, a convolution of signals that learns the size of its filters."""

import keras

from keras_njet.layers._njet_conv import NJetConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetConv1D(NJetConv):
    """1-D convolution whose filters are linear combinations of Gaussian derivatives and learn their own size.

    The N-Jet of signals: F = Σ α_m·G^m(x; σ) over the derivatives of orders 0 ≤ m ≤ `order` (equation 5 of the paper
    with one axis), for time series and sound. Otherwise as `keras_njet.NJetConv2D`. A signal of known length and more
    than 2560 samples is cut into tiles, so that no matrix grows with its length.

    Args:
        filters: Integer > 0, the number of filters. All other arguments are given by name.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. N + 1 coefficients
            for each filter and input channel. Defaults to 3.
        sigma: Number σ > 0 the scale starts with, in samples; a Keras initializer that draws one
            for all filters; or, with `isotropic=False`, a number for each axis. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        isotropic: Whether one σ serves all axes. Defaults to True.
        unit, discretization, learn_sigma, sigma_learning_rate, max_sigma, sigma_sharing, subsample_rate, strides,
            padding, data_format, groups, activation, use_bias, implementation, coefficient_initializer,
            bias_initializer, coefficient_regularizer, sigma_regularizer, bias_regularizer, activity_regularizer,
            coefficient_constraint, sigma_constraint, bias_constraint: As in `keras_njet.NJetConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Input shape:
        `(batch, length, channels)`, or `(batch, channels, length)` with "channels_first".

    Output shape:
        `(batch, new_length, filters)`, or with the channels first. Sizes that depend on σ
        are None in a symbolic call.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range or does not go with another, or the channels of the input are
            unknown or not divisible by `groups`.

    Example:

    >>> layer = keras_njet.NJetConv1D(16, sigma=4.0, subsample_rate=8.0)
    >>> layer(numpy.zeros((1, 16000, 1), "float32")).shape
    (1, 11313, 16)
    >>> layer.kernel_size
    (17,)
    """

    rank = 1
