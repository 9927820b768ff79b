"""Times a training step of whole networks, beside plain convolutions of the same support and beside their baselines.

    python -m benchmarks.networks           # every installed backend; a table, and JSON in results/benchmarks/
    python -m benchmarks.networks --backends jax --networks nin resnet110
    python -m benchmarks.networks --first-step

A step is `train_on_batch` with SGD and momentum. Each N-Jet network stands beside two others: "plain", which
`keras_njet.freeze` makes of it, with Keras' convolutions of the same support at the same feature maps, trained like any
other network; and its baseline as published. The three run in one process, in turn; the medians of several steps are
divided. Beside the times stand the multiply-accumulates of all convolutions, forward: the least that can be expected of
products and convolutions that run at the same rate. Those of an N-Jet layer are of the evaluation that "auto" takes on
the backend. With `--first-step`, each network has a process of its own, in which its first step is timed, with all the
tracing and compiling, and the memory by which the process grows at most in three steps; the backend has trained another
network before, so that its own set-up does not count.

All scales start at σ = 1.1, are learned, and stay there, as the steps are small. Learned scales are no whole numbers:
filters of σ = 1 have 5×5 pixels, those of σ = 1.1 already 7×7.
"""

import argparse
import json
import time

import numpy as np

from benchmarks import timing

SIGMA = 1.1
NETWORKS = {  # name: (application, arguments of the N-Jet network, arguments of both, batch, image)
    "nin": ("NIN", {"order": 3}, {}, 32, (32, 32, 3)),
    "nin order 2": ("NIN", {"order": 2}, {}, 32, (32, 32, 3)),
    "resnet32": ("ResNet32", {"order": 3}, {}, 32, (32, 32, 3)),
    "resnet110": ("ResNet110", {"order": 2}, {}, 32, (32, 32, 3)),
    "efficientnetb0": ("EfficientNetB0", {"order": 2}, {}, 8, (224, 224, 3)),
    "unet": ("UNet", {"order": 2}, {"filters": 16}, 2, (280, 280, 1)),
}
MODELS = ("N-Jet", "plain", "baseline")


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure(*arguments.networks, arguments)))
        return
    name = "networks" + "_first_step" * arguments.first_step + timing.PRECISIONS[arguments.precision]
    for backend in arguments.backends:
        rows = timing.load(arguments.out, name, backend)
        for network in arguments.networks:
            rows = updated(rows, measure_row(backend, network, arguments))
            timing.save(arguments.out, name, backend, rows)
        print_table(rows)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--first-step", action="store_true", help="time first steps; results go to files of their own")
    parser.add_argument("--repeats", type=int, default=15, help="steps of which the median is taken")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which steps are repeated no more")
    parser.add_argument("--batch-size", type=int, help="instead of that of the network")
    parser.add_argument("--image-size", type=int, help="pixels along an axis, instead of those of the network")
    timing.add_precision(parser)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_row(backend, network, arguments):
    """Measures one network beside the others in a process; of first steps, each in one."""
    options = ["--networks", network, "--repeats", arguments.repeats, "--budget", arguments.budget]
    options += ["--precision", arguments.precision]
    for option in ("batch_size", "image_size"):
        if getattr(arguments, option) is not None:
            options += [f"--{option.replace('_', '-')}", getattr(arguments, option)]
    if not arguments.first_step:
        return timing.in_a_process(__file__, backend, *options, allocation={})
    of_models = [
        timing.in_a_process(__file__, backend, *options, "--first-step", "--model", model, allocation={})
        for model in MODELS
    ]
    measured = {
        key: dict(zip(MODELS, (row[key] for row in of_models), strict=True)) for key in ("seconds", "megabytes")
    }
    return of_models[0] | measured


def updated(rows, new):
    """All rows, in the order of the table: a new one replaces that of the same network."""
    of_networks = {row["network"]: row for row in [*rows, new]}
    return [of_networks[network] for network in NETWORKS if network in of_networks]


def measure(network, arguments):
    """A row, measured in this process: the steady state of all models, or the first step of one."""
    import keras

    keras.config.set_dtype_policy(arguments.precision)
    batch_size = arguments.batch_size or NETWORKS[network][-2]
    models = make_models(network, arguments.image_size)
    x, y = data(models["plain"], batch_size)
    row = {
        "versions": timing.versions(),
        "network": network,
        "precision": arguments.precision,
        "input_shape": x.shape,
    }
    if arguments.first_step:
        return row | first_step(models[arguments.model], x, y)
    steps = [training_step(model, x, y) for model in models.values()]
    seconds = timing.interleaved(steps, arguments.repeats, arguments.budget)
    return row | {
        "seconds": dict(zip(models, seconds, strict=True)),
        "multiplications": {name: multiplications(model, x.shape[1:]) for name, model in models.items()},
    }


