"""Times the layers against those they replace, for each σ, on layers of real networks.

    python -m benchmarks.layers             # every installed backend; tables, JSON and plots in results/benchmarks/
    python -m benchmarks.layers --backends jax --workloads 32x32x96-192 --sigmas 1.1 3.1

A figure is the time of the N-Jet layer, σ learned, divided by that of Keras' own layer with filters of the same support
(a convolution of one, two or three axes or a depthwise one; beside the pyramid, the dilated `ASPP`): that of a forward
and backward pass, and with `--predict` that of a forward pass. Both run in one process, in turn; the medians of several
runs are divided. The scales lie just above 0.5, 1, 2, 3 and 5, at which filters become larger. A process that
takes longer for a cell than a limit is stopped: Keras' layer with large filters may take minutes for a step. Then the
N-Jet layer is measured alone, for this cell and larger σ, and there is no figure but "long". With `--others`, the layer
of the DCLS package with as many weights is timed, too (torch, two axes; Khalfaoui-Hassani et al., "Dilated convolution
with learnable spacings").
"""

import argparse
import importlib.util
import json

from benchmarks import plots, timing

ORDER = 3
SIGMAS = (0.6, 1.1, 2.1, 3.1, 5.1)
WORKLOADS = {  # name: (kind, batch, sizes, channels, filters)
    "32x32x16-16": ("convolution", 128, (32, 32), 16, 16),
    "16x16x32-32": ("convolution", 128, (16, 16), 32, 32),
    "8x8x64-64": ("convolution", 128, (8, 8), 64, 64),
    "56x56x64-64": ("convolution", 8, (56, 56), 64, 64),
    "28x28x128-128": ("convolution", 8, (28, 28), 128, 128),
    "14x14x256-256": ("convolution", 8, (14, 14), 256, 256),
    "7x7x512-512": ("convolution", 8, (7, 7), 512, 512),
    "280x280x16-16": ("convolution", 2, (280, 280), 16, 16),
    "128x128x64-64": ("convolution", 2, (128, 128), 64, 64),
    "128x128x16-16": ("convolution", 4, (128, 128), 16, 16),
    "224x224x3-64": ("convolution", 2, (224, 224), 3, 64),
    "224x224x3-64 stride 2": ("strided", 2, (224, 224), 3, 64),
    "32x32x96-192": ("convolution", 32, (32, 32), 96, 192),
    "41x41x512-21": ("convolution", 1, (41, 41), 512, 21),
    "56x56x144 depthwise": ("depthwise", 8, (56, 56), 144, 144),
    "14x14x672 depthwise": ("depthwise", 8, (14, 14), 672, 672),
    "41x41x2048-21 pyramid": ("pyramid", 1, (41, 41), 2048, 21),
    "4096x64-64": ("convolution", 8, (4096,), 64, 64),
    "24x24x24x32-32": ("convolution", 2, (24, 24, 24), 32, 32),
}
CONVOLUTIONS = [name for name, (kind, *_) in WORKLOADS.items() if kind == "convolution"]


def main():
    arguments = parse_arguments()
    if arguments.backend:
        for sigma in arguments.sigmas:
            print(json.dumps(measure(*arguments.workloads, sigma, arguments)), flush=True)
        return
    ending = timing.PRECISIONS[arguments.precision] + suffix(arguments.order)
    ending += "" if arguments.implementation == "auto" else f"_{arguments.implementation}"
    for backend in arguments.backends:
        name = "layers" + ending
        rows = timing.load(arguments.out, name, backend)
        for workload in arguments.workloads:
            rows = updated(rows, measure_row(backend, workload, arguments))
            timing.save(arguments.out, name, backend, rows)
        print_table(rows)
    plots.time_over_sigma(arguments.out, ending)
    plots.heat_map(arguments.out, ending)


def suffix(order):
    """What the names of files with results of this order end with."""
    return "" if order == ORDER else f"_order{order}"


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--sigmas", nargs="+", type=float, default=SIGMAS)
    parser.add_argument("--order", type=int, default=ORDER, help="results of another than 3 go to files of their own")
    parser.add_argument(
        "--implementation",
        default="auto",
        choices=["auto", "matrix", "dense"],
        help="results of another than %(default)s go to files of their own",
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds after which a pair is repeated no more")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a cell; default: %(default)s")
    parser.add_argument("--others", action="store_true", help="time the layers of other packages, too")
    parser.add_argument("--predict", action="store_true", help="time predictions, too")
    parser.add_argument("--keep-memory", action="store_true", help="with an allocator that gives no memory back")
    timing.add_precision(parser)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_row(backend, workload, arguments):
    """Measures one workload for every σ, in a process; what takes too long in another one, without Keras' layer."""
    options = ["--workloads", workload, "--order", arguments.order, "--implementation", arguments.implementation]
    options += ["--precision", arguments.precision, "--repeats", arguments.repeats, "--budget", arguments.budget]
    options += ["--others"] * arguments.others + ["--predict"] * arguments.predict
    allocation = timing.KEEP_MEMORY if arguments.keep_memory else {}
    rest = list(arguments.sigmas)

    def measured(*more, limit=None):
        for row in timing.lines_of_a_process(
            __file__, backend, *options, "--sigmas", *rest, *more, limit=limit, allocation=allocation
        ):
            rest.remove(row["sigma"])
            if "Keras" not in row["seconds"]:
                row["beyond_the_limit"] = True
            row["allocator"] = "keeps memory" if arguments.keep_memory else "default"
            seconds = ", ".join(f"{name} {value:.3f} s" for name, value in row["seconds"].items())
            print(f"{backend}, {workload}, σ = {row['sigma']:g}: {timing.formatted(row)} ({seconds})", flush=True)
            yield row

    yield from measured(limit=arguments.limit)
    if rest:
        yield from measured("--alone")


