"""Trains a classification network, baseline or N-Jet, by a recipe like that of the paper (section IV-A, CIFAR).

    python -m applications.train_classifier --model NJetNIN --dataset cifar10
    python -m applications.train_classifier --model NIN --dataset fashion_mnist --data-dir DIR --width 0.25 --epochs 9

SGD with momentum, a learning rate that is divided by ten after a third and again after two thirds of the epochs, random
crops of padded images, flips, and weight decay of everything but σ. A run that was interrupted or killed goes on after
its last epoch if it is started again with the same options, and ends as it would have.

Writes into --out: log.csv (one row for each epoch: loss, accuracy, σ, filter and feature-map sizes of each N-Jet
layer), results.json (configuration, versions, metrics), sizes.png (learned feature-map sizes beside the baseline's, the
paper's figures 7 and 8) and model.weights.h5.
"""

import inspect

import numpy as np
from matplotlib.figure import Figure

from applications import _results, _training
from applications._arguments import ArgumentParser
from applications.data_sets import images
from applications.data_sets.batches import random_batches

MODELS = [
    prefix + name
    for name in ("NIN", "AllCNN", "ResNet32", "ResNet110", "EfficientNetB0")
    for prefix in ("", "NJet")
]  # fmt: skip
CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10, "mnist": 10, "fashion_mnist": 10}
FLIPPED = ("cifar10", "cifar100", "fashion_mnist")  # digits must not be mirrored
PADDING = 4


def main():
    _results.main(parse_arguments(), measure, plot_sizes)


def parse_arguments(given=None):
    parser = ArgumentParser("train_classifier", __doc__, "{recipe}/{dataset}/{model}/seed-{seed}", seed=True)
    parser.add_argument("--model", choices=MODELS, default="NJetNIN", help="default: %(default)s")
    parser.add_argument("--dataset", choices=CLASSES, default="cifar10", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=5e-4, help="d: d·w is added to the gradient of w")
    parser.add_argument("--images", type=int, help="number of training images, from the first on; default: all")
    parser.add_argument("--test-images", type=int, help="number of test images, from the first on; default: all")
    parser.add_argument("--precision", choices=["float32", "mixed_float16", "mixed_bfloat16"], default="float32")
    parser.add_argument("--width", type=float, help="multiplies all numbers of filters (not EfficientNet)")
    parser.add_argument("--dropout", type=float, help="NIN and AllCNN; default: 0.5")
    parser.add_argument("--kernel-sizes", type=int, nargs=3, help="NIN: sizes of the spatial filters; default: 5 5 3")
    parser.add_argument(
        "--no-subsampling", action="store_true", help="NIN: no pooling; N-Jet: the baseline's, none by σ"
    )
    parser.add_argument("--order", type=int, help="N-Jet: highest order of the Gaussian derivatives")
    parser.add_argument("--sigma", type=float, help="N-Jet: the scales at the start; default: 1")
    parser.add_argument("--fixed-sigma", action="store_true", help="N-Jet: do not learn the scales")
    parser.add_argument("--sigma-learning-rate", type=float, help="N-Jet: factor of σ's learning rate; default: 1")
    parser.add_argument("--subsample-rate", type=float, help="N-Jet: r, the σ that halves a feature map; default: 4")
    arguments = parser.read(given)
    if arguments.no_subsampling and arguments.subsample_rate:
        parser.error(
            "expected --no-subsampling or --subsample-rate, not both. "
            f"Received: no_subsampling=True, subsample_rate={arguments.subsample_rate}"
        )
    return arguments


def train(arguments) -> dict:
    """Trains one network and returns what results.json holds. A run that has ended is not repeated."""
    return _results.run(arguments, measure, plot_sizes)


def measure(arguments):
    """Trains one network; returns what is known of it."""
    import keras

    keras.utils.set_random_seed(arguments.seed)
    keras.config.set_dtype_policy(arguments.precision)
    train_set, test_set = load_images(arguments)
    shape = train_set[0].shape[1:]
    batches = augmented_batches(*train_set, arguments)
    model = make_model(arguments.model, {"input_shape": shape}, arguments)
    model.compile(make_optimizer(arguments, len(batches)), "sparse_categorical_crossentropy", metrics=["accuracy"])
    log = _training.fit_with_log(model, batches, arguments, validation_data=test_set, validation_batch_size=500)
    return {
        "input_shape": list(shape),
        "metrics": {
            "test_accuracy": log[-1]["val_accuracy"],
            "best_test_accuracy": max(row["val_accuracy"] for row in log),
            "train_accuracy": log[-1]["accuracy"],
            "trained_parameters": _training.trained_parameters(model),
            "seconds": sum(row["seconds"] for row in log),
            **{name: value for name, value in log[-1].items() if "/" in name},
        },
    }


