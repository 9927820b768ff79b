"""Guards the studies: they run on real images and write what they promise."""

import json

import pytest

from applications import study as script
from tests.helpers import DATA, long, needs_mnist, on_torch, run, skip_without

CLASSIFICATION = ("--images", 64, "--test-images", 32, "--batch-size", 32, "--epochs", 1)
SEGMENTATION = ("--images", 2, "--test-images", 1, "--epochs", 1)


@on_torch
@needs_mnist
@pytest.mark.parametrize(
    ("study", "networks", "options"),
    [
        pytest.param("filter_sizes", 6, CLASSIFICATION, marks=long),
        pytest.param("fixed_sigma", 6, CLASSIFICATION, marks=long),
        ("subsample_rate", 3, CLASSIFICATION),
        pytest.param("datasets", 4, CLASSIFICATION, marks=long),
        pytest.param("architectures", 6, CLASSIFICATION, marks=long),
        pytest.param("object_scale", 6, SEGMENTATION, marks=long),
        pytest.param("receptive_field", 4, SEGMENTATION, marks=long),
        pytest.param("pyramids", 4, SEGMENTATION, marks=long),
    ],
)
def test_the_studies_write_a_table_and_a_plot(study, networks, options, tmp_path):
    skip_without("camvid" if study == "pyramids" else "fashion-mnist")
    # Of the quick version itself, only the number of images and epochs is smaller here.
    seeds = 2 if study in ("datasets", "object_scale") else 1
    given = (
        "--quick",
        "--backend",
        "torch",
        "--out",
        tmp_path,
        "--seeds",
        seeds,
        "--data-dir",
        DATA,
        *options,
    )
    output = run("-m", "applications.study", study, *given)
    rows = json.loads((tmp_path / "results.json").read_text())["runs"]
    table = (tmp_path / "table.md").read_text()
    assert table in output
    measure = "test accuracy" if options is CLASSIFICATION else "test mIoU"
    assert len(rows) == networks * seeds
    assert table.count("\n|") == len(rows) // seeds + 1
    if seeds == 2:
        first, second = (row[measure] for row in rows[::networks])
        assert f"{(first + second) / 2:.4f} ± {abs(first - second) / 2**0.5:.4f}" in table
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    assert all(0 <= row[measure] <= 1 and row["seconds"] > 0 for row in rows)


def test_what_a_study_sets_itself_cannot_be_given():
    with pytest.raises(SystemExit):
        script.parse_arguments(["fixed_sigma", "--sigma", "3"])
    with pytest.raises(SystemExit):
        script.parse_arguments(["datasets"])  # reads original files
    arguments = script.parse_arguments(["fixed_sigma", "--quick", "--epochs", "7"])
    assert (arguments.seeds, arguments.options) == (1, ["--epochs", "7"])
    assert str(arguments.out) == "results/fixed_sigma-quick"
