"""Does a learned scale follow the size of the images? Trains one network on digits at 1×, 1.5× and 2× their size.

    KERAS_BACKEND=jax python learn_resolution.py         # a table, and learn_resolution.png in the current folder

Nothing in the network depends on the size. If σ follows it, (2 / 1.5)·σ at 1.5× is σ at 2×.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_njet

SEEDS, EPOCHS, BATCH_SIZE = 3, 20, 32

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16.0


def train(size, seed):
    """Trains on images of `size` pixels a side; returns σ after each epoch and the test accuracy."""
    resized = keras.ops.image.resize(images, (size, size), data_format="channels_last")
    resized = keras.ops.convert_to_numpy(resized)
    x_train, x_test, y_train, y_test = train_test_split(resized, labels, stratify=labels, test_size=360, random_state=0)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((size, size, 1)),
            keras_njet.NJetConv2D(16, order=3, sigma=1.0, use_bias=False, name="njet"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(10),
        ]
    )
    steps = EPOCHS * -(-len(x_train) // BATCH_SIZE)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    callbacks = [keras_njet.ResolutionCallback()]  # writes σ to the history
    history = model.fit(x_train, y_train, BATCH_SIZE, EPOCHS, callbacks=callbacks, verbose=0).history
    return history["njet/sigma"], model.evaluate(x_test, y_test, verbose=0)[1]


sigma = {}
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
print(f"Means over {SEEDS} seeds:\n\n| images | pixels | learned σ | test accuracy |\n|---|---|---|---|", flush=True)
for index, factor in enumerate((1.0, 1.5, 2.0)):
    size = round(8 * factor)
    curves, accuracies = zip(*(train(size, seed) for seed in range(SEEDS)), strict=True)
    sigma[factor] = np.mean([curve[-1] for curve in curves])
    print(f"| {factor:g}× | {size}×{size} | {sigma[factor]:.3f} | {np.mean(accuracies):.3f} |", flush=True)
    for curve in curves:
        label = f"{factor:g}× ({size} pixels)" if curve is curves[0] else None
        axes.plot([1.0, *curve], color=f"C{index}", alpha=0.7, label=label)

print(f"\n(2 / 1.5)·σ at 1.5× = {2 / 1.5 * sigma[1.5]:.3f} beside σ at 2× = {sigma[2.0]:.3f}")
axes.set(xlabel="epoch", ylabel="learned σ (pixels)", title="digits, a line a seed")
axes.legend(title="image size", loc="center left", bbox_to_anchor=(1.0, 0.5))
axes.grid(alpha=0.3)
figure.savefig("learn_resolution.png", dpi=120)
print("drawn in learn_resolution.png")