def make_models(network, image_size=None):
    """The N-Jet network; the same with plain convolutions, for its support and feature maps; and its baseline."""
    import keras_njet
    from keras_njet import applications

    application, of_njet, of_both, _, (*shape, channels) = NETWORKS[network]
    shape = (*(image_size or size for size in shape), channels)
    arguments = {"weights": None, "input_shape": shape, "classifier_activation": None, **of_both}
    njet = getattr(applications, f"NJet{application}")(sigma=SIGMA, **of_njet, **arguments)
    baseline = getattr(applications, application)(**arguments)
    return dict(zip(MODELS, (njet, keras_njet.freeze(njet), baseline), strict=True))


def data(model, batch_size):
    """Random images, and a class for each output of a model."""
    *places, classes = model.output_shape[1:]
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(batch_size, *model.input_shape[1:])).astype("float32")
    return x, rng.integers(0, classes, size=(batch_size, *places))


def training_step(model, x, y):
    """A function that trains a model for one step and waits for its loss."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-6, momentum=0.9), loss)
    return lambda: float(model.train_on_batch(x, y))


def first_step(model, x, y):
    """Seconds of the first step that a model is trained for, and memory, in a process that has trained another one."""
    import keras

    other = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Conv2D(2, 3)])
    training_step(other, *data(other, 2))()
    before = timing.peak_megabytes()
    step = training_step(model, x, y)
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    step()
    step()
    return {"seconds": seconds, "megabytes": timing.peak_megabytes() - before}


def multiplications(model, input_shape):
    """Counts the multiply-accumulates of all convolutions of a model, forward, for one image."""
    import keras

    from keras_njet import _backend
    from keras_njet.layers._base_njet_conv import BaseNJetConv

    total = 0
    shapes = _backend.layer_shapes(model, keras.KerasTensor((1, *input_shape), "float32"))
    for layer in _backend.inner_layers(model):
        if isinstance(layer, BaseNJetConv):
            total += of_evaluation(layer, *shapes[id(layer)])
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            _, (_, *out_size, _) = shapes[id(layer)]
            total += int(np.prod(out_size)) * int(np.prod(layer.kernel.shape))
    return total


def of_evaluation(layer, in_shape, out_shape):
    """Likewise of an N-Jet layer, as it is evaluated when it is trained."""
    from keras_njet._convolution import costs, evaluations, sampling

    only_products = costs.Prices(small_axis=0, few_channels=0, writing=0, dense=1, narrow=0, depthwise=1)
    (_, *in_size, channels), (_, *out_size, _) = in_shape, out_shape
    count = tuple(
        sampling.strided_positions(size, stride, layer.padding)[1]
        for size, stride in zip(in_size, layer.strides, strict=True)
    )
    filters, groups = layer.filters_and_groups(channels)
    workload = costs.Workload(tuple(in_size), count, tuple(out_size), channels, filters, groups, layer.order)
    prices = costs.prices("training")
    found = evaluations.choices(workload, prices, layer.sharing(channels), layer.implementation)
    chosen = next(each for each in found if each.reach >= max(layer.kernel_size) // 2)
    return round(chosen.cost(workload, only_products))


def ratio(row, key, other):
    """What was measured or counted of the N-Jet network over that of another one."""
    return f"{row[key]['N-Jet'] / row[key][other]:.2f}" if key in row else "–"


def ratios(row):
    """The times, and the arithmetic, over those of plain convolutions and over those of the baseline."""
    return [ratio(row, key, other) for other in MODELS[1:] for key in ("seconds", "multiplications")]


def print_table(rows):
    """Prints a line for each network, with its time and its arithmetic over those of the other two."""
    print(f"\n{'; '.join(dict.fromkeys(row['versions'] for row in rows))}; time over that of the other network\n")
    print("| network | plain | arithmetic | baseline | arithmetic | N-Jet, s |\n" + "|---" * 6 + "|")
    for row in rows:
        cells = [row["network"], *ratios(row), f"{row['seconds']['N-Jet']:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
