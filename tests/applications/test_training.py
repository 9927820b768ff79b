"""Guards long trainings: whatever happens to the process or the disk, nothing is lost."""

import argparse
import errno
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from applications import _results, _training
from tests.helpers import DATA, ROOT, long, on_torch, run, skip_without

RECIPES = {
    "train_classifier": "--model NJetNIN --dataset fashion_mnist --images 192 --test-images 32 --width 0.1"
    " --batch-size 16",
    "train_segmentation": "--model NJetUNet --dataset camvid --crop 48 --images 24 --test-images 1 --filters 2",
}


@on_torch
@pytest.mark.parametrize("recipe", ["train_classifier", pytest.param("train_segmentation", marks=long)])
def test_a_run_that_is_killed_ends_as_it_would_have(recipe, tmp_path):
    skip_without("camvid", "fashion-mnist")
    options = [*RECIPES[recipe].split(), "--epochs", "3", "--backend", "torch", "--data-dir", DATA]
    command = ["-m", f"applications.{recipe}", *options]
    run(*command, "--out", tmp_path / "whole")
    folder = tmp_path / "killed"
    kill_after_an_epoch([*command, "--out", str(folder)])
    assert not (folder / "results.json").exists()
    run(*command, "--out", folder)
    whole, killed = (_training.read_log(tmp_path / name / "log.csv") for name in ("whole", "killed"))
    assert [row["epoch"] for row in killed] == [0, 1, 2]
    for row, other in zip(whole, killed, strict=True):
        assert {name: other[name] for name in row if name != "seconds"} == pytest.approx(
            {name: value for name, value in row.items() if name != "seconds"}, rel=1e-4, nan_ok=True
        )
    weights = [weights_in(tmp_path / name / "model.weights.h5") for name in ("whole", "killed")]
    assert weights[0].keys() == weights[1].keys()
    for path, values in weights[0].items():
        np.testing.assert_allclose(weights[1][path], values, rtol=1e-3, atol=1e-5, err_msg=path)
    assert not (folder / "backup").exists()
    assert not list(folder.glob("unfinished*"))


def kill_after_an_epoch(command):
    """Runs Python, and kills it within the second epoch of the training: nothing in it can prepare for that."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    saved = pathlib.Path(command[-1]) / "backup" / "epochs-00001.weights.h5"
    for _ in range(3000):
        if saved.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert saved.exists()


def weights_in(path):
    """All arrays of a file of weights, by their paths."""
    h5py = pytest.importorskip("h5py")
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: value for name, value in found.items() if "seed_generator" not in name}


def test_the_log_loses_epochs_that_were_not_saved(tmp_path):
    """A process may be killed between the row of an epoch and the file with its weights, or while it writes a row."""
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "epochs-00002.weights.h5").touch()
    for lost in ("", "2,0.3\n", "2,0.3\n3,0.", "2,"):
        (tmp_path / "log.csv").write_text("epoch,loss\n0,0.9\n1,0.5\n" + lost)
        assert _training.restore(Model(), tmp_path) == 2
        assert _training.read_log(tmp_path / "log.csv") == [{"epoch": 0, "loss": 0.9}, {"epoch": 1, "loss": 0.5}]


class Model:
    """What `restore` needs of a model."""

    trainable_variables = ()

    def __init__(self):
        self.optimizer = self

    def build(self, variables):
        pass

    def load_weights(self, path):
        assert path.name == "epochs-00002.weights.h5"


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    _results._write(path, "old")

    def full(self, text):
        with open(self, "w") as file:
            file.write(text[:3])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: .*results.json"):
        _results._write(path, "new and longer")
    assert json.loads(path.read_text()) == "old"


def test_a_folder_that_can_not_be_written_to_is_known_before_anything_is_trained(tmp_path, monkeypatch):
    arguments = argparse.Namespace(command="it", out=tmp_path / "out", data_dir=None)
    measured = []

    def read_only(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(pathlib.Path, "mkdir", read_only)
    with pytest.raises(OSError, match=r"Read-only file system: .*out"):
        _results.run(arguments, measured.append)
    assert not measured


def test_rows_of_a_study_survive_a_kill_at_any_moment(tmp_path, monkeypatch):
    """Each moment is an operation on a file that does not take place any more."""
    arguments = type("Arguments", (), {"seeds": 3, "out": tmp_path})
    networks = [({"network": "a"}, lambda seed: {"found": seed}), ({"network": "b"}, lambda seed: {"found": -seed})]

    class Killed(BaseException):
        pass

    for moment in itertools.count():
        left = iter(range(moment))

        def dies(function, left=left):
            def operation(*args, **kwargs):
                if next(left, None) is None:
                    raise Killed
                return function(*args, **kwargs)

            return operation

        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, "write_text", dies(pathlib.Path.write_text))
            patch.setattr(os, "replace", dies(os.replace))
            try:
                rows = _results.collect(arguments, networks)
            except Killed:
                kept = tmp_path / _results.ROWS
                assert not kept.exists() or isinstance(json.loads(kept.read_text()), list)
                continue
        break
    assert moment > 3
    assert [(row["network"], row["seed"], row["found"]) for row in rows] == [
        ("a", 0, 0), ("b", 0, 0), ("a", 1, 1), ("b", 1, -1), ("a", 2, 2), ("b", 2, -2)
    ]  # fmt: skip
