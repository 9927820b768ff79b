"""Guards the architectures: published numbers of weights, where they subsample, and that twins are twins."""

import keras
import numpy as np
import pytest

from keras_njet import NJetConv2D, NJetDepthwiseConv2D, SafeSubsample, applications
from tests.helpers import build_application as build
from tests.helpers import on_torch

pytestmark = [pytest.mark.usefixtures("little_is_compiled"), on_torch]  # shapes, which Keras infers


def trained(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_numbers_of_weights_are_those_of_the_papers():
    assert trained(applications.NIN()) == 968_404
    for order, weights in ((1, 329_047), (2, 496_663), (3, 720_151), (4, 999_511)):
        assert trained(applications.NJetNIN(order=order)) == weights
    assert trained(applications.ResNet32()) == 464_154
    # He et al. give 1.7 million for 110 layers, Springenberg et al. 1.3 million, without batch normalisation.
    assert 1.65e6 < trained(applications.ResNet110()) < 1.75e6
    assert 1.3e6 < trained(applications.AllCNN()) < 1.4e6


@pytest.mark.parametrize("classes", [10, 100])
def test_twins_have_a_coefficient_a_basis_filter_where_baselines_have_a_pixel(classes):
    # 3×3 filters have 9 weights, N-Jets of order 2 have 6 and of order 3 10.
    for name, order in (("AllCNN", 3), ("ResNet32", 3), ("ResNet110", 2)):
        baseline, twin = build(name, classes=classes), build(f"NJet{name}", classes=classes)
        spatial = [layer for layer in baseline.layers if getattr(layer, "kernel_size", None) == (3, 3)]
        njet = [layer for layer in twin.layers if isinstance(layer, NJetConv2D)]
        assert [layer.name for layer in spatial] == [layer.name for layer in njet]
        assert {layer.order for layer in njet} == {order}
        basis = {2: 6, 3: 10}[order]
        weights = sum(int(np.prod(layer.kernel.shape)) for layer in spatial)
        assert trained(twin) == trained(baseline) - weights + weights * basis // 9 + len(njet)


def test_efficientnet_has_no_other_spatial_filters_than_njets():
    twin = build("NJetEfficientNetB0")
    njet = [layer for layer in twin.layers if isinstance(layer, (NJetConv2D, NJetDepthwiseConv2D))]
    assert len(njet) == 17
    assert {layer.order for layer in njet} == {2}
    assert not any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in twin.layers)
    assert all(layer.kernel_size == (1, 1) for layer in twin.layers if isinstance(layer, keras.layers.Conv2D))
    assert trained(twin) < trained(build("EfficientNetB0"))


def test_where_they_subsample_safely():
    def safe(name, **arguments):
        layers = [layer for layer in build(name, **arguments).layers if isinstance(layer, NJetConv2D)]
        return sum(layer.subsample_rate is not None for layer in layers), len(layers)

    assert safe("NJetNIN") == (3, 3)
    assert safe("NJetAllCNN") == (7, 7)
    assert safe("NJetResNet32") == (2, 31)
    assert safe("NJetResNet110") == (0, 109)
    assert safe("NJetNIN", subsample_rate=None) == (0, 3)
    pooled = [layer for layer in build("NJetNIN").layers if "pool" in layer.name]
    assert [layer.name for layer in pooled] == ["avg_pool"]


@pytest.mark.parametrize("name", ["NIN", "AllCNN", "ResNet32"])
def test_strides_of_the_baseline_are_kept_without_safe_subsampling(name):
    maps, twin = (
        build(prefix + name, include_top=False, input_shape=(16, 16, 3), **rate)
        for prefix, rate in (("", {}), ("NJet", {"subsample_rate": None}))
    )
    x = np.ones((1, 16, 16, 3), "float32")
    assert maps(x).shape == twin(x).shape


def test_feature_maps_and_shortcuts_follow_sigma():
    model = build("NJetResNet32", include_top=False)
    x = np.zeros((1, 32, 32, 3), "float32")
    assert model.predict(x, verbose=0).shape[1:3] == (21, 21)  # ⌊⌊32·½^¼⌋·½^¼⌋
    shortcuts = [layer for layer in model.layers if isinstance(layer, SafeSubsample)]
    assert len(shortcuts) == 2
    model.get_layer("stage2_block1_conv1").sigma = 4.0
    assert model.predict(x, verbose=0).shape[1:3] == (13, 13)  # ⌊16·½^¼⌋
    model = build("NJetNIN", include_top=False)
    model.get_layer("block1_conv").sigma = 4.0
    assert model.predict(x, verbose=0).shape[1:3] == (10, 10)  # ⌊⌊16·½^¼⌋·½^¼⌋
