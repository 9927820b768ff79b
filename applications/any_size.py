"""Trained at one size, tested at others: what becomes of a network whose images are larger or smaller than before?

    python -m applications.any_size --dataset fashion_mnist --data-dir DIR --seeds 3
    python -m applications.any_size --dataset cifar10 --data-dir DIR --epochs 12 --precision mixed_bfloat16

Trains NIN and N-Jet-NIN by the recipe of train_classifier, or takes the released ones (--released), and enlarges the
test images by factors from ½ to 4 in steps of √2 (--interpolation). Compared are the networks as they are, the images
resized back to the size of the training, and

    NIN, converted          N-Jet layers in the place of its convolutions, rescaled, with recomputed batch statistics
    NIN, last layer tuned   recomputed batch statistics, and the last convolution with its normalisation trained on
                            enlarged training images
    N-Jet-NIN, rescaled     `keras_njet.rescale`
      + statistics          and recomputed batch statistics, from training images without their labels; or those of the
                            first layer alone, where the smallest filters are
      + integrated          and filters integrated over pixels, with the statistics; or with those of the original
                            size, so that no images of the other size are needed
    N-Jet-NIN, channels     `keras_njet.ScaleChannels` with factors 1, √2, 2, 2√2 and 4, pooled by their maximum; they
                            are not told how large the images are. Filters are integrated over pixels, with statistics
                            of the original size
      trained through them  with weights from a short further training of a network of scale channels, on images of the
                            original size, with factors ½, 1/√2, 1, √2 and 2, of which each image leaves out half;
                            batch normalisation is frozen
      the right channel     the same weights, but only the channel of the true size of the images: the best that the
                            maximum could reach

Writes into --out: table.md, results.json (the accuracy of each network, seed, factor and method) and accuracy.png.
What predictions cost at each size is measured by `python -m benchmarks.enlarged`. Options of train_classifier can be
given, unless networks are --released. A run that was interrupted goes on where it stopped.
"""

import functools

import numpy as np
from matplotlib.figure import Figure

from applications import _pictures, _results, _tables, train_classifier
from applications._arguments import ArgumentParser
from applications.any_size_methods import METHODS, NAMES, batch_size_at, starting_networks
from applications.data_sets import images

FACTORS = tuple(2.0 ** (half / 2) for half in range(-2, 5))
NETWORKS = {"NIN": "NIN", "NJetNIN": "N-Jet-NIN"}
EPOCHS = {"mnist": 3, "fashion_mnist": 10, "cifar10": 12}
INTERPOLATIONS = ("bilinear", "bicubic")
QUICK = "--seeds 1 --factors 1 2 --images 512 --epochs 1 --evaluated 100 --statistics 100 --tuned-on 100"


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("any_size", __doc__, "{recipe}/{dataset}", seeds=3, quick=QUICK)
    parser.add_argument("--dataset", choices=EPOCHS, default="fashion_mnist", help="default: %(default)s")
    parser.add_argument("--released", action="store_true", help="evaluate the released weights")
    parser.add_argument("--epochs", type=int, help="default: 3 on MNIST, 10 on Fashion-MNIST, 12 on CIFAR-10")
    parser.add_argument("--width", type=float, default=0.25, help="multiplies all numbers of filters")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS, help="default: ½ to 4 in steps of √2")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES, help="default: all", metavar="M")
    parser.add_argument("--interpolation", choices=INTERPOLATIONS, default="bilinear", help="default: %(default)s")
    parser.add_argument("--evaluated", type=int, default=2000, help="number of test images, from the first on")
    parser.add_argument("--statistics", type=int, default=1000, help="images of which batch statistics are taken")
    parser.add_argument("--tuned-on", type=int, default=5000, help="images to train the last layer or channels with")
    parser.add_argument("--channel-epochs", type=int, default=4, help="epochs in which the channels are trained")
    arguments = parser.read(given, pass_on=True)
    parser.refuse(arguments.options, {"--model", "--seed"})
    if arguments.released and not arguments.quick and (arguments.epochs or arguments.options):
        parser.error(
            "expected no options of a training with --released: nothing is trained. "
            f"Received: epochs={arguments.epochs}, options={arguments.options}"
        )
    arguments.epochs = arguments.epochs or EPOCHS[arguments.dataset]
    if arguments.released:
        there = released_for(METHODS)
        if arguments.dataset not in there or arguments.seeds > 1:
            parser.error(
                f"expected --seeds 1 and --dataset {' or '.join(there)} with --released: one network of each kind. "
                f"Received: seeds={arguments.seeds}, dataset={arguments.dataset!r}"
            )
    return arguments


def released_for(networks):
    """The data sets for which weights of all these networks are released."""
    from keras_njet.applications import list_weights

    rows = list_weights()
    names = [{row["weights"] for row in rows if row["network"] == network} for network in networks]
    return sorted(set.intersection(*names))


def measure(arguments):
    """Trains both networks with each seed, and evaluates them at each factor."""
    networks = [
        ({"network": name}, functools.partial(train_and_evaluate, name, arguments))
        for name, methods in METHODS.items()
        if set(methods) & set(arguments.methods)
    ]
    return {"runs": _results.collect(arguments, networks)}


