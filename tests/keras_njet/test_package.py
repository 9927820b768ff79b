"""Guards what a user meets first: the import, the public names, the docstrings' examples."""

import doctest
import importlib
import importlib.util
import inspect
import os
import pathlib
import pkgutil
import subprocess
import sys
import sysconfig

import keras
import numpy
import pytest

import keras_njet
from keras_njet import applications, visualization

BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
MODULES = [name for _, name, _ in pkgutil.walk_packages(keras_njet.__path__, "keras_njet.")]

ALONE = """
import importlib.util, os, sys
assert not any(importlib.util.find_spec(name) for name in sys.argv[2:])
sys.modules["matplotlib"] = None  # pictures alone need it
import keras
before = keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(), dict(os.environ)
import keras_njet
assert before == (keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(), dict(os.environ))
assert keras.config.backend() == sys.argv[1]
import numpy
layer = keras_njet.NJetConv2D(2, subsample_rate=4.0)
model = keras.Sequential([keras.Input((9, 9, 1)), layer, keras.layers.GlobalMaxPooling2D()])
model.compile("sgd", "mse")
model.fit(numpy.zeros((4, 9, 9, 1)), numpy.zeros((4, 2)), verbose=0)
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_package_works_with_one_backend_alone_and_changes_nothing_on_import(backend, tmp_path):
    absent = [name for name in ("tensorflow", "jax", "torch") if name != backend]
    # An interpreter without site-packages, but with links to everything in there except the other backends.
    for folder in sysconfig.get_path("purelib"), sysconfig.get_path("platlib"):
        for path in pathlib.Path(folder).iterdir():
            if path.name.split(".")[0].split("-")[0] not in absent and not (tmp_path / path.name).exists():
                (tmp_path / path.name).symlink_to(path)
    project = pathlib.Path(keras_njet.__file__).parents[1]
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": f"{tmp_path}{os.pathsep}{project}"}
    command = [sys.executable, "-S", "-c", ALONE, backend, *absent]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


def test_public_names_are_exactly_those_listed():
    modules = {name.split(".")[1] for name in MODULES} - set(keras_njet.__all__)
    public = {name for name in vars(keras_njet) if not name.startswith("_")} - modules
    assert public == set(keras_njet.__all__)


PUBLIC = [getattr(keras_njet, name) for name in keras_njet.__all__]
LAYERS_AND_FUNCTIONS = [public for public in PUBLIC if not inspect.ismodule(public)]
APPLICATIONS = [value for name, value in vars(applications).items() if name[0].isupper() and name != "EfficientNetB0"]


PICTURES = [getattr(visualization, name) for name in visualization.__all__]


@pytest.mark.parametrize("public", LAYERS_AND_FUNCTIONS + APPLICATIONS + PICTURES, ids=lambda public: public.__name__)
def test_public_docstrings_have_their_parts(public):
    assert "Args:" in public.__doc__
    assert ">>>" in public.__doc__
    signature = inspect.signature(public)
    for argument in signature.parameters:
        assert f"{argument}" in public.__doc__, argument


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_run(module):
    module = importlib.import_module(module)
    names = {**vars(module), "keras": keras, "keras_njet": keras_njet, "numpy": numpy}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=names):
        test.examples = [shape_as_tuple(example) for example in test.examples]
        runner.run(test)
    assert runner.failures == 0


def shape_as_tuple(example):
    """torch.Size and TensorShape print differently."""
    if example.source.rstrip().endswith(".shape"):
        example.source = f"tuple({example.source.rstrip()})\n"
    return example
