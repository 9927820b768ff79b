"""Guards the segmentation examples: their data sets, on real files where they are, and training end to end."""

import json
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from tests.oracles import bilinear_resize
from tests.test_examples import DATA, ROOT, needs_mnist, skip_without

sys.path.insert(0, str(ROOT / "examples"))
import multiscale_fashion_mnist as multiscale
import receptive_field
import segmentation_sets
import train_segmentation

RNG = np.random.default_rng(0)
OBJECTS = RNG.integers(0, 256, size=(20, 28, 28)).astype("uint8") * (RNG.random((20, 28, 28)) > 0.3)
LABELS = np.arange(20) % 10


@pytest.mark.parametrize(("scale", "size"), [(1, 70), (3, 210), ("random", 280)])
def test_multiscale_images_are_four_enlarged_objects(scale, size):
    dataset = multiscale.make_dataset(OBJECTS, LABELS, scale, count=5, batch_size=2, seed=3)
    assert len(dataset) == 3
    x, y = dataset[0]
    assert x.shape == (2, size, size, 1)
    assert y.shape == (2, size, size)
    assert x.min() >= 0
    assert x.max() <= 1
    assert dataset[2][0].shape[0] == 1
    for index, (image, mask) in enumerate(zip(x[..., 0], y, strict=True)):
        again, _ = dataset.sample(index)
        np.testing.assert_array_equal(image, again[..., 0])
        np.testing.assert_array_equal(mask == 0, image == 0)
        np.testing.assert_array_equal(mask == 255, (image > 0) & (image < 0.2))
        for quadrant in (image[row : row + size // 2, column : column + size // 2]
                         for row in (0, size // 2) for column in (0, size // 2)):  # fmt: skip
            assert np.any(quadrant > 0)
    other = multiscale.make_dataset(OBJECTS, LABELS, scale, count=5, batch_size=2, seed=4)
    assert not np.array_equal(other[0][0], x)


def test_objects_are_enlarged_bilinearly():
    expected = bilinear_resize(OBJECTS[:1, ..., None] / 255.0, 84, 84)[0, ..., 0]
    np.testing.assert_allclose(multiscale.enlarge(OBJECTS[0], 3), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"Received: scale=0$"):
        multiscale.make_dataset(OBJECTS, LABELS, 0, 1)


def write_pair(folder, image=(6, 8, 3), mask=None):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(image, "uint8")).save(folder / "image.png")
    Image.fromarray(np.zeros((6, 8), "uint8") if mask is None else mask).save(folder / "mask.png")
    return folder / "image.png", folder / "mask.png"


def test_wrong_files_are_named_in_the_error(tmp_path):
    assert segmentation_sets.read_pair("camvid", *write_pair(tmp_path))[1].shape == (6, 8)
    with pytest.raises(ValueError, match=r"from 0 to 10.*mask.png. Received: labels=\[12, 200\]$"):
        segmentation_sets.read_pair("camvid", *write_pair(tmp_path, mask=np.array([[12, 200] * 4] * 6, "uint8")))
    with pytest.raises(ValueError, match=r"of one size.*mask.png. Received: image=\(6, 8\), mask=\(3, 8\)$"):
        segmentation_sets.read_pair("camvid", *write_pair(tmp_path, mask=np.zeros((3, 8), "uint8")))
    with pytest.raises(ValueError, match=r"one label a pixel.*Received: shape=\(6, 8, 3\)$"):
        segmentation_sets.read_pair("camvid", *write_pair(tmp_path, mask=np.zeros((6, 8, 3), "uint8")))
    image, mask = write_pair(tmp_path)
    image.write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"can be read. Received: path='.*image.png'"):
        segmentation_sets.read_pair("camvid", image, mask)
    with pytest.raises(FileNotFoundError, match="isbi-em"):
        segmentation_sets.find_pairs("isbi_em", tmp_path / "nothing", "train")


def test_pascal_voc_in_its_own_layout(tmp_path):
    root = tmp_path / "VOCdevkit/VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("c\n")
    mask = Image.fromarray(np.array([[0, 20, 255]] * 4, "uint8"), mode="P")
    mask.putpalette(list(range(256)) * 3)
    for name in "abc":
        Image.fromarray(RNG.integers(0, 255, (4, 3, 3)).astype("uint8")).save(root / f"JPEGImages/{name}.jpg")
        mask.save(root / f"SegmentationClass/{name}.png")
    assert [path.stem for path, _ in segmentation_sets.find_pairs("voc", tmp_path, "train")] == ["a", "b"]
    (pair,) = segmentation_sets.find_pairs("voc", tmp_path, "test")
    x, y = segmentation_sets.read_pair("voc", *pair)
    assert x.shape == (4, 3, 3)
    np.testing.assert_array_equal(y, [[0, 20, 255]] * 4)


@pytest.mark.parametrize("size", [5, 12, 30])
def test_image_and_mask_are_cropped_at_one_place(size):
    rows, columns = np.mgrid[0:20, 0:16]
    y = ((rows // 5) * 4 + columns // 5).astype("uint8")
    for seed in range(5):
        image, mask = segmentation_sets.random_crop(y[..., None] * 10, y, size, np.random.default_rng(seed))
        assert image.shape == (size, size, 1)
        inside = mask != 255
        assert inside.any()
        near = np.abs(image[..., 0].astype(int) - 10 * mask.astype(int))[inside] <= 20
        assert near.mean() > 0.8  # the image is smoothed where labels change


@needs_mnist
@pytest.mark.parametrize(
    ("model", "dataset", "options"),
    [
        ("NJetUNet", "multiscale_fashion_mnist", "--scale 1 --filters 4 --images 4 --implementation dense"),
        ("NJetUNet", "isbi_em", "--filters 2 --crop 32"),
        ("NJetDeepLabV2", "camvid", "--crop 32 --backbone resnet32"),
        ("UNet", "camvid", "--filters 2 --crop 32 --batch-size 2"),
    ],
)
def test_it_trains_on_real_images(model, dataset, options, tmp_path):
    skip_without({"camvid": "camvid", "isbi_em": "isbi-em"}.get(dataset, "fashion-mnist"))
    if keras.backend.backend() == "jax" and model != "NJetUNet":
        pytest.skip("compiling each network takes minutes; these are tested on TensorFlow and torch")
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
