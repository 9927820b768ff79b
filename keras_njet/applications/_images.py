"""The image that an application starts from."""

import keras

MIN_SIZE = 8  # of the images of classifiers, in pixels


def image_input(input_tensor, input_shape, min_size: int = MIN_SIZE):
    """The tensor an application starts from: a new input, by default for images of 32×32 pixels and 3 channels."""
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                "`input_tensor` must be a Keras tensor: the output of `keras.Input` or of a layer called on one. "
                f"Received: input_tensor={input_tensor!r}"
            )
        _check_shape(tuple(input_tensor.shape[1:]), min_size)
        return input_tensor
    if input_shape is None:
        input_shape = (32, 32, 3) if channel_axis() == 3 else (3, 32, 32)
    _check_shape(tuple(input_shape), min_size)
    return keras.Input(tuple(input_shape))


def _check_shape(shape, min_size):
    if len(shape) != 3:
        raise ValueError(f"`input_shape` must be a tuple of three integers. Received: input_shape={shape}")
    if shape[channel_axis() - 1] is None:
        raise ValueError(f"The number of channels of the input must be known. Received: input_shape={shape}")
    spatial = shape[:2] if channel_axis() == 3 else shape[1:]
    if any(size is not None and size < min_size for size in spatial):
        raise ValueError(f"Input size must be at least {min_size}x{min_size}. Received: input_shape={shape}")


def channel_axis() -> int:
    """The axis of the channels in a batch of images, by the Keras configuration."""
    return 3 if keras.config.image_data_format() == "channels_last" else 1
