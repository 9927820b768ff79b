"""Guards the comparison on volumes: its crops and windows, its scores, and that every network trains."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from applications import compare_volumes as script
from tests.helpers import DATA, long, on_torch, results_of, run, skip_without

SHAPE = (10, 24, 20)  # of which the last six slices are the test set
SMALL = "--epochs 2 --steps 40 --filters 6 --layers 1 --batch-size 2 --crop 4 12 12 --learning-rate 0.03"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A folder as that of the challenge: bright cells between dark membranes, with noise."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    cells = np.ones(SHAPE, bool)
    cells[:, ::6] = cells[:, :, ::7] = False
    image = np.where(cells, 200, 60) + rng.integers(-40, 40, SHAPE)
    for name, volume in (("image", image), ("label", 255 * cells)):
        (folder / "isbi-em" / name).mkdir(parents=True)
        for index, plane in enumerate(volume):
            Image.fromarray(plane.astype("uint8")).save(folder / "isbi-em" / name / f"{index}.png")
    return folder, image, cells


def test_the_slices_become_a_volume_in_their_order(stack):
    folder, image, cells = stack
    for part, slices in (("train", slice(0, 4)), ("test", slice(4, 10))):
        x, y = script.load_volume(folder, part)
        np.testing.assert_allclose(x[..., 0], image[slices] / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(y, cells[slices])


@pytest.mark.parametrize("size", [(2, 5, 7), (3, 20, 24), (6, 3, 3)])
def test_crops_are_parts_of_the_volume_in_any_orientation_of_its_planes(size):
    shape = (6, 24, 24)
    numbers = np.arange(np.prod(shape)).reshape(shape)
    seen = set()
    for seed in range(60):
        x, y = script.random_crop(numbers[..., None], numbers, size, np.random.default_rng(seed))
        assert y.shape == size
        np.testing.assert_array_equal(x[..., 0], y)
        depth, row, column = np.unravel_index(y, shape)
        steps = np.array(
            [[part.take(1, axis).flat[0] - part.flat[0] for axis in range(3)] for part in (depth, row, column)]
        )
        corner = [part.flat[0] for part in (depth, row, column)]
        offsets = np.tensordot(steps, np.indices(size), axes=1) + np.reshape(corner, (3, 1, 1, 1))
        np.testing.assert_array_equal(offsets, (depth, row, column))
        assert abs(steps[0, 0]) == 1  # the depth stays the depth
        np.testing.assert_array_equal(np.abs(steps).sum(axis=0), 1)
        seen.add(tuple(steps.ravel()))
    assert len(seen) == 16  # two directions along three axes, transposed or not


def test_a_plane_that_is_too_narrow_is_not_transposed():
    y = np.zeros((2, 10, 6))
    shapes = {script.random_crop(y[..., None], y, (2, 9, 5), np.random.default_rng(n))[1].shape for n in range(20)}
    assert shapes == {(2, 9, 5)}


def test_the_same_seed_gives_the_same_crops_and_other_ones_in_each_epoch(stack):
    volume = script.load_volume(stack[0], "train")
    first, again, other = (script.make_crops(volume, (3, 8, 8), 2, 5, seed) for seed in (0, 0, 1))
    assert len(first) == 5
    x, y = first[3]
    assert x.shape == (2, 3, 8, 8, 1)
    assert y.shape == (2, 3, 8, 8)
    np.testing.assert_array_equal(x, again[3][0])
    assert not np.array_equal(x, other[3][0])
    first.on_epoch_end()
    assert not np.array_equal(x, first[3][0])
    with pytest.raises(ValueError, match=r"a volume of \(4, 24, 20\) voxels. Received: crop=\[5, 8, 8\]$"):
        script.make_crops(volume, (5, 8, 8), 2, 5, 0)


def test_windows_give_what_the_whole_volume_gives(monkeypatch):
    monkeypatch.setattr(script, "WINDOW", 16)
    monkeypatch.setattr(script, "HALO", 4)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv3D(4, 5, padding="same", activation="relu"), keras.layers.Conv3D(2, 3, padding="same")]
    model = keras.Sequential([keras.Input((3, 8, 8, 1)), *layers])
    x = np.random.default_rng(0).normal(size=(3, 37, 20, 1)).astype("float32")
    mirrored = np.pad(x, [(0, 0), (4, 4), (4, 4), (0, 0)], mode="symmetric")
    whole = keras.ops.convert_to_numpy(layers[1](layers[0](mirrored[None])))[0, :, 4:-4, 4:-4]
    assert 0.1 < np.mean(whole[..., 0] < whole[..., 1]) < 0.9
    np.testing.assert_array_equal(script.predict(model, x), np.argmax(whole, axis=-1))


def test_scores_are_those_of_scikit_learn():
    truth, predicted = np.random.default_rng(0).integers(0, 2, size=(2, 3, 8, 8))
    found = script.scores(truth, predicted)
    assert found["test_accuracy"] == pytest.approx(accuracy_score(truth.ravel(), predicted.ravel()))
    for index, name in enumerate(("membranes", "cells")):
        expected = jaccard_score(truth.ravel(), predicted.ravel(), pos_label=index)
        assert found[f"{name}_iou"] == pytest.approx(expected)


@on_torch
@pytest.mark.parametrize("method", ["Conv3D, 3×3×3", "Conv3D, 1×5×5", "N-Jet, one σ", "N-Jet, σ for each axis"])
def test_each_method_learns_to_segment(stack, method):
    given = f"--data-dir {stack[0]} {SMALL} --backend {keras.backend.backend()}"
    arguments = script.parse_arguments(given.split())
    train_set, test_set = (script.load_volume(arguments.data_dir, part) for part in ("train", "test"))
    row, predicted = script.train(train_set, test_set, script.convolutions(arguments)[method], 0, arguments)
    assert predicted.shape == (6, *SHAPE[1:])
    assert row["test_accuracy"] == np.mean(predicted == test_set[1])
    assert row["membranes_iou"] > 0.8
    axes = {"N-Jet, one σ": [""], "N-Jet, σ for each axis": ["_depth", "_height", "_width"]}.get(method, [])
    assert list(row["sigma"]) == [f"layer1/sigma{axis}" for axis in axes]
    basis = {"Conv3D, 3×3×3": 27, "Conv3D, 1×5×5": 25}.get(method, 20)  # numbers a filter has for each channel
    assert row["parameters"] == 6 * basis + 2 * 6 + 6 * 2 + 2 + len(axes)
    for sigma in row["sigma"].values():
        assert len(sigma) == 2
        assert len({1.0, *sigma}) == 3


def check_quick(folder, data, *given):
    options = ("--quick", "--backend", keras.backend.backend(), "--data-dir", data, "--out", folder)
    output = run("-m", "applications.compare_volumes", *options, *given)
    results = json.loads((folder / "results.json").read_text())
    assert results["command"].startswith("python -m applications.compare_volumes --quick --backend")
    assert str(data) not in results["command"]
    assert results["configuration"]["filters"] == 4
    assert {"versions", "processor", "commit"} < set(results)
    methods = ["Conv3D, 3×3×3", "Conv3D, 1×5×5", "N-Jet, one σ", "N-Jet, σ for each axis"]
    assert [(row["method"], row["seed"]) for row in results["runs"]] == [(method, 0) for method in methods]
    table = (folder / "table.md").read_text()
    assert table in output
    assert "| N-Jet, σ for each axis, layer2 |" in table
    assert (folder / "predictions.png").read_bytes().startswith(b"\x89PNG")


@on_torch
def test_the_quick_study_writes_what_it_promises(stack, tmp_path):
    check_quick(tmp_path, stack[0])


@long
@on_torch
def test_the_quick_study_runs_on_the_real_stack(tmp_path):
    skip_without("isbi-em")
    check_quick(tmp_path, DATA, "--test-size", 32)


def test_the_table_has_a_scale_for_each_axis():
    one = {"layer1/sigma": [1.5, 2.0]}
    each = {"layer1/sigma_depth": [1.0, 0.5], "layer1/sigma_height": [1.0, 3.0], "layer1/sigma_width": [1.0, 4.0]}
    rows = [
        {"method": method, "seed": seed, "parameters": 1000, "seconds": 60.0, "sigma": sigma}
        | {"test_accuracy": 0.8 + seed / 10, "membranes_iou": 0.5, "cells_iou": 0.9}
        for seed in (0, 1)
        for method, sigma in (("Conv3D, 3×3×3", {}), ("N-Jet, one σ", one), ("N-Jet, σ for each axis", each))
    ]
    results = results_of(rows, quick=False, seeds=2)
    table = script.format_table(results)
    cells = "1,000 | 0.850 ± 0.071 | 0.500 ± 0.000 | 0.900 ± 0.000 | 1.0 |\n"
    assert f"| Conv3D, 3×3×3 | {cells}| N-Jet, one σ | {cells}" in table
    assert "| N-Jet, one σ, layer1 | 2.000 ± 0.000 | 2.000 ± 0.000 | 2.000 ± 0.000 |\n" in table
    assert "| N-Jet, σ for each axis, layer1 | 0.500 ± 0.000 | 3.000 ± 0.000 | 4.000 ± 0.000 |\n" in table
    assert "a voxel is 50×4×4 nm (depth, height, width)" in table
    assert "6.0 minutes of training on abacus" in table
