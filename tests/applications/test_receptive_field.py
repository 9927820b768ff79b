"""Guards figure 13: the field that is drawn is that of the filters."""

import json

import keras
import numpy as np
import pytest

from applications import _results, receptive_field, train_segmentation
from applications.data_sets import multiscale_fashion_mnist as multiscale
from tests.helpers import DATA, needs_fashion_mnist, on_torch, run

RNG = np.random.default_rng(0)
OBJECTS = RNG.integers(0, 256, size=(20, 28, 28)).astype("uint8") * (RNG.random((20, 28, 28)) > 0.3)
LABELS = np.arange(20) % 10


def test_the_effective_receptive_field_is_that_of_the_filter(tmp_path):
    box = keras.layers.Conv2D(2, 5, padding="same", kernel_initializer="ones", use_bias=False)
    model = keras.Sequential([keras.Input((None, None, 1)), box])
    dataset = multiscale.make_dataset(OBJECTS, LABELS, 1, count=3)
    field = receptive_field.effective_field(model, dataset, images=3)
    expected = np.zeros_like(field)
    centre = len(field) // 2
    expected[centre - 2 : centre + 3, centre - 2 : centre + 3] = 1.0
    np.testing.assert_allclose(field, expected, atol=1e-6)
    assert receptive_field.radius(field) == pytest.approx(2.0)  # 13 of 25 pixels are no farther away
    receptive_field.plot({"box": field}, tmp_path / "field.png")
    assert (tmp_path / "field.png").read_bytes().startswith(b"\x89PNG")


@on_torch
@needs_fashion_mnist
def test_fields_of_trained_networks_are_drawn(tmp_path):
    given = "--filters 2 --levels 2 --scale 1 --images 2 --test-images 2 --epochs 1 --implementation dense"
    where = ["--data-dir", DATA, "--out"]
    train_segmentation.train(train_segmentation.parse_arguments([*given.split(), *where, tmp_path / "run"]))
    output = run("-m", "applications.receptive_field", tmp_path / "run", *where, tmp_path / "field")
    ((name, found),) = json.loads((tmp_path / "field/results.json").read_text())["metrics"].items()
    assert f'"{name}": {found}' in output
    assert name == "pixels of half of the field, NJetUNet, order 2, 2 levels, s = 1"
    assert 0 < found < 35
    assert (tmp_path / "field/receptive_field.png").read_bytes().startswith(b"\x89PNG")


def test_runs_that_are_alike_have_the_names_of_their_folders(tmp_path):
    for name, model in (("first", "NJetUNet"), ("second", "NJetUNet"), ("other", "UNet")):
        (tmp_path / name).mkdir()
        arguments = train_segmentation.parse_arguments(["--model", model, "--out", str(tmp_path / name)])
        configuration = _results.configuration(arguments)
        (tmp_path / name / "results.json").write_text(json.dumps({"configuration": configuration}))
    first, second, other = labels = receptive_field.labels_of(
        [tmp_path / name for name in ("first", "second", "other")]
    )
    assert list(labels.values()) == [
        f"NJetUNet, order 2, s = 4\n{first}",
        f"NJetUNet, order 2, s = 4\n{second}",
        "UNet, s = 4",
    ]
    assert other.name == "other"
