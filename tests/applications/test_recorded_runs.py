"""Guards the committed runs: what they recorded still makes the networks that were trained."""

import json

import numpy as np
import pytest

from applications import _results, train_classifier, train_segmentation
from tests.helpers import ROOT, on_torch

CHANNELS = {"cifar10": 3, "fashion_mnist": 1, "multiscale_fashion_mnist": 1, "isbi_em": 1, "camvid": 3}
CLASSES = {"multiscale_fashion_mnist": 11, "isbi_em": 2, "camvid": 11}
RUNS = [
    path.parent
    for path in sorted((ROOT / "applications").rglob("results.json"))
    # A training of one network, and not a study.
    if "trained_parameters" in json.loads(path.read_text()).get("metrics", {})
]


def test_there_are_recorded_runs():
    assert len(RUNS) >= 10


@on_torch
@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run.relative_to(ROOT / "applications")))
def test_a_recorded_run_makes_the_network_that_was_trained(run):
    arguments = _results.recorded(run, data_dir="here")
    assert arguments.data_dir == "here"
    channels = CHANNELS[arguments.dataset]
    if arguments.model in train_classifier.MODELS:
        model = train_classifier.make_model(arguments.model, {"input_shape": (28, 28, channels)}, arguments)
    else:
        model = train_segmentation.make_model(CLASSES[arguments.dataset], channels, arguments)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trained == json.loads((run / "results.json").read_text())["metrics"]["trained_parameters"]
