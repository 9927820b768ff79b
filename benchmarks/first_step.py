"""Measures what the first training step of a layer costs: the time to trace and compile it, and the peak of memory.

    python -m benchmarks.first_step         # every installed backend; a table, and JSON in results/benchmarks/

Each layer has a process of its own: the N-Jet (order 3, σ = 1.1), evaluated as "auto" does and by composed filters
(`implementation="dense"`), and Keras' own of the same support. Compiling: the time of the first step less that of a
later one. Memory: by how much the process grows at most in four steps (forward, backward), input included; the backend
has run another layer before, so that its own set-up does not count.
"""

import argparse
import json
import time

from benchmarks import layers, timing

LAYERS = ("N-Jet", "composed", "Keras")
SIGMA = 1.1


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure(arguments.workload, arguments.layer)))
        return
    print("| backend | layer | compiling, s | step, s | memory, MB |\n" + "|---" * 5 + "|")
    for backend in arguments.backends:
        row = {"workload": arguments.workload, "sigma": SIGMA}
        for layer in LAYERS:
            options = "--workload", arguments.workload, "--layer", layer
            row[layer] = timing.in_a_process(__file__, backend, *options, allocation={})
            row["versions"] = row[layer].pop("versions")
            cells = [f"{row[layer][key]:.2f}" for key in ("compiling_seconds", "step_seconds")]
            print(f"| {backend} | {layer} | {' | '.join(cells)} | {row[layer]['megabytes']:.0f} |", flush=True)
        timing.save(arguments.out, "first_step", backend, row)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--workload", choices=layers.CONVOLUTIONS, default="32x32x96-192")
    parser.add_argument("--layer", choices=LAYERS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(workload, name):
    import keras
    import numpy as np

    kind, batch, sizes, channels, filters = layers.WORKLOADS[workload]
    timing.training_pass(built(keras.layers.Conv2D(2, 3), (1, 8, 8, 2)), np.zeros((1, 8, 8, 2), "float32"))()
    x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
    implementation = "dense" if name == "composed" else "auto"
    made = layers.make_layers(kind, len(sizes), filters, SIGMA, implementation=implementation)
    layer = built(made["Keras" if name == "Keras" else "N-Jet"], x.shape)
    before = timing.peak_megabytes()
    step, seconds = timing.training_pass(layer, x), []
    for _ in range(4):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {
        "versions": timing.versions(),
        "compiling_seconds": seconds[0] - min(seconds[1:]),
        "step_seconds": min(seconds[1:]),
        "megabytes": timing.peak_megabytes() - before,
    }


def built(layer, shape):
    layer.build(shape)
    return layer


if __name__ == "__main__":
    main()
