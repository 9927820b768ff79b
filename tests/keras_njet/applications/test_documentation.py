"""Guards the docstrings that are put together: complete, in the order of the signature, with the true defaults."""

import inspect
import re

import pytest

from keras_njet import applications
from keras_njet.applications._documentation import documented

PUBLIC = [value for name, value in vars(applications).items() if name[0].isupper() and name != "EfficientNetB0"]


@pytest.mark.parametrize("application", PUBLIC, ids=lambda application: application.__name__)
def test_each_argument_is_described_in_its_place_with_its_default(application):
    text = inspect.getdoc(application)
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == ["Args", "Returns", "Raises", "Example"]
    assert max(map(len, text.splitlines())) <= 116
    described = text[text.index("Args:") : text.index("Returns:")]
    parameters = inspect.signature(application).parameters
    assert re.findall(r"^    (\w+): ", described, re.MULTILINE) == list(parameters)
    for name, description in re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", described, re.MULTILINE | re.DOTALL):
        default = " ".join(description.split()).split("Defaults to ")[1].split(", as in")[0].rstrip(".")
        if name not in ("input_shape", "backbone", "stage"):  # whose None means something that is described
            assert default == repr(parameters[name].default).replace("'", '"')


def test_what_an_application_says_itself_comes_first_and_shared_descriptions_may_be_replaced():
    @documented("If it does not fit.", own="Of its own.", width="Other words. Defaults to 7, by the way.")
    def application(own=3, width=7, name="here"):
        """Title.

        Prose.

        Example:

        >>> 1 + 1
        2
        """

    expected = """Title.

    Prose.

    Args:
        own: Of its own. Defaults to 3.
        width: Other words. Defaults to 7, by the way.
        name: Name of the model. Defaults to "here".

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If it does not fit.

    Example:

    >>> 1 + 1
    2"""
    assert application.__doc__ == inspect.cleandoc(expected)
    assert documented()(lambda name: name).__doc__ is None  # as where Python drops docstrings
    with pytest.raises(KeyError, match="unknown"):

        @documented()
        def another(unknown):
            """Title.

            Example:
            """
