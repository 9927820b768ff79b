"""Guards the evaluation of trained networks: all have the same images, which no training had."""

import json
import statistics

import numpy as np
import pytest

from applications import evaluate_segmentation, train_segmentation
from applications.data_sets import images
from applications.data_sets import multiscale_fashion_mnist as multiscale
from tests.helpers import DATA, needs_fashion_mnist, on_torch, run

pytestmark = pytest.mark.usefixtures("little_is_compiled")


@on_torch
@needs_fashion_mnist
def test_networks_are_evaluated_on_the_same_images(tmp_path):
    given = "--model UNet --filters 2 --levels 2 --scale 1 --images 20 --test-images 2 --epochs 1 --learning-rate 0.01"
    where = ["--data-dir", DATA, "--out"]
    for seed in ("0", "1"):
        arguments = [*given.split(), "--seed", seed, *where, tmp_path / seed]
        train_segmentation.train(train_segmentation.parse_arguments(arguments))
    runs = [tmp_path / "0", tmp_path / "1"]
    output = run("-m", "applications.evaluate_segmentation", *runs, "--test-images", "6", *where, tmp_path / "out")
    rows = json.loads((tmp_path / "out/results.json").read_text())["runs"]
    assert [row["seed"] for row in rows] == [0, 1]
    mean = statistics.mean(row["miou"] for row in rows)
    assert f"| UNet, 2 levels, s = 1 | {rows[0]['miou']:.3f}, {rows[1]['miou']:.3f} | {mean:.3f} ± " in output

    pixels = images.load_pixels("fashion_mnist", DATA)[1]
    batches = multiscale.make_dataset(*pixels, 1, 6, seed=2 * evaluate_segmentation.SEED + 1)
    for folder, row in zip(runs, rows, strict=True):
        chosen = train_segmentation.parse_arguments(given.split())
        model = train_segmentation.make_model(multiscale.CLASSES, 1, chosen)
        model.load_weights(folder / "model.weights.h5")
        found = [(model.predict(x, verbose=0).argmax(-1), y) for x, y in (batches[index] for index in range(6))]
        predicted, masks = (np.concatenate([pair[part].ravel() for pair in found]) for part in (0, 1))
        assert row["miou"] == pytest.approx(mean_iou(predicted, masks), abs=1e-6)


def mean_iou(predicted, masks):
    """By its definition, over the classes of objects that occur."""
    counted = masks != multiscale.IGNORED
    unions = [((predicted == label) | (masks == label)) & counted for label in range(1, multiscale.CLASSES)]
    both = [((predicted == label) & (masks == label)).sum() for label in range(1, multiscale.CLASSES)]
    return np.mean([part / union.sum() for part, union in zip(both, unions, strict=True) if union.any()])
