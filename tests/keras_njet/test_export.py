"""Guards export: other runtimes give what Keras gives, for live N-Jet models and for frozen ones."""

import importlib.metadata
import importlib.util
import warnings

import keras
import numpy as np
import pytest

from keras_njet import (
    NJetASPP,
    NJetConv1D,
    NJetConv2D,
    NJetConv3D,
    NJetDepthwiseConv1D,
    NJetDepthwiseConv2D,
    SafeSubsample,
    freeze,
    rescale,
)
from keras_njet._convolution.evaluations import Dense
from tests.helpers import long, to_numpy

BACKEND = keras.backend.backend()
HAS_ERROR_FUNCTION_OF_ITS_OWN = BACKEND == "jax" and importlib.metadata.version("jax") != "0.4.30"  # the oldest
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 24, 20, 3)).astype("float32")
SIGNALS = RNG.normal(size=(2, 50, 3)).astype("float32")
VOLUMES = RNG.normal(size=(2, 6, 8, 10, 3)).astype("float32")
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript", "tf2onnx")),
    reason="onnx, onnxruntime, onnxscript and tf2onnx are not installed",
)


def subsampling(shape):
    """A network whose feature maps follow σ, in which "auto" chooses a dense evaluation, too."""
    inputs = keras.Input(shape)
    convolution = NJetConv2D(8, order=3, sigma=0.9, activation="relu", subsample_rate=4.0)
    x = keras.layers.Concatenate()([convolution(inputs), SafeSubsample(convolution)(inputs)])
    x = NJetDepthwiseConv2D(order=1, sigma=0.8, strides=2, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def segmenting(shape):
    """A network whose output has the size of its input."""
    inputs = keras.Input(shape)
    x = NJetConv2D(8, order=2, sigma=0.5, activation="relu")(inputs)
    return keras.Model(inputs, NJetASPP(3, order=1, sigma=(1.0, 3.0), coefficient_initializer="glorot_uniform")(x))


def of_signals(shape):
    """As `subsampling`, a network of signals."""
    inputs = keras.Input(shape)
    convolution = NJetConv1D(4, order=2, sigma=1.2, activation="relu", subsample_rate=4.0)
    x = keras.layers.Concatenate()([convolution(inputs), SafeSubsample(convolution)(inputs)])
    x = NJetDepthwiseConv1D(order=1, sigma=0.8, strides=2, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))


def of_volumes(shape):
    """As `subsampling`, a network of volumes, with a σ for each axis."""
    inputs = keras.Input(shape)
    sigma = {"sigma": (0.7, 1.2, 1.0), "isotropic": False}
    convolution = NJetConv3D(4, order=1, activation="relu", subsample_rate=4.0, **sigma)
    x = keras.layers.Concatenate()([convolution(inputs), SafeSubsample(convolution)(inputs)])
    x = NJetConv3D(3, order=1, strides=2, activation="relu")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling3D()(x))


