"""Times the layers against those they replace, for each σ: the whole table of the README.

    python -m benchmarks.layers             # every installed backend; tables, JSON and a plot in results/benchmarks/
    python -m benchmarks.layers --backends jax --workloads 32x32x96-192 --sigmas 1 3

A figure is the time of the N-Jet layer, σ learned, divided by that of Keras' own layer with filters of the same support
(a convolution of one, two or three axes or a depthwise one; beside the pyramid, the dilated `ASPP`): that of a forward
and backward pass, and that of a forward pass. Both run in one process, in turn; the medians of several runs are
divided. Each cell has a process of its own, which is stopped at a limit: Keras' layer with large filters may take
minutes for a step. Then the N-Jet layer is measured alone, and the figure, marked "<", is its time over the limit. With
`--others`, the layer of the DCLS package with as many weights is timed, too (torch, two axes; Khalfaoui-Hassani et al.,
"Dilated convolution with learnable spacings").
"""

import argparse
import importlib.util
import json

from benchmarks import plots, timing

ORDER = 3
SIGMAS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
WORKLOADS = {  # name: (kind, batch, sizes, channels, filters)
    "32x32x96-192": ("convolution", 32, (32, 32), 96, 192),
    "128x128x64-64": ("convolution", 2, (128, 128), 64, 64),
    "224x224x3-64": ("convolution", 2, (224, 224), 3, 64),
    "41x41x512-21": ("convolution", 1, (41, 41), 512, 21),
    "56x56x144 depthwise": ("depthwise", 8, (56, 56), 144, 144),
    "41x41x2048-21 pyramid": ("pyramid", 1, (41, 41), 2048, 21),
    "4096x64-64": ("convolution", 8, (4096,), 64, 64),
    "24x24x24x32-32": ("convolution", 2, (24, 24, 24), 32, 32),
}


def main():
    arguments = parse_arguments()
    if arguments.backend:
        (workload,), (sigma,) = arguments.workloads, arguments.sigmas
        print(json.dumps(measure(workload, sigma, arguments)))
        return
    for backend in arguments.backends:
        rows = [row for workload in arguments.workloads for row in measure_row(backend, workload, arguments)]
        name = "layers" + suffix(arguments.order)
        path = arguments.out / f"{name}_{backend}.json"
        rows = updated(json.loads(path.read_text()) if path.exists() else [], rows)
        timing.save(arguments.out, name, backend, rows)
        print_table(rows)
    plots.time_over_sigma(arguments.out, suffix(arguments.order))


def suffix(order):
    """What the names of files with results of this order end with."""
    return "" if order == ORDER else f"_order{order}"


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--sigmas", nargs="+", type=float, default=SIGMAS)
    parser.add_argument("--order", type=int, default=ORDER, help="results of another than 3 go to files of their own")
    parser.add_argument("--implementation", default="auto", choices=["auto", "matrix", "dense"])
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds after which a pair is repeated no more")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one cell of the table")
    parser.add_argument("--others", action="store_true", help="time the layers of other packages, too")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_row(backend, workload, arguments):
    """Measures one workload for every σ, each in a process."""
    for sigma in arguments.sigmas:
        options = ["--workloads", workload, "--sigmas", sigma, "--order", arguments.order]
        options += ["--implementation", arguments.implementation]
        options += ["--repeats", arguments.repeats, "--budget", arguments.budget]
        options += ["--others"] if arguments.others else []
        row = timing.in_a_process(__file__, backend, *options, limit=arguments.limit)
        if row is None:
            row = timing.in_a_process(__file__, backend, *options, "--alone")
            bound = row["seconds"]["N-Jet"] / arguments.limit
            row |= {"ratio": bound, "predict_ratio": None, "beyond_the_limit": True}
        seconds = ", ".join(f"{name} {value:.3f} s" for name, value in row["seconds"].items())
        print(f"{backend}, {workload}, σ = {sigma:g}: {formatted(row)} ({seconds})", flush=True)
        yield row


def updated(rows, new):
    """All rows, in the order of the table: new ones replace those of the same workload and σ."""
    cells = {(row["workload"], row["sigma"]): row for row in [*rows, *new]}
    return [cells[cell] for cell in sorted(cells, key=lambda cell: (list(WORKLOADS).index(cell[0]), cell[1]))]


