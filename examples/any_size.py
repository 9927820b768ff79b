"""Trains a network on small images, and moves it to larger ones without training.

    KERAS_BACKEND=jax python any_size.py

Draws the test accuracy at several image sizes into any_size.png: of the network as it is, and rescaled. The images are
scikit-learn's digits.
"""

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_njet

SIZE = 12
SIZES = (9, 12, 18, 24, 36)

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16.0
x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=360, random_state=0)


def resize(images, size):
    resized = keras.ops.image.resize(images, (size, size), data_format="channels_last")
    return keras.ops.convert_to_numpy(resized)


keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((None, None, 1)),
        keras_njet.NJetConv2D(16, sigma=1.5, data_format="channels_last"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras_njet.NJetConv2D(32, sigma=1.5, activation="relu", data_format="channels_last"),
        keras.layers.GlobalMaxPooling2D(data_format="channels_last"),
        keras.layers.Dense(10),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(resize(x_train, SIZE), y_train, batch_size=32, epochs=15, verbose=0)

accuracies = {"as it is": [], "rescaled": []}
for size in SIZES:
    rescaled = keras_njet.rescale(model, size / SIZE)
    keras_njet.adapt_batch_statistics(rescaled, resize(x_train, size), verbose=0)  # which needs no labels
    for name, network in (("as it is", model), ("rescaled", rescaled)):
        predicted = network.predict(resize(x_test, size), verbose=0).argmax(-1)
        accuracies[name].append(np.mean(predicted == y_test))
    print(f"{size}×{size} pixels: " + ", ".join(f"{name} {values[-1]:.3f}" for name, values in accuracies.items()))

figure = Figure(figsize=(6, 4), layout="constrained")
axes = figure.subplots()
for name, values in accuracies.items():
    axes.plot(SIZES, values, "o-", label=name)
axes.axvline(SIZE, color="tab:gray", linestyle=":", label="size of the training")
axes.set(xlabel="size of the test images (pixels)", ylabel="test accuracy", ylim=(0, 1.02))
axes.legend()
axes.grid(alpha=0.3)
figure.savefig("any_size.png", dpi=120)
print("drawn in any_size.png")
