"""Measures how much the memory of a long training grows, in which sizes change in every third epoch.

    python -m benchmarks.long_run           # every installed backend; a table, and JSON in results/benchmarks/

Networks of three layers are trained by `fit`, each in a process of its own, with the default allocator: N-Jets
(order 3, r = 4) whose σ alternates between 1.05 and 2.55, so that filters and feature maps change, and Keras' own
layers with filters of 7×7 pixels, whose training function is made again as often. Growth is counted from a third of the
epochs on: of all memory that the process has, and of what it uses of it. The rest was given back to the allocator,
which keeps it for later; how much that is changes by chance. Python is told to take all objects from this allocator
(PYTHONMALLOC=malloc), so that small ones are counted, too.
"""

import argparse
import ctypes
import gc
import json
import os

from benchmarks import timing

LAYERS = ("N-Jet", "Keras")
SIGMAS = (1.05, 2.55)
ALLOCATION = {"PYTHONMALLOC": "malloc"}


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure(arguments.layer, arguments.epochs)))
        return
    print("| backend | layer | changes | MB at the end | MB a change | MB in use a change |\n" + "|---" * 6 + "|")
    for backend in arguments.backends:
        row = {"epochs": arguments.epochs}
        for layer in LAYERS:
            options = "--layer", layer, "--epochs", arguments.epochs
            found = row[layer] = timing.in_a_process(__file__, backend, *options, allocation=ALLOCATION)
            row["versions"] = found.pop("versions")
            growths = f"{found['megabytes_a_change']:.1f} | {found['in_use_a_change']:.3f}"
            cells = f"{arguments.epochs // 3} | {found['megabytes'][-1]:.0f} | {growths}"
            print(f"| {backend} | {layer} | {cells} |", flush=True)
        timing.save(arguments.out, "long_run", backend, row)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--layer", choices=LAYERS, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, default=300, help="default: %(default)s")
    return parser.parse_args()


def measure(name, epochs):
    import keras
    import numpy as np

    import keras_njet

    if name == "Keras":
        layers = [keras.layers.Conv2D(8, 7, padding="same") for _ in range(3)]
    else:
        layers = [keras_njet.NJetConv2D(8, order=3, subsample_rate=4.0) for _ in range(3)]
    model = keras.Sequential([keras.Input((24, 24, 4)), *layers, keras.layers.GlobalAveragePooling2D()])
    model.compile("sgd", "mse")
    megabytes, in_use = [], []

    class Changing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch % 3:
                return
            gc.collect()
            megabytes.append(present_megabytes())
            in_use.append(megabytes_in_use())
            if name == "Keras":
                model.make_train_function(force=True)
            else:
                for layer in layers:
                    layer.sigma = SIGMAS[epoch // 3 % 2]

    x = np.random.default_rng(0).normal(size=(8, 24, 24, 4)).astype("float32")
    model.fit(x, np.zeros((8, 8), "float32"), epochs=epochs, callbacks=[Changing()], verbose=0)
    return {
        "megabytes": megabytes,
        "megabytes_a_change": growth(megabytes),
        "in_use": in_use,
        "in_use_a_change": growth(in_use),
        "versions": timing.versions(),
    }


def growth(series):
    """The mean growth from one value to the next, from a third of a series on."""
    begun = len(series) // 3
    return (series[-1] - series[begun]) / (len(series) - 1 - begun)


def present_megabytes():
    """The memory that this process has at present; on Linux."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Mallinfo(ctypes.Structure):
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def megabytes_in_use():
    """The memory that the allocator of C was asked for and not given back; of glibc 2.33 or later."""
    mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    mallinfo2.restype = _Mallinfo
    found = mallinfo2()
    return (found.uordblks + found.hblkhd) / 1e6


if __name__ == "__main__":
    main()
