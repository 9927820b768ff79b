"""Classifies time series by a small network of N-Jet layers, which learn how long the events are that matter.

pip install aeon                                # the series come with it
KERAS_BACKEND=jax python classify_series.py     # or another set: python classify_series.py ACSF1
"""

import sys

import keras
import numpy as np

import keras_njet

try:
    from aeon.datasets import load_classification
except ImportError as error:
    sys.exit(f"The series come with the package aeon: `pip install aeon` ({error}).")

NAME = sys.argv[1] if len(sys.argv) > 1 else "OSULeaf"  # outlines of leaves of six trees


def load(split):
    """The series of a part, each with mean 0 and standard deviation 1, and their classes."""
    x, labels = load_classification(NAME, split=split)  # (series, 1, time steps)
    x = np.moveaxis(x, 1, 2)
    x = (x - x.mean(axis=1, keepdims=True)) / np.maximum(x.std(axis=1, keepdims=True), 1e-6)
    return x.astype("float32"), labels


(x_train, train_labels), (x_test, test_labels) = load("train"), load("test")
classes = np.unique(train_labels)
y_train, y_test = (np.searchsorted(classes, labels) for labels in (train_labels, test_labels))
print(f"{NAME}: {len(x_train)} series of {x_train.shape[1]} values to train, {len(x_test)} to test")

keras.utils.set_random_seed(0)
layers = [keras.Input(x_train.shape[1:])]
for number in (1, 2, 3):
    layers += [
        keras_njet.NJetConv1D(32, order=3, use_bias=False, name=f"njet{number}"),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
    ]
model = keras.Sequential([*layers, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(len(classes))])
model.compile(
    keras.optimizers.Adam(0.01),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x_train, y_train, batch_size=16, epochs=20, verbose=2)

keras_njet.summary(model)  # σ and the sizes of the filters, as they are now
print(f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.3f}")
