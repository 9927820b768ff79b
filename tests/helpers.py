"""What tests have in common: where things are, what they compare with, small applications, and new processes.

What is computed is compared with NumPy and SciPy in float64, and with each backend's own differentiation.
"""

import importlib.util
import itertools
import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import scipy.ndimage

from keras_njet import applications

ROOT = pathlib.Path(__file__).resolve().parents[1]
BACKENDS = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
DATA = os.environ.get("KERAS_NJET_DATA", "")
needs_mnist = pytest.mark.skipif(
    not (pathlib.Path(DATA) / "mnist").is_dir() or not DATA, reason="KERAS_NJET_DATA names no folder with mnist in it"
)
needs_fashion_mnist = pytest.mark.skipif(
    not (pathlib.Path(DATA) / "fashion-mnist").is_dir() or not DATA, reason="KERAS_NJET_DATA has no fashion-mnist"
)


def on(backend):
    """Leaves a test to one backend, where it is installed: for what takes long, and does the same on all of them."""
    elsewhere = backend in BACKENDS and keras.backend.backend() != backend
    return pytest.mark.skipif(elsewhere, reason=f"takes long; this is tested on {backend}")


on_torch = on("torch")  # which runs eagerly: compiling takes longest

LONG = bool(os.environ.get("KERAS_NJET_LONG"))
# Trainings from end to end, exports, benchmarks and examples; some of them no other test runs.
long = pytest.mark.skipif(not LONG, reason="takes long, and runs with KERAS_NJET_LONG=1")

SHALLOW_APPLICATIONS = ("NIN", "NJetNIN", "AllCNN", "NJetAllCNN", "ResNet32", "NJetResNet32")
DEEP_APPLICATIONS = ("ResNet110", "NJetResNet110", "EfficientNetB0", "NJetEfficientNetB0")
APPLICATIONS = SHALLOW_APPLICATIONS + DEEP_APPLICATIONS

RELOAD = """
import sys
import numpy as np
import keras
import keras_njet
x, path, weights, config = np.load(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
whole = keras.models.load_model(path)
rebuilt = keras.models.model_from_json(open(config).read())
rebuilt.load_weights(weights)
np.savez(sys.argv[5], whole=whole.predict(x, verbose=0), rebuilt=rebuilt.predict(x, verbose=0))
"""

TS_HEADER = """#Waves, of two periods
@problemName Waves
@timeStamps false
@univariate true
@classLabel true fast slow
@data
"""


