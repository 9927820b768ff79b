"""Guards the recipe of segmentation: it trains on real images, and is not repeated."""

import inspect
import json

import keras
import numpy as np
import pytest

import keras_njet
from applications import train_segmentation
from tests.helpers import DATA, needs_mnist, skip_without

pytestmark = pytest.mark.usefixtures("little_is_compiled")


@needs_mnist
@pytest.mark.parametrize(
    ("model", "dataset", "options"),
    [
        ("NJetUNet", "isbi_em", "--filters 2 --crop 32"),
        ("NJetUNet", "multiscale_fashion_mnist", "--scale 1 --filters 4 --images 4 --implementation dense"),
        ("NJetDeepLabV2", "camvid", "--crop 32 --backbone resnet32"),
        ("UNet", "camvid", "--filters 2 --crop 32 --batch-size 2"),
    ],
)
def test_it_trains_on_real_images(model, dataset, options, tmp_path):
    skip_without({"camvid": "camvid", "isbi_em": "isbi-em"}.get(dataset, "fashion-mnist"))
    if keras.backend.backend() != "torch" and dataset != "isbi_em":
        pytest.skip("takes long; this is tested on torch")
    given = f"--model {model} --dataset {dataset} --test-images 1 --epochs 1 {options}".split()
    given += [] if "--images" in given else ["--images", "2"]
    given += ["--data-dir", DATA, "--backend", keras.backend.backend(), "--out", str(tmp_path)]
    results = train_segmentation.train(train_segmentation.parse_arguments(given))
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert 0 <= results["metrics"]["test_miou"] <= 1
    assert (tmp_path / "predictions.png").stat().st_size > 1000
    assert DATA not in (tmp_path / "results.json").read_text()
    if model.startswith("NJet"):
        assert all(value > 0 for name, value in results["metrics"].items() if "sigma" in name)
        assert any("sigma" in name for name in results["metrics"])
    assert train_segmentation.train(train_segmentation.parse_arguments(given)) == results  # is not trained again


def test_class_weights_are_inverse_frequencies():
    batches = [(None, np.array([[[0, 0, 0, 1, 255]]])), (None, np.array([[[0, 2, 2, 1, 0]]]))]
    weights = train_segmentation.inverse_frequencies(batches, 3)
    np.testing.assert_allclose(weights / weights[0], [1, 5 / 2, 5 / 2])


def test_networks_that_see_photographs_take_no_images_of_one_channel(capsys):
    for model in ("DeepLabV2", "NJetDeepLabV2"):
        with pytest.raises(SystemExit):
            train_segmentation.parse_arguments(["--model", model])
        assert "Received: --dataset multiscale_fashion_mnist" in capsys.readouterr().err
        train_segmentation.parse_arguments(["--model", model, "--backbone", "resnet32"])


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ("--model UNet", "--order 2"),
        ("--model DeepLabV2 --backbone resnet32", "--order 2"),
        ("--model NJetDeepLabV2 --backbone resnet32", "--tied"),
        ("--model DeepLabV2 --backbone resnet32", "--backbone-weights imagenet"),
        ("--model NJetUNet", "--backbone-weights imagenet"),
        ("--model NJetUNet", "--kernel-size 5"),
        ("--model NJetUNet", "--backbone resnet32"),
        ("--model NJetUNet --dataset camvid", "--scale 2"),
        ("--model NJetUNet", "--crop 100"),
        ("--model NJetDeepLabV2 --dataset camvid", "--filters 16"),
        ("--model NJetDeepLabV2 --dataset camvid", "--levels 2"),
    ],
)
def test_options_of_other_networks_are_refused(given, option, capsys):
    train_segmentation.parse_arguments(given.split())
    with pytest.raises(SystemExit):
        train_segmentation.parse_arguments([*given.split(), *option.split()])
    assert f"error: {option.split()[0]} has no effect here. Received: --model " in capsys.readouterr().err


def test_the_orders_that_labels_name_are_those_of_the_networks():
    for model, order in train_segmentation.ORDERS.items():
        assert inspect.signature(getattr(keras_njet.applications, model)).parameters["order"].default == order


def test_the_mean_scale_counts_pyramids_too():
    convolution, pyramid = keras_njet.NJetConv2D(2, sigma=2.0), keras_njet.NJetASPP(2, sigma=(1.0, 3.0, 5.0, 7.0))
    model = keras.Sequential([keras.Input((8, 8, 1)), convolution, pyramid])
    assert train_segmentation.sizes(model) == {"mean_sigma": pytest.approx((2.0 + 4.0) / 2)}
    assert train_segmentation.sizes(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])) == {}
