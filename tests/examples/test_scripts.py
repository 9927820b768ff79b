"""Guards the examples: each is short, stands alone, runs from any folder and gives what it promises."""

import ast
import functools
import os
import re
import tempfile

import keras
import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT, long, on, on_torch, run, waves

SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
PUBLIC = {
    "keras", "keras_njet", "keras_tuner", "numpy", "matplotlib", "sklearn", "PIL", "aeon", "sys", "tempfile",
    "tensorflow", "torch",
}  # fmt: skip
AEON = """
import numpy as np

def load_classification(name, split):
    return np.load(f"{name}_{split}.npz")["x"], np.load(f"{name}_{split}.npz")["labels"]
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_short_and_imports_nothing_of_its_neighbours(script):
    text = script.read_text()
    assert len(text.splitlines()) < 100
    tree = ast.parse(text)
    assert f"python {script.name}" in ast.get_docstring(tree)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    assert {name.split(".")[0] for name in imported} <= PUBLIC


def test_there_is_nothing_else_in_the_folder():
    assert {path.name for path in (ROOT / "examples").iterdir()} - {"__pycache__"} == {
        "learn_resolution.py", "classify_series.py", "segment_volume.py", "fit_filters.py", "convert_model.py",
        "any_size.py", "receptive_field.py", "distribute_jax.py", "distribute_tensorflow.py", "distribute_torch.py",
        "quantize.py", "tune.py", "tour.ipynb", "larger_images.ipynb", "segmentation.ipynb",
    }  # fmt: skip


def run_example(name, folder, *arguments, script=None, **variables):
    """Runs an example, or another script in its place, in a folder; returns what it prints.

    Asserts that it writes one picture there at most.
    """
    before = set(folder.iterdir())
    output = run(script or ROOT / "examples" / f"{name}.py", *arguments, cwd=folder, **variables)
    for path in set(folder.iterdir()) - before:
        assert path.name == f"{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"drawn in {path.name}" in output
    return output


BACKEND = keras.backend.backend()


@functools.cache
def trained_on(count, *arguments):
    """The losses on a number of devices, and the model that was saved there."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    given = arguments if BACKEND == "jax" else (count,)
    with tempfile.TemporaryDirectory() as folder:
        output = run(ROOT / "examples" / f"distribute_{BACKEND}.py", *given, cwd=folder, XLA_FLAGS=flags)
        model = keras.models.load_model(f"{folder}/distributed.keras")
    assert f"{count} device(s), epoch 4" in output
    assert not arguments or "(None, None, 'filters')" in output
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", output)], model


WAYS = {
    "tensorflow": [()],
    "jax": [pytest.param((), marks=long), ("coefficients",)],
    "torch": [pytest.param((), marks=long)],
}


@pytest.mark.parametrize("arguments", WAYS[BACKEND])
def test_training_on_two_devices_is_that_on_one(arguments):
    """The same losses, and the same model: saved on two devices, it is loaded on one."""
    losses, models = zip(trained_on(1), trained_on(2, *arguments), strict=True)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[0][-1] < losses[0][0]
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-5)
    assert models[0].layers[0].sigma_numbers() != pytest.approx(1.0, abs=1e-3)  # has been learned


def last_accuracy(output):
    return float(re.findall(r"test accuracy ([\d.]+)", output)[-1])


@on_torch
def test_the_learned_scale_grows_with_the_size_of_digits(tmp_path):
    text = (ROOT / "examples/learn_resolution.py").read_text()
    shorter = tmp_path / "learn_resolution.py"
    shorter.write_text(text.replace("SEEDS, EPOCHS, BATCH_SIZE = 3, 20,", "SEEDS, EPOCHS, BATCH_SIZE = 1, 12,"))
    output = run_example("learn_resolution", tmp_path, script=shorter)
    assert "Means over 1 seeds" in output
    rows = re.findall(r"\| ([\d.]+)× \| (\d+)×\d+ \| ([\d.]+) \| ([\d.]+) \|", output)
    assert [(factor, size) for factor, size, *_ in rows] == [("1", "8"), ("1.5", "12"), ("2", "16")]
    sigma = [float(row[2]) for row in rows]
    assert sigma[2] > 1.05 * sigma[0]
    foretold, found = re.search(r"σ at 1.5× = ([\d.]+) beside σ at 2× = ([\d.]+)", output).groups()
    assert float(foretold) == pytest.approx(4 / 3 * sigma[1], abs=0.002)
    assert float(found) == sigma[2]
    assert all(float(row[3]) > 0.8 for row in rows)
    assert (tmp_path / "learn_resolution.png").exists()


