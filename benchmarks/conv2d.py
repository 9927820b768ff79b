"""Times `NJetConv2D` against `keras.layers.Conv2D` of the same support.

    python benchmarks/conv2d.py                       # every installed backend
    python benchmarks/conv2d.py --backend jax --implementation matrix dense --json results.json
    python benchmarks/conv2d.py --growth              # N-Jet alone: its time at each σ over that at σ = 1

Prints, for each workload and σ, the time of the N-Jet layer divided by that of the convolution, for a forward pass and
for a forward and backward pass. Both run in one process, in turn; a figure is the median of several runs. Backends run
one after another, each in a process of its own.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
SIGMAS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
WORKLOADS = {  # name: (batch, size, channels, filters)
    "32x32x96-192": (32, 32, 96, 192),
    "128x128x64-64": (2, 128, 64, 64),
    "224x224x3-64": (2, 224, 3, 64),
    "41x41x512-21": (1, 41, 512, 21),
}


def main():
    arguments = parse_arguments()
    if arguments.backend is None:
        backends = [name for name, module in BACKENDS.items() if importlib.util.find_spec(module)]
        results = [row for backend in backends for row in run_in_a_process(backend)]
    else:
        os.environ["KERAS_BACKEND"] = arguments.backend
        results = measure_all(arguments)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"machine": platform.processor() or platform.machine(), "results": results}, file, indent=1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, help="one backend; default: all that are installed")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--sigmas", nargs="+", type=float, default=SIGMAS)
    parser.add_argument("--implementation", nargs="+", default=["auto"], choices=["auto", "matrix", "dense"])
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds after which a pair is repeated no more")
    parser.add_argument("--growth", action="store_true", help="compare with the N-Jet at σ = 1 instead of Conv2D")
    parser.add_argument("--json", help="file to write the results to")
    return parser.parse_args()


def run_in_a_process(backend):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results.json")
        given = sys.argv[1:]
        if "--json" in given:
            at = given.index("--json")
            given = given[:at] + given[at + 2 :]
        subprocess.run([sys.executable, __file__, *given, "--backend", backend, "--json", path], check=True)
        with open(path) as file:
            return json.load(file)["results"]


def measure_all(arguments):
    import keras

    rows = []
    backend = keras.backend.backend()
    versions = f"keras {keras.__version__}, {backend} {importlib.import_module(BACKENDS[backend]).__version__}"
    baseline = "N-Jet at σ = 1" if arguments.growth else "Conv2D"
    print(f"\n{versions}; order {arguments.order}; time / time of {baseline}\n")
    print(f"| workload | σ | size | evaluation | forward | forward + backward | {baseline} ms |\n{'|---' * 7}|")
    for workload in arguments.workloads:
        for sigma in arguments.sigmas:
            for row in measure(workload, sigma, arguments):
                rows.append({"backend": backend, "versions": versions, "order": arguments.order, **row})
                print(
                    f"| {workload} | {sigma:g} | {row['kernel_size']} | {row['implementation']} "
                    f"| {row['forward']:.2f} | {row['forward_backward']:.2f} | {row['baseline_ms']:.1f} |",
                    flush=True,
                )
    return rows


def measure(workload, sigma, arguments):
    """One row for each implementation, all timed in turn with the same baseline."""
    import keras
    import numpy as np

    from keras_njet import NJetConv2D

    batch, size, channels, filters = WORKLOADS[workload]
    x = np.random.default_rng(0).normal(size=(batch, size, size, channels)).astype("float32")
    layers = [
        NJetConv2D(filters, order=arguments.order, sigma=sigma, use_bias=False, implementation=implementation)
        for implementation in arguments.implementation
    ]
    for layer in layers:
        layer.build(x.shape)
    if arguments.growth:
        baseline = NJetConv2D(filters, order=arguments.order, use_bias=False)
    else:
        baseline = keras.layers.Conv2D(filters, layers[0].kernel_size, padding="same", use_bias=False)
    baseline.build(x.shape)
    forward = interleaved([forward_pass(layer, x) for layer in [baseline, *layers]], arguments)
    both = interleaved([training_pass(layer, x) for layer in [baseline, *layers]], arguments)
    for number, layer in enumerate(layers, start=1):
        yield {
            "workload": workload,
            "sigma": sigma,
            "kernel_size": layer.kernel_size[0],
            "implementation": layer.implementation,
            "forward": forward[number] / forward[0],
            "forward_backward": both[number] / both[0],
            "baseline_ms": 1000 * both[0],
        }


def interleaved(functions, arguments):
    """Median seconds of each function, which are run in turn after one warm-up."""
    times = [[] for _ in functions]
    for function in functions:
        function()
    start = time.perf_counter()
    while len(times[0]) < arguments.repeats and (len(times[0]) < 2 or time.perf_counter() - start < arguments.budget):
        for function, measured in zip(functions, times, strict=True):
            before = time.perf_counter()
            function()
            measured.append(time.perf_counter() - before)
    return [statistics.median(measured) for measured in times]


def forward_pass(layer, x):
    """A function that runs the layer once, compiled as `predict` would, and waits for the result."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        variables = [variable.value for variable in layer.trainable_variables]
        call = jax.jit(lambda variables, x: layer.stateless_call(variables, [], x)[0])
        x = jax.numpy.asarray(x)
        return lambda: call(variables, x).block_until_ready()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call, x = tf.function(layer), tf.constant(x)
        return lambda: call(x).numpy()[0, 0, 0, 0]
    import torch

    x = torch.tensor(x)

    def run():
        with torch.no_grad():
            layer(x)

    return run


def training_pass(layer, x):
    """Likewise with the gradients with respect to the weights and the input."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        def loss(variables, x):
            return (layer.stateless_call(variables, [], x)[0] ** 2).sum()

        variables = [variable.value for variable in layer.trainable_variables]
        gradient, x = jax.jit(jax.grad(loss, argnums=(0, 1))), jax.numpy.asarray(x)
        return lambda: jax.block_until_ready(gradient(variables, x))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)

        @tf.function
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(layer(x)))
            return tape.gradient(loss, [variable.value for variable in layer.trainable_variables] + [x])

        return lambda: [part.numpy().flat[0] for part in gradient(x)]
    import torch

    x = torch.tensor(x, requires_grad=True)

    def run():
        x.grad = None
        for variable in layer.trainable_variables:
            variable.value.grad = None
        layer(x).square().sum().backward()

    return run


def append(path, rows):
    """Adds rows to a JSON file, so that each backend writes its own as soon as it has them."""
    if os.path.exists(path):
        with open(path) as file:
            rows = json.load(file) + rows
    with open(path, "w") as file:
        json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
