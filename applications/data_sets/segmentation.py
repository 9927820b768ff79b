"""Images and masks for segmentation: CamVid, ISBI 2012 (electron microscopy) and Pascal VOC."""

import pathlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from applications.data_sets.batches import random_batches

IGNORED = 255
NAMES = {
    "camvid": (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist",
    ),
    "isbi_em": ("membrane", "cell"),
    "voc": (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table",
        "dog", "horse", "motorbike", "person", "plant", "sheep", "sofa", "train", "monitor",
    ),
}  # fmt: skip
CLASSES = {name: len(names) for name, names in NAMES.items()}
ISBI_TEST_IMAGES = 6


def find_pairs(name, data_dir, part):
    """Lists the files of a data set.

    Args:
        name: "camvid" ({train,val,test}/{images,masks}/ in DIR or DIR/camvid), "isbi_em" ({image,label}/ in DIR or
            DIR/isbi-em, whose last six images are the test set) or "voc" (JPEGImages/, SegmentationClass/ and
            ImageSets/Segmentation/ in DIR, DIR/VOC2012 or DIR/VOCdevkit/VOC2012).
        data_dir: Folder with the original files.
        part: "train" or "test" ("val" of Pascal VOC).

    Returns:
        A list of pairs of paths: image and mask.
    """
    root = pathlib.Path(data_dir)
    if name == "camvid":
        folder = _first(root / "camvid" / part, root / part)
        pairs = [(path, folder / "masks" / f"{path.stem}.png") for path in sorted((folder / "images").iterdir())]
    elif name == "isbi_em":
        folder = _first(root / "isbi-em", root)
        images = sorted((folder / "image").iterdir(), key=lambda path: (len(path.stem), path.stem))
        pairs = [(path, folder / "label" / path.name) for path in images]
        pairs = pairs[:-ISBI_TEST_IMAGES] if part == "train" else pairs[-ISBI_TEST_IMAGES:]
    elif name == "voc":
        folder = _first(root / "VOCdevkit/VOC2012", root / "VOC2012", root)
        listed = folder / "ImageSets/Segmentation" / f"{'train' if part == 'train' else 'val'}.txt"
        names = listed.read_text().split()
        pairs = [(folder / f"JPEGImages/{stem}.jpg", folder / f"SegmentationClass/{stem}.png") for stem in names]
    else:
        raise ValueError(f"Expected one of {list(CLASSES)}. Received: name={name!r}")
    return pairs


def read_pair(name, image_path, mask_path):
    """Reads an image and its mask.

    Returns:
        `(x, y)`: uint8 image of shape (height, width, channels), 1 channel for "isbi_em" and else 3, and uint8 mask of
        shape (height, width), with classes from 0, and 255 for pixels to ignore.
    """
    x = _open(image_path, "L" if name == "isbi_em" else "RGB")
    y = _open(mask_path, None)
    if y.ndim != 2:
        raise ValueError(f"Expected a mask with one label a pixel, in file {mask_path}. Received: shape={y.shape}")
    if x.shape[:2] != y.shape:
        raise ValueError(
            f"Expected an image and a mask of one size, in files {image_path} and {mask_path}. Received: "
            f"image={x.shape[:2]}, mask={y.shape}"
        )
    if name == "isbi_em":
        y = (y > 127).astype("uint8")
    elif name == "camvid":
        y = np.where(y == 11, IGNORED, y)
    wrong = np.setdiff1d(y, [*range(CLASSES[name]), IGNORED])
    if wrong.size:
        raise ValueError(
            f"Expected labels from 0 to {CLASSES[name] - 1}, or {IGNORED}, in file {mask_path}. Received: "
            f"labels={wrong.tolist()}"
        )
    return (x[..., None] if x.ndim == 2 else x), y.astype("uint8")


def random_crops(pairs, batch_size, preprocess, size, seed):
    """Random batches of squares that are cut out of images and their masks, as in DeepLabv2 (`random_crop`).

    Args:
        pairs: List of `(x, y)` as from `read_pair`.
        batch_size: Squares a batch.
        preprocess: Function from uint8 images to float32 input of the network.
        size: Pixels of the side of a square.
        seed: Integer, of order and crops, which differ from epoch to epoch.
    """

    def make(chosen, rng):
        return _batch([random_crop(*pairs[index], size, rng) for index in chosen], preprocess)

    return random_batches(len(pairs), batch_size, seed, make)


def whole_images(pairs, preprocess):
    """A `keras.utils.PyDataset` of whole images for tests, one per batch, in their order."""
    import keras

    class Images(keras.utils.PyDataset):
        def __len__(self):
            return len(pairs)

        def __getitem__(self, index):
            return _batch(pairs[index : index + 1], preprocess)

    return Images()


def _batch(pairs, preprocess):
    return preprocess(np.stack([x for x, _ in pairs])), np.stack([y for _, y in pairs]).astype("int32")


def random_crop(x, y, size, rng):
    """Scales an image and its mask by 0.5 to 1.5, flips them or not, and cuts out a square, padded where needed."""
    scale = rng.uniform(0.5, 1.5)
    shape = (max(1, round(x.shape[1] * scale)), max(1, round(x.shape[0] * scale)))
    image = Image.fromarray(x.squeeze(-1) if x.shape[-1] == 1 else x).resize(shape, Image.Resampling.BILINEAR)
    mask = Image.fromarray(y).resize(shape, Image.Resampling.NEAREST)
    x, y = np.asarray(image).reshape(*shape[::-1], x.shape[-1]), np.asarray(mask)
    if rng.random() < 0.5:
        x, y = x[:, ::-1], y[:, ::-1]
    missing = [max(0, size - length) for length in y.shape]
    x = np.pad(x, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    y = np.pad(y, [(0, missing[0]), (0, missing[1])], constant_values=IGNORED)
    top, left = (int(rng.integers(length - size + 1)) for length in y.shape)
    return x[top : top + size, left : left + size], y[top : top + size, left : left + size]


def _first(*folders):
    for folder in folders:
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    first, *others = (str(folder) for folder in folders)
    raise FileNotFoundError(f"Expected files in this folder, or in one of {others}. Received: folder={first!r}")


def _open(path, mode):
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode) if mode else image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"Expected an image file that can be read. Received: path={str(path)!r} ({error})") from error
