"""How recipes train: small networks that are compared, and runs that log every epoch and go on when interrupted."""

import csv
import dataclasses
import sys
import time

import numpy as np

from applications import _results


def train_classifier(build, train_set, test_set, seed, arguments, settling=None):
    """Trains a small network by Adam, with a rate that falls to zero; returns what is known of it.

    Args:
        build: Function that makes the network, which ends in logits.
        train_set: `(x, y)`, arrays.
        test_set: Likewise. Nothing is decided by it: it is evaluated once, after the last epoch.
        seed: Integer, of the weights and the order of the training set.
        arguments: `epochs`, `batch_size` and `learning_rate`.
        settling: A `Settling` that begins the training, at the full rate, before the epochs of the falling one.
    """
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    (x, y), model = train_set, build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    begun, before, seconds = 0, {}, 0.0
    if settling is not None:
        model.compile(keras.optimizers.Adam(arguments.learning_rate), loss, metrics=["accuracy"])
        callbacks = [settling.callback()]
        before, seconds = fit(model, x, y, epochs=settling.most, batch_size=arguments.batch_size, callbacks=callbacks)
        begun = len(before["loss"])
    model.compile(
        adam(arguments.learning_rate, arguments.epochs * -(-len(x) // arguments.batch_size)), loss, metrics=["accuracy"]
    )
    history, of_the_end = fit(model, x, y, epochs=arguments.epochs, batch_size=arguments.batch_size)
    history = {name: [*before.get(name, []), *values] for name, values in history.items()}
    seconds += of_the_end
    _, test_accuracy = model.evaluate(*test_set, batch_size=256, verbose=0)
    print(f"test accuracy {test_accuracy:.4f}, {seconds:.0f} s", flush=True)
    return {
        "parameters": trained_parameters(model),
        "train_accuracy": history["accuracy"][-1],
        "test_accuracy": test_accuracy,
        "seconds": seconds,
        **({} if settling is None else {"epochs_to_settle": begun, "settled": settling.has_settled(scales_in(before))}),
        "sigma": {name.removesuffix("/sigma"): values for name, values in history.items() if name.endswith("/sigma")},
    }


@dataclasses.dataclass(frozen=True)
class Settling:
    """Training until scales have settled.

    Attributes:
        share: Scales have settled when their mean over the last epochs is within this share of the mean over as many
            epochs before.
        epochs: Over how many epochs each of the two means is taken.
        most: How many epochs are trained at most.
    """

    share: float = 0.01
    epochs: int = 5
    most: int = 100

    def has_settled(self, scales) -> bool:
        """Whether scales have settled, given a list for each scale with its value after each epoch."""
        if any(len(values) < 2 * self.epochs for values in scales):
            return False
        last = np.mean([values[-self.epochs :] for values in scales], axis=1)
        before = np.mean([values[-2 * self.epochs : -self.epochs] for values in scales], axis=1)
        return bool(np.all(np.abs(last / before - 1) < self.share))

    def callback(self):
        """Ends `fit` when the scales that are logged have settled."""
        import keras

        class EndWhenSettled(keras.callbacks.Callback):
            def on_epoch_end(callback, epoch, logs=None):  # noqa: N805
                for name, value in logs.items():
                    seen.setdefault(name, []).append(value)
                callback.model.stop_training = self.has_settled(scales_in(seen))

        seen = {}
        return EndWhenSettled()


def scales_in(history):
    """The values of each σ after each epoch, of a history."""
    return [values for name, values in history.items() if name.endswith("/sigma")]


def stack(make_convolution, depth):
    """Convolutions that are made by a function of their name, each with batch normalisation and ReLU: their layers."""
    import keras

    layers = []
    for number in range(1, depth + 1):
        normalization = keras.layers.BatchNormalization(momentum=0.9)
        layers += [make_convolution(name=f"layer{number}"), normalization, keras.layers.ReLU()]
    return layers


def adam(learning_rate, steps):
    """Adam with a rate that falls to zero as a cosine."""
    import keras

    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))


