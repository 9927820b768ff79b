"""Guards the arguments that all recipes have: the same everywhere, and results in one place by default."""

import importlib
import os
import pathlib

import keras
import pytest

from applications import _arguments
from tests.helpers import ROOT, run

RECIPES = {
    "train_classifier": (["--model", "NIN"], "train_classifier/cifar10/NIN/seed-0"),
    "train_segmentation": (["--seed", "3"], "train_segmentation/multiscale_fashion_mnist/NJetUNet/seed-3"),
    "study": (["fixed_sigma"], "fixed_sigma"),
    "learn_resolution": ([], "learn_resolution/digits"),
    "compare_adaptive": (["--quick"], "compare_adaptive-quick"),
    "compare_series": (["--quick"], "compare_series-quick/OSULeaf"),
    "compare_volumes": (["--data-dir", "here"], "compare_volumes"),
    "evaluate_segmentation": (["a_run"], "evaluate_segmentation"),
    "fit_filters": ([], "fit_filters"),
    "convert_nin": ([], "convert_nin"),
    "receptive_field": (["a_run"], "receptive_field"),
    "compare_trainings": ([str(ROOT / "applications/nin/results/fashion_mnist/NIN/seed-0")], "compare_trainings"),
    "any_size": ([], "any_size/fashion_mnist"),
    "any_size_segmentation": ([], "any_size_segmentation"),
    "compare_discretizations": ([], "compare_discretizations"),
    "train_progressively": (["--dataset", "mnist"], "train_progressively/mnist"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_results_lie_below_the_current_folder_by_default(recipe):
    given, folder = RECIPES[recipe]
    arguments = importlib.import_module(f"applications.{recipe}").parse_arguments(given)
    assert arguments.out == pathlib.Path("results", folder)
    assert arguments.command.split() == ["python", "-m", f"applications.{recipe}", *given_again(given)]
    assert arguments.backend == os.environ["KERAS_BACKEND"] == keras.backend.backend()


def given_again(given):
    return ["DIR" if each == "here" else each for each in given]


def test_git_ignores_that_place():
    assert "/results/" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_recipe_is_among_them_and_says_how_it_is_run():
    files = {path.stem: path.read_text() for path in (ROOT / "applications").glob("*.py")}
    recipes = {name for name, text in files.items() if "__main__" in text}
    assert recipes == {*RECIPES, "release"}
    for name in recipes:
        assert f"\n    python -m applications.{name}" in files[name].split('"""')[1]
        assert "argparse" not in files[name]


def test_places_of_this_machine_are_not_recorded():
    parser = _arguments.ArgumentParser("it", "It.", "{recipe}")
    parser.add_argument("--epochs", type=int)
    given = ["--data-dir=/home/me/data", "--epochs=3", "--out", "/tmp/x", "--data-dir", "/home/me"]
    arguments = parser.read(given)
    assert arguments.command == "python -m applications.it --data-dir DIR --epochs=3 --data-dir DIR"
    assert (str(arguments.out), arguments.data_dir, arguments.epochs) == ("/tmp/x", "/home/me", 3)


def test_what_is_given_beside_quick_replaces_its_options():
    parser = _arguments.ArgumentParser("it", "It.", "{recipe}/{size}", seeds=3, quick="--seeds 1 --size 7")
    parser.add_argument("--size", type=int, default=28)
    assert parser.read([]).size == 28
    arguments = parser.read(["--quick", "--size", "9"])
    assert (arguments.size, arguments.seeds, str(arguments.out)) == (9, 1, "results/it-quick/9")


@pytest.mark.parametrize(("given", "error"), [("--seeds 0", "at least 1. Received: seeds=0"), ("--sees 1", "--sees")])
def test_wrong_arguments_are_named_in_the_error(given, error, capsys):
    parser = _arguments.ArgumentParser("it", "It.", seeds=3)
    with pytest.raises(SystemExit):
        parser.read(given.split())
    assert error in capsys.readouterr().err


def test_the_backend_is_that_of_the_environment_unless_it_is_given():
    code = "from applications._arguments import ArgumentParser as A; print(A('it', 'It.').read({}).backend)"
    assert run("-c", code.format([]), KERAS_BACKEND="jax").strip() == "jax"
    assert run("-c", code.format(["--backend", "torch"]), KERAS_BACKEND="jax").strip() == "torch"


def test_the_backend_cannot_be_changed_once_keras_has_been_imported(capsys):
    other = next(name for name in _arguments.BACKENDS if name != keras.backend.backend())
    with pytest.raises(SystemExit):
        _arguments.ArgumentParser("it", "It.").read(["--backend", other])
    assert f"Received: backend='{other}'" in capsys.readouterr().err
    assert os.environ["KERAS_BACKEND"] == keras.backend.backend()