def examples(count):
    """How many examples a property is tested with: fewer on JAX, which compiles for every shape."""
    return max(5, count // 3) if keras.backend.backend() == "jax" and not LONG else count


def skip_without_channels_first():
    """Skips a test of Keras' own convolutions with "channels_first", which TensorFlow has on some processors only."""
    try:
        x, kernel = np.zeros((1, 1, 3, 3), "float32"), np.zeros((3, 3, 1, 1), "float32")
        keras.ops.conv(x, kernel, data_format="channels_first")
    except Exception as error:  # of a class of TensorFlow, which may not be installed
        if "NHWC" not in str(error):
            raise
        pytest.skip("TensorFlow has no convolution with channels_first on this processor")


def skip_without(*folders):
    """Skips a test whose data sets are not all there."""
    missing = [folder for folder in folders if not (pathlib.Path(DATA) / folder).is_dir()]
    if missing:
        pytest.skip(f"KERAS_NJET_DATA has no {', '.join(missing)}")


def results_of(rows, **configuration):
    """What results.json of a study holds, with a provenance that is made up."""
    return {
        "command": "python it",
        "configuration": configuration,
        "versions": {"python": "3", "keras": "4", "backend": "torch 5"},
        "processor": "abacus",
        "commit": "abc",
        "runs": rows,
    }


def run(*arguments, cwd=ROOT, **variables):
    """Runs Python with arguments and environment variables, on the backend of the tests; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": keras.backend.backend(), **variables}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def next_backend():
    """Another installed backend: tests on all of them save on each, and load on each."""
    return BACKENDS[(BACKENDS.index(keras.backend.backend()) + 1) % len(BACKENDS)]


def predicts_the_same_in_a_new_process(model, x, tmp_path):
    """Asserts that a model, saved whole or in parts, predicts the same in a new process on another backend.

    On every installed one, this one as well, with KERAS_NJET_LONG.
    """
    expected = model.predict(x, verbose=0)
    np.save(tmp_path / "x.npy", x)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    paths = [str(tmp_path / name) for name in ("x.npy", "model.keras", "model.weights.h5", "model.json")]
    for backend in BACKENDS if LONG else [next_backend()]:
        out = str(tmp_path / f"{backend}.npz")
        environment = {**os.environ, "KERAS_BACKEND": backend}
        subprocess.run([sys.executable, "-c", RELOAD, *paths, out], check=True, env=environment)
        for name, outputs in np.load(out).items():
            np.testing.assert_allclose(outputs, expected, atol=1e-5, err_msg=f"{backend}, {name}")


def build_application(name, **arguments):
    """An application in a narrow version, small enough for tests."""
    if name.endswith("EfficientNetB0"):
        arguments = {"weights": None, "classes": 10, "input_shape": (32, 32, 3), **arguments}
    else:
        arguments = {"width": 0.125, **arguments}
    return getattr(applications, name)(**arguments)


def image_size(name):
    """Height and width of small images for this application."""
    return (32, 32) if name.endswith("EfficientNetB0") else (16, 12)


def njet_convolution(x, coefficients, sigma, order, extent=2.0, groups=1):
    """An N-Jet convolution with "same" padding, by `scipy.ndimage.gaussian_filter`, for a "channels_last" map.

    Of any number of axes; `sigma` is a number, or one for each axis. SciPy convolves with the derivatives; a
    convolutional layer correlates, hence the sign (-1)^m.
    """
    x = np.asarray(x, "float64")
    batch, *sizes, channels = x.shape
    filters = coefficients.shape[-1]
    sigmas = np.broadcast_to(sigma, len(sizes))
    radii = [max(1, int(np.ceil(extent * one - 1e-4))) for one in sigmas]
    # SciPy limits a filter to the size of the map only in "reflect" modes; zeros around make it work for any radius.
    x = np.pad(x, [(0, 0), *((radius, radius) for radius in radii), (0, 0)])
    kept = tuple(slice(radius, radius + size) for radius, size in zip(radii, sizes, strict=True))
    out = np.zeros((batch, *sizes, filters))
    for index, orders in enumerate(orders_by_hand(order, len(sizes))):
        filtered = np.zeros_like(x)
        for b in range(batch):
            for c in range(channels):
                filtered[b, ..., c] = scipy.ndimage.gaussian_filter(
                    x[b, ..., c], sigmas, order=orders, mode="constant", radius=radii
                )
        filtered = filtered[(slice(None), *kept)] * np.prod((-sigmas) ** np.array(orders))
        for g in range(groups):
            ins = slice(g * channels // groups, (g + 1) * channels // groups)
            outs = slice(g * filters // groups, (g + 1) * filters // groups)
            out[..., outs] += filtered[..., ins] @ np.asarray(coefficients, "float64")[index][:, outs]
    return out


def orders_by_hand(order, axes=2):
    return [orders for orders in itertools.product(range(order + 1), repeat=axes) if sum(orders) <= order]


def bilinear_resize(x, height, width):
    """Bilinear resampling of a "channels_last" map with pixel centres at half-integers, pixel by pixel."""
    x = np.asarray(x, "float64")
    for axis, new in ((1, height), (2, width)):
        old = x.shape[axis]
        slices = []
        for index in range(new):
            position = min(max((index + 0.5) * old / new - 0.5, 0), old - 1)
            low = int(np.floor(position))
            high = min(low + 1, old - 1)
            slices.append((1 - position + low) * x.take(low, axis) + (position - low) * x.take(high, axis))
        x = np.stack(slices, axis)
    return x


def gradients(function, *arrays):
    """Gradients of a scalar function of tensors, by the backend, as NumPy arrays."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            for tensor in tensors:
                tape.watch(tensor)
            value = function(*tensors)
        return [np.asarray(part) for part in tape.gradient(value, tensors)]
    if keras.backend.backend() == "jax":
        import jax

        return [np.asarray(part) for part in jax.grad(function, argnums=tuple(range(len(arrays))))(*arrays)]
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    function(*tensors).backward()
    return [tensor.grad.numpy() for tensor in tensors]


def layer_gradients(layer, x, weights):
    """Gradients of Σ weights·layer(x) with respect to x and the layer's trainable variables, in this order."""
    trainable = layer.trainable_variables
    values = [keras.ops.convert_to_numpy(variable) for variable in trainable]

    def loss(x, *values):
        outputs, _ = layer.stateless_call(values, [v.value for v in layer.non_trainable_variables], x)
        return keras.ops.sum(keras.ops.cast(outputs, "float32") * keras.ops.convert_to_tensor(weights))

    with warnings.catch_warnings():
        # JAX's differentiation is a function of our own, of which a layer that subsamples rightly warns.
        warnings.filterwarnings("ignore", "The size of the feature map", UserWarning)
        return gradients(loss, np.asarray(x), *values)


def to_numpy(tensor):
    """A float32 array, of tensors of any float type."""
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def waves(count, length=32):
    """Sines of two periods at random phases and offsets, in turn."""
    rng = np.random.default_rng(count)
    periods = np.where(np.arange(count) % 2 == 0, 4.0, 16.0)[:, None]
    phases, offsets = rng.uniform(0, 2 * np.pi, (count, 1)), rng.normal(size=(count, 1))
    return np.sin(2 * np.pi * np.arange(length) / periods + phases) + offsets, ["fast", "slow"] * (count // 2)


def write_ts(path, x, labels, header=TS_HEADER):
    """Writes series as a .ts file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{','.join(map(str, values))}:{label}" for values, label in zip(x, labels, strict=True)]
    path.write_text(header + "\n".join(lines) + "\n")


def write_waves(folder, name="Waves"):
    """Writes a training and a test set of waves as .ts files; returns both."""
    sets = {part: waves(count) for part, count in (("TRAIN", 16), ("TEST", 8))}
    for part, (x, labels) in sets.items():
        write_ts(folder / f"{name}_{part}.ts", x, labels)
    return sets
