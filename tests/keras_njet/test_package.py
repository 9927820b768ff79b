"""Guards what a user meets first: the import, the public names, the docstrings' examples."""

import ast
import doctest
import email
import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import sysconfig
import zipfile

import keras
import numpy
import pytest

import keras_njet
from keras_njet import applications, visualization
from tests.helpers import ROOT, on_torch

BACKEND = keras.backend.backend()
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
keras_njet.applications.NJetNIN(weights="fashion_mnist", width=0.25, input_shape=(28, 28, 1))
layer = keras_njet.NJetConv2D(2, subsample_rate=4.0)
model = keras.Sequential([keras.Input((9, 9, 1)), layer, keras.layers.GlobalMaxPooling2D()])
model.compile("sgd", "mse")
model.fit(numpy.zeros((4, 9, 9, 1)), numpy.zeros((4, 2)), verbose=0)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, as pip builds it, unpacked; and its size in bytes."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed", built.stat().st_size


@on_torch
def test_the_wheel_has_the_package_its_weights_and_types_and_nothing_else(wheel):
    folder, size = wheel
    names = {path.name.split("-")[0] for path in folder.iterdir()}
    assert names == {"keras_njet"}
    assert (folder / "keras_njet" / "py.typed").exists()
    shipped = ROOT / "keras_njet" / "applications" / "weights"
    for path in shipped.iterdir():
        assert (folder / "keras_njet" / "applications" / "weights" / path.name).read_bytes() == path.read_bytes()
    assert size < 20e6


@on_torch
def test_what_a_package_index_shows_has_no_link_into_the_repository(wheel):
    (metadata,) = wheel[0].glob("*.dist-info/METADATA")
    shown = email.message_from_string(metadata.read_text(encoding="utf-8")).get_payload()
    links = re.findall(r"\]\(([^)]*)\)", shown)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    text = re.compile(r"!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|\W")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.sub("", shown) == text.sub("", readme)  # and nothing else is missing


def test_the_wheel_works_with_one_backend_alone_and_changes_nothing_on_import(wheel, tmp_path):
    absent = [name for name in ("tensorflow", "jax", "torch") if name != BACKEND]
    # An interpreter without site-packages, but with links to everything in there except the other backends.
    for folder in sysconfig.get_path("purelib"), sysconfig.get_path("platlib"):
        for path in pathlib.Path(folder).iterdir():
            name = path.name.split(".")[0].split("-")[0]
            if name not in absent and "keras_njet" not in name and not (tmp_path / path.name).exists():
                (tmp_path / path.name).symlink_to(path)
    environment = {**os.environ, "KERAS_BACKEND": BACKEND, "PYTHONPATH": f"{tmp_path}{os.pathsep}{wheel[0]}"}
    command = [sys.executable, "-S", "-c", ALONE, BACKEND, *absent]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


PICKLING = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
SOURCES = [path for folder in ("keras_njet", "applications", "examples") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path):
    """No pickle, no `Lambda` layers, no file that is read without safe mode."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not PICKLING & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in PICKLING
        elif isinstance(node, ast.Attribute):
            assert node.attr not in ("Lambda", "enable_unsafe_deserialization")
            assert ast.unparse(node) != "torch.load"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "SafeModeScope":
            assert path.name == "_backend.py"  # a copy of a layer that is in memory already
        elif isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("allow_pickle", "False") == "False"
            assert given.get("safe_mode", "True") == "True"


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
    items = re.findall(r"^ +([\w*]+(?:,\s+[\w*]+)*): ", inspect.cleandoc(public.__doc__), re.MULTILINE)
    named = {name.lstrip("*") for item in items for name in re.split(r",\s+", item)}
    assert set(inspect.signature(public).parameters) <= named


@on_torch  # where nothing is compiled
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