def rescaled(shape):
    """A network for images of half the size, moved to these: its filters end inside of pixels."""
    sizes, channels = shape[:-1], shape[-1]
    inputs = keras.Input((*(None if size is None else size // 2 for size in sizes), channels))
    x = NJetConv2D(4, order=2, sigma=1.3, activation="relu")(inputs)
    x = keras.layers.MaxPooling2D(3, 2, "same")(x)
    x = NJetConv2D(4, order=1, sigma=1.1, subsample_rate=4.0)(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    return rescale(model, 2.0)


def integrated(shape):
    """A network with small filters that are integrated over pixels."""
    inputs = keras.Input(shape)
    x = NJetConv2D(8, order=2, sigma=0.6, activation="relu", discretization="integrated")(inputs)
    return keras.Model(inputs, NJetDepthwiseConv2D(order=1, sigma=0.8, discretization="integrated")(x))


INPUTS = {
    **dict.fromkeys((subsampling, rescaled, segmenting, integrated), IMAGES),
    of_signals: SIGNALS,
    of_volumes: VOLUMES,
}
OF_ANY_SIZE = (segmenting, integrated)  # and so when they are frozen
FEW = (subsampling, integrated, rescaled)  # which have the most kinds of operations


def cases(*, any_size, often):
    """Networks, live and frozen, for one size of inputs and, where the format allows it, for any.

    Those that are not among `often` have the mark `long`.
    """
    shapes = [
        (make, shape)
        for make, x in INPUTS.items()
        for shape in [x.shape[1:]] + ([(*[None] * (x.ndim - 2), 3)] if any_size and make is not of_volumes else [])
    ]
    return [
        pytest.param(
            make,
            shape,
            is_frozen,
            id=f"{make.__name__}-{shape[0]}-{'frozen' if is_frozen else 'live'}",
            marks=() if make in often else long,
        )
        for make, shape in shapes
        for is_frozen in (False, True)
        if not (make not in OF_ANY_SIZE and is_frozen and shape[0] is None)  # sizes would be fixed
    ]


def test_dense_evaluations_are_exported_too(chosen):
    model = subsampling(IMAGES.shape[1:])
    chosen.clear()  # while Keras infers shapes, nothing is known of the batch
    model(IMAGES)
    of_convolution, _ = chosen
    assert isinstance(of_convolution, Dense)


def exported(tmp_path, make, shape, is_frozen, suffix="", **arguments):
    """The path of what a model is exported to, inputs, and the model's own predictions."""
    model, x = make(shape), INPUTS[make]
    model = freeze(model) if is_frozen else model
    expected = to_numpy(model(x))
    path = str(tmp_path / f"model{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters
        model.export(path, verbose=False, **arguments)
    return path, x, expected


@pytest.mark.skipif(BACKEND == "torch", reason="Keras exports to SavedModel from TensorFlow and JAX")
@pytest.mark.parametrize(
    ("make", "shape", "is_frozen"),
    # From TensorFlow, Keras exports to LiteRT by way of a SavedModel: there all of them are tested.
    cases(any_size=True, often=(subsampling, of_volumes) if BACKEND == "tensorflow" else FEW),
)
def test_saved_model(tmp_path, make, shape, is_frozen):
    if BACKEND == "jax" and make not in OF_ANY_SIZE and shape[0] is None:
        with pytest.raises(ValueError, match=r"must be known.*Received: size="):
            exported(tmp_path, make, shape, is_frozen)
        return
    path, x, expected = exported(tmp_path, make, shape, is_frozen)
    import tensorflow as tf

    artifact = tf.saved_model.load(path)
    if HAS_ERROR_FUNCTION_OF_ITS_OWN and make is integrated and not is_frozen:
        with pytest.raises(tf.errors.InvalidArgumentError):  # which TensorFlow does not know
            artifact.serve(x)
        return
    np.testing.assert_allclose(np.asarray(artifact.serve(x)), expected, atol=1e-5)


@needs_onnx
@pytest.mark.skipif(BACKEND == "jax", reason="Keras exports from JAX to ONNX by jax2onnx")
@pytest.mark.parametrize(
    ("make", "shape", "is_frozen"), cases(any_size=True, often=INPUTS if BACKEND == "torch" else FEW)
)
def test_onnx(tmp_path, make, shape, is_frozen):
    if make is rescaled and BACKEND == "torch" and not is_frozen:
        pytest.skip("torch exports no `ops.take`, by which live models find the enlarged windows of their pooling")
    import onnxruntime

    if BACKEND == "torch" and make is of_volumes and is_frozen:
        pytest.skip("Keras' Conv3D asks torch for a memory format of which its exporter to ONNX has none")
    path, x, expected = exported(tmp_path, make, shape, is_frozen, ".onnx", format="onnx")
    session = onnxruntime.InferenceSession(path)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras exports to LiteRT from TensorFlow, and from torch by litert-torch"
)
@pytest.mark.parametrize(("make", "shape", "is_frozen"), cases(any_size=True, often=(*FEW, of_volumes)))
def test_litert(tmp_path, make, shape, is_frozen):
    import tensorflow as tf

    path, x, expected = exported(tmp_path, make, shape, is_frozen, ".tflite", format="litert")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf.lite.Interpreter moves to another package
        interpreter = tf.lite.Interpreter(path)
    given = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(given, x.shape)
    if make is integrated and shape[0] is None and not is_frozen:
        with pytest.raises(RuntimeError, match="Select TensorFlow op"):  # LiteRT has no error function
            interpreter.allocate_tensors()
        return
    interpreter.allocate_tensors()
    interpreter.set_tensor(given, x)
    interpreter.invoke()
    outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="torch.export needs torch")
@pytest.mark.parametrize(("make", "shape", "is_frozen"), cases(any_size=False, often=(*FEW, of_volumes)))
def test_torch_export_with_batches_of_any_size(tmp_path, make, shape, is_frozen):
    import torch

    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    path, x, expected = exported(tmp_path, make, shape, is_frozen, ".pt2", format="torch", dynamic_shapes=batch)
    program = torch.export.load(path).module()
    np.testing.assert_allclose(to_numpy(program(torch.from_numpy(x))), expected, atol=1e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="torch.export needs torch")
def test_torch_exports_the_sigma_that_was_learned_last(tmp_path):
    # The variable changes in place, and its value is read while the exporter traces.
    import torch

    model = keras.Sequential([keras.Input((24, 20, 3)), NJetConv2D(4, sigma=0.5)])
    model(IMAGES)
    with torch.no_grad():
        model.layers[0].log2_sigma.value.fill_(1.5)
    path, signature = str(tmp_path / "model.pt2"), [keras.InputSpec(shape=IMAGES.shape)]
    model.export(path, format="torch", verbose=False, input_signature=signature)
    outputs = torch.export.load(path).module()(torch.from_numpy(IMAGES))
    np.testing.assert_allclose(to_numpy(outputs), to_numpy(model(IMAGES)), atol=1e-5)
