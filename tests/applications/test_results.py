"""Guards the committed runs: what they recorded still makes the networks that were trained."""

import json
import sys

import numpy as np
import pytest

from tests.test_examples import ROOT

sys.path.insert(0, str(ROOT / "examples"))
import runs
import train_classifier
import train_segmentation

CHANNELS = {"fashion_mnist": 1, "multiscale_fashion_mnist": 1, "isbi_em": 1, "camvid": 3}
CLASSES = {"multiscale_fashion_mnist": 11, "isbi_em": 2, "camvid": 11}
RUNS = [path.parent for path in sorted((ROOT / "applications").rglob("results.json"))]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run.relative_to(ROOT / "applications")))
def test_a_recorded_run_makes_the_network_that_was_trained(run):
    arguments = runs.recorded(run, data_dir="here")
    assert arguments.data_dir == "here"
    channels = CHANNELS[arguments.dataset]
    if arguments.model in train_classifier.MODELS:
        model = train_classifier.make_model(arguments.model, {"input_shape": (28, 28, channels)}, arguments)
    else:
        model = train_segmentation.make_model(CLASSES[arguments.dataset], channels, arguments)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trained == json.loads((run / "results.json").read_text())["metrics"]["trained_parameters"]
