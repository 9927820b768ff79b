"""Searches over the order of the derivatives, the rate of subsampling and the learning rate of σ, with KerasTuner.

    KERAS_BACKEND=jax python tune.py 6        # the number of trials

It needs `pip install keras-tuner`. The images are scikit-learn's digits at twice their size; what is compared is the
accuracy on images that are held out.
"""

import sys
import tempfile

import keras
import keras_tuner
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_njet

TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 6

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32").repeat(2, axis=1).repeat(2, axis=2) / 16.0
x_train, x_held_out, y_train, y_held_out = train_test_split(images, labels, test_size=512, random_state=0)
x_train, y_train = x_train[:1280], y_train[:1280]


def build(choices):
    order = choices.Int("order", 1, 4)
    rate = choices.Choice("subsample_rate", [2.0, 4.0, 8.0])
    sigma_learning_rate = choices.Choice("sigma_learning_rate", [0.1, 1.0, 10.0])
    given = {"order": order, "subsample_rate": rate, "sigma_learning_rate": sigma_learning_rate, "activation": "relu"}
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras_njet.NJetConv2D(16, **given),
            keras_njet.NJetConv2D(32, **given),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


with tempfile.TemporaryDirectory() as folder:
    tuner = keras_tuner.RandomSearch(build, "val_accuracy", max_trials=TRIALS, seed=0, directory=folder)
    data = {"validation_data": (x_held_out, y_held_out), "batch_size": 64, "epochs": 6}
    tuner.search(x_train, y_train, **data, verbose=0)
    trials = tuner.oracle.get_best_trials(TRIALS)
    for trial in trials:
        values = ", ".join(f"{name} {value}" for name, value in trial.hyperparameters.values.items())
        print(f"accuracy {trial.score:.3f}: {values}")