def updated(rows, new):
    """All rows, in the order of the table: new ones replace those of the same workload and σ."""
    cells = {(row["workload"], row["sigma"]): row for row in [*rows, *new]}
    return [cells[cell] for cell in sorted(cells, key=lambda cell: (list(WORKLOADS).index(cell[0]), cell[1]))]


def measure(workload, sigma, arguments):
    """One cell of the table, measured in this process."""
    import keras
    import numpy as np

    keras.config.set_dtype_policy(arguments.precision)
    kind, batch, sizes, channels, filters = WORKLOADS[workload]
    x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
    chosen = {} if arguments.implementation == "auto" else {"implementation": arguments.implementation}
    layers = make_layers(kind, len(sizes), filters, sigma, arguments.order, **chosen)
    if arguments.alone:
        layers = {"N-Jet": layers["N-Jet"]}
    elif arguments.others and kind == "convolution" and len(sizes) == 2 and importlib.util.find_spec("DCLS"):
        weights = (arguments.order + 1) * (arguments.order + 2) // 2
        layers["DCLS"] = learnable_spacings(filters, layers["N-Jet"].kernel_size[0], weights)
    for layer in layers.values():
        layer.build(x.shape)
    names = list(layers)
    timed = {}
    passes = {"seconds": timing.training_pass} | ({"predict_seconds": timing.prediction} if arguments.predict else {})
    for name, make_pass in passes.items():
        made = [make_pass(layer, x) for layer in layers.values()]
        timed[name] = dict(zip(names, timing.interleaved(made, arguments.repeats, arguments.budget), strict=True))
    row = {"versions": timing.versions(), "workload": workload, "sigma": sigma, "order": arguments.order}
    row |= {"precision": arguments.precision, **timed}
    for name, ratio in (("seconds", "ratio"), ("predict_seconds", "predict_ratio")):
        if "Keras" in timed.get(name, {}):
            row[ratio] = timed[name]["N-Jet"] / timed[name]["Keras"]
    return row


def make_layers(kind, axes, filters, sigma, order=ORDER, **options):
    """The N-Jet layer and Keras' layer of the same support; further options are those of N-Jet convolutions."""
    import keras

    import keras_njet
    from keras_njet._convolution import sizes

    if kind == "pyramid":
        if options:
            raise ValueError(f"Expected no further options: a pyramid has none. Received: {options}")
        ours = keras_njet.NJetASPP(filters, order=order, sigma=(sigma,) * 4, use_bias=False)
        return {"N-Jet": ours, "Keras": keras_njet.layers.ASPP(filters, use_bias=False)}
    size = sizes.kernel_size(sigma, extent=2.0)
    options |= {"order": order, "sigma": sigma, "use_bias": False, "strides": 2 if kind == "strided" else 1}
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
        "Keras": theirs(filters, size, padding="same", use_bias=False, strides=options["strides"]),
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


def print_table(rows):
    """Prints a line for each workload, with a column for each σ."""
    for key, title in (("ratio", "forward + backward"), ("predict_ratio", "predict")):
        if key != "ratio" and not any(key in row for row in rows):
            continue
        sigmas = sorted({row["sigma"] for row in rows})
        measured_with = "; ".join(dict.fromkeys(row["versions"] for row in rows))
        print(f"\n{measured_with}, order {rows[0]['order']}, {title}: time of the N-Jet / time of Keras' layer\n")
        print("| workload |" + "|".join(f" σ = {sigma:g} " for sigma in sigmas) + "|")
        print("|---" * (1 + len(sigmas)) + "|")
        for workload in dict.fromkeys(row["workload"] for row in rows):
            cells = {row["sigma"]: timing.formatted(row, key) for row in rows if row["workload"] == workload}
            print(f"| {workload} | " + " | ".join(cells.get(sigma, "–") for sigma in sigmas) + " |", flush=True)


if __name__ == "__main__":
    main()
