"""Guards the data sets for segmentation: files are read as they are, and image and mask are cropped as one."""

import numpy as np
import pytest
from PIL import Image

from applications.data_sets import segmentation

RNG = np.random.default_rng(0)


def write_pair(folder, image=(6, 8, 3), mask=None):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(image, "uint8")).save(folder / "image.png")
    Image.fromarray(np.zeros((6, 8), "uint8") if mask is None else mask).save(folder / "mask.png")
    return folder / "image.png", folder / "mask.png"


def test_wrong_files_are_named_in_the_error(tmp_path):
    assert segmentation.read_pair("camvid", *write_pair(tmp_path))[1].shape == (6, 8)
    with pytest.raises(ValueError, match=r"from 0 to 10.*mask.png. Received: labels=\[12, 200\]$"):
        segmentation.read_pair("camvid", *write_pair(tmp_path, mask=np.array([[12, 200] * 4] * 6, "uint8")))
    with pytest.raises(ValueError, match=r"of one size.*mask.png. Received: image=\(6, 8\), mask=\(3, 8\)$"):
        segmentation.read_pair("camvid", *write_pair(tmp_path, mask=np.zeros((3, 8), "uint8")))
    with pytest.raises(ValueError, match=r"one label a pixel.*Received: shape=\(6, 8, 3\)$"):
        segmentation.read_pair("camvid", *write_pair(tmp_path, mask=np.zeros((6, 8, 3), "uint8")))
    image, mask = write_pair(tmp_path)
    image.write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"can be read. Received: path='.*image.png'"):
        segmentation.read_pair("camvid", image, mask)
    with pytest.raises(FileNotFoundError, match="isbi-em"):
        segmentation.find_pairs("isbi_em", tmp_path / "nothing", "train")


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
    assert [path.stem for path, _ in segmentation.find_pairs("voc", tmp_path, "train")] == ["a", "b"]
    (pair,) = segmentation.find_pairs("voc", tmp_path, "test")
    x, y = segmentation.read_pair("voc", *pair)
    assert x.shape == (4, 3, 3)
    np.testing.assert_array_equal(y, [[0, 20, 255]] * 4)


@pytest.mark.parametrize("size", [5, 12, 30])
def test_image_and_mask_are_cropped_at_one_place(size):
    rows, columns = np.mgrid[0:20, 0:16]
    y = ((rows // 5) * 4 + columns // 5).astype("uint8")
    for seed in range(5):
        image, mask = segmentation.random_crop(y[..., None] * 10, y, size, np.random.default_rng(seed))
        assert image.shape == (size, size, 1)
        inside = mask != 255
        assert inside.any()
        near = np.abs(image[..., 0].astype(int) - 10 * mask.astype(int))[inside] <= 20
        assert near.mean() > 0.8  # the image is smoothed where labels change
