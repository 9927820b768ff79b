"""What tests in several folders share."""

import itertools

import keras
import pytest

from keras_njet._convolution import evaluations
from tests.helpers import LONG


@pytest.fixture
def channels_first():
    """Keras' image data format is "channels_first" during a test."""
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.fixture
def chosen(monkeypatch):
    """The evaluations that layers choose, a list that grows."""
    found = []
    evaluate = evaluations.evaluate
    monkeypatch.setattr(evaluations, "evaluate", lambda one, *rest, **k: found.append(one) or evaluate(one, *rest, **k))
    return found


@pytest.fixture(autouse=True)
def errors_are_those_that_users_see():
    """Keras' `TestCase` has errors leave out, for good, in which layer and with which arguments they came up."""
    yield
    keras.config.enable_traceback_filtering()


@pytest.fixture(autouse=True, scope="module")
def memory_of_compiled_functions_is_given_back():
    """JAX keeps all that a process has compiled: several gigabytes, after so many tests."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


@pytest.hookimpl(trylast=True)  # of those that were asked for
def pytest_collection_modifyitems(config, items):
    """On JAX, keeps the first case of each test with `little_is_compiled`, unless KERAS_NJET_LONG is set."""
    if keras.backend.backend() != "jax" or LONG:
        return
    kept, others = [], []
    for _, cases in itertools.groupby(items, key=lambda item: item.nodeid.split("[")[0]):
        for index, item in enumerate(cases):
            (others if index > 0 and "little_is_compiled" in item.fixturenames else kept).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = kept


@pytest.fixture(scope="module")
def little_is_compiled():
    """For modules that are not about compiling, which takes most of the time: TensorFlow compiles nothing there.

    JAX compiles even what is called outside of a compiled function. There the first case of each test is enough.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
