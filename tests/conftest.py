"""What tests in several folders share."""

import keras
import pytest


@pytest.fixture
def channels_first():
    """Keras' image data format is "channels_first" during a test."""
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")