def measure(workload, sigma, arguments):
    """One cell of the table, measured in this process."""
    import numpy as np

    kind, batch, sizes, channels, filters = WORKLOADS[workload]
    x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
    options = {"order": arguments.order, "implementation": arguments.implementation}
    layers = make_layers(kind, len(sizes), filters, sigma, **options)
    if arguments.alone:
        layers = {"N-Jet": layers["N-Jet"]}
    elif arguments.others and kind == "convolution" and len(sizes) == 2 and importlib.util.find_spec("DCLS"):
        weights = (arguments.order + 1) * (arguments.order + 2) // 2
        layers["DCLS"] = learnable_spacings(filters, layers["N-Jet"].kernel_size[0], weights)
    for layer in layers.values():
        layer.build(x.shape)
    names = list(layers)
    timed = {}
    for name, make_pass in (("seconds", timing.training_pass), ("predict_seconds", timing.prediction)):
        passes = [make_pass(layer, x) for layer in layers.values()]
        timed[name] = dict(zip(names, timing.interleaved(passes, arguments.repeats, arguments.budget), strict=True))
    row = {"versions": timing.versions(), "workload": workload, "sigma": sigma, "order": arguments.order, **timed}
    if not arguments.alone:
        row["ratio"] = timed["seconds"]["N-Jet"] / timed["seconds"]["Keras"]
        row["predict_ratio"] = timed["predict_seconds"]["N-Jet"] / timed["predict_seconds"]["Keras"]
    return row


def make_layers(kind, axes, filters, sigma, order=ORDER, **options):
    """The N-Jet layer and Keras' layer of the same support; further options are those of N-Jet convolutions."""
    import keras

    import keras_njet
    from keras_njet._convolution import sizes

    if kind == "pyramid":
        ours = keras_njet.NJetASPP(filters, order=order, sigma=(sigma,) * 4, use_bias=False)
        return {"N-Jet": ours, "Keras": keras_njet.layers.ASPP(filters, use_bias=False)}
    size = sizes.kernel_size(sigma, extent=2.0)
    options |= {"order": order, "sigma": sigma, "use_bias": False}
    if kind == "depthwise":
        ours = keras_njet.NJetDepthwiseConv2D(**options)
        return {"N-Jet": ours, "Keras": keras.layers.DepthwiseConv2D(size, padding="same", use_bias=False)}
    kinds = {
        1: (keras_njet.NJetConv1D, keras.layers.Conv1D),
        2: (keras_njet.NJetConv2D, keras.layers.Conv2D),
        3: (keras_njet.NJetConv3D, keras.layers.Conv3D),
    }
    ours, theirs = kinds[axes]
    return {
        "N-Jet": ours(filters, **options),
        "Keras": theirs(filters, size, padding="same", use_bias=False),
    }


def learnable_spacings(filters, size, weights):
    """The layer of the DCLS package, as a Keras layer on torch."""
    import keras
    from DCLS.construct.modules import Dcls2d

    class LearnableSpacings(keras.layers.Layer):
        def build(self, input_shape):
            self.module = Dcls2d(
                input_shape[-1], filters, min(weights, size**2), dilated_kernel_size=size, padding=size // 2, bias=False
            )

        def call(self, inputs):
            return self.module(inputs.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    return LearnableSpacings()


def formatted(row, key="ratio"):
    if row[key] is None:
        return "–"
    return f"{'<' if row.get('beyond_the_limit') else ''}{max(row[key], 0.01):.2f}"


def print_table(rows):
    """Prints a line for each workload, with a column for each σ."""
    for key, title in (("ratio", "forward + backward"), ("predict_ratio", "predict")):
        sigmas = sorted({row["sigma"] for row in rows})
        measured_with = "; ".join(dict.fromkeys(row["versions"] for row in rows))
        print(f"\n{measured_with}, order {rows[0]['order']}, {title}: time of the N-Jet / time of Keras' layer\n")
        print("| workload |" + "|".join(f" σ = {sigma:g} " for sigma in sigmas) + "|")
        print("|---" * (1 + len(sigmas)) + "|")
        for workload in dict.fromkeys(row["workload"] for row in rows):
            cells = {row["sigma"]: formatted(row, key) for row in rows if row["workload"] == workload}
            print(f"| {workload} | " + " | ".join(cells.get(sigma, "–") for sigma in sigmas) + " |", flush=True)


if __name__ == "__main__":
    main()
