"""Guards the recipe of classification: it trains on real images as it says, and goes on when interrupted."""

import csv
import json

import keras
import numpy as np
import pytest

from applications import _training
from applications import train_classifier as script
from tests.helpers import DATA, needs_mnist, on, on_torch, run

SMALL = ("--images", 96, "--test-images", 64, "--batch-size", 48, "--width", 0.1, "--data-dir", DATA)


def train(folder, *options):
    backend = keras.backend.backend()
    run("-m", "applications.train_classifier", "--backend", backend, "--out", folder, *SMALL, *options)
    with open(folder / "log.csv") as file:
        return json.loads((folder / "results.json").read_text()), list(csv.DictReader(file))


@on_torch
@needs_mnist
def test_training_logs_scales_and_sizes(tmp_path):
    results, log = train(tmp_path, "--model", "NJetNIN", "--dataset", "fashion_mnist", "--epochs", 2, "--seed", 3)
    assert [row["epoch"] for row in log] == ["0", "1"]
    for layer in ("block1_conv", "block2_conv", "block3_conv"):
        assert float(log[-1][f"{layer}/sigma"]) != 1.0
        assert float(log[-1][f"{layer}/height"]) > 0
        assert results["metrics"][f"{layer}/sigma"] == float(log[-1][f"{layer}/sigma"])
    assert results["configuration"]["seed"] == 3
    assert "--seed 3" in results["command"]
    assert results["versions"]["keras"] == keras.__version__
    assert 0 <= results["metrics"]["test_accuracy"] <= 1
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "model.weights.h5").stat().st_size > 0
    assert not (tmp_path / "backup").exists()


@on_torch
@needs_mnist
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the log that is left open
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    """It ends as it would have without: the same images in the same order, the same dropout, the same steps."""
    begun = []

    class Interruption(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)

        def on_train_batch_end(self, batch, logs=None):
            if begun == [0, 1]:  # in the middle of an epoch
                raise KeyboardInterrupt

    def arguments(folder):
        options = ["--model", "NJetNIN", "--dataset", "fashion_mnist", "--epochs", "3", "--out", tmp_path / folder]
        return script.parse_arguments([*options, *SMALL])

    whole = script.train(arguments("whole"))
    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda *args, callbacks, **kw: fit(*args, callbacks=[*callbacks, Interruption()], **kw)
    )
    with pytest.raises(KeyboardInterrupt):
        script.train(arguments("interrupted"))
    with open(tmp_path / "interrupted" / "log.csv", "a") as file:
        file.write("1,0.5,0.")  # as if killed while it was written
    with monkeypatch.context() as patch:
        patch.setattr(script, "plot_sizes", lambda *given: pytest.fail("no space left"))
        with pytest.raises(pytest.fail.Exception):  # when all epochs have been trained, but nothing is written of it
            script.train(arguments("interrupted"))
    results = script.train(arguments("interrupted"))
    assert begun == [0, 1, 1, 2]
    assert not (tmp_path / "interrupted" / "backup").exists()
    logs = [_training.read_log(tmp_path / folder / "log.csv") for folder in ("whole", "interrupted")]
    assert [row["epoch"] for row in logs[1]] == [0, 1, 2]
    assert results["metrics"]["seconds"] == pytest.approx(sum(row["seconds"] for row in logs[1]))
    for row, other in zip(*logs, strict=True):
        assert all(other[name] == pytest.approx(row[name], rel=1e-4) for name in row if name != "seconds")
    assert results["metrics"]["test_accuracy"] == pytest.approx(whole["metrics"]["test_accuracy"], abs=0.02)
    ended, other = (script.make_model("NJetNIN", {"input_shape": (28, 28, 1)}, arguments("whole")) for _ in range(2))
    ended.load_weights(tmp_path / "whole" / "model.weights.h5")
    other.load_weights(tmp_path / "interrupted" / "model.weights.h5")
    for one, two in zip(ended.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)
    assert script.train(arguments("interrupted")) == results  # which has ended, and is not repeated
    assert len(begun) == 4
    changed = arguments("interrupted")
    changed.learning_rate = 0.3
    with pytest.raises(ValueError, match=r"another run, with {'learning_rate': 0.1}.* learning_rate=0.3$"):
        script.train(changed)


