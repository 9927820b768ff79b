"""Guards the comparison of discretizations: its filters are the layers' own, and its table is what it measured."""

import json

import numpy as np
import pytest
from keras import ops

from applications import compare_discretizations as script
from keras_njet._convolution import scale_space
from tests.helpers import DATA, long, on_torch, run, skip_without, to_numpy


@pytest.mark.parametrize("end", [2.5, 3.2])
def test_its_filters_are_those_of_the_layers(end):
    x, sigma = np.arange(-4, 5), 0.9
    given = ops.convert_to_tensor(x, "float32"), ops.convert_to_tensor(sigma, "float32"), 3, end - 0.5
    for name, ours in (
        ("sampled", scale_space.gaussian_derivatives(*given)),
        ("integrated", scale_space.integrated_derivatives(*given)),
    ):
        found = script.KINDS[name](x, sigma, end)
        np.testing.assert_allclose(found, np.stack([to_numpy(one) for one in ours]), atol=1e-5)


def test_all_filters_are_alike_at_large_scales():
    x = np.arange(-40, 41)
    sampled, *others = (kind(x, 6.0, 40.5) for kind in script.KINDS.values())
    for other in others:
        np.testing.assert_allclose(other, sampled, atol=0.03 * np.abs(sampled).max())


@long
@on_torch
def test_integrated_filters_reach_farther_down(tmp_path):
    skip_without("fashion-mnist")
    given = ("--backend", "torch", "--data-dir", DATA, "--factors", 0.5, "--out", tmp_path)
    output = run("-m", "applications.compare_discretizations", *given, "--evaluated", 200, "--statistics", 50)
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    accuracy = {row["kind"]: row["statistics"] for row in runs}
    assert accuracy["integrated"] > accuracy["sampled"] + 0.1
    assert f"| ×0.5 | integrated | {runs[1]['as it is']:.3f} | {accuracy['integrated']:.3f} |" in output
