"""Turns a trained network into an N-Jet network, trains it further, and turns it back into plain convolutions.

    KERAS_BACKEND=jax python convert_model.py

The network is a small CNN that is trained on scikit-learn's digits first.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_njet

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16.0
x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=360, random_state=0)


def train(model, learning_rate, epochs):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=32, epochs=epochs, verbose=0)


def show(name, model):
    right = np.argmax(model.predict(x_test, verbose=0), axis=-1) == y_test
    print(f"{name}: test accuracy {np.mean(right):.3f}", flush=True)


keras.utils.set_random_seed(0)
cnn = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(10),
    ]
)
train(cnn, learning_rate=0.003, epochs=15)
show("trained, filters of 3×3 pixels", cnn)

njet, report = keras_njet.convert(cnn, order=4, return_report=True)  # order 4 matches every 3×3 filter exactly
for layer in report:
    print(f"  {layer.name}: σ = {layer.sigma:.2f}, error of the filters {layer.error:.1e}")
show("converted", njet)

train(njet, learning_rate=0.001, epochs=5)  # from here on, σ is free to move
keras_njet.summary(njet)
show("trained further", njet)

frozen = keras_njet.freeze(njet)  # plain Conv2D layers, which load and export without keras-njet
print("frozen:", ", ".join(type(layer).__name__ for layer in frozen.layers))
show("frozen", frozen)
