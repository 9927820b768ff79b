"""Experiment 4(A) of the paper, Table V: which convolution adapts to the size of the images?

    python examples/compare_adaptive.py --backend jax
    python examples/compare_adaptive.py --quick --data-dir DIR --backend torch

Toy networks of 2 and of 4 layers are trained on MNIST and on 4×MNIST, the same images at four times their size: CNNs
with several filter sizes, a CNN with 3×3 filters that are dilated by 2 (atrous), one with deformable 3×3 filters, and
an N-Jet. All have the same number of filters and the same training.

Data, sizes, depths, methods and the dilation rate are the paper's, and so are σ = 1 at the start, k = 2 and safe
subsampling with r = 4 after each N-Jet layer. It does not say how many filters there are, how the networks classify and
how they are trained: here by global max pooling and a linear classifier, and by Adam with a learning rate that falls to
zero. An N-Jet of order 3 has about as many parameters as 3×3 filters. What differs: the paper has a ReLU after each
convolution, here batch normalisation stands between the two, because without it not every network began to learn.
--size makes the images of both sets smaller.

Writes into --out: table.md (accuracy on the test set, mean ± standard deviation over seeds), results.json (that of each
run, its parameters and learned σ) and accuracy.png. --quick shows within seconds that it runs, and nothing else.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import datasets
import learn_resolution
import numpy as np
import runs

FACTORS = {"MNIST": 1, "4×MNIST": 4}
DEPTHS = (2, 4)
QUICK = "--images 64 --test-images 32 --epochs 1 --seeds 1 --filters 4 --filter-sizes 3 5 --size 7"


def main():
    arguments = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    sets = load(arguments)
    folder = pathlib.Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    layers = convolutions(arguments)
    cells = [(depth, name, method) for depth in DEPTHS for name in FACTORS for method in layers]
    rows = []
    for seed in range(arguments.seeds):
        for number, (depth, name, method) in enumerate(cells, start=1):
            print(f"[seed {seed}, {number} of {len(cells)}] {depth} layers, {name}, {method}", flush=True)
            row = {"layers": depth, "data": name, "method": method, "seed": seed}
            rows.append({**row, **train(*sets[name], layers[method], depth, seed, arguments)})
            print(f"  test accuracy {rows[-1]['test_accuracy']:.3f}, {rows[-1]['seconds']:.0f} s", flush=True)
        # Each time that all networks have been trained equally often.
        results = {"command": arguments.command, "configuration": runs.configuration(arguments)}
        results |= {"versions": runs.versions(), "runs": rows}
        (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        (folder / "table.md").write_text(format_table(rows, results))
        plot(rows, arguments, folder / "accuracy.png")
    print(f"\n{format_table(rows, results)}\nwritten to {folder}: table.md, results.json, accuracy.png")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"as if these were given first: {QUICK}")
    parser.add_argument("--data-dir", help="folder with the original files; else Keras downloads them")
    parser.add_argument("--images", type=int, help="train on the first so many images; default: all")
    parser.add_argument("--test-images", type=int, help="test on the first so many images; default: all")
    parser.add_argument("--size", type=int, default=28, help="height and width of MNIST in pixels; default: 28")
    parser.add_argument("--seeds", type=int, default=3, help="number of repetitions, seeds 0, 1, ...; default: 3")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--filters", type=int, default=16, help="of each layer; default: 16")
    parser.add_argument("--filter-sizes", type=int, nargs="+", default=[3, 5, 7, 11], help="of the CNNs")
    parser.add_argument("--order", type=int, default=3, help="of the N-Jet; default: 3")
    parser.add_argument(
        "--backend", choices=["jax", "tensorflow", "torch"], default=os.environ.get("KERAS_BACKEND", "jax")
    )
    parser.add_argument("--out", help="folder for the results; default: results/compare_adaptive")
    given = sys.argv[1:]
    arguments = parser.parse_args([*QUICK.split(), *given] if "--quick" in given else given)
    arguments.out = arguments.out or f"results/compare_adaptive{'-quick' if arguments.quick else ''}"
    arguments.command = runs.command("examples/compare_adaptive.py", given)
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1. Received: seeds={arguments.seeds}")
    return arguments


def load(arguments):
    """The training and the test set at each size."""
    limits = (arguments.images, arguments.test_images)
    sets = datasets.load("mnist", arguments.data_dir)
    sets = [(x[:limit], y[:limit]) for (x, y), limit in zip(sets, limits, strict=True)]
    # By way of the 1× images, so that those at 4× hold nothing more.
    small = [(learn_resolution.resize(x, arguments.size), y) for x, y in sets]
    return {
        name: [(learn_resolution.resize(x, factor * arguments.size), y) for x, y in small]
        for name, factor in FACTORS.items()
    }


def convolutions(arguments):
    """For each method, a function that makes a layer of it."""
    import functools

    import keras

    import keras_njet

    cnn = functools.partial(keras.layers.Conv2D, arguments.filters, padding="same", use_bias=False)
    deformable = functools.partial(keras_njet.layers.DeformableConv2D, arguments.filters, use_bias=False)
    njet = functools.partial(keras_njet.NJetConv2D, arguments.filters, arguments.order, use_bias=False)
    return {
        **{f"CNN, {size}×{size}": functools.partial(cnn, size) for size in arguments.filter_sizes},
        "atrous CNN": functools.partial(cnn, 3, dilation_rate=2),
        "deformable CNN": deformable,
        "N-Jet": functools.partial(njet, subsample_rate=4.0),
    }


def train(train_set, test_set, make_convolution, depth, seed, arguments):
    """Trains one network; returns what is known of it."""
    import keras

    (x, y), (x_test, y_test) = train_set, test_set
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    layers = [keras.Input(x.shape[1:])]
    for _ in range(depth):
        layers += [make_convolution(), keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
    model = keras.Sequential([*layers, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(10)])
    steps = arguments.epochs * -(-len(x) // arguments.batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(arguments.learning_rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    verbose = 1 if sys.stdout.isatty() else 0
    history = model.fit(x, y, arguments.batch_size, arguments.epochs, verbose=verbose).history
    seconds = time.perf_counter() - start
    _, test_accuracy = model.evaluate(x_test, y_test, arguments.batch_size, verbose=0)
    return {
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "train_accuracy": history["accuracy"][-1],
        "test_accuracy": test_accuracy,
        "seconds": seconds,
        "sigma": [float(keras.ops.convert_to_numpy(layer.sigma)) for layer in model.layers if hasattr(layer, "sigma")],
    }


def select(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def format_table(rows, results):
    heads = [f"{depth} layers, {name}" for depth in DEPTHS for name in ("parameters", *FACTORS)]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [method]
        for depth in DEPTHS:
            of_depth = select(rows, method=method, layers=depth)
            cells.append(f"{of_depth[0]['parameters']:,}")
            for name in FACTORS:
                accuracies = [row["test_accuracy"] for row in select(of_depth, data=name)]
                cells.append(learn_resolution.spread(accuracies))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Accuracy on the test set. Learned σ of the N-Jet, layer by layer, mean over seeds:", ""]
    for depth in DEPTHS:
        for name in FACTORS:
            sigmas = zip(*(row["sigma"] for row in select(rows, method="N-Jet", layers=depth, data=name)), strict=True)
            means = ", ".join(f"{statistics.mean(sigma):.2f}" for sigma in sigmas)
            lines.append(f"- {depth} layers, {name}: {means}")
    versions, minutes = results["versions"], sum(row["seconds"] for row in rows) / 60
    seeds = len({row["seed"] for row in rows})
    lines += [
        "",
        f"Mean ± standard deviation over {seeds} seed(s). Command: `{results['command']}`; {minutes:.1f} minutes of "
        f"training; Python {versions['python']}, keras {versions['keras']} on {versions['backend']}.",
    ]
    return "\n".join(lines) + "\n"


def plot(rows, arguments, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, panels = plt.subplots(1, len(DEPTHS), figsize=(9, 3.5), sharex=True, sharey=True, layout="constrained")
    for axes, depth in zip(panels, DEPTHS, strict=True):
        for index, name in enumerate(FACTORS):
            accuracies = [
                [row["test_accuracy"] for row in select(rows, method=method, layers=depth, data=name)]
                for method in methods
            ]
            deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in accuracies]
            size = FACTORS[name] * arguments.size
            axes.errorbar(
                [statistics.mean(values) for values in accuracies],
                np.arange(len(methods)) + 0.2 * (index - 0.5),
                xerr=deviations,
                fmt="os"[index],
                capsize=3,
                label=f"{name}, {size}×{size} pixels",
            )
        axes.set(xlabel="test accuracy", title=f"{depth} layers, {len({row['seed'] for row in rows})} seed(s)")
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