def train_and_evaluate(name, arguments, seed):
    """Trains a network; returns its accuracy for each method and factor."""
    import keras

    keras.utils.clear_session()
    recipe = recipe_of(name, arguments, seed)
    metrics = {} if arguments.released else train_classifier.train(recipe)["metrics"]
    known = {name: metrics[name] for name in ("test_accuracy", "seconds", "trained_parameters") if name in metrics}
    keras.config.set_dtype_policy("float32")
    model = make_model(name, arguments.dataset if arguments.released else recipe.out / "model.weights.h5", recipe)
    data = Data(arguments)
    methods = {each: method for each, method in METHODS[name].items() if each in arguments.methods}
    starts = starting_networks(methods, model, data, seed, arguments.channel_epochs)
    found = {each: {} for each in methods}
    for factor in arguments.factors:
        for each, method in methods.items():
            accuracy = evaluate(starts[each], method, factor, data, seed)
            found[each][f"{factor:.3g}"] = {"accuracy": accuracy}
            print(f"  ×{factor:.2f} {each}: {accuracy:.4f}", flush=True)
    return {**known, "methods": found}


def recipe_of(name, arguments, seed):
    """The arguments of train_classifier for a network."""
    given = ["--model", name, "--dataset", arguments.dataset, "--epochs", arguments.epochs, "--width", arguments.width]
    given += ["--dropout", arguments.dropout, "--seed", seed, "--out", arguments.out / name / f"seed-{seed}"]
    given += ["--backend", arguments.backend, *(["--data-dir", arguments.data_dir] if arguments.data_dir else [])]
    return train_classifier.parse_arguments([*given, *arguments.options])


def make_model(name, weights, recipe):
    """A network with its weights, for images of any size; it returns logits, which scale channels pool."""
    shape = (None, None, 3 if recipe.dataset == "cifar10" else 1)
    given = {"input_shape": shape, "classifier_activation": None, **train_classifier.options(name, recipe)}
    return getattr(keras_applications(), name)(weights=weights, **given)


def keras_applications():
    """The networks; imported after the backend has been chosen."""
    from keras_njet import applications

    return applications


class Data:
    """Standardised images of any size.

    Attributes:
        test: The test images in pixels, and their labels.
        train: Training images, likewise.
    """

    def __init__(self, arguments):
        (x, y), (x_test, y_test) = images.load_pixels(arguments.dataset, arguments.data_dir)
        self.dataset, self.size, self.interpolation = arguments.dataset, x.shape[1], arguments.interpolation
        self.count, self.tuned_on = arguments.statistics, arguments.tuned_on
        count = max(self.count, self.tuned_on)
        self.test, self.train = (x_test[: arguments.evaluated], y_test[: arguments.evaluated]), (x[:count], y[:count])

    def at(self, pixels, factor):
        """The images at a multiple of their size."""
        size = round(factor * self.size)
        resized = images.resize(pixels.astype("float32"), size, interpolation=self.interpolation)
        return keras_applications().nin.preprocess_input(resized, "channels_last", self.dataset)

    def statistics(self, factor):
        """Images of which batch statistics are taken: training images, without their labels."""
        return self.at(self.train[0][: self.count], factor)

    def to_tune_on(self, factor):
        """Training images and their labels, for a training of a part of the network."""
        x, y = (part[: self.tuned_on] for part in self.train)
        return self.at(x, factor), y


def evaluate(start, method, factor, data, seed):
    """The accuracy of a method on images enlarged by a factor."""
    x = data.at(data.test[0], factor)
    if method.resizes:
        x = images.resize(x, data.size, interpolation=data.interpolation)
    model = method.prepared(start, data, factor, seed)
    predicted = model.predict(x, batch_size=batch_size_at(factor), verbose=0)
    return float(np.mean(predicted.argmax(-1) == data.test[1]))


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "accuracy.png")


def curves(results):
    """For each network and method: the accuracies of all seeds at each factor."""
    for network in METHODS:
        rows = _results.select(results["runs"], network=network)
        for method in rows[0]["methods"] if rows else ():
            found = [row["methods"][method] for row in rows]
            yield network, method, {factor: [one[factor]["accuracy"] for one in found] for factor in found[0]}


def format_table(results):
    lines, factors = [], []
    for network, method, accuracies in curves(results):
        factors = list(accuracies)
        lines.append([NETWORKS[network], method, *(_tables.mean_std(values) for values in accuracies.values())])
    heads = ["network", "method", *(f"×{factor}" for factor in factors)]
    return f"{_tables.markdown(heads, lines)}\n{_tables.footnote(results)}"


def plot(results, path):
    """A curve for each method, in its colour: of the baseline dashed, of the N-Jet in full lines, or dotted."""
    chosen = results["configuration"]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots()
    for network, method, accuracies in curves(results):
        factors = [float(factor) for factor in accuracies]
        means = [np.mean(values) for values in accuracies.values()]
        deviations = [_tables.deviation(values) for values in accuracies.values()]
        index = NAMES.index(method)
        kind = "--" if network == "NIN" else "-" if index < len(_pictures.COLOURS) else ":"
        style = {"linestyle": kind, **_pictures.style(index)}
        label = f"{NETWORKS[network]}, {method}"
        axes.errorbar(factors, means, deviations, markersize=5, capsize=3, label=label, **style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(factors, [f"×{factor:.2g}" for factor in factors])
    axes.set(xlabel="size of the test images, of the training images' size", ylabel="test accuracy", ylim=(0, 1))
    networks = "released weights" if chosen["released"] else f"{chosen['epochs']} epochs, {chosen['seeds']} seed(s)"
    axes.set_title(f"{chosen['dataset']}, {networks}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
