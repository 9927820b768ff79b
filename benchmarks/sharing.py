"""Measures what a σ for each filter, each channel or each group of filters costs.

    python -m benchmarks.sharing            # every installed backend; a table, and JSON in results/benchmarks/

A figure is the time of a forward and backward pass of the N-Jet layer (order 3) divided by that of
Keras' convolution with filters of the same support; all layers run in one process, in turn.
"""

import json

from benchmarks import layers, timing

SHARING = ("layer", 3, "filter", "input")


def main():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--workload", choices=layers.CONVOLUTIONS, default="32x32x96-192")
    parser.add_argument("--sigmas", type=float, nargs="+", default=(0.6, 1.1, 2.1))
    parser.add_argument("--sigma", type=float)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.backend:
        print(json.dumps(measure(arguments.workload, arguments.sigma, arguments.repeats)))
        return
    print("| backend | σ | " + " | ".join(f"{sharing}" for sharing in SHARING) + " |\n" + "|---" * 6 + "|")
    for backend in arguments.backends:
        rows = []
        for sigma in arguments.sigmas:
            options = ("--workload", arguments.workload, "--sigma", sigma, "--repeats", arguments.repeats)
            rows.append(timing.in_a_process(__file__, backend, *options))
            seconds = rows[-1]["seconds"]
            cells = " | ".join(f"{seconds[str(sharing)] / seconds['Keras']:.2f}" for sharing in SHARING)
            print(f"| {backend} | {sigma} | {cells} |", flush=True)
        timing.save(arguments.out, "sharing", backend, rows)


def measure(workload, sigma, repeats):
    import numpy as np

    kind, batch, sizes, channels, filters = layers.WORKLOADS[workload]
    x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
    pairs = {
        str(sharing): layers.make_layers(kind, len(sizes), filters, sigma, sigma_sharing=sharing) for sharing in SHARING
    }
    timed = {"Keras": pairs["layer"]["Keras"], **{sharing: pair["N-Jet"] for sharing, pair in pairs.items()}}
    for layer in timed.values():
        layer.build(x.shape)
    times = timing.interleaved([timing.training_pass(layer, x) for layer in timed.values()], repeats, budget=30.0)
    return {
        "versions": timing.versions(),
        "workload": workload,
        "sigma": sigma,
        "seconds": dict(zip(timed, times, strict=True)),
    }


if __name__ == "__main__":
    main()
