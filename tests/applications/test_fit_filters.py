"""Guards the study of figure 3: it writes what it promises, and higher orders fit filters better."""

import json

from tests.helpers import on_torch, run


@on_torch
def test_filters_are_fitted_better_by_higher_orders(tmp_path):
    options = ("--orders", 1, 3, "--patches", 10, "--out", tmp_path)
    output = run("-m", "applications.fit_filters", *options)
    rows = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [(row["filters"], row["order"]) for row in rows] == [
        ("patches", 1), ("patches", 3), ("first layer of NIN", 1), ("first layer of NIN", 3),
    ]  # fmt: skip
    for row in rows:
        assert row["error_each"] <= row["error"]
        assert f"| {row['sigma']:.2f} | {row['error']:.3f} |" in output
    assert len(rows[0]["sigmas"]) == 10
    assert rows[1]["error"] < rows[0]["error"]
    assert rows[3]["error"] < rows[2]["error"]
    assert (tmp_path / "table.md").read_text() in output
    for picture in ("patches.png", "first_layer_of_NIN.png"):
        assert (tmp_path / picture).stat().st_size > 5000
