"""What tests in several folders share."""

import keras
import pytest


@pytest.fixture
def channels_first():
    """Keras' image data format is "channels_first" during a test."""
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.fixture(autouse=True, scope="module")
def memory_of_compiled_functions_is_given_back():
    """JAX keeps all that a process has compiled: several gigabytes, after so many tests."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
