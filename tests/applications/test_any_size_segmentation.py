"""Guards the study of masks at full size: it runs, and a rescaled network sees what it knew in larger images."""

import json

from tests.helpers import DATA, long, on_torch, run, skip_without


@long
@on_torch
def test_the_released_network_finds_objects_twice_as_large(tmp_path):
    skip_without("fashion-mnist")
    given = ("--backend", "torch", "--data-dir", DATA, "--scales", 8, "--test-images", 2, "--out", tmp_path)
    output = run("-m", "applications.any_size_segmentation", *given)
    rows = json.loads((tmp_path / "results.json").read_text())["runs"]
    miou = {row["method"]: row["miou"] for row in rows}
    assert miou["rescaled"] > 2 * miou["as it is"]
    assert miou["rescaled"] > 0.8 * miou["resized there and back"]
    assert f"| rescaled | {miou['rescaled']:.3f} |" in output
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
