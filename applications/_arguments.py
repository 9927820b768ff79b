"""Reads the arguments of all recipes: those that they have in common are the same everywhere."""

import argparse
import os
import pathlib
import shlex
import sys

BACKENDS = ("jax", "tensorflow", "torch")


class ArgumentParser(argparse.ArgumentParser):
    """Reads the arguments of a recipe: its own, which are added as usual, and those of all recipes.

    Args:
        recipe: Name of the recipe's module.
        description: Its docstring.
        out: Folder below results/ for the results, with the names of arguments in braces. None for a recipe that
            writes no results. Defaults to the name of the recipe.
        seed: Whether there is a --seed.
        seeds: Number of repetitions by default, for a recipe that has --seeds.
        quick: Options that --quick stands for. None for a recipe without it.
    """

    def __init__(self, recipe, description, out="{recipe}", seed=False, seeds=None, quick=None):
        super().__init__(
            prog=f"python -m applications.{recipe}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.recipe, self.out, self.quick = recipe, out, quick
        self.add_argument("--backend", choices=BACKENDS, default=present_backend(), help="default: %(default)s")
        self.add_argument("--data-dir", help="folder with the original files; else Keras downloads what it can")
        if out is not None:
            shown = out.format_map(_Names(recipe=recipe))
            self.add_argument("--out", type=pathlib.Path, help=f"folder for the results; default: results/{shown}")
        if seed:
            self.add_argument("--seed", type=int, default=0)
        if seeds is not None:
            self.add_argument("--seeds", type=int, default=seeds, help="seeds 0, 1, ...; default: %(default)s")
        if quick is not None:
            self.add_argument("--quick", action="store_true", help=f"a short run to see that it works, with {quick}")

    def read(self, given=None, pass_on=False):
        """Reads a command line, by default that of this process, and sets the backend of Keras that it names.

        Args:
            given: The arguments.
            pass_on: Whether unknown arguments are kept, as `options`, instead of being an error.

        Returns:
            The arguments, with `command`: a command line that gives them again.
        """
        given = sys.argv[1:] if given is None else [str(each) for each in given]
        quick = self.quick.split() if self.quick and "--quick" in given else []
        arguments, options = self.parse_known_args([*quick, *given])
        if pass_on:
            arguments.options = options
        elif options:
            self.error(f"unrecognized arguments: {' '.join(options)}")
        if "seeds" in arguments and arguments.seeds < 1:
            self.error(f"--seeds must be at least 1. Received: seeds={arguments.seeds}")
        if self.out is not None and arguments.out is None:
            name, *folders = self.out.format_map({**vars(arguments), "recipe": self.recipe}).split("/")
            arguments.out = pathlib.Path("results", f"{name}-quick" if quick else name, *folders)
        arguments.command = command(self.recipe, given)
        if "keras" in sys.modules and arguments.backend != present_backend():
            self.error(
                f"expected the backend that Keras has been imported with, {present_backend()}. "
                f"Received: backend={arguments.backend!r}"
            )
        os.environ["KERAS_BACKEND"] = arguments.backend
        return arguments

    def refuse(self, options, own):
        """Ends with an error if options that are to be passed on have one that the recipe sets itself."""
        for option in options:
            if option.partition("=")[0] in own:
                self.error(f"{self.recipe} sets {option.partition('=')[0]} itself. Received: {option}")


class _Names(dict):
    """Shows an argument whose value is not known yet by its name in capitals."""

    def __missing__(self, name):
        return name.upper()


def present_backend():
    """The backend that Keras has been imported with; before that the one that KERAS_BACKEND names, or else JAX."""
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras else os.environ.get("KERAS_BACKEND", "jax")


def command(recipe, given):
    """The command line, without the places where files lie on this machine."""
    shown, given = [], list(given)
    while given:
        option, _, value = given.pop(0).partition("=")
        if option not in ("--out", "--data-dir"):
            shown.append(f"{option}={value}" if value else option)
            continue
        if not value and given:
            given.pop(0)
        shown += ["--data-dir", "DIR"] if option == "--data-dir" else []
    return shlex.join(["python", "-m", f"applications.{recipe}", *shown])
