"""Guards the training script and the studies: they run on real images and write what they promise."""

import csv
import json

import keras
import pytest

from tests.test_examples import DATA, import_example, needs_mnist, run

SMALL = ("--images", 96, "--test-images", 64, "--batch-size", 48, "--width", 0.1, "--data-dir", DATA)


def train(folder, *options):
    backend = keras.backend.backend()
    run("examples/train_classifier.py", "--backend", backend, "--out", folder, *SMALL, *options)
    with open(folder / "log.csv") as file:
        return json.loads((folder / "results.json").read_text()), list(csv.DictReader(file))


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


@needs_mnist
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("examples")
    script = import_example("train_classifier")
    options = ["--model", "NJetNIN", "--dataset", "mnist", "--epochs", "3", "--out", str(tmp_path), *map(str, SMALL)]
    arguments = script.parse_arguments(options)

    class Interruption(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model, "fit", lambda *args, callbacks, **kw: fit(*args, callbacks=[*callbacks, Interruption()], **kw)
    )
    with pytest.raises(KeyboardInterrupt):
        script.train(arguments)
    monkeypatch.setattr(keras.Model, "fit", fit)
    script.train(arguments)
    assert [row["epoch"] for row in script.read_log(tmp_path / "log.csv")] == [0, 1, 2]


@needs_mnist
def test_mixed_precision_and_the_baseline(tmp_path):
    precision = ("--precision", "mixed_bfloat16")
    results, log = train(tmp_path, "--model", "NIN", "--dataset", "mnist", "--epochs", 1, *precision)
    assert results["configuration"]["precision"] == "mixed_bfloat16"
    assert not any("/" in name for name in log[0])


def test_the_recipe():
    script = import_example("train_classifier")
    arguments = script.parse_arguments(["--epochs", "90"])
    optimizer = script.make_optimizer(arguments, steps=10)
    for epoch, rate in ((0, 0.1), (29, 0.1), (31, 0.01), (61, 0.001), (89, 0.001)):
        assert float(keras.ops.convert_to_numpy(optimizer._learning_rate(10 * epoch + 5))) == pytest.approx(rate)
    assert optimizer.weight_decay == pytest.approx(5e-3)
    sigma = keras.Variable(1.0, name="log2_sigma", trainable=True)
    weight = keras.Variable(1.0, name="kernel", trainable=True)
    optimizer.build([sigma, weight])
    optimizer.apply([keras.ops.zeros(()), keras.ops.zeros(())])
    assert float(keras.ops.convert_to_numpy(sigma)) == 1.0
    assert float(keras.ops.convert_to_numpy(weight)) == pytest.approx(1 - 0.1 * 5e-3)


def test_augmentation_crops_and_flips_in_training_only():
    import numpy as np

    script = import_example("train_classifier")
    keras.utils.set_random_seed(0)
    layer = script.augmentation((8, 8, 1), flip=True)
    x = np.arange(2 * 64, dtype="float32").reshape(2, 8, 8, 1) + 1
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(x, training=False)), x)
    seen = [keras.ops.convert_to_numpy(layer(x, training=True)) for _ in range(20)]
    padded = np.pad(x, [(0, 0), (4, 4), (4, 4), (0, 0)])
    crops = {padded[0, i : i + 8, j : j + 8, 0].tobytes() for i in range(9) for j in range(9)}
    flips = {np.ascontiguousarray(np.frombuffer(crop, "float32").reshape(8, 8)[:, ::-1]).tobytes() for crop in crops}
    first = [np.ascontiguousarray(images[0, ..., 0]).tobytes() for images in seen]
    assert all(image in crops | flips for image in first)
    assert len(set(first)) > 5
    assert any(image not in crops for image in first)


@needs_mnist
@pytest.mark.parametrize("study", ["filter_sizes", "fixed_sigma", "subsample_rate", "datasets", "architectures"])
def test_the_studies_write_a_table_and_a_plot(study, tmp_path):
    if keras.backend.backend() != "torch" and study != "subsample_rate":
        pytest.skip("compiling every network takes minutes; the study is tested on torch, which runs eagerly")
    # Of the quick version itself, only the number of images and epochs is smaller here.
    options = ("--images", 64, "--test-images", 32, "--batch-size", 32, "--epochs", 1, "--data-dir", DATA)
    output = run(
        "examples/study.py", study, "--quick", "--backend", keras.backend.backend(), "--out", tmp_path, *options
    )
    with open(tmp_path / "runs.csv") as file:
        rows = list(csv.DictReader(file))
    table = (tmp_path / "table.md").read_text()
    assert table in output
    assert len(rows) == {"subsample_rate": 3, "datasets": 4}.get(study, 6)
    assert table.count("\n|") == len(rows) + 1
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    assert all(0 <= float(row["test accuracy"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
