"""Guards multi-scale Fashion-MNIST: four objects an image, enlarged, and their masks."""

import numpy as np
import pytest

from applications.data_sets import multiscale_fashion_mnist as multiscale
from tests.helpers import bilinear_resize

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


def test_the_pixels_of_an_object_have_its_class():
    labels = np.arange(10)
    objects = np.repeat(100 + 15 * labels, 28 * 28).reshape(10, 28, 28).astype("uint8")  # of one grey value each
    images, masks = multiscale.make_dataset(objects, labels, 2, count=20, batch_size=20, seed=0)[0]
    for label in labels:
        assert set(masks[np.rint(images[..., 0] * 255) == 100 + 15 * label]) == {label + 1}


def test_objects_are_enlarged_bilinearly():
    expected = bilinear_resize(OBJECTS[:1, ..., None] / 255.0, 84, 84)[0, ..., 0]
    np.testing.assert_allclose(multiscale.enlarge(OBJECTS[0], 3), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"Received: scale=0$"):
        multiscale.make_dataset(OBJECTS, LABELS, 0, 1)
