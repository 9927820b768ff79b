"""Guards the comparison of progressive training: it runs, and its table says how long which schedule took."""

import json

import keras
import numpy as np
import pytest

from applications import train_classifier
from applications import train_progressively as script
from tests.helpers import DATA, long, on_torch, run, skip_without


@long
@on_torch
def test_both_schedules_are_trained_for_as_many_epochs(tmp_path):
    skip_without("mnist")
    given = ("--quick", "--backend", "torch", "--dataset", "mnist", "--data-dir", DATA, "--out", tmp_path)
    output = run("-m", "applications.train_progressively", *given, "--images", 64, "--test-images", 32)
    full, progressive = json.loads((tmp_path / "results.json").read_text())["runs"]
    for row in (full, progressive):
        assert len(row["log"]["seconds"]) == len(row["log"]["val_accuracy"]) == 3
        assert row["seconds"] == pytest.approx(sum(row["log"]["seconds"]))
    assert f"| {progressive['seconds'] / full['seconds']:.2f} |" in output
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


@on_torch
def test_each_epoch_of_each_stage_has_an_order_of_its_own(tmp_path, monkeypatch):
    skip_without("mnist")
    firsts, batches = [], train_classifier.augmented_batches

    def recorded(x, y, *others):
        made = batches(x, np.arange(len(y)), *others)

        class Recorded(keras.utils.PyDataset):
            epoch = 0

            def __len__(self):
                return len(made)

            def __getitem__(self, index):
                made.epoch = self.epoch
                images, chosen = made[index]
                firsts.append(tuple(chosen))
                return images, y[chosen]

        return Recorded()

    monkeypatch.setattr(train_classifier, "augmented_batches", recorded)
    given = f"--backend torch --dataset mnist --data-dir {DATA} --epochs 2 2 --factors 0.5 1 --width 0.05"
    arguments = script.parse_arguments([*given.split(), "--out", str(tmp_path), "--images", "64", "--test-images", "8"])
    script.train(arguments, arguments.factors, arguments.epochs, seed=0)
    assert len(set(firsts)) == 4  # of batches of 64


def test_the_last_stage_is_at_full_size():
    assert sum(script.parse_arguments([]).epochs) == 12
    with pytest.raises(SystemExit):
        script.parse_arguments(["--factors", "0.5", "0.75", "--epochs", "1", "1"])
    with pytest.raises(SystemExit):
        script.parse_arguments(["--factors", "1", "--epochs", "1", "1"])
