"""Guards released weights: they load offline, do what their card says, and wrong use is named in the error."""

import keras
import numpy as np
import pytest

from applications.data_sets import images, multiscale_fashion_mnist
from keras_njet import applications
from keras_njet.applications import _weights
from tests.helpers import DATA, ROOT, needs_fashion_mnist, on_torch, skip_without, to_numpy
from tests.helpers import build_application as build

pytestmark = pytest.mark.usefixtures("little_is_compiled")

RELEASES = [(model, name) for model, weights in _weights.released().items() for name in weights]
LICENCES = {"fashion_mnist": "MIT", "multiscale_fashion_mnist": "MIT", "cifar10": "none stated by its authors"}
CLASSIFIERS = sorted((release for release in RELEASES if "UNet" not in release[0]), reverse=True)  # N-Jets first


def load(model, name, **arguments):
    release = _weights.released()[model][name]
    shape = {"input_shape": (28, 28, release["channels"])}
    return getattr(applications, model)(weights=name, **{**shape, **release["arguments"], **arguments})


def test_there_are_released_weights():
    assert ("NJetNIN", "fashion_mnist") in RELEASES
    assert ("NIN", "fashion_mnist") in RELEASES


def test_the_table_of_families_says_which_have_weights():
    titles = {
        "cifar10": "CIFAR-10",
        "fashion_mnist": "Fashion-MNIST",
        "multiscale_fashion_mnist": "multi-scale Fashion-MNIST",
    }
    text, _ = (ROOT / "applications/README.md").read_text().split("## Studies")
    rows = [line.split(" | ") for line in text.splitlines() if "README.md) | " in line]
    assert len(rows) == 6
    for _, networks, said in rows:
        names = sorted({titles[name] for model, name in RELEASES if f"`{model}`" in networks})
        assert said.split(", `")[0].removesuffix(" |") == (" and ".join(names) or "none")


def test_each_that_is_listed_loads_with_the_arguments_that_are_listed():
    rows = applications.list_weights()
    assert [(row["network"], row["weights"]) for row in rows] == RELEASES
    for row in rows:
        shape = (28, 28, row["channels"])
        make = getattr(applications, row["network"])
        model = make(weights=row["weights"], input_shape=shape, classes=row["classes"], **row["arguments"])
        assert model.output_shape[-1] == row["classes"]
        assert 0.0 < row["value"] < 1.0
        assert row["metric"] in ("test_accuracy", "test_miou")
        assert row["licence"] == LICENCES[row["weights"]]
        row["arguments"].clear()  # which is the caller's
    assert applications.list_weights()[0]["arguments"]


@pytest.mark.parametrize(("model", "name"), CLASSIFIERS)
def test_they_classify_real_images_as_well_as_their_card_says(model, name):
    skip_without(images.FOLDERS[name])
    _, (x, y) = images.load_pixels(name, DATA)
    x, y = applications.nin.preprocess_input(x[:2000], dataset=name), y[:2000]
    predictions = load(model, name, input_shape=x.shape[1:]).predict(x, batch_size=500, verbose=0)
    accuracy = np.mean(predictions.argmax(axis=1) == y)
    assert abs(accuracy - _weights.released()[model][name]["test_accuracy"]) < 0.02


@pytest.mark.parametrize(("model", "name"), CLASSIFIERS)
def test_they_load_without_the_top_too(model, name):
    whole, maps = load(model, name), load(model, name, include_top=False, classes=3)
    for variable in maps.weights:
        other = next(v for v in whole.weights if v.path == variable.path)
        np.testing.assert_array_equal(to_numpy(variable), to_numpy(other))


@on_torch
@needs_fashion_mnist
def test_the_u_net_segments_real_images_as_well_as_its_card_says():
    from keras_njet import SegmentationIoU

    _, (x, y) = images.load_pixels("fashion_mnist", DATA)
    test_set = multiscale_fashion_mnist.make_dataset(x, y, scale=4, count=12, seed=1)
    model = applications.NJetUNet(weights="multiscale_fashion_mnist", filters=16)
    miou = SegmentationIoU(11)
    for image, mask in (test_set[index] for index in range(12)):
        miou.update_state(mask, model(image))
    assert abs(float(miou.result()) - _weights.released()["NJetUNet"]["multiscale_fashion_mnist"]["test_miou"]) < 0.1


def test_wrong_use_is_named_in_the_error():
    with pytest.raises(ValueError, match=r"`classes` should be 10. Received: classes=7$"):
        load("NJetNIN", "fashion_mnist", classes=7)
    with pytest.raises(ValueError, match=r"were trained with width=0.25. Received: width=1.0$"):
        load("NJetNIN", "fashion_mnist", width=1.0)
    with pytest.raises(ValueError, match=r"1 channel\(s\). Received: input_shape=\(28, 28, 3\)"):
        load("NJetNIN", "fashion_mnist", input_shape=(28, 28, 3))
    with pytest.raises(ValueError, match=r"Only `None` and `softmax` .* Received: classifier_activation=relu"):
        load("NIN", "fashion_mnist", classifier_activation="relu")
    with pytest.raises(ValueError, match="Received: weights='cifar100'"):
        build("NIN", weights="cifar100")


def test_a_damaged_file_is_not_loaded(monkeypatch, tmp_path):
    for file in _weights.FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    release = _weights.released()["NIN"]["fashion_mnist"]
    damaged = bytearray((tmp_path / release["file"]).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / release["file"]).write_bytes(damaged)
    monkeypatch.setattr(_weights, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"damaged: its SHA-256 checksum should be .* Received: sha256="):
        load("NIN", "fashion_mnist")


def test_packing_keeps_half_precision_and_sigma_exactly(tmp_path):
    model, other = build("NJetNIN"), build("NJetNIN")
    model.get_layer("block1_conv").sigma = 1.2345
    checksum = _weights.pack(model, tmp_path / "weights.npz")
    assert len(checksum) == 64
    _weights.unpack(other, tmp_path / "weights.npz")
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-3, atol=1e-4)
    assert other.get_layer("block1_conv").log2_sigma.largest() == model.get_layer("block1_conv").log2_sigma.largest()
    model.get_layer("block1_bn").gamma.assign(np.full(model.get_layer("block1_bn").gamma.shape, 1e9))
    with (
        pytest.raises(ValueError, match=r"finite in half precision. Received: variable='block1_bn/gamma'"),
        np.errstate(all="ignore"),
    ):
        _weights.pack(model, tmp_path / "weights.npz")


def test_packed_scales_are_the_same_at_another_learning_rate(tmp_path):
    slow, fast = (build("NJetNIN", sigma_learning_rate=rate) for rate in (0.1, 10.0))
    fast.get_layer("block2_conv").sigma = 1.7
    _weights.pack(fast, tmp_path / "weights.npz")
    _weights.unpack(slow, tmp_path / "weights.npz")
    np.testing.assert_allclose(slow.get_layer("block2_conv").log2_sigma.numbers(), 1.7, rtol=1e-5)


def test_weights_of_a_file(tmp_path):
    model = build("NJetAllCNN")
    model.save_weights(tmp_path / "some.weights.h5")
    other = build("NJetAllCNN", weights=tmp_path / "some.weights.h5")
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(model(x)), to_numpy(other(x)), atol=1e-6)
    with pytest.raises(ValueError, match=r"Received: weights='missing.weights.h5'"):
        build("NJetAllCNN", weights="missing.weights.h5")
    assert isinstance(other, keras.Model)