def fit(model, *data, epochs, callbacks=(), **options):
    """Trains a model; returns its history, with σ and sizes after each epoch, and how many seconds it took."""
    import keras_njet

    start = time.perf_counter()
    callbacks = [keras_njet.ResolutionCallback(), *callbacks, progress_bar(epochs)]
    history = model.fit(*data, epochs=epochs, callbacks=callbacks, verbose=0, **options).history
    return history, time.perf_counter() - start


def fit_with_log(model, batches, arguments, **options):
    """Trains a model and saves its weights; returns the rows of log.csv, one an epoch.

    A training that was interrupted, or killed at any moment, goes on after its last whole epoch, and ends as it would
    have: with the same order of images and the same random numbers.
    """
    import keras

    import keras_njet

    folder = arguments.out
    begun = restore(model, folder)
    model.fit(
        batches,
        initial_epoch=begun,
        epochs=arguments.epochs,
        shuffle=False,  # `batches` are in an order of their own
        callbacks=[
            random_numbers_of_epochs(arguments.seed, batches),
            keras_njet.ResolutionCallback(),
            stopwatch(),
            keras.callbacks.CSVLogger(folder / "log.csv", append=begun > 0),
            backup(folder),
        ],
        verbose=1 if sys.stdout.isatty() else 2,
        **options,
    )
    with _results.replacing(folder / "model.weights.h5") as unfinished:
        model.save_weights(unfinished)
    return read_log(folder / "log.csv")


def restore(model, folder):
    """Gives a compiled model the state it had after its last epoch; returns how many epochs it has been trained.

    What the log has of later epochs is removed from it.
    """
    saved = sorted((folder / _results.BACKUP).glob("epochs-*.weights.h5"))
    if not saved:
        return 0
    model.optimizer.build(model.trainable_variables)
    model.load_weights(saved[-1])
    epochs = int(saved[-1].name.removeprefix("epochs-").removesuffix(".weights.h5"))
    head, *rows = (folder / "log.csv").read_text().splitlines(keepends=True)
    with _results.replacing(folder / "log.csv") as unfinished:
        unfinished.write_text("".join([head, *rows[:epochs]]))
    return epochs


def backup(folder):
    """Saves the state of a training after each epoch, in a file whose name says how many epochs there were.

    `keras.callbacks.BackupAndRestore` writes two files, which disagree if the process is killed between them. This
    callback comes after the log, so that the log has a row for each epoch that is saved.
    """
    import keras

    class Backup(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            (folder / _results.BACKUP).mkdir(exist_ok=True)
            saved = folder / _results.BACKUP / f"epochs-{epoch + 1:05}.weights.h5"
            with _results.replacing(saved) as unfinished:
                self.model.save_weights(unfinished)
            for earlier in set((folder / _results.BACKUP).iterdir()) - {saved}:
                earlier.unlink()

    return Backup()


def random_numbers_of_epochs(seed, batches=None):
    """Makes `batches` and the random numbers of a model, as of dropout, depend on the seed and the epoch alone.

    Other batches can be set later, as attribute `batches`.
    """
    import keras

    class RandomNumbers(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.batches.epoch = epoch
            keras.utils.set_random_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
            states = [variable for variable in self.model.variables if variable.name == "seed_generator_state"]
            for index, state in enumerate(states):
                state.assign(np.random.SeedSequence([seed, epoch, 1 + index]).generate_state(2))

    callback = RandomNumbers()
    callback.batches = batches
    return callback


def progress_bar(epochs):
    """A bar for a whole training, one step an epoch; without a terminal, a line at its end."""
    import keras

    shown = ("loss", "accuracy")

    class ProgressBar(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            verbose = 1 if sys.stdout.isatty() else 2
            self.bar = keras.utils.Progbar(epochs, verbose=verbose, stateful_metrics=shown, unit_name="epoch")

        def on_epoch_end(self, epoch, logs=None):
            self.bar.update(epoch + 1, [(name, logs[name]) for name in shown if name in logs])

    return ProgressBar()


def stopwatch():
    """Adds the seconds of each epoch to its logs."""
    import keras

    class Stopwatch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            logs["seconds"] = time.perf_counter() - self.start

    return Stopwatch()


def read_log(path):
    """The rows of a log of numbers."""
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def trained_parameters(model):
    """How many numbers are trained."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
