"""Guards the release of weights: what ships already is not overwritten."""

import importlib
import shlex
import shutil

import keras
import pytest

from applications import release
from keras_njet.applications import NJetNIN, _weights, list_weights
from tests.helpers import ROOT

FOLDER = ROOT / "applications/nin/results/fashion_mnist/NJetNIN/seed-0"


def test_released_weights_are_not_replaced_by_default(capsys):
    before = {path: path.read_bytes() for path in _weights.FOLDER.iterdir()}
    with pytest.raises(SystemExit):
        release.main([FOLDER, "--weights", "of another run"])
    assert "or --replace. Received: model='NJetNIN', dataset='fashion_mnist'" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in _weights.FOLDER.iterdir()} == before


def test_a_release_that_fails_leaves_what_ships_as_it_is(tmp_path, monkeypatch):
    shipped = _weights.FOLDER
    monkeypatch.setattr(_weights, "FOLDER", shutil.copytree(shipped, tmp_path / "weights"))
    model = NJetNIN(weights="fashion_mnist", width=0.25, input_shape=(28, 28, 1))
    model.save_weights(tmp_path / "model.weights.h5")

    def make(arguments):
        return model, 1, 10, {"width": 0.25}, lambda model: pytest.fail("killed while it was evaluated")

    monkeypatch.setattr(release, "make_classifier", make)
    with pytest.raises(pytest.fail.Exception):
        release.main([FOLDER, "--weights", tmp_path / "model.weights.h5", "--replace"])
    assert {path.name: path.read_bytes() for path in _weights.FOLDER.iterdir()} == {
        path.name: path.read_bytes() for path in shipped.iterdir()
    }


def test_the_commands_that_trained_them_can_be_given():
    for row in list_weights():
        _, _, module, *options = shlex.split(row["trained_by"])
        options[options.index("--backend") + 1] = keras.backend.backend()
        assert importlib.import_module(module).parse_arguments(options).model == row["network"]
