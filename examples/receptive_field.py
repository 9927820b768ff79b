"""Draws what a pixel of the last feature map depends on, before and after training (like figure 13 of the paper).

    KERAS_BACKEND=jax python receptive_field.py     # receptive_field.png in the current folder

A network with 3×3 filters sees as far after training as before. N-Jet layers learn how far to see.
"""

import keras
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import keras_njet
from keras_njet import visualization

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16.0
images = keras.ops.image.resize(images, (24, 24), data_format="channels_last")
images = keras.ops.convert_to_numpy(images)


def make_model(conv, **options):
    top = [keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(10)]
    layers = [conv(16, activation="relu", name=f"conv{number}", **options) for number in (1, 2)]
    return keras.Sequential([keras.Input((24, 24, 1)), *layers, *top])


def feature_map(model):
    """The part of a model that ends in its last feature map."""
    return keras.Model(model.inputs, model.get_layer("conv2").output)


keras.utils.set_random_seed(0)
models = {
    "3×3 filters": make_model(keras.layers.Conv2D, kernel_size=3, padding="same"),
    "N-Jet": make_model(keras_njet.NJetConv2D, order=3),
}
figure = Figure(figsize=(8, 7), layout="constrained")
for (name, model), row in zip(models.items(), figure.subplots(2, 2), strict=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    for when, axes in zip(("before", "after"), row, strict=True):
        if when == "after":
            model.fit(images, labels, batch_size=32, epochs=5, verbose=2)
        visualization.plot_effective_receptive_field(feature_map(model), images[:32], ax=axes)
        axes.set_title(f"{name}, {when} training")
keras_njet.summary(models["N-Jet"])
figure.savefig("receptive_field.png", dpi=110)
print("drawn in receptive_field.png")
