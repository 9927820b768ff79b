"""Segments a volume whose slices are thicker than their pixels are wide: an N-Jet with a σ for each axis.

    KERAS_BACKEND=jax python segment_volume.py                                # a synthetic volume of blobs
    KERAS_BACKEND=jax python segment_volume.py train-volume.tif train-labels.tif     # ISBI 2012: membranes and cells

Draws a slice of the volume, its truth and the prediction in segment_volume.png.
"""

import sys

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

import keras_njet

CROP = (4, 32, 32)  # depth, height and width of the parts to train on, in voxels
rng = np.random.default_rng(0)


def blobs(depth=12, side=64, thickness=4, count=24):
    """Balls in noise, seen in slices that are `thickness` times as far apart as the pixels of a slice."""
    z, y, x = np.ogrid[: depth * thickness : thickness, :side, :side]
    truth = np.zeros((depth, side, side), "int32")
    for radius in rng.uniform(4, 9, count):
        at = rng.uniform(0, (depth * thickness, side, side))
        truth |= (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < radius**2
    return (truth + rng.normal(0, 1.0, truth.shape)).astype("float32"), truth


def stack(path):
    """The slices of a TIFF file, shape (depth, height, width)."""
    with Image.open(path) as file:
        return np.stack([np.asarray(slice_) for slice_ in ImageSequence.Iterator(file)])


if len(sys.argv) == 3:
    volume, truth = stack(sys.argv[1]) / 127.5 - 1.0, (stack(sys.argv[2]) > 127).astype("int32")
else:
    volume, truth = blobs()
volume = volume[..., None].astype("float32")
last = 3 * len(volume) // 4  # the slices from here on are the test set


def crop():
    """A part of the training set at a random place."""
    at = [rng.integers(whole - size + 1) for whole, size in zip((last, *truth.shape[1:]), CROP, strict=True)]
    place = tuple(slice(start, start + size) for start, size in zip(at, CROP, strict=True))
    return volume[place], truth[place]


keras.utils.set_random_seed(0)
layers = []
for number in (1, 2):
    layers += [
        keras_njet.NJetConv3D(8, order=2, isotropic=False, use_bias=False, name=f"njet{number}"),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
    ]
layers.append(keras.layers.Conv3D(2, 1))
model = keras.Sequential([keras.Input((*CROP, 1)), *layers])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
x, y = (np.stack(parts) for parts in zip(*(crop() for _ in range(64)), strict=True))
model.fit(x, y, batch_size=4, epochs=10, verbose=2)
for layer in model.layers:
    if isinstance(layer, keras_njet.NJetConv3D):
        print(f"{layer.name}: σ along depth, height and width", np.round(keras.ops.convert_to_numpy(layer.sigma), 2))

tested = keras.Sequential([keras.Input(volume[last:].shape), *layers])  # the same layers, for the whole test set
predicted = np.argmax(tested.predict(volume[None, last:], verbose=0)[0], axis=-1)
union = np.sum((predicted == 1) | (truth[last:] == 1))
print(f"intersection over union on the test slices: {np.sum((predicted == 1) & (truth[last:] == 1)) / union:.3f}")

figure = Figure(figsize=(9, 3.2), layout="constrained")
shown = {"slice": volume[last, ..., 0], "truth": truth[last], "prediction": predicted[0]}
for (name, pixels), axes in zip(shown.items(), figure.subplots(1, 3), strict=True):
    axes.imshow(pixels, cmap="gray")
    axes.set(title=name, xticks=[], yticks=[])
figure.savefig("segment_volume.png", dpi=120)
print("drawn in segment_volume.png")
