"""`NJetConv2D`, a convolution of images that learns the size of its filters."""

import keras

from keras_njet.layers._njet_conv import NJetConv


@keras.saving.register_keras_serializable(package="keras_njet")
class NJetConv2D(NJetConv):
    """2-D convolution whose filters are linear combinations of Gaussian derivatives and learn their own size.

    A filter is F = Σ α_{ij}·G^{i,j}(x, y; σ) over the Gaussian derivatives of orders 0 ≤ i + j ≤ `order`, the N-Jet
    (equation 5 of the paper). The coefficients α and the scale σ, by default one σ for the whole layer, are learned by
    back-propagation. σ sets the size of the filters, 2⌈kσ⌉ + 1 pixels (section III-C), at every training step.
    Evaluated by matrices (`implementation`), a filter changes its size without any array changing its shape.

    With `subsample_rate` the feature map is safely subsampled (section IV) to ⌊s·½^(σ/r)⌋ pixels. Whole matrices
    compute only those pixels. The size of the output then follows σ; it is brought up to date at the start of every
    epoch, evaluation and prediction. See also `keras_njet.SafeSubsample`.

    Args:
        filters: Integer > 0, the number of filters. All other arguments are given by name.
        order: Integer N ≥ 0, the highest order of the Gaussian derivatives. (N + 1)(N + 2) / 2 coefficients for each
            filter and input channel. Defaults to 3.
        sigma: Number σ > 0 the scale starts with, in pixels; a Keras initializer that draws one
            for all filters; or, with `isotropic=False`, a number for each axis. Defaults to 1.
        extent: Number k > 0, half-width of the filters in units of σ. Defaults to 2.
        unit: Number u > 0 in pixels, by which sizes are rounded: those of filters to 2⌈kσ/u⌉ + 1 units, where a pixel
            in which a filter ends counts by its share; those of subsampled maps to ⌊s/u·½^(σ/r)⌋ units, then to pixels.
            With `isotropic=False` it may be a number for each axis. `keras_njet.rescale` makes it the size that a pixel
            of the original network has on larger images, so that all sizes grow by the same factor. Defaults to 1.
        discretization: "sampled" takes the value of a derivative at the centre of each pixel, as in the paper.
            "integrated" takes its mean over the pixel, and costs as much: for a σ of half a pixel or so, where samples
            at the centres are far from the derivatives. Coefficients mean nearly the same with both. An "integrated"
            layer can't be exported to LiteRT for unknown sizes, nor from JAX to SavedModel, before `keras_njet.freeze`.
            Defaults to "sampled".
        learn_sigma: Whether σ is trained. Defaults to True.
        sigma_learning_rate: Number ρ > 0, by which any optimizer's learning rate is multiplied for σ. Defaults to 1.
        max_sigma: The largest σ that training may reach, a number in pixels, or other units (`unit`). "auto": half of
            the feature map along its longest axis, or along each with `isotropic=False`. With an `extent` of 2 a filter
            then covers the map from each of its pixels. None: no bound. A layer is never held below the σ that it
            starts with. Defaults to "auto".
        isotropic: Whether one σ serves all axes. If False, each axis of the feature map has its own, and its own size
            of the filters: for pixels that are not square. Defaults to True.
        sigma_sharing: Which filters share a σ. "layer": all do, as in the paper. "filter": each filter has its own.
            "input": there is one for each channel of the input. An integer: that many groups of filters have one each.
            Each filter has the support of its own σ; `kernel_size` is that of the largest. With more than one σ,
            evaluation by matrices costs more, as nothing along the axes is shared; dense evaluation costs the same.
            Only "layer" goes with `subsample_rate` or `groups`. Defaults to "layer".
        subsample_rate: Number r > 0, the σ at which the feature map has half its size, or None not to subsample. The
            paper's value is 4. Defaults to None.
        strides: Integer, or one for each axis. Defaults to 1.
        padding: "same" (zeros around the input), "valid", or an integer m ≥ 0. With "valid" the output shrinks by 2⌈kσ⌉
            pixels, a number that is brought up to date when subsampled sizes are. With m the output always shrinks by
            2m pixels, as with a "valid" filter of 2m + 1 pixels; a larger filter reads zeros outside of the input.
            Defaults to "same".
        data_format: "channels_last" or "channels_first". Defaults to `keras.config.image_data_format()`.
        groups: Integer, number of groups of channels that are convolved separately. Defaults to 1.
        activation: Keras activation. Defaults to none.
        use_bias: Whether to add a bias to each filter's output. Defaults to True.
        implementation: "matrix", "dense" or "auto". "matrix" evaluates by Gaussian-derivative matrices: any σ costs the
            same, and nothing is compiled again when a filter grows. "dense" composes the filter and convolves: cheaper
            for small filters on large maps; compiled again, with head-room, when the filter has outgrown the size it
            was compiled for. "auto" takes what is estimated to be cheapest: matrices on small maps; on large ones dense
            while the filter is small, then matrices tile by tile, then whole ones. Where TensorFlow compiles for sizes
            that are unknown, "auto" takes "matrix", and so does "dense" with strides or "valid" padding. All give the
            same numbers, up to rounding. Defaults to "auto".
        coefficient_initializer: Keras initializer of α. Defaults to `keras_njet.NJetVarianceScaling` at this layer's
            `sigma` and `extent`, which keeps the variance of activations. The authors' code uses
            `keras.initializers.RandomNormal(stddev=1.0)`; the paper does not say what it uses.
        bias_initializer: Keras initializer of the bias. Defaults to "zeros".
        coefficient_regularizer, sigma_regularizer, bias_regularizer: Keras regularizers. That of σ is applied to σ in
            pixels, or other units (`unit`).
        activity_regularizer: Keras regularizer of the output.
        coefficient_constraint, sigma_constraint, bias_constraint: Keras constraints. That of σ is applied to σ in
            pixels, or other units (`unit`).
        **kwargs: `name`, `dtype`, `trainable` of the layer. σ is float32 under every dtype policy.

    Call arguments:
        inputs: Tensor, see below.
        factor: Number > 0 by which σ, `unit`, a margin and r are multiplied in this call. Defaults to 1.

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

    rank = 2
