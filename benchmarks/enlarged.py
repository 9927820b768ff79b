"""Times predictions for enlarged images, by each means that the study of image sizes compares.

    python -m benchmarks.enlarged           # every installed backend; tables, and JSON in results/benchmarks/

A network that was trained at one size gets images of two and four times this size: as it is, with the images resized
back (and masks resized to the images), rescaled, or as scale channels. Classified are 16 images by the N-Jet-NIN of
CIFAR-10, 32×32 pixels at ×1; segmented are 2 by the N-Jet-U-Net of multi-scale Fashion-MNIST, 280×280 pixels at ×1. A
figure is the time of `predict_on_batch`, and of resizing, divided by that of the network at its own size; all are run
in one process, in turn. `predict` itself is not timed: on TensorFlow it waits for a thread after its last batch, for up
to a second.
"""

import json

from benchmarks import timing

METHODS = ("as it is", "resized back", "rescaled", "scale channels")
NETWORKS = {  # name: (application, its arguments, batch, pixels a side, channels, factors)
    "N-Jet-NIN": ("NJetNIN", {"weights": "cifar10", "width": 0.25}, 16, 32, 3, (2, 4)),
    "N-Jet-U-Net": ("NJetUNet", {"weights": "multiscale_fashion_mnist", "filters": 16}, 2, 280, 1, (2,)),
}


def main():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=9, help="runs of which the median is taken")
    arguments = parser.parse_args()
    if arguments.backend:
        print(json.dumps(measure(*arguments.networks, arguments.repeats)))
        return
    for backend in arguments.backends:
        rows = []
        for network in arguments.networks:
            options = ("--networks", network, "--repeats", arguments.repeats)
            rows.append(timing.in_a_process(__file__, backend, *options, allocation={}))
        timing.save(arguments.out, "enlarged", backend, rows)
        print_table(rows)


def measure(network, repeats):
    """Seconds of every method at every factor, and at the own size."""
    import numpy as np

    _, _, batch, size, channels, factors = NETWORKS[network]
    x = np.random.default_rng(0).uniform(size=(batch, size, size, channels)).astype("float32")
    model = make_model(network)
    timed = {"own size": lambda: model.predict_on_batch(x)}
    for factor in factors:
        for method in METHODS:
            if method != "scale channels" or network == "N-Jet-NIN":  # whose logits are pooled
                timed[f"×{factor}, {method}"] = prediction(model, method, factor, x)
    seconds = timing.interleaved(list(timed.values()), repeats, budget=60.0)
    return {
        "versions": timing.versions(),
        "network": network,
        "input_shape": x.shape,
        "seconds": dict(zip(timed, seconds, strict=True)),
    }


def make_model(network):
    """The released network, for images of any size."""
    from keras_njet import applications

    name, given, _, _, channels, _ = NETWORKS[network]
    more = {"classifier_activation": None} if name == "NJetNIN" else {}
    return getattr(applications, name)(input_shape=(None, None, channels), **given, **more)


def prediction(model, method, factor, x):
    """A function that predicts for images that are enlarged by a factor."""
    import numpy as np

    from applications.any_size_methods import rescaled, scale_channels
    from applications.data_sets import images

    size = x.shape[1]
    enlarged = np.repeat(np.repeat(x, factor, axis=1), factor, axis=2)
    if method == "resized back":

        def run():
            outputs = model.predict_on_batch(images.resize(enlarged, size))
            return images.resize(outputs, factor * size) if outputs.ndim == 4 else outputs

        return run
    if method == "scale channels":
        prepared = scale_channels(model, factor)
    else:
        prepared = rescaled(model, factor if method == "rescaled" else 1.0)  # a copy: it compiles for this size alone
    return lambda: prepared.predict_on_batch(enlarged)


def ratios(row):
    """For each method and factor: its time over that at the own size."""
    return {name: seconds / row["seconds"]["own size"] for name, seconds in row["seconds"].items()}


def print_table(rows):
    """Prints a line for each network, method and factor."""
    print(f"\n{rows[0]['versions']}; time over that of the network at its own size\n")
    print("| network | method | ratio |\n" + "|---" * 3 + "|")
    for row in rows:
        for name, ratio in ratios(row).items():
            print(f"| {row['network']} | {name} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