def test_options_that_a_network_does_not_have_are_named_in_the_error():
    for model, *options in (
        ("NIN", "--order", "2"),
        ("NJetNIN", "--kernel-sizes", "3", "3", "3"),
        ("AllCNN", "--no-subsampling"),
        ("NJetEfficientNetB0", "--width", "0.5"),
    ):
        with pytest.raises(ValueError, match=rf"{model} has no option .* Received: "):
            script.options(model, script.parse_arguments(["--model", model, *options]))
    arguments = script.parse_arguments(["--data-dir", "/home/me/data", "--out", "/tmp/x", "--epochs", "3"])
    assert arguments.command == "python -m applications.train_classifier --data-dir DIR --epochs 3"


@on("tensorflow")
@needs_mnist
def test_mixed_precision_and_the_baseline(tmp_path):
    precision = ("--precision", "mixed_bfloat16")
    results, log = train(tmp_path, "--model", "NIN", "--dataset", "mnist", "--epochs", 1, *precision)
    assert results["configuration"]["precision"] == "mixed_bfloat16"
    assert not any("/" in name for name in log[0])


def test_the_recipe():
    arguments = script.parse_arguments(["--epochs", "90"])
    optimizer = script.make_optimizer(arguments, steps=10)
    for epoch, rate in ((0, 0.1), (29.9, 0.1), (30, 0.01), (59.9, 0.01), (60, 0.001), (89, 0.001)):
        assert float(keras.ops.convert_to_numpy(optimizer._learning_rate(round(10 * epoch)))) == pytest.approx(rate)
    assert optimizer.weight_decay == pytest.approx(5e-3)
    sigma = keras.Variable(1.0, name="log2_sigma", trainable=True)
    weight = keras.Variable(1.0, name="kernel", trainable=True)
    optimizer.build([sigma, weight])
    optimizer.apply([keras.ops.zeros(()), keras.ops.zeros(())])
    assert float(keras.ops.convert_to_numpy(sigma)) == 1.0
    assert float(keras.ops.convert_to_numpy(weight)) == pytest.approx(1 - 0.1 * 5e-3)


def test_training_images_are_shuffled_cropped_and_flipped():
    keras.utils.set_random_seed(0)
    x = np.arange(40 * 64, dtype="float32").reshape(40, 8, 8, 1) + 1
    arguments = script.parse_arguments(["--batch-size", "3", "--dataset", "cifar10"])
    batches = script.augmented_batches(x, np.arange(40), arguments)
    assert len(batches) == 14
    first = batches[0][0]
    np.testing.assert_array_equal(batches[0][0], first)  # nothing is drawn by reading
    batches.epoch = 1
    assert not np.array_equal(batches[0][0], first)
    seen = [batches[index] for index in range(14)]
    labels = np.concatenate([y for _, y in seen])
    assert sorted(labels) == list(range(40))
    assert list(labels) != list(range(40))
    padded = np.pad(x, [(0, 0), (4, 4), (4, 4), (0, 0)])
    kinds = set()
    for images, y in seen:
        for image, label in zip(images, y, strict=True):
            crops = {(i, j): padded[label, i : i + 8, j : j + 8] for i in range(9) for j in range(9)}
            found = [
                (*place, flip)
                for place, crop in crops.items()
                for flip in (False, True)
                if np.array_equal(image, crop[:, ::-1] if flip else crop)
            ]
            assert found
            kinds.add(found[0])
    assert len({place[:2] for place in kinds}) > 5
    assert {flip for *_, flip in kinds} == {False, True}
    digits = script.parse_arguments(["--batch-size", "3", "--dataset", "svhn"])
    batches = script.augmented_batches(x, labels, digits)
    for index in range(len(batches)):
        assert all(np.all(np.diff(image[image > 0]) > 0) for image in batches[index][0])
