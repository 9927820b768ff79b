"""Trains on several devices with TensorFlow: each has the weights, and a part of every batch.

    KERAS_BACKEND=tensorflow python distribute_tensorflow.py

Uses all GPUs; on a machine without one, the processor is split into two devices, or as many as the argument says. Plain
`fit` prints the loss of each epoch; the model is saved in distributed.keras, for any number of devices.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_njet

if not tf.config.list_physical_devices("GPU"):
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
strategy = tf.distribute.MirroredStrategy([device.name for device in devices])

images, labels = load_digits(return_X_y=True)
images = np.kron(images[:512].reshape(-1, 8, 8, 1) / 16.0, np.ones((1, 2, 2, 1))).astype("float32")

keras.utils.set_random_seed(0)
with strategy.scope():  # in which variables are made
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras_njet.NJetConv2D(8, subsample_rate=4.0, activation="relu", data_format="channels_last"),
            keras_njet.NJetConv2D(16, activation="relu", data_format="channels_last"),
            keras.layers.GlobalMaxPooling2D(data_format="channels_last"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(images, labels[:512], batch_size=64, epochs=4, shuffle=False, verbose=0)
model.save("distributed.keras")
for epoch, loss in enumerate(history.history["loss"], start=1):
    print(f"{len(devices)} device(s), epoch {epoch}: loss {loss:.7f}")