@on_torch
def test_series_are_classified(tmp_path):
    (tmp_path / "aeon/datasets").mkdir(parents=True)  # as the package, with waves for data
    (tmp_path / "aeon/__init__.py").write_text("")
    (tmp_path / "aeon/datasets/__init__.py").write_text(AEON)
    for split, count in (("train", 64), ("test", 32)):
        x, labels = waves(count)
        np.savez(tmp_path / f"Waves_{split}.npz", x=x[:, None], labels=labels)
    output = run_example("classify_series", tmp_path, "Waves", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert "Waves: 64 series of 32 values to train, 32 to test" in output
    assert "njet3" in output
    assert last_accuracy(output) > 0.9


@on_torch
def test_without_series_the_message_says_where_they_come_from(tmp_path):
    (tmp_path / "aeon.py").write_text("raise ImportError('no pandas')")
    with pytest.raises(AssertionError, match=r"pip install aeon` \(no pandas\)"):
        run_example("classify_series", tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")


def overlap(output):
    return float(re.search(r"on the test slices: ([\d.]+)", output)[1])


@long
@on_torch
def test_blobs_in_thick_slices_are_segmented(tmp_path):
    output = run_example("segment_volume", tmp_path)
    assert overlap(output) > 0.5
    scales = re.findall(r"σ along depth, height and width \[ *([\d.]+) +([\d.]+) +([\d.]+) *\]", output)
    assert len(scales) == output.count("σ along depth") > 0
    for depth, *plane in scales:
        assert float(depth) < min(map(float, plane))  # slices are farther apart than pixels
    assert (tmp_path / "segment_volume.png").exists()


@on("tensorflow")
def test_eight_bit_integers_keep_the_accuracy(tmp_path):
    output = run(ROOT / "examples" / "quantize.py", cwd=tmp_path)
    before, after = re.findall(r": test accuracy ([\d.]+)", output)
    assert float(before) > 0.9
    assert float(after) > float(before) - 0.02
    assert "int8" in output.splitlines()[-1]
    assert (tmp_path / "digits.tflite").read_bytes()[4:8] == b"TFL3"


@long
@on_torch
def test_a_search_over_order_and_rate(tmp_path):
    pytest.importorskip("keras_tuner", reason="keras-tuner is not installed")
    output = run(ROOT / "examples" / "tune.py", 2, cwd=tmp_path)
    found = re.findall(r"accuracy ([\d.]+): order \d, subsample_rate [\d.]+, sigma_learning_rate [\d.]+", output)
    assert len(found) == 2
    assert float(found[0]) >= float(found[1])
    assert not list(tmp_path.iterdir())


@long
@on("torch")
def test_a_stack_of_slices_is_read(tmp_path):
    rng = np.random.default_rng(0)
    cells = np.ones((8, 40, 36), bool)
    cells[:, ::8] = cells[:, :, ::9] = False
    image = np.where(cells, 200, 60) + rng.integers(-20, 20, cells.shape)
    for name, volume in (("image.tif", image), ("label.tif", 255 * cells)):
        first, *others = (Image.fromarray(plane.astype("uint8")) for plane in volume)
        first.save(tmp_path / name, save_all=True, append_images=others)
    output = run_example("segment_volume", tmp_path, "image.tif", "label.tif")
    assert overlap(output) > 0.9


@on("torch")
def test_filters_are_fitted_better_by_higher_orders(tmp_path):
    rows = re.findall(r"\| (\d) \| [\d.]+ to [\d.]+ \| ([\d.]+) \|", run_example("fit_filters", tmp_path))
    assert [order for order, _ in rows] == list("12346")
    errors = [float(error) for _, error in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3
    assert (tmp_path / "fit_filters.png").exists()


@on_torch
def test_a_network_is_converted_trained_on_and_frozen(tmp_path):
    output = run_example("convert_model", tmp_path)
    accuracies = dict(re.findall(r"^([\w ]+).*: test accuracy ([\d.]+)", output, re.MULTILINE))
    assert float(accuracies["trained"]) > 0.9
    assert float(accuracies["converted"]) == pytest.approx(float(accuracies["trained"]), abs=0.003)
    assert float(accuracies["frozen"]) == pytest.approx(float(accuracies["trained further"]), abs=0.003)
    assert "frozen: InputLayer, Conv2D, Conv2D, GlobalMaxPooling2D, Dense\n" in output


@long
@on_torch
def test_receptive_fields_are_drawn(tmp_path):
    assert "NJetConv2D" in run_example("receptive_field", tmp_path)
    assert (tmp_path / "receptive_field.png").stat().st_size > 10000


@long  # `applications/test_any_size` has the accuracy of rescaled networks
@on_torch
def test_a_network_moves_to_images_of_other_sizes(tmp_path):
    rows = re.findall(r"(\d+)×\d+ pixels: as it is ([\d.]+), rescaled ([\d.]+)", run_example("any_size", tmp_path))
    accuracy = {int(size): (float(as_it_is), float(rescaled)) for size, as_it_is, rescaled in rows}
    assert set(accuracy) == {9, 12, 18, 24, 36}
    assert accuracy[12][0] > 0.9
    for size in (18, 24, 36):
        assert accuracy[size][1] > accuracy[12][0] - 0.03
        assert accuracy[size][1] > accuracy[size][0] + 0.1
    assert (tmp_path / "any_size.png").exists()
