"""Trains on several devices with JAX: each has a part of every batch, or a part of the coefficients.

    KERAS_BACKEND=jax python distribute_jax.py
    KERAS_BACKEND=jax python distribute_jax.py coefficients

On a machine without GPUs, XLA_FLAGS=--xla_force_host_platform_device_count=2 makes two devices of the processor. Plain
`fit` prints the loss of each epoch; the model is saved in distributed.keras, for any number of devices.
"""

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_njet

devices = keras.distribution.list_devices()
if "coefficients" in sys.argv:
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ["batch", "filters"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*second/coefficients"] = (None, None, "filters")  # (basis, channels, filters)
    layout[".*second/bias"] = ("filters",)
    distribution = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
else:
    distribution = keras.distribution.DataParallel(devices=devices)
keras.distribution.set_distribution(distribution)

images, labels = load_digits(return_X_y=True)
images = np.kron(images[:512].reshape(-1, 8, 8, 1) / 16.0, np.ones((1, 2, 2, 1))).astype("float32")

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((16, 16, 1)),
        keras_njet.NJetConv2D(8, subsample_rate=4.0, activation="relu", data_format="channels_last", name="first"),
        keras_njet.NJetConv2D(16, activation="relu", data_format="channels_last", name="second"),
        keras.layers.GlobalMaxPooling2D(data_format="channels_last"),
        keras.layers.Dense(10),
    ]
)
model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(images, labels[:512], batch_size=64, epochs=4, shuffle=False, verbose=0)
model.save("distributed.keras")
for epoch, loss in enumerate(history.history["loss"], start=1):
    print(f"{len(devices)} device(s), epoch {epoch}: loss {loss:.7f}")
print("second/coefficients:", model.get_layer("second").coefficients.value.sharding)
