"""Turns a trained N-Jet network into a LiteRT model of 8-bit integers; prints the accuracy before and after.

    KERAS_BACKEND=tensorflow python quantize.py        # writes digits.tflite

The network is trained on scikit-learn's digits. It is frozen first, to plain convolutions, which every runtime can run.
The ranges of all numbers are taken from training images.
"""

import tempfile

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_njet

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16.0
x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=360, random_state=0)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras_njet.NJetConv2D(16, activation="relu", subsample_rate=4.0),
        keras_njet.NJetConv2D(32, activation="relu"),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(10),
    ]
)
model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x_train, y_train, batch_size=32, epochs=10, verbose=0)
frozen = keras_njet.freeze(model)

with tempfile.TemporaryDirectory() as folder:
    frozen.export(folder, verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in x_train[:200])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converted = converter.convert()
with open("digits.tflite", "wb") as file:
    file.write(converted)

interpreter = tf.lite.Interpreter(model_content=converted)
interpreter.allocate_tensors()
(given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()


def predict(image):
    interpreter.set_tensor(given["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(found["index"])[0]


def accuracy(logits):
    return np.mean(np.argmax(logits, axis=-1) == y_test)


integers = {detail["dtype"].__name__ for detail in interpreter.get_tensor_details()}
print(f"float32: test accuracy {accuracy(frozen.predict(x_test, verbose=0)):.4f}")
print(f"int8: test accuracy {accuracy([predict(image) for image in x_test]):.4f}")
print(f"{len(converted) / 1000:.0f} kB in digits.tflite, of types {', '.join(sorted(integers))}")
