"""Measures what the first training step of a layer costs: the time to trace and compile it, and the peak of memory.

    python -m benchmarks.first_step         # every installed backend; a table, and JSON in results/benchmarks/

Each layer, the N-Jet (order 3, σ = 1) and Keras' own of the same support, has a process of its own. Time: that of the
first step less that of the second. Memory: by how much the process grows at most in three steps (forward, backward),
input included; the backend has run another layer before, so that its own set-up does not count.
"""

import argparse
import json
import resource
import sys
import time

from benchmarks import layers, timing


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure(arguments.workload, arguments.layer)))
        return
    print("| backend | compiling, s | Keras | ratio | memory, MB | Keras | ratio |\n" + "|---" * 7 + "|")
    for backend in arguments.backends:
        ours, keras = (
            timing.in_a_process(__file__, backend, "--workload", arguments.workload, "--layer", layer, allocation={})
            for layer in ("N-Jet", "Keras")
        )
        row = {"versions": ours.pop("versions"), "workload": arguments.workload, "N-Jet": ours, "Keras": keras}
        timing.save(arguments.out, "first_step", backend, row)
        cells = [backend]
        for key in ("compiling_seconds", "megabytes"):
            cells += [f"{ours[key]:.2f}", f"{keras[key]:.2f}", f"{ours[key] / keras[key]:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--workload", choices=layers.WORKLOADS, default="32x32x96-192")
    parser.add_argument("--layer", choices=("N-Jet", "Keras"), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(workload, name):
    import keras
    import numpy as np

    kind, batch, sizes, channels, filters = layers.WORKLOADS[workload]
    timing.training_pass(built(keras.layers.Conv2D(2, 3), (1, 8, 8, 2)), np.zeros((1, 8, 8, 2), "float32"))()
    x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
    layer = built(layers.make_layers(kind, len(sizes), filters, sigma=1.0)[name], x.shape)
    before = peak_megabytes()
    step, seconds = timing.training_pass(layer, x), []
    for _ in range(3):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {
        "versions": timing.versions(),
        "compiling_seconds": seconds[0] - min(seconds[1:]),
        "megabytes": peak_megabytes() - before,
    }


def built(layer, shape):
    layer.build(shape)
    return layer


def peak_megabytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
