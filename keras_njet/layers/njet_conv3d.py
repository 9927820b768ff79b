"""`NJetConv3D`, a convolution of volumes that learns the size of its filters."""

import keras

from keras_njet.layers._njet_conv import NJetConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetConv3D(NJetConv):
    """3-D convolution whose filters are linear combinations of Gaussian derivatives and learn their own size.

    The N-Jet of volumes: F = Σ α_{ijk}·G^{i,j,k}(x, y, z; σ) over the derivatives of orders 0 ≤ i + j + k ≤ `order`
    (equation 5 of the paper with three axes), for scans and video. With `isotropic=False` each axis has a σ of its own:
    for slices that are thicker than their pixels are wide. Otherwise as `keras_njet.NJetConv2D`.

    Args:
        filters: Integer > 0, the number of filters. All other arguments are given by name.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. (N + 1)(N + 2)(N + 3) / 6 coefficients
            for each filter and input channel. Defaults to 3.
        sigma: Number σ > 0 the scale starts with, in voxels; a Keras initializer that draws one
            for all filters; or, with `isotropic=False`, a number for each axis. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        isotropic: Whether one σ serves all axes. Defaults to True.
        unit, discretization, learn_sigma, sigma_learning_rate, max_sigma, sigma_sharing, subsample_rate, strides,
            padding, data_format, groups, activation, use_bias, implementation, coefficient_initializer,
            bias_initializer, coefficient_regularizer, sigma_regularizer, bias_regularizer, activity_regularizer,
            coefficient_constraint, sigma_constraint, bias_constraint: As in `keras_njet.NJetConv2D`.
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Input shape:
        `(batch, depth, height, width, channels)`, or `(batch, channels, depth, height, width)` with "channels_first".

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`, or with the channels first. Sizes that depend on σ
        are None in a symbolic call.

    Returns:
        A tensor: the activation of the convolution plus bias.

    Raises:
        ValueError: If an argument is out of its range or does not go with another, or the channels of the input are
            unknown or not divisible by `groups`.

    Example:

    >>> layer = keras_njet.NJetConv3D(8, order=2, sigma=(0.6, 1.5, 1.5), isotropic=False)
    >>> layer(numpy.zeros((1, 8, 16, 16, 1), "float32")).shape
    (1, 8, 16, 16, 8)
    >>> layer.kernel_size
    (5, 7, 7)
    """

    rank = 3
