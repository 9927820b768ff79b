"""Makes Markdown of docstrings in Keras' style: mkdocstrings calls this while it reads them."""

import importlib
import inspect
import os
import re
import textwrap

import griffe

SECTION = re.compile(r"^([A-Z][\w ]*):\n((?:    .*\n|\n)+)", re.MULTILINE)
EXAMPLE = re.compile(r"^>>> .*\n(?:.+\n)*", re.MULTILINE)
NAMED = ("Args", "Arguments", "Call arguments", "Raises", "Attributes")


class KerasStyle(griffe.Extension):
    """Arguments become lists, and examples, which are not indented, code."""

    def on_instance(self, *, obj, **kwargs):
        """Changes the docstring of an object before it is shown."""
        if obj.docstring:
            obj.docstring.value = markdown(whole(obj))


def whole(obj) -> str:
    """The docstring of an object; that of an application is completed only when it is imported."""
    if not (obj.is_function and obj.module.path.startswith("keras_njet.applications")):
        return obj.docstring.value
    os.environ.setdefault("KERAS_BACKEND", "jax")  # which the extra "docs" installs
    function = getattr(importlib.import_module(obj.module.path), obj.name, None)
    return inspect.getdoc(function) or obj.docstring.value


def markdown(docstring: str) -> str:
    r"""The docstring as Markdown.

    Example:

    >>> print(markdown("One line.\n\nArgs:\n    x, y: Numbers\n        in pixels.\n"))
    One line.
    <BLANKLINE>
    **Args**
    <BLANKLINE>
    - `x`, `y`: Numbers in pixels.
    <BLANKLINE>
    <BLANKLINE>
    """
    text = SECTION.sub(_section, inspect.cleandoc(docstring) + "\n")
    text = text.replace("Example:\n\n>>> ", "**Example**\n\n>>> ")
    return EXAMPLE.sub(lambda match: f"```pycon\n{match[0]}```\n", text)


def _section(match):
    title, body = match[1], textwrap.dedent(match[2]).strip()
    if title in NAMED:
        items = [" ".join(item.split()) for item in re.split(r"\n(?=\S)", body)]
        body = "\n".join(_item(*item.split(": ", 1)) for item in items)
    return f"**{title}**\n\n{body}\n\n"


def _item(names, text=""):
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {text}"
