"""Guards the study that converts a trained network: it runs, and what it reports is what it measured."""

import json

import pytest

from tests.helpers import DATA, long, on_torch, run, skip_without


@long
@on_torch
@pytest.mark.parametrize(
    ("option", "fitted", "is_learned"), [("--margin=0.2", 0.9, True), ("--fixed-sigma", 1.0, False)]
)
def test_a_trained_network_is_converted_trained_and_frozen(option, fitted, is_learned, tmp_path):
    skip_without("fashion-mnist")
    given = ("--backend", "torch", "--data-dir", DATA, "--images", 16, "--test-images", 500, "--out", tmp_path)
    options = ("--orders", 8, "--sharing", "layer", option)
    output = run("-m", "applications.convert_nin", *given, *options)
    results = json.loads((tmp_path / "results.json").read_text())
    (row,) = results["runs"]
    assert max(row["errors"]) < 1e-5  # order 8 meets every 5×5 filter
    assert row["fitted_sigmas"][0] == pytest.approx(fitted)
    assert (row["sigmas"] != pytest.approx(row["fitted_sigmas"], abs=1e-4)) == is_learned
    assert results["original"] > 0.8
    assert results["original_trained"] != results["original"]  # by one batch
    assert row["converted"] == pytest.approx(results["original"], abs=2 / 500)
    assert row["frozen"] == pytest.approx(row["trained"], abs=2 / 500)
    own = f"Test accuracy of NIN itself: {results['original']:.4f}; after such an epoch, not converted: "
    assert f"{own}{results['original_trained']:.4f}." in output
