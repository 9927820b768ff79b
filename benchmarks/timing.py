"""What all benchmarks share: the backends, passes of a layer as `fit` and `predict` run them, and times in turn."""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import threading
import time

from applications import _results

BACKENDS = ("tensorflow", "jax", "torch")
ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"  # those that the README files show
# By default glibc returns large arrays to the system, always or at random times; to get them again, filled with zeros,
# takes up to half of a step.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 32), "MALLOC_MMAP_MAX_": "0"}

PRECISIONS = {"float32": "", "mixed_bfloat16": "_bfloat16"}  # dtype policies: what the names of their results end with


def argument_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options of all benchmarks. With `--backend`, one measures in this process and prints JSON."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=installed)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results/benchmarks"), help="default: %(default)s"
    )
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    return parser


def add_precision(parser: argparse.ArgumentParser):
    """Adds the option --precision."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="dtype policy of Keras; results of another than %(default)s go to files of their own",
    )


def load(folder: pathlib.Path, name: str, backend: str):
    """What a benchmark has measured on a backend; an empty list if there is nothing."""
    path = folder / f"{name}_{backend}.json"
    return json.loads(path.read_text()) if path.exists() else []


def load_all(folder: pathlib.Path, name: str) -> dict:
    """What a benchmark has measured, for each backend on which it was run."""
    return {backend: found for backend in BACKENDS if (found := load(folder, name, backend))}


def save(folder: pathlib.Path, name: str, backend: str, result):
    """Writes what a benchmark has measured on a backend."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_{backend}.json").write_text(json.dumps(result, indent=1))


def versions() -> str:
    """What a time depends on: the versions of Keras and its backend, the processor and how many cores it has."""
    import keras

    backend = keras.backend.backend()
    backend_version = importlib.import_module(backend).__version__
    return f"keras {keras.__version__}, {backend} {backend_version}, {_results.processor()}"


def peak_megabytes():
    """The largest memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def in_a_process(path, backend, *arguments, allocation=KEEP_MEMORY):
    """Runs the benchmark of a file on a backend; returns the last line it prints, parsed."""
    *_, last = lines_of_a_process(path, backend, *arguments, allocation=allocation)
    return last


def lines_of_a_process(path, backend, *arguments, limit=None, allocation=KEEP_MEMORY):
    """Runs the benchmark of a file on a backend, and yields the lines it prints, parsed.

    The process is stopped, and nothing more comes, when a line takes longer than the limit in seconds.
    """
    module = f"benchmarks.{pathlib.Path(path).stem}"
    command = [sys.executable, "-m", module, "--backend", backend, *map(str, arguments)]
    environment = dict(os.environ | allocation, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="2")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        timer, is_stopped = None, threading.Event()

        def stop():
            is_stopped.set()
            process.kill()

        while True:
            if limit is not None:
                timer = threading.Timer(limit, stop)
                timer.start()
            line = process.stdout.readline()
            if timer is not None:
                timer.cancel()
            if not line or is_stopped.is_set():
                break
            if line[0] in "{[":
                yield json.loads(line)
    if process.returncode != 0 and not is_stopped.is_set():
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")


def interleaved(functions, repeats: int, budget: float):
    """Median seconds of each function, run in turn after one warm-up, `repeats` times or until the budget is spent."""
    times = [[] for _ in functions]
    for function in functions:
        function()
    start = time.perf_counter()
    while len(times[0]) < repeats and (len(times[0]) < 2 or time.perf_counter() - start < budget):
        for function, measured in zip(functions, times, strict=True):
            before = time.perf_counter()
            function()
            measured.append(time.perf_counter() - before)
    return [statistics.median(measured) for measured in times]


def prediction(layer, x):
    """A function that has a model of this layer `predict` one batch."""
    import keras

    model = keras.Sequential([keras.Input(batch_shape=x.shape), layer])
    return lambda: model.predict_on_batch(x)


def forward_pass(layer, x):
    """A function that runs the layer once, compiled and without gradients, and waits for the result."""
    import keras

    model = keras.Sequential([keras.Input(batch_shape=x.shape), layer])
    if keras.backend.backend() == "jax":
        import jax

        variables = [variable.value for variable in layer.trainable_variables]
        call = jax.jit(lambda variables, x: model.stateless_call(variables, [], x, training=False)[0])
        x = jax.numpy.asarray(x)
        return lambda: call(variables, x).block_until_ready()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call, x = tf.function(lambda x: model(x, training=False)), tf.constant(x)
        return lambda: call(x).numpy().flat[0]
    import torch

    x = torch.tensor(x)

    def run():
        with torch.no_grad():
            model(x, training=False)

    return run


def training_pass(layer, x):
    """Likewise with the gradients with respect to the weights and the input, and with the layer as it is in `fit`."""
    import keras

    class OneStep(keras.Sequential):
        """Its `fit` is a forward and a backward pass, so that layers take it for a training by Keras."""

        def fit(self):
            return gradient()

    model = OneStep([keras.Input(batch_shape=x.shape), layer])
    if keras.backend.backend() == "jax":
        import jax

        def loss(variables, x):
            return (layer.stateless_call(variables, [], x)[0] ** 2).sum()

        variables = [variable.value for variable in layer.trainable_variables]
        compiled, x = jax.jit(jax.grad(loss, argnums=(0, 1))), jax.numpy.asarray(x)

        def gradient():
            return jax.block_until_ready(compiled(variables, x))

    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)

        @tf.function
        def compiled(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(layer(x)))
            return tape.gradient(loss, [variable.value for variable in layer.trainable_variables] + [x])

        def gradient():
            return [part.numpy().flat[0] for part in compiled(x)]

    else:
        import torch

        x = torch.tensor(x, requires_grad=True)

        def gradient():
            x.grad = None
            for variable in layer.trainable_variables:
                variable.value.grad = None
            layer(x).square().sum().backward()

    return model.fit


def formatted(row, key="ratio"):
    """The ratio of a row, as it is shown in tables and pictures."""
    if row.get("beyond_the_limit"):  # earlier results have a ratio to the limit, which means nothing
        return "long"
    return "–" if row.get(key) is None else f"{max(row[key], 0.01):.2f}"
