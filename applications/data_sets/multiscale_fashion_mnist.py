"""Multi-scale Fashion-MNIST: four objects an image, of chosen or random sizes (experiment 1.1(B) of the paper).

Each object lies in a quadrant of its own, at a random place, enlarged bilinearly by a scale s. Where the grey value of
an object is at least 0.2, the mask has its class, 1 to 10; where it is 0, that of the background, 0. In between the
mask has 255, which losses and metrics ignore.
"""

import numpy as np
from PIL import Image

NAMES = (
    "background", "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
CLASSES = len(NAMES)
IGNORED = 255
THRESHOLD = 0.2
RANDOM_SCALES = (1, 2, 3, 4)


def make_dataset(images, labels, scale, count, batch_size=1, seed=0):
    """Makes a `keras.utils.PyDataset` of multi-scale images.

    Args:
        images: uint8 array of shape (n, 28, 28) or (n, 28, 28, 1).
        labels: Integer array of shape (n,), classes 0 to 9.
        scale: Integer, factor by which all objects are enlarged, or "random" for 1, 2, 3 or 4 with equal probability.
        count: Number of images.
        batch_size: Images a batch. Defaults to 1, as in the paper.
        seed: Seed of objects, scales and places: the same seed gives the same images, in the same order, every epoch.

    Returns:
        A dataset of batches `(x, y)`: float32 images of shape (batch, size, size, 1) in [0, 1] and int32 masks of shape
        (batch, size, size).
    """
    import keras

    if scale != "random" and (not isinstance(scale, int) or scale < 1):
        raise ValueError(f'`scale` must be an integer above 0 or "random". Received: scale={scale!r}')
    quadrant = 35 * (max(RANDOM_SCALES) if scale == "random" else scale)  # a quarter larger than the object

    class MultiscaleObjects(keras.utils.PyDataset):
        def __len__(self):
            return -(-count // batch_size)

        def __getitem__(self, index):
            numbers = range(index * batch_size, min(count, (index + 1) * batch_size))
            made = [self.sample(number) for number in numbers]
            return np.stack([x for x, _ in made]), np.stack([y for _, y in made])

        def sample(self, number):
            """The image and the mask of one number."""
            rng = np.random.default_rng([seed, number])
            x = np.zeros((2 * quadrant, 2 * quadrant), "float32")
            y = np.zeros((2 * quadrant, 2 * quadrant), "int32")
            for top in (0, quadrant):
                for left in (0, quadrant):
                    chosen = rng.integers(len(images))
                    factor = int(rng.choice(RANDOM_SCALES)) if scale == "random" else scale
                    grey = enlarge(images[chosen].reshape(28, 28), factor)
                    row, column = np.add(rng.integers(quadrant - len(grey) + 1, size=2), (top, left))
                    place = np.s_[row : row + len(grey), column : column + len(grey)]
                    x[place] = grey
                    y[place] = np.where(grey >= THRESHOLD, labels[chosen] + 1, np.where(grey > 0, IGNORED, 0))
            return x[..., None], y

    return MultiscaleObjects()


def enlarge(image, factor):
    """A uint8 image as float32 in [0, 1], enlarged bilinearly."""
    size = (image.shape[1] * factor, image.shape[0] * factor)
    grey = Image.fromarray(image.astype("float32") / 255.0)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR))