def load_images(arguments):
    """The standardised images of the training and the test set, and their labels."""
    import keras_njet

    sets = images.load_pixels(arguments.dataset, arguments.data_dir)
    limits = (arguments.images, arguments.test_images)
    if arguments.model.endswith("EfficientNetB0"):  # which scales its images itself
        return [(x[:limit].astype("float32"), y[:limit]) for (x, y), limit in zip(sets, limits, strict=True)]
    preprocess = keras_njet.applications.nin.preprocess_input
    return [
        (preprocess(x[:limit], "channels_last", arguments.dataset), y[:limit])
        for (x, y), limit in zip(sets, limits, strict=True)
    ]


def make_model(name, where, arguments):
    """The application; `where` is its `input_shape` or `input_tensor`."""
    from keras_njet import applications

    classes = CLASSES[arguments.dataset]
    return getattr(applications, name)(weights=None, classes=classes, **where, **options(name, arguments))


def options(name, arguments):
    """The arguments of an application that were given on the command line."""
    from keras_njet import applications

    given = {
        "width": arguments.width,
        "dropout": arguments.dropout,
        "kernel_sizes": arguments.kernel_sizes,
        "order": arguments.order,
        "sigma": arguments.sigma,
        "subsample_rate": arguments.subsample_rate,
        "sigma_learning_rate": arguments.sigma_learning_rate,
        "learn_sigma": False if arguments.fixed_sigma else None,
    }
    given = {option: value for option, value in given.items() if value is not None}
    if arguments.no_subsampling:
        given |= {"subsample_rate": None} if name.startswith("NJet") else {"subsample": False}
    for option, value in given.items():
        if option not in inspect.signature(getattr(applications, name)).parameters:
            raise ValueError(f"{name} has no option `{option}`. Received: {option}={value!r}")
    return given


def augmented_batches(x, y, arguments, factor=1.0):
    """Random batches of images, each padded, cropped and flipped at random.

    Borders are multiplied by the factor, for images that are enlarged by it.
    """
    border = round(factor * PADDING)

    def make(chosen, rng):
        crops = random_crops(x[chosen], border, rng)
        if arguments.dataset in FLIPPED:
            flipped = rng.random(len(crops)) < 0.5
            crops = np.where(flipped[:, None, None, None], crops[:, :, ::-1], crops)
        return crops, y[chosen]

    return random_batches(len(x), arguments.batch_size, arguments.seed, make)


def random_crops(x, border, rng):
    """Images in a border of zeros, each cropped to its old size at a place of its own."""
    padded = np.pad(x, [(0, 0), (border, border), (border, border), (0, 0)])
    crops = np.lib.stride_tricks.sliding_window_view(padded, x.shape[1:3], axis=(1, 2))
    rows, columns = rng.integers(2 * border + 1, size=(2, len(x)))
    return np.moveaxis(crops[np.arange(len(x)), rows, columns], 1, -1)


def make_optimizer(arguments, steps):
    """SGD as in the paper, whose momentum multiplied weight decay by 1 / (1 - momentum); that of Keras is decoupled."""
    import keras

    # The rate changes after the step of its boundary, which is the last one of an epoch.
    boundaries = [steps * max(1, round(arguments.epochs * part)) - 1 for part in (1 / 3, 2 / 3)]
    rates = [arguments.learning_rate * factor for factor in (1.0, 0.1, 0.01)]
    optimizer = keras.optimizers.SGD(
        keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates),
        momentum=arguments.momentum,
        weight_decay=arguments.weight_decay / (1.0 - arguments.momentum),
    )
    optimizer.exclude_from_weight_decay(var_names=["log2_sigma"])
    return optimizer


def baseline_sizes(arguments, shape):
    """Height of the output of each spatial convolution of the baseline, by the name of the layer."""
    import keras

    from keras_njet import applications

    name = arguments.model.removeprefix("NJet")
    of_run = options(name, arguments) if name == arguments.model else {}
    baseline = getattr(applications, name)(weights=None, input_shape=tuple(shape), **of_run)
    sizes = {}
    for layer in baseline.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)) and layer.kernel_size != (1, 1):
            sizes[layer.name] = layer.output.shape[1 if layer.data_format == "channels_last" else 2]
    return sizes


def plot_sizes(results, folder):
    """Plots the size of the output of each spatial convolution, beside the baseline's (there before pooling)."""
    arguments, metrics = _results.recorded(results), results["metrics"]
    baseline = baseline_sizes(arguments, results["input_shape"])
    learned = {name: metrics[f"{name}/height"] for name in baseline if f"{name}/height" in metrics}
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.step(range(1, len(baseline) + 1), list(baseline.values()), where="mid", color="tab:gray", label="baseline")
    axes.plot(range(1, len(baseline) + 1), list(baseline.values()), "s", color="tab:gray")
    if learned:
        positions = [list(baseline).index(name) + 1 for name in learned]
        axes.plot(positions, list(learned.values()), "o-", color="tab:blue", label=f"{arguments.model}, learned")
    axes.set(xlabel="spatial convolution", ylabel="size of its output (pixels)", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"{arguments.model} on {arguments.dataset}, {arguments.epochs} epochs, seed {arguments.seed}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(folder / "sizes.png", dpi=120)


if __name__ == "__main__":
    main()
