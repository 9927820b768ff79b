"""Guards what the documentation says of `torch.compile`: graphs break, and numbers, gradients and sizes are right."""

import keras
import numpy as np
import pytest

import keras_njet
from keras_njet import NJetConv2D
from tests.helpers import BACKENDS

pytestmark = [
    pytest.mark.skipif("torch" not in BACKENDS or keras.backend.backend() != "torch", reason="torch's own compiler"),
    # Of torch.compile: where a graph breaks, and of tensors that it looks at.
    pytest.mark.filterwarnings("ignore:.*Dynamo:UserWarning", "ignore:.*The .grad attribute of a Tensor:UserWarning"),
]


def compiled(layer):
    import torch

    torch.compiler.reset()
    return torch.compile(layer, backend="aot_eager")  # all but the generation of code, for which a compiler is needed


def test_a_compiled_layer_follows_sigma():
    layer = NJetConv2D(3, sigma=1.1, subsample_rate=4.0)
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 2)).astype("float32")
    layer(x)
    function = compiled(layer)
    for sigma in (1.1, 2.6):
        layer.sigma = sigma
        expected = keras.ops.convert_to_numpy(layer(x).detach())
        np.testing.assert_allclose(function(x).detach().numpy(), expected, atol=1e-5)


def test_gradients_of_a_compiled_layer_are_those_of_the_layer():
    import torch

    layer = NJetConv2D(3, sigma=1.1)
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 12, 12, 2)).astype("float32"))
    layer(x)
    parameters = list(layer.parameters())
    expected = torch.autograd.grad((layer(x) ** 2).sum(), parameters)
    found = torch.autograd.grad((compiled(layer)(x) ** 2).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-4)


def test_a_frozen_layer_is_one_graph_and_a_live_one_is_not():
    """If it fails at its end, a layer has become one graph, and the documentation may say so."""
    import torch

    model = keras.Sequential([keras.Input((8, 8, 2)), NJetConv2D(3)])
    x = torch.zeros((1, 8, 8, 2))

    def as_one_graph(layer):
        torch.compiler.reset()
        return torch.compile(layer, backend="eager", fullgraph=True)(x)

    assert as_one_graph(keras_njet.freeze(model).layers[-1]).shape == (1, 8, 8, 3)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        as_one_graph(model.layers[-1])
