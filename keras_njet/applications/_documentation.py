"""The docstrings of the applications: what they share is written once, as in `keras.applications`."""

import inspect
import textwrap

_ARGUMENTS = {
    "include_top": "Whether to include the layers that classify, at the end.",
    "weights": "None (random), or the path of a weights file.",
    "input_tensor": "Keras tensor to build the model on, instead of a new input.",
    "input_shape": "Shape of an image, three integers; height and width are None or at least 8. Defaults "
    "to 32×32 pixels with 3 channels.",
    "pooling": 'Without the top: None for feature maps, "avg" or "max" for global pooling.',
    "classes": "Integer, number of classes.",
    "classifier_activation": "Activation of the last layer; None for logits.",
    "order": "Integer N ≥ 0, highest order of the Gaussian derivatives.",
    "sigma": "Number σ > 0, the scale that all N-Jet layers start with, in pixels.",
    "extent": "Number k > 0, half-width of the filters in units of σ.",
    "learn_sigma": "Whether the scales are trained.",
    "sigma_learning_rate": "Number ρ > 0, by which any optimizer's learning rate is multiplied for the scales.",
    "subsample_rate": "Number r > 0, the σ at which a feature map has half its size, or None for the strides of the "
    "baseline.",
    "width": "Factor by which all numbers of filters are multiplied.",
    "name": "Name of the model.",
}
_RAISES = "If an argument is out of its range, the weights do not fit the others, or the input is too small."


def documented(raises: str = _RAISES, **descriptions: str):
    """Completes the docstring of an application: "Args", "Returns" and "Raises" come before its example.

    The default of an argument is added to its description, unless that says "Defaults to" itself.

    Args:
        raises: When the application raises ValueError.
        **descriptions: Of arguments that are not shared, or that mean something else in this application.
    """

    def complete(function):
        if function.__doc__ is None:  # as with `python -OO`
            return function
        text, example = inspect.cleandoc(function.__doc__).split("Example:")
        arguments = inspect.signature(function).parameters.values()
        described = [_described(argument, {**_ARGUMENTS, **descriptions}[argument.name]) for argument in arguments]
        sections = {
            "Args": "\n".join(described),
            "Returns": _wrapped("A `keras.Model`."),
            "Raises": _wrapped(f"ValueError: {raises}"),
        }
        middle = "".join(f"{title}:\n{section}\n\n" for title, section in sections.items())
        function.__doc__ = f"{text}{middle}Example:{example}"
        return function

    return complete


def _described(argument, description):
    if "Defaults to" not in description:
        description += f" Defaults to {argument.default!r}.".replace("'", '"')
    return _wrapped(f"{argument.name}: {description}")


def _wrapped(text):
    return textwrap.fill(text, 116, initial_indent=4 * " ", subsequent_indent=8 * " ", break_on_hyphens=False)
